"""The shipped pytest plugin, run as a user runs it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gpucore

TESTS = """
    import gpucore as gc

    def test_ones(gpucore_context):
        assert gpucore_context.ones(3, gc.f32).numpy().sum() == 3

    def test_closing(gpucore_context):
        gpucore_context.close()

    def test_after_closing(gpucore_context):
        assert gpucore_context.zeros(3, gc.f32).numpy().sum() == 0

    @gc.kernel
    def beyond(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = 1.0

    def test_leaving_an_error_behind(gpucore_context):
        beyond[1, 8](gpucore_context.options(check=True).ones(3, gc.f32))

    def test_after_an_error(gpucore_context):
        gpucore_context.synchronize()
"""

FAILING = """
    import gpucore as gc

    @gc.kernel
    def store(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = 1.0

    def launched(context, dtype):
        store.over(3)(context.ones(3, dtype))

    def test_it(gpucore_context):
        launched(gpucore_context, gc.f32)
        launched(gpucore_context, gc.f64)
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "test_it.py").write_text(textwrap.dedent(TESTS))
    root = str(Path(gpucore.__file__).parents[1])

    def call(*options):
        env = {k: v for k, v in os.environ.items() if not k.startswith("GPUCORE_")}
        env |= {"PYTHONPATH": os.pathsep.join([root, env.get("PYTHONPATH", "")]), "GPUCORE_CACHE_DIR": "off"}
        listing = subprocess.run(
            [sys.executable, "-c", "from importlib.metadata import entry_points as e\n"
             "print(any(p.value == 'gpucore.testing.plugin' for p in e(group='pytest11')))"],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        load = [] if listing.stdout.strip() == "True" else ["-p", "gpucore.testing.plugin"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *load, *options, "test_it.py"],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    return call


def test_tests_run_on_the_backends_named_and_do_not_disturb_one_another(run):
    code, out = run("--gpucore-backends=null")
    assert code == 0 and "5 passed" in out, out


def test_a_backend_that_is_not_there_skips_with_its_reason(run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, out = run("--gpucore-backends=null,cuda")
    assert code == 0 and "5 passed, 5 skipped" in out, out
    assert "the backend 'cuda' cannot be used: " in out


def test_a_name_that_no_backend_has_is_an_error_beside_others_too(run):
    code, out = run("--gpucore-backends=null,nulll")
    assert code == pytest.ExitCode.USAGE_ERROR and "passed" not in out, out


def test_a_failing_launch_shows_the_lines_of_the_test_alone(run, tmp_path):
    (tmp_path / "test_it.py").write_text(textwrap.dedent(FAILING))
    code, out = run("--gpucore-backends=null")
    assert code == 1, out
    assert "def launched(context, dtype):" in out and "wants dtype f32" in out
    assert "launched(gpucore_context, gc.f64)" in out
    assert "def launch(" not in out and "raise " not in out, out
    code, out = run("--gpucore-backends=null", "--full-trace")
    assert "raise " in out, out


def test_a_run_on_nothing_but_backends_that_are_not_there_is_an_error(run):
    code, out = run("--gpucore-backends=nope")
    assert code == pytest.ExitCode.USAGE_ERROR and "skipped" not in out, out


def test_a_required_backend_fails_instead(run):
    code, out = run("--gpucore-backends=null", "--gpucore-require=nowhere")
    assert code == 1 and "--gpucore-require" in out and "skipped" not in out, out


def test_a_backend_that_cannot_be_used_is_said_in_one_sentence():
    from gpucore.testing.require import main

    said = main(["abacus"])
    assert said is not None
    assert "abacus" in said
    assert "pip install" in said
    assert main([]) is None
