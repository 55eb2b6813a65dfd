"""Products of tiles in CUDA C++: the instructions of the tensor cores, compiled without a GPU, and nothing in slow memory."""

from __future__ import annotations

import pytest

import gpucore as gc
from gpucore.compile.pipeline import Variant, lower
from gpucore.hookspecs import CompileOptions
from gpucore.lang import ArrayType
from gpucore.lang.types import ConstValue
from gpucore_cuda.compiler import compile_module, run_nvrtc
from gpucore_cuda.renderer import render_module
from gpucore_cuda.targets import make_target

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")


@gc.kernel
def matmul(
    a: gc.Array, b: gc.Array, c: gc.Array, rows: gc.constexpr, columns: gc.constexpr, deep: gc.constexpr
) -> None:
    left, right = gc.shared((rows, deep), a.dtype), gc.shared((columns, deep), a.dtype)
    t = gc.thread_id(1)
    total = gc.tile.zeros((rows, columns), c.dtype)
    for k in range(0, a.shape[1], deep):
        for e in range(t, rows * deep, 32):
            left[e // deep, e % deep] = a[e // deep, k + e % deep]
        for e in range(t, columns * deep, 32):
            right[e // deep, e % deep] = b[k + e % deep, e // deep]
        gc.barrier()
        total += gc.tile.load_a(left, (0, 0), (rows, deep)) @ gc.tile.load_b(right.T, (0, 0), (deep, columns))
        gc.barrier()
    gc.tile.store(c, (0, 0), total)


def lowered(arch, dtype, shape):
    target = make_target(arch)
    total = gc.i32 if dtype is gc.i8 else gc.f32
    types = (ArrayType(dtype, 2), ArrayType(dtype, 2), ArrayType(total, 2), *map(ConstValue, shape))
    built = matmul.kernel_source.specialize(types, 2, "strict", target)
    return target, lower(built.module, target, Variant(small=True, noalias=True, block=(1, 32))).module


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize(
    ("dtype", "shape", "instructions"),
    [
        (gc.f16, (64, 64, 32), {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32": 64}),
        (gc.bf16, (16, 8, 16), {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32": 1}),
        (
            gc.i8,
            (32, 16, 48),
            {
                "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32": 4,
                "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32": 4,
            },
        ),
    ],
)
def test_products_are_instructions_of_the_tensor_cores(arch, dtype, shape, instructions):
    target, module = lowered(arch, dtype, shape)
    options = CompileOptions(block=(1, 32))
    assert compile_module(target, module, options).format == "cubin"
    ptx = run_nvrtc(render_module(target, module, options).source, arch, (), name="tiles.cu").ptx.decode()
    assert {name: ptx.count(name) for name in instructions} == instructions
    assert ptx.count("mma.sync") == sum(instructions.values())
    assert "__local_depot" not in ptx, "tiles are to stay in registers"
    assert not any(m.space == "shared" and m.name.startswith("block.scratch") for m in module.kernel.memories)


@pytest.mark.parametrize("dtype", [gc.f16, gc.bf16, gc.i8])
def test_older_devices_take_the_loops(dtype):
    target, module = lowered("sm_75", dtype, (16, 16, 16))
    source = render_module(target, module, CompileOptions(block=(1, 32))).source
    assert "mma" not in source
    assert compile_module(target, module, CompileOptions(block=(1, 32))).format == "cubin"
