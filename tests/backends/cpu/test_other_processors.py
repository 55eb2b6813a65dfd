"""The same bits on processors with narrower vectors, without AVX-512, and without AVX and fma."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

HERE = Path(__file__).parent
SHARED = HERE.parent / "shared"
SMALL = ("test_dot4.py", "test_small_integers.py")
FILES = ("test_language.py", "test_subgroups.py", "test_bounds.py", *SMALL)


def run(processor, *arguments):
    env = os.environ | {
        "GPUCORE_TEST_PROCESSOR": processor,
        "GPUCORE_CACHE_DIR": "off",
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "processors", "-p", "no:cacheprovider", "-k", "not f16", *arguments,
         "--gpucore-backends=cpu", "--gpucore-require=cpu"],
        env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="the processors are of another family"
)


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
def test_kernels_give_the_same_bits_on_a_lesser_processor(processor):
    assert " passed" in run(processor, *(str(SHARED / file) for file in FILES))


@pytest.mark.skipif(
    not llvm.get_host_cpu_features().get("avx512f", False),
    reason="this processor has no vectors of 512 bits",
)
def test_small_integers_need_no_newer_instructions():
    assert " passed" in run("skylake-avx512", *(str(SHARED / file) for file in SMALL))


@pytest.mark.parametrize(("processor", "bits"), [("haswell", 256), ("x86-64", 128)])
def test_the_lesser_processor_is_the_one_that_is_compiled_for(processor, bits):
    code = (
        "import processors; from gpucore_cpu.host import host_target as t; f = t().features; "
        "print(sorted(x for x in f if '=' in x), 'avx512f' in f, 'avx2' in f)"
    )
    env = os.environ | {"GPUCORE_TEST_PROCESSOR": processor, "PYTHONPATH": str(HERE)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert f"vector={bits}" in said
    assert f"cpu={processor}" in said
    assert said.split("]")[1].split() == ["False", str(bits == 256)]
