"""What the renderer writes compiles with NVRTC for every architecture, without a GPU."""

from __future__ import annotations

import hand_modules as hand
import pytest

from gpucore.hookspecs import CompileOptions
from gpucore.ir import bool_, dtype, f64, i32, u64
from gpucore.ir.ops import BASELINE
from gpucore_cuda.compiler import compile_module
from gpucore_cuda.renderer import FAST_NATIVE, render_module
from gpucore_cuda.targets import ATOMICS, make_target

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
TYPED = ("cast", "bitcast", "bitcast.raw", "f2i.raw")


def split(key: str):
    """The operation, its operands' dtypes and its result's, of a key of ``Target.native``."""
    for op in sorted(TYPED, key=len, reverse=True):
        if key.startswith(f"{op}."):
            source, to = key[len(op) + 1 :].split(".")
            return op, [dtype(source)], dtype(to)
    op, name = key.rsplit(".", 1)
    d = dtype(name)
    if op == "select":
        return op, [bool_, d, d], d
    from gpucore.ir.ops import OPS

    spec = OPS[op]
    result = {"same": d, "bool": bool_, "i32": i32}[spec.result]
    return op, [d] * spec.arity, result


def every_operation(keys, math="strict"):
    """One kernel that does each operation once: the results land in arrays of their dtype."""
    from gpucore.ir import Memory

    b = hand.Builder()
    arrays = {}

    def array(kind, d):
        name = f"{kind}_{d.name}"
        return arrays.setdefault(name, Memory(name, d, "global", 1))

    i = b.id()
    for key in sorted(keys):
        op, inputs, result = split(key)
        b.store(array("out", result), i, b.op(op, result, *(b.load(array("in", d), i) for d in inputs)))
    return hand.module("every_operation", list(arrays.values()), b, math=math)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_operation_that_the_target_claims_compiles(arch):
    target = make_target(arch)
    code = compile_module(target, every_operation(target.native | BASELINE), CompileOptions(block=(128,)))
    assert code.format == "cubin"
    assert code.data[:4] == b"\x7fELF"


def test_every_fast_operation_compiles():
    target = make_target("sm_90")
    code = compile_module(target, every_operation(FAST_NATIVE, "fast"), CompileOptions(block=(128,)))
    assert code.data[:4] == b"\x7fELF"


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    "module",
    [hand.saxpy(), hand.reverse_tiles(), hand.reverse_tiles(padding=20000), hand.histogram(), hand.loops(),
     hand.touch_far(f64), hand.spin()],
    ids=lambda m: m.kernel.name,
)  # fmt: skip
def test_kernels_compile(module, arch):
    code = compile_module(make_target(arch), module, CompileOptions())
    assert code.data[:4] == b"\x7fELF"
    assert code.entry == module.kernel.name


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
def test_every_atomic_that_the_target_claims_compiles(arch):
    for key in sorted(ATOMICS):
        op, name = key.split(".")
        compile_module(make_target(arch), hand.atomic(op, dtype(name)), CompileOptions())


@pytest.mark.parametrize("name", ["i8", "u16", "i32", "u64", "f16", "bf16", "f32", "f64"])
def test_subgroup_operations_compile_for_each_dtype(name):
    d = dtype(name)
    for op in ("sum", "min", "max", "inclusive_sum", "exclusive_sum", "broadcast", "shuffle", "shuffle_xor"):
        compile_module(make_target("sm_80"), hand.subgroup(op, d, d), CompileOptions())


def test_votes_compile():
    for op, result in (("any", bool_), ("all", bool_), ("ballot", u64)):
        compile_module(make_target("sm_80"), hand.subgroup(op, bool_, result), CompileOptions())
    for op in ("size", "lane"):
        compile_module(make_target("sm_80"), hand.subgroup(op, i32, i32), CompileOptions())


def test_a_kernel_with_much_shared_memory_asks_for_it_at_launch():
    code = compile_module(make_target("sm_90"), hand.reverse_tiles(padding=20000), CompileOptions())
    assert code.metadata["dynamic_shared"] >= (256 + 20000) * 4


def test_rendering_is_a_pure_function():
    target = make_target("sm_90")
    first = render_module(target, hand.loops(), CompileOptions())
    assert render_module(target, hand.loops(), CompileOptions()) == first
