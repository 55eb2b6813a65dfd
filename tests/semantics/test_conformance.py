"""The conformance suite passes the null backend and catches backends that break the contract."""

import functools
import json
import sys
import types

import pytest

import gpucore
from gpucore.backends import discovery
from gpucore.errors import BackendUnavailableError
from gpucore.hookspecs import OPTIONAL, BackendSpec, hookimpl
from gpucore.testing import null
from gpucore.testing.conformance import cases, open_fixture, run, run_case, source_hash


@pytest.fixture
def null_backend():
    with discovery.register("null", null):
        yield "null"


def broken(**replacements):
    """The null backend with other hooks in place of some of its own."""
    module = types.ModuleType("broken")
    module.__dict__.update({k: v for k, v in vars(null).items() if not k.startswith("__")})
    module.__dict__.update({name: hookimpl(function) for name, function in replacements.items()})
    return module


def verdict_of(plugin, name):
    with discovery.register("broken", plugin):
        fixture = open_fixture("broken")
        try:
            return run_case(fixture, cases()[name])
        finally:
            fixture.close()


def test_the_null_backend_conforms(null_backend) -> None:
    report = run(null_backend, semantics=False)
    assert report.failures() == []
    assert report.conforms
    assert report.counts()["passed"] > 50


def test_every_required_hook_has_a_case() -> None:
    hooks = {name for name in vars(BackendSpec) if not name.startswith("_")}
    covered = {hook for case in cases().values() for hook in case.hooks}
    assert hooks - set(OPTIONAL) - covered == set()
    assert covered <= hooks


def test_every_case_says_what_it_demands() -> None:
    for name, case in cases().items():
        assert case.run.__doc__, name
        assert case.hooks, name


def test_a_fill_that_ignores_its_offset_fails() -> None:
    def fill(device, dst, offset, nbytes, pattern, stream):
        null.fill(device, dst, 0, nbytes, pattern, stream)

    verdict = verdict_of(broken(fill=fill), "copy.fills_with_patterns")
    assert verdict.outcome == "failed"


def test_a_wrong_order_of_axes_fails() -> None:
    def prepare(device, executable, config):
        turned = type(config)(config.grid[::-1], config.block[::-1])
        return null.prepare(device, executable, turned)

    assert verdict_of(broken(prepare=prepare), "launch.axes_are_in_array_order").outcome == "failed"


def test_misaligned_memory_fails() -> None:
    def alloc(device, nbytes, kind, stream):
        allocation = null.alloc(device, nbytes + 1, kind, stream)
        allocation.address += 1
        return allocation

    verdict = verdict_of(broken(alloc=alloc), "memory.allocations_are_aligned")
    assert verdict.outcome == "failed"
    assert "address" in verdict.reason


def test_what_a_device_lacks_is_refused_not_failed(null_backend) -> None:
    fixture = open_fixture(null_backend)
    try:
        verdict = run_case(fixture, cases()["identity.health_is_good"])
    finally:
        fixture.close()
    assert verdict.outcome == "refused"
    assert "device_health" in verdict.reason


def test_cases_leave_nothing_open(null_backend) -> None:
    fixture = open_fixture(null_backend)
    for case in cases().values():
        run_case(fixture, case)
        assert set(fixture.device.open.values()) == {0}, case.name
    fixture.close()


def test_the_report_is_json(null_backend, tmp_path) -> None:
    report = run(null_backend, semantics=False)
    report.write(tmp_path / "report.json")
    body = json.loads((tmp_path / "report.json").read_text())
    assert body["backend"] == "null"
    assert body["hooks"]["launch.saxpy"] == {"outcome": "passed"}
    assert len(body["source_hash"]) == 64


def test_the_hash_of_the_sources_is_the_same_wherever_they_lie(tmp_path, monkeypatch) -> None:
    def placed(folder: str, name: str, text: str) -> str:
        package = tmp_path / folder / name
        (package / "part").mkdir(parents=True)
        (package / "__init__.py").write_text(text)
        (package / "part" / "one.py").write_text(text)
        return str(package / "__init__.py")

    monkeypatch.setattr(gpucore, "__file__", placed("m", "gpucore", "core"))
    found = []
    for folder, text in (("a", "plugin"), ("z", "plugin"), ("y", "another plugin")):
        plugin = types.ModuleType("plugin_somewhere")
        plugin.__file__ = placed(folder, "plugin_somewhere", text)
        monkeypatch.setitem(sys.modules, "plugin_somewhere", plugin)
        found.append(source_hash(plugin))
    assert found[0] == found[1] != found[2]


def test_an_unknown_ordinal_is_an_error(null_backend) -> None:
    with pytest.raises(BackendUnavailableError, match="no device 7"):
        run(null_backend, 7)


def test_a_run_in_a_log_says_how_far_it_is(null_backend, monkeypatch, capfd) -> None:
    from gpucore.cli import commands as command

    monkeypatch.setattr(command, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("gpucore.testing.conformance.run", functools.partial(run, semantics=False))
    command.run_conformance("null", None)
    beginning, *lines = capfd.readouterr().err.splitlines()
    assert "every hook case" in beginning
    assert len(lines) == len(cases())
    assert lines[-1].startswith(f"{len(cases())} of {len(cases())}: ")
