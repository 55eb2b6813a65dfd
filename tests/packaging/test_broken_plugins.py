"""Plugins installed from real wheels: each broken in one way is reported when wanted and harmless otherwise."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("wheelmaker", Path(__file__).with_name("wheelmaker.py"))
assert spec is not None and spec.loader is not None
wheelmaker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wheelmaker)

# A complete backend: the null backend's hooks under another name.
WHOLE = """
from gpucore.testing import null as _null
from gpucore.testing.null import *
GPUCORE_API = _null.GPUCORE_API
for _name in dir(_null):
    if getattr(getattr(_null, _name), "gpucore_impl", None) is not None:
        globals()[_name] = getattr(_null, _name)
"""
LACKS_A_HOOK = WHOLE + "\ndel alloc\n"
SWAPS_PARAMETERS = (
    WHOLE
    + """
from gpucore.hookspecs import hookimpl
@hookimpl
def wait_event(device, event, stream):
    pass
"""
)

CASES = {
    "explodes": dict(
        code="raise RuntimeError('the driver went home')", says=["explodes", "the driver went home"]
    ),
    "leaves": dict(code="import sys; sys.exit('goodbye')", says=["the backend 'leaves'", "goodbye"]),
    "lacks": dict(code=LACKS_A_HOOK, says=["lacks", "alloc"]),
    "swaps": dict(
        code=SWAPS_PARAMETERS, says=["wait_event", "device, stream, event", "device, event, stream"]
    ),
    "old": dict(code=WHOLE, requires="gpucore<0.0.5", says=["gpucore<0.0.5", "pip install"]),
    "stranger": dict(code=WHOLE + "\nGPUCORE_API = (99, 99)\n", says=["99"]),
}


def run(site: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GPUCORE_")}
    env |= {"PYTHONPATH": str(site), "GPUCORE_CACHE_DIR": "off"} | environment
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    wheels = [
        wheelmaker.make_wheel(
            folder,
            f"gpucore-{name}",
            module=f"gpucore_{name}",
            code=case["code"],
            backend=name,
            requires=case.get("requires", "gpucore"),
        )
        for name, case in CASES.items()
    ]
    for twin in ("one", "two"):
        wheels.append(
            wheelmaker.make_wheel(
                folder, f"gpucore-twin-{twin}", module=f"gpucore_twin_{twin}", code=WHOLE, backend="twin"
            )
        )
    wheels.append(
        wheelmaker.make_wheel(folder, "gpucore-good", module="gpucore_good", code=WHOLE, backend="good")
    )
    target = tmp_path_factory.mktemp("site")
    wheelmaker.install(wheels, target)
    return target


@pytest.mark.parametrize("name", CASES)
def test_a_broken_plugin_is_reported_when_wanted(site: Path, name: str) -> None:
    done = run(site, "import gpucore; gpucore.Context()", GPUCORE_BACKEND=name)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()
    assert any("PluginError" in line for line in last), done.stderr
    for word in CASES[name]["says"]:
        assert word in done.stderr, done.stderr


def test_duplicate_names_are_an_error_that_lists_both(site: Path) -> None:
    done = run(site, "import gpucore; gpucore.Context()", GPUCORE_BACKEND="twin")
    assert "PluginError" in done.stderr
    assert "gpucore-twin-one" in done.stderr
    assert "gpucore-twin-two" in done.stderr


def test_broken_plugins_are_harmless_to_another(site: Path) -> None:
    done = run(site, "import gpucore; print(gpucore.Context().backend)", GPUCORE_BACKEND="good")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "good"


def test_the_status_of_all_backends_shows_each_failure_and_its_fix(site: Path) -> None:
    code = "import gpucore, json; print(json.dumps({n: [s.available, s.reason, s.fix] for n, s in gpucore.backends().items()}))"
    done = run(site, code)
    assert done.returncode == 0, done.stderr
    import json

    status = json.loads(done.stdout)
    assert status["good"][0] is True
    for name in (*CASES, "twin"):
        available, reason, fix = status[name]
        assert available is False
        assert reason, name
        assert fix, name


def test_nothing_selected_skips_what_is_broken(site: Path) -> None:
    done = run(site, "import gpucore; print(gpucore.Context().backend)")
    assert done.returncode == 0, done.stderr


def test_a_broken_wrapper_is_reported_as_a_wrapper(tmp_path: Path) -> None:
    wheel = wheelmaker.make_wheel(
        tmp_path, "gpucore-tracer", module="gpucore_tracer", code="raise RuntimeError('no clock')",
        backend="tracer", group="gpucore.wrappers",
    )  # fmt: skip
    wheelmaker.install([wheel], tmp_path / "site")
    done = run(tmp_path / "site", "import gpucore; gpucore.Context()")
    assert "the wrapper 'tracer' from gpucore-tracer 1.0" in done.stderr and "no clock" in done.stderr
    assert "the backend 'tracer'" not in done.stderr
