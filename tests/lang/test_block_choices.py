"""Sums and scans of blocks by shuffles, which some targets take: the same bits as through shared memory."""

from dataclasses import replace

import numpy as np
import pytest
from lang_helpers import compiled, statements

import gpucore as gc
from gpucore.hookspecs import Target
from gpucore.ir import nodes as ir
from gpucore.ir.choices import chosen
from gpucore.ir.interpreter import interpret
from gpucore.ir.verify import verify
from gpucore.lang import ArrayType, traits

LANES = frozenset({"sums=lanes", "scans=lanes"})


def combined(x: gc.Array, y: gc.Array):
    linear, n = gc.thread_id(0), gc.block_dim(0)
    y[linear] = gc.block_sum(x[linear])
    y[n + linear] = gc.block_max(x[linear])
    y[2 * n + linear] = gc.block_inclusive_sum(x[linear])
    y[3 * n + linear] = gc.block_exclusive_sum(x[linear])


def over_two_axes(x: gc.Array, y: gc.Array):
    row, column = gc.thread_id(0), gc.thread_id(1)
    linear, n = row * gc.block_dim(1) + column, gc.block_dim(0) * gc.block_dim(1)
    y[linear] = gc.block_sum(x[linear])
    y[n + linear] = gc.block_exclusive_sum(x[linear])


def results(module, block, x, features):
    module = replace(module, kernel=chosen(module.kernel, features))
    verify(module)
    y = np.zeros(4 * x.size, x.dtype)
    interpret(module, (1,) * len(block), block, [x, y])
    return y.tobytes()


@pytest.mark.parametrize(
    ("dtype", "threads"),
    (*((d, n) for d in (gc.f16, gc.f32, gc.i8) for n in (5, 33, 64, 96)), (gc.f32, 1025), (gc.f32, 1057)),
    ids=str,
)
def test_shuffles_give_the_bits_of_shared_memory_in_any_block(dtype, threads):
    x = (np.random.default_rng(threads).normal(size=threads) * 30).astype(dtype.numpy)
    module = compiled(combined, ArrayType(dtype), ArrayType(dtype))
    assert results(module, (threads,), x, LANES) == results(module, (threads,), x, frozenset())


def test_shuffles_follow_the_linear_ids_of_blocks_of_two_axes():
    x = np.random.default_rng(0).normal(size=7 * 10)
    module = compiled(over_two_axes, ArrayType(gc.f64), ArrayType(gc.f64), ndim=2)
    assert results(module, (7, 10), x, LANES) == results(module, (7, 10), x, frozenset())


def test_kernels_are_portable_whatever_the_target_takes():
    module = compiled(combined, ArrayType(gc.f32), ArrayType(gc.f32))
    assert traits(module).portable and not traits(module).uses_subgroups


@gc.kernel
def sums(x: gc.Array[gc.f32]) -> None:
    x[gc.thread_id(0)] = gc.block_sum(x[gc.thread_id(0)])


@gc.kernel
def scans(x: gc.Array[gc.f32]) -> None:
    x[gc.thread_id(0)] = gc.block_inclusive_sum(x[gc.thread_id(0)])


@gc.kernel(subgroup=8)
def sums_of_narrow_subgroups(x: gc.Array[gc.f32]) -> None:
    x[gc.thread_id(0)] = gc.block_sum(x[gc.thread_id(0)])


@pytest.mark.parametrize(
    ("kernel", "features", "shuffles"),
    (
        (sums, {"sums=lanes"}, True),
        (sums, {"scans=lanes"}, False),
        (scans, {"scans=lanes"}, True),
        (scans, {"sums=lanes"}, False),
        (sums_of_narrow_subgroups, {"sums=lanes"}, False),
    ),
)
def test_a_target_has_shuffles_where_its_features_ask_for_them(kernel, features, shuffles):
    target = Target("some", "device", features=frozenset(features))
    module = kernel.kernel_source.specialize((ArrayType(gc.f32),), 1, "strict", target).module
    assert bool(statements(module, ir.Subgroup)) == shuffles
    # a subgroup has one element in shared memory, or a thread
    assert [m.shape[0] < 64 for m in module.kernel.memories] == [shuffles]
