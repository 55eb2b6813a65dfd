"""The suite on one device: what cases are made of, the device that they work with, their verdicts and the report."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import gpucore
from gpucore._version import __version__
from gpucore.backends import discovery
from gpucore.backends.discovery import Hooks
from gpucore.errors import BackendUnavailableError, GpucoreError, NotSupportedError
from gpucore.hookspecs import (
    API_VERSION,
    IR_VERSION,
    CompileOptions,
    DeviceCapabilities,
    DeviceInfo,
    LaunchConfig,
    MemoryKind,
    ObjectCode,
    StreamOptions,
    Target,
)
from gpucore.ir import Module
from gpucore.ir.passes import LowerOptions
from gpucore.ir.passes import lower as lower_module
from gpucore.ir.text import parse
from gpucore.ir.verify import verify

if TYPE_CHECKING:
    from gpucore.testing.semantics import Report as SemanticsReport


Outcome = Literal["passed", "refused", "failed"]


class Violation(Exception):
    """A backend does not do what the contract says."""


def expect(condition: bool, message: str) -> None:
    """Raise :class:`Violation` unless the condition holds."""
    if not condition:
        raise Violation(message)


def in_threads(count: int, work: Callable[[int], str | None]) -> None:
    """Run ``work(number)`` in so many threads at once; what one says, or raises, is a :class:`Violation`."""
    faults: list[str] = []

    def carried(number: int) -> None:
        try:
            fault = work(number)
        except Exception as error:  # noqa: BLE001 - carried to the main thread
            fault = f"thread {number}: {type(error).__name__}: {error}"
        if fault is not None:
            faults.append(fault)

    threads = [threading.Thread(target=carried, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not faults, "; ".join(faults[:3]))


@dataclass(frozen=True, slots=True)
class Case:
    """One demand of the contract on a hook.

    Attributes
    ----------
    name : str
        ``"copy.keeps_offsets"``: the group and the demand.
    hooks : tuple[str, ...]
        The hooks that it is about.
    run : Callable[[DeviceFixture], None]
        Raises :class:`Violation` (or whatever the backend raises) where the demand is not met.
    capability : str | None
        A name without which the case is refused.
    """

    name: str
    hooks: tuple[str, ...]
    run: Callable[[DeviceFixture], None]
    capability: str | None = None

    @property
    def demand(self) -> str:
        """The demand in words."""
        return (self.run.__doc__ or self.name).strip().split("\n")[0]


_cases: dict[str, Case] = {}


def case(
    group: str, *hooks: str, capability: str | None = None
) -> Callable[[Callable[[DeviceFixture], None]], Callable[[DeviceFixture], None]]:
    """Register a function as a case of a group about some hooks."""

    def register(function: Callable[[DeviceFixture], None]) -> Callable[[DeviceFixture], None]:
        name = f"{group}.{function.__name__}"
        _cases[name] = Case(name, hooks, function, capability)
        return function

    return register


def cases() -> Mapping[str, Case]:
    """Every case by its name, in a fixed order."""
    from gpucore.testing.conformance import launches, memory, streams

    modules = (memory, streams, launches)
    order = [module.__name__ for module in modules]
    ranked = sorted(_cases.values(), key=lambda c: order.index(c.run.__module__))
    return {c.name: c for c in ranked}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case; ``reason`` is empty where it passed."""

    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What was run on which device, and what came out.

    Attributes
    ----------
    backend, device, driver : str
    uuid : str | None
    versions : Mapping[str, str]
        Of gpucore, its IR, the plugin and its toolchain, Python and the system.
    source_hash : str
        SHA-256 over the sources of gpucore and of the plugin, so that a report says what it is about.
    date : str
        ISO 8601, UTC.
    hooks : Mapping[str, Verdict]
    semantics : SemanticsReport | None
        None where it was not run.
    """

    backend: str
    device: str
    driver: str
    uuid: str | None
    versions: Mapping[str, str]
    source_hash: str
    hooks: Mapping[str, Verdict]
    semantics: SemanticsReport | None = None
    semantics_error: str = ""
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def conforms(self) -> bool:
        """Whether nothing that was run failed; what was refused names a capability that the device lacks."""
        failed = any(v.outcome == "failed" for v in self.hooks.values())
        wrong = bool(self.semantics_error)
        if self.semantics is not None:
            wrong = wrong or any(result.failed for result in self.semantics.everything().values())
        return not failed and not wrong

    def counts(self) -> dict[str, int]:
        """Numbers of cases: passed, refused, failed."""
        outcomes = [v.outcome for v in self.hooks.values()]
        return {name: outcomes.count(name) for name in ("passed", "refused", "failed")}

    def failures(self) -> Sequence[str]:
        """What failed, a line each."""
        lines = [f"{name}: {v.reason}" for name, v in self.hooks.items() if v.outcome == "failed"]
        if self.semantics_error:
            lines.append(f"semantics: {self.semantics_error}")
        if self.semantics is not None:
            for key, result in self.semantics.everything().items():
                if result.failed:
                    first = result.failures[0] if result.failures else None
                    shown = (
                        f"{first.row}: expected {first.expected}, got {first.got}" if first else result.reason
                    )
                    lines.append(f"semantics of {key}: {result.failed} rows, {shown}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "backend": self.backend,
            "device": self.device,
            "driver": self.driver,
            "uuid": self.uuid,
            "versions": dict(self.versions),
            "source_hash": self.source_hash,
            "date": self.date,
            "conforms": self.conforms,
            "counts": self.counts(),
            "hooks": {
                name: {"outcome": v.outcome, **({"reason": v.reason} if v.reason else {})}
                for name, v in self.hooks.items()
            },
            "semantics": self.semantics.to_dict() if self.semantics is not None else None,
            **({"semantics_error": self.semantics_error} if self.semantics_error else {}),
        }

    def write(self, path: str | Path) -> None:
        """Write the report as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")


class DeviceFixture:
    """A device under test.

    Everything that a case takes through it is given back by :meth:`clean`, so that one failing case
    leaves no trace for the next.

    Attributes
    ----------
    hooks : Hooks
    device : object
        The plugin's handle.
    info : DeviceInfo
    capabilities : DeviceCapabilities
    target : Target
    """

    def __init__(self, hooks: Hooks, info: DeviceInfo) -> None:
        self.hooks: Any = hooks
        self.info = info
        self.device: Any = self.hooks.open_device(info.ordinal, {})
        self.capabilities: DeviceCapabilities = self.hooks.capabilities(self.device)
        self.target: Target = self.hooks.target(self.device)
        self._undo: list[Callable[[], None]] = []

    # --- things taken
    def stream(self, priority: int = 0) -> Any:
        """A stream."""
        handle = self.hooks.create_stream(self.device, StreamOptions(priority))
        self._undo.append(lambda: self.hooks.destroy_stream(self.device, handle))
        return handle

    def event(self, timing: bool = False) -> Any:
        """An event."""
        handle = self.hooks.create_event(self.device, timing)
        self._undo.append(lambda: self.hooks.destroy_event(self.device, handle))
        return handle

    def alloc(self, nbytes: int, kind: MemoryKind = "device") -> Any:
        """Memory."""
        allocation = self.hooks.alloc(self.device, nbytes, kind, None)
        self._undo.append(lambda: self.hooks.free(self.device, allocation, None))
        return allocation

    def upload(self, data: bytes, stream: Any, kind: MemoryKind = "device") -> Any:
        """Memory with these bytes in it."""
        allocation = self.alloc(len(data), kind)
        self.hooks.copy(self.device, allocation, 0, memoryview(data).cast("B"), 0, len(data), stream)
        return allocation

    def download(self, allocation: Any, nbytes: int, stream: Any, offset: int = 0) -> bytes:
        """The bytes of memory, after what the stream was given so far."""
        out = bytearray(nbytes)
        self.hooks.copy(self.device, memoryview(out), 0, allocation, offset, nbytes, stream)
        return bytes(out)

    def synchronize(self, stream: Any) -> None:
        """Wait for a stream."""
        self.hooks.synchronize_stream(self.device, stream)

    # --- kernels
    def lowered(self, text: str, block: tuple[int, ...] | None = None) -> Module:
        """A kernel in the IR's text form, lowered for the device."""
        from gpucore.math import library

        module = parse(text)
        verify(module, level="high")
        options = LowerOptions(
            native=self.target.native, library=library, atomics=self.target.atomics, block=block
        )
        return lower_module(module, options).module

    def compiled(self, text: str, block: tuple[int, ...] | None = None) -> ObjectCode:
        """Object code of a kernel."""
        code: ObjectCode = self.hooks.compile(
            self.target, self.lowered(text, block), CompileOptions(block=block)
        )
        return code

    def load(self, text: str, block: tuple[int, ...] | None = None) -> Any:
        """A kernel, loaded."""
        executable = self.hooks.load(self.device, self.compiled(text, block))
        self._undo.append(lambda: self.hooks.unload(self.device, executable))
        return executable

    def launch(self, text: str, grid: Sequence[int], block: Sequence[int], stream: Any, *slots: Any) -> None:
        """Compile, load and launch a kernel, and wait for it."""
        executable = self.load(text, tuple(block))
        config = LaunchConfig(tuple(grid), tuple(block))
        self.hooks.prepare(self.device, executable, config)(stream, *slots)
        self.synchronize(stream)

    # --- capabilities
    def require(self, capability: str) -> None:
        """Refuse the case on devices without the capability."""
        if capability not in self.capabilities.names:
            raise NotSupportedError(f"the device has no {capability}", capability=capability)

    def require_dtype(self, name: str, use: str = "arithmetic") -> None:
        """Refuse the case on devices without this use of a dtype."""
        if use not in self.capabilities.dtypes.get(name, frozenset()):
            raise NotSupportedError(f"the device has no {use} of {name}", capability=f"{name} {use}")

    # --- the end
    def clean(self) -> None:
        """Give back what the case took, newest first."""
        while self._undo:
            self._undo.pop()()

    def forget(self, count: int = 1) -> None:
        """Leave the newest things to the case, which gives them back itself."""
        del self._undo[-count:]

    def close(self) -> None:
        """Close the device."""
        self.hooks.close_device(self.device)


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
