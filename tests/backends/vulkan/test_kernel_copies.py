"""Large copies between two places on a graphics card, which a kernel does; here on whatever device there is."""

import numpy as np
import pytest

import gpucore as gc

transfers = pytest.importorskip("gpucore_vulkan.transfers")
SPAN = 4 * transfers.COPY_WORDS * transfers.COPY_BLOCK


@pytest.fixture
def by_kernel(monkeypatch):
    """Copies of any size and on any device go the way of a graphics card; the bytes that kernels copied."""
    copied = []
    original = transfers.copy_plan

    def watched(*args):
        launches, done = original(*args)
        copied.append(done)
        return launches, done

    monkeypatch.setattr(transfers, "KERNEL_BYTES", SPAN)
    monkeypatch.setattr(transfers, "COPY_BLOCKS", 7)
    monkeypatch.setattr(transfers, "copy_plan", watched)
    aligned = lambda device, dst, to, src, at: (dst.offset + to) % 4 == 0 and (src.offset + at) % 4 == 0  # noqa: E731
    monkeypatch.setattr(transfers, "_kernel_copies", aligned)
    return copied


@pytest.mark.parametrize("nbytes", [SPAN, SPAN + 1, 3 * SPAN + 17, 7 * SPAN, 20 * SPAN + 4])
@pytest.mark.parametrize(("to", "at"), [(0, 0), (4, 8), (256, 12)])
def test_every_byte_arrives_and_no_other_changes(gpucore_context, by_kernel, nbytes, to, at):
    host = np.random.default_rng(nbytes).integers(0, 256, nbytes + 300, dtype=np.uint8)
    source = gpucore_context.array(host)
    target = gpucore_context.full(nbytes + 600, 9, gc.u8)
    target[to : to + nbytes].copy_from(source[at : at + nbytes])
    want = np.full(nbytes + 600, 9, np.uint8)
    want[to : to + nbytes] = host[at : at + nbytes]
    np.testing.assert_array_equal(target.numpy(), want)
    assert sum(by_kernel) == nbytes // SPAN * SPAN


def test_copies_stay_in_the_order_of_launches(gpucore_context, by_kernel):
    @gc.kernel
    def increment(x: gc.Array[gc.i32]):
        i = gc.global_id(0)
        x[i] += 1

    n = 5 * SPAN // 4
    a, b = gpucore_context.zeros(n, gc.i32), gpucore_context.zeros(n, gc.i32)
    for _ in range(20):
        increment.over(n)(a)
        b.copy_from(a)
        increment.over(n)(b)
        a.copy_from(b)
    assert (a.numpy() == 40).all()
    assert len(by_kernel) == 40
