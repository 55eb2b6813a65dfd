"""Kernels whose shuffles of bytes LLVM's x86 code generator worked on for ever, where the processor has AVX-512.

They run in a process of their own each, so that the limit, which is many times what they take, ends one that hangs.
"""

import subprocess
import sys

import pytest

from gpucore_cpu.byte_shuffles import guard_byte_shuffles

BEGIN = """
import numpy as np
import gpucore as gc

def dots(a, b):
    a, b = (np.asarray(m).reshape(-1, 1).view(np.int8 if m.dtype == np.int32 else np.uint8) for m in (a, b))
    return (a.astype(np.int64) * b.astype(np.int64)).sum(axis=1)

words = np.random.default_rng(1).integers(0, 2**32, (2, 256), dtype=np.uint32)
"""

UNIFORM = """
@gc.kernel
def k(x: gc.Array[gc.u32], o: gc.Array[gc.u32], p: gc.Array[gc.u32], s: gc.u32) -> None:
    i = gc.global_id(0)
    o[i] = gc.dot4(x[i], s, gc.u32(5))
    p[i] = s ** x[i]

s = 0x01020384
with gc.Context("cpu") as ctx:
    x, o, p = ctx.array(words[0]), ctx.zeros(256, gc.u32), ctx.zeros(256, gc.u32)
    k[16, 16](x, o, p, s)
    assert (o.numpy() == (dots(words[0], np.full(256, s, np.uint32)) + 5) % 2**32).all()
    assert (p.numpy() == [pow(s, int(n), 2**32) for n in words[0]]).all()
"""

BROADCAST = """
@gc.kernel(subgroup=16)
def k(x: gc.Array[gc.i32], y: gc.Array[gc.i32], o: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    o[i] = gc.dot4(gc.subgroup_broadcast(x[i], 0), y[i], 7)

x, y = words.view(np.int32)
with gc.Context("cpu") as ctx:
    o = ctx.zeros(256, gc.i32)
    k[4, 64](ctx.array(x), ctx.array(y), o)
    assert (o.numpy() == dots(np.repeat(x[::16], 16), y) + 7).all()
"""

MASKED = """
@gc.kernel(subgroup=16)
def k(x: gc.Array[gc.i32], y: gc.Array[gc.i32], o: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    o[i] = gc.subgroup_broadcast(x[i], 0) & 0x0F0F0F0F
    o[i] = gc.dot4(gc.bitcast(o[i], gc.u32), y[i], 0)

x, y = words.view(np.int32)
with gc.Context("cpu") as ctx:
    o = ctx.zeros(256, gc.i32)
    k[4, 64](ctx.array(x), ctx.array(y), o)
    assert (o.numpy() == dots(np.repeat(words[0, ::16] & 0x0F0F0F0F, 16), y)).all()
"""

BYTES = """
@gc.kernel(subgroup=64)
def k(x: gc.Array[gc.u8], o: gc.Array[gc.u8]) -> None:
    i = gc.global_id(0)
    v = x[i] ^ 3
    first, second = gc.subgroup_broadcast(v, 0), gc.subgroup_broadcast(v, 1)
    o[i] = first if gc.subgroup_lane() % 2 == 0 else second

x = np.arange(256, dtype=np.uint8)
with gc.Context("cpu") as ctx:
    o = ctx.zeros(256, gc.u8)
    k[4, 64](ctx.array(x), o)
    assert (o.numpy() == (x // 64 * 64 + x % 2) ^ 3).all()
"""


@pytest.mark.parametrize(
    "program", [UNIFORM, BROADCAST, MASKED, BYTES], ids=["uniform", "broadcast", "masked", "bytes"]
)
def test_a_kernel_that_shuffles_bytes_is_compiled(tmp_path, program):
    file = tmp_path / "program.py"
    file.write_text(BEGIN + program, "utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


REPEATED = ", ".join(f"i32 {n % 4}" for n in range(64))
MODULE = f"""
define <64 x i8> @f(<64 x i8> %v, ptr %p) {{
  %w = xor <64 x i8> %v, splat (i8 3)
  %r = shufflevector <64 x i8> %w, <64 x i8> %w, <64 x i32> <{REPEATED}>
  ret <64 x i8> %r
}}

define <64 x i8> @g(<64 x i8> %v, ptr %p) {{
  %w = load <64 x i8>, ptr %p, align 1
  %r = shufflevector <64 x i8> %w, <64 x i8> %v, <64 x i32> <{REPEATED}>
  ret <64 x i8> %r
}}
"""


def test_only_what_is_computed_is_hidden_from_a_shuffle():
    first, hidden, last = guard_byte_shuffles(MODULE).partition(
        '  %opaque.bytes.1 = call <64 x i8> asm "", "=v,0"(<64 x i8> %w) nounwind memory(none)\n'
    )
    assert hidden
    assert last.startswith(
        "  %r = shufflevector <64 x i8> %opaque.bytes.1, <64 x i8> %opaque.bytes.1, <64 x i32> <"
    )
    assert first + last.replace("%opaque.bytes.1", "%w") == MODULE
