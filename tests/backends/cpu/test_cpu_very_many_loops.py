"""Kernels of so many loops that the CPU backend calls a function for each gang."""

import subprocess
import sys

import numpy as np
import pytest

import gpucore as gc
from gpucore_cpu.spmd.lowering import LOOPS_AROUND


def kernel(axes, before="", after=""):
    ids = {1: "i = gc.global_id(0)", 2: "r, i = gc.global_ids(2)", 3: "q, r, i = gc.global_ids(3)"}[axes]
    at = {1: "i", 2: "r, i", 3: "q, r, i"}[axes]
    loops = [
        f"for j{n} in range(m):\n        a = a * 0.5 + {n % 7}.0{after.format(n=n)}"
        for n in range(LOOPS_AROUND + 1)
    ]
    text = "\n    ".join(
        [
            f"def k(x: gc.Array{axes}[gc.f32], m: gc.i32) -> None:",
            ids,
            *([before] if before else []),
            f"a = x[{at}]",
            *loops,
            f"x[{at}] = a",
        ]
    )
    space = {"gc": gc}
    exec(compile(text, "<kernel>", "exec"), space)
    return gc.kernel(source=text)(space["k"])


def expected(x, m):
    a = x.copy()
    for n in range(LOOPS_AROUND + 1):
        for _ in range(m):
            a = a * np.float32(0.5) + np.float32(n % 7)
    return a


@pytest.mark.parametrize("shape", [(1,), (16,), (1003,), (40_000,), (3, 37), (2, 3, 35)])
def test_every_element_is_computed_once(gpucore_context, shape):
    k = kernel(len(shape))
    host = np.linspace(-3, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    x = gpucore_context.array(host)
    k.over(shape)(x, 2)
    np.testing.assert_array_equal(x.numpy(), expected(host, 2))
    assert "@gang(" in k.source("cpu", x, 2)


def test_threads_that_leave_early_or_are_kept_out_store_nothing(gpucore_context):
    k = kernel(1, "if i % 3 == 1:\n        return")
    host = np.linspace(-3, 3, 500, dtype=np.float32)
    x = gpucore_context.array(host)
    k[4, 128](x[:490], 1)  # 22 threads past the end
    wanted = expected(host, 1)
    wanted[1::3] = host[1::3]
    wanted[490:] = host[490:]
    with pytest.raises(gc.KernelBoundsError):
        gpucore_context.synchronize()
    np.testing.assert_array_equal(x.numpy(), wanted)


def test_a_thread_that_returns_from_a_loop_is_done(gpucore_context):
    k = kernel(1, after="\n        if i == {n}:\n            x[i] = a\n            return")
    host = np.linspace(-3, 3, 300, dtype=np.float32)
    x = gpucore_context.array(host)
    k.over(300)(x, 1)
    found = x.numpy()
    np.testing.assert_array_equal(found[LOOPS_AROUND + 1 :], expected(host, 1)[LOOPS_AROUND + 1 :])
    assert found[0] == host[0] * np.float32(0.5)


CHAIN = """
import numpy as np
import gpucore as gc

@gc.kernel
def chain(x: gc.Array[gc.i32], o: gc.Array[gc.i32], n: gc.i32) -> None:
    i = gc.global_id(0)
    s = x[i]
    for q in gc.static_range(100):
        for k in range(n):
            s = s * 3 + x[k] + q
        k = 0
        while k < n:
            s = s * 3 + x[k]
            k += 1
    o[i] = s

host = np.arange(33, dtype=np.int32)
wanted = host.copy()
for q in range(100):
    for k in range(5):
        wanted = wanted * 3 + host[k] + q
    for k in range(5):
        wanted = wanted * 3 + host[k]
with gc.Context("cpu") as ctx:
    x, o = ctx.array(host), ctx.zeros(33, gc.i32)
    chain.over(33)(x, o, 5)
    assert (o.numpy() == wanted).all()
"""


def test_a_chain_of_values_through_two_hundred_loops_is_compiled(tmp_path):
    """A pass of LLVM, NewGVN, ended the process by an assertion."""
    program = tmp_path / "chain.py"
    program.write_text(CHAIN, "utf-8")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
