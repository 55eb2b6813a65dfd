"""An atomic load is a load on every backend: a compare-and-swap would make the readers of an element wait for each other."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def look(x: gc.Array[gc.f32], n: gc.Array[gc.u32], y: gc.Array[gc.f32]):
    t = gc.shared(4, gc.i32)
    gc.atomic_store(t, gc.thread_id(0) % 4, 1)
    gc.barrier()
    y[gc.global_id(0)] = gc.atomic_load(x, 0) + gc.f32(gc.atomic_load(n, 1)) + gc.f32(gc.atomic_load(t, 2))


@gc.kernel
def swap(n: gc.Array[gc.u32]):
    gc.atomic_cas(n, 0, gc.u32(1), gc.u32(2))


WORDS = {"cuda": ("*(volatile", "atomicCAS("), "vulkan": ("OpAtomicLoad", "OpAtomicCompareExchange")}


@pytest.mark.parametrize("backend", WORDS)
def test_an_atomic_load_is_a_load(backend):
    pytest.importorskip(f"gpucore_{backend}")
    loaded, swapped = WORDS[backend]
    x, n = np.zeros(4, np.float32), np.zeros(4, np.uint32)
    text = look.source(backend, x, n, x)
    assert text.count(loaded) == 3
    assert swapped not in text
    assert swapped in swap.source(backend, n)


def test_on_the_processor_it_is_an_atomic_load_and_none_for_a_block_alone():
    pytest.importorskip("gpucore_cpu")
    x, n = np.zeros(4, np.float32), np.zeros(4, np.uint32)
    text = look.source("cpu", x, n, x)
    assert "load atomic i32" in text
    assert "cmpxchg" not in text
    assert "cmpxchg" in swap.source("cpu", n)
