"""Run the suite on one device."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any

import gpucore
from gpucore._version import __version__
from gpucore.backends import discovery
from gpucore.errors import BackendUnavailableError, GpucoreError, NotSupportedError
from gpucore.hookspecs import API_VERSION, IR_VERSION
from gpucore.testing.conformance.model import Case, DeviceFixture, Report, Verdict, cases

__all__ = ["open_fixture", "run", "run_case", "source_hash"]

Progress = Callable[[str, int, int], None]


def open_fixture(backend: str, ordinal: int = 0) -> DeviceFixture:
    """Open a device for the suite.

    Parameters
    ----------
    backend : str
        An installed or registered backend.
    ordinal : int

    Raises
    ------
    BackendNotFoundError, PluginError, BackendUnavailableError
    """
    hooks = discovery.bind(backend, discovery.load(backend))
    found = hooks.probe()
    if not found.available:
        raise BackendUnavailableError(f"{backend}: {found.reason} {found.fix}".strip())
    for info in found.devices:
        if info.ordinal == ordinal:
            return DeviceFixture(hooks, info)
    raise BackendUnavailableError(
        f"{backend} has no device {ordinal}, only {[d.ordinal for d in found.devices]}"
    )


def run_case(fixture: DeviceFixture, case: Case) -> Verdict:
    """One case; what it took is given back."""
    try:
        if case.capability is not None:
            fixture.require(case.capability)
        case.run(fixture)
        verdict = Verdict("passed")
    except NotSupportedError as error:
        verdict = Verdict("refused", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a backend raises is the verdict
        verdict = Verdict("failed", f"{type(error).__name__}: {error}")
    try:
        fixture.clean()
    except Exception as error:  # noqa: BLE001
        if verdict.outcome == "passed":
            verdict = Verdict("failed", f"giving back what it took: {type(error).__name__}: {error}")
    return verdict


def run(
    backend: str,
    ordinal: int = 0,
    *,
    semantics: bool = True,
    groups: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the hook cases and the semantics table.

    Parameters
    ----------
    backend : str
    ordinal : int
    semantics : bool
        Also run the table of operations, through a context.
    groups : iterable of str, optional
        Only these groups of the table.
    progress : callable, optional
        Called with what was done last, the number done, and the number in all.
    """
    fixture = open_fixture(backend, ordinal)
    chosen = cases()
    verdicts: dict[str, Verdict] = {}
    try:
        for number, (name, case) in enumerate(chosen.items(), 1):
            verdicts[name] = run_case(fixture, case)
            if progress is not None:
                progress(name, number, len(chosen))
        info = fixture.info
        versions = {**_versions(), **fixture.hooks.backend_info().versions}
    finally:
        fixture.close()
    table, trouble = None, ""
    if semantics:
        from gpucore.testing.semantics import run as run_table

        try:
            with gpucore.Context(f"{backend}:{ordinal}") as context:
                table = run_table(context, groups, progress)
        except GpucoreError as error:
            trouble = f"{type(error).__name__}: {error}"
    return Report(
        backend,
        info.name,
        info.driver,
        info.uuid,
        versions,
        source_hash(discovery.load(backend)),
        verdicts,
        table,
        trouble,
    )


def _versions() -> dict[str, str]:
    return {
        "gpucore": __version__,
        "api": str(API_VERSION),
        "ir": str(IR_VERSION),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def source_hash(plugin: Any) -> str:
    """SHA-256 over the Python sources of gpucore and of a plugin's package, names included."""
    digest = hashlib.sha256()
    roots = {_root(gpucore), _root(plugin)}
    for root in sorted((r for r in roots if r is not None), key=lambda root: root.name):
        for path in sorted(root.rglob("*.py")):
            if not _counts(path.relative_to(root)):
                continue
            digest.update(path.relative_to(root.parent).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _counts(path: PurePath) -> bool:
    """Whether a source file takes part in results: commands, and testing tools other than the suites, do not."""
    if path.parts[0] == "testing":
        return path.parts[1] in ("semantics", "conformance")
    return path.parts[0] != "cli"


def _root(module: Any) -> Path | None:
    name = getattr(module, "__name__", type(module).__module__).partition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file).parent if file else None
