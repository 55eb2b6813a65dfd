"""Copies between devices: tried before they are relied on, right whatever the driver says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gpucore as gc
from gpucore.runtime import peer
from gpucore.testing import null


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(peer, "_found", peer._Found())


class Lying:
    """``copy_peer`` that reports success and moves something else."""

    def __init__(self, wrong=None) -> None:
        self.calls = 0
        self.wrong = wrong

    def hook(self):
        def copy_peer(device, dst, dst_offset, src_device, src, src_offset, nbytes, stream):
            self.calls += 1
            null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)
            if self.wrong is not None:
                self.wrong(device, dst.view()[dst_offset : dst_offset + nbytes])

        return copy_peer


def garbage(device, content):
    content[:] = 0


def one_byte(device, content):
    content[-1] ^= 1


def one_way(device, content):
    if device.ordinal == 0:
        content[content.size // 2] ^= 255


def exchange(selectors):
    """``to`` and ``copy_from`` both ways; whether what arrived is right."""
    data = np.random.default_rng(1).integers(0, 256, 3 << 20, np.uint8)
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        there = a.array(data).to(b)
        back = a.zeros(data.shape, gc.u8).copy_from(there)
        return bool((there.numpy() == data).all() and (back.numpy() == data).all())


def test_a_right_copy_is_direct_and_used(several):
    honest = Lying()
    selectors = several(2, copy_peer=honest.hook())
    assert gc.peer_access(*selectors) == "direct"
    assert honest.calls == 2, "both ways"
    assert exchange(selectors) and honest.calls == 4


@pytest.mark.parametrize("wrong", [garbage, one_byte, one_way])
def test_a_copy_that_reports_success_and_moves_garbage_is_not_used(several, wrong):
    liar = Lying(wrong)
    selectors = several(2, copy_peer=liar.hook())
    assert gc.peer_access(*selectors) == "staged"
    tried = liar.calls
    assert exchange(selectors) and liar.calls == tried


def test_a_copy_that_fails_is_not_used(several):
    def copy_peer(device, dst, dst_offset, src_device, src, src_offset, nbytes, stream):
        raise gc.DeviceError("no such path")

    selectors = several(2, copy_peer=copy_peer)
    assert gc.peer_access(*selectors) == "staged" and exchange(selectors)


def test_a_pair_is_tried_once_in_a_process_and_by_later_ones_not_at_all(several, monkeypatch):
    honest = Lying()
    selectors = several(2, copy_peer=honest.hook())
    for _ in range(3):
        assert gc.peer_access(*selectors) == gc.peer_access(*reversed(selectors)) == "direct"
    assert honest.calls == 2
    monkeypatch.setattr(peer, "_found", peer._Found())  # as another process begins
    assert gc.peer_access(*selectors) == "direct" and honest.calls == 2


def test_what_was_kept_is_tied_to_driver_and_devices(several):
    a, b = ("many", "0", "x", "driver 1"), ("many", "1", "x", "driver 1")
    key = peer.pair_key(a, b, {"plugin": "1"})
    assert key == peer.pair_key(b, a, {"plugin": "1"})
    assert key != peer.pair_key(a, b, {"plugin": "2"})
    assert key != peer.pair_key(a, (*b[:3], "driver 2"), {"plugin": "1"})


def test_what_somebody_else_kept_is_tried_again(several, monkeypatch):
    liar = Lying(garbage)
    selectors = several(2, copy_peer=liar.hook())
    assert gc.peer_access(*selectors) == "staged"
    folder = gc.cache.current().folder_of("peers")
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes().replace(b"staged", b"direct"))
    monkeypatch.setattr(peer, "_found", peer._Found())
    assert gc.peer_access(*selectors) == "staged"


def test_a_device_and_itself_is_direct(several):
    assert gc.peer_access("many:0", "many:0") == "direct" if several(1) else False


def test_devices_of_two_backends_exchange_through_the_host(several, backend):
    backend("null")
    selectors = [*several(1), "null"]
    assert gc.peer_access(*selectors) == "staged" and exchange(selectors)


@pytest.mark.parametrize("addressable", [True, False])
@pytest.mark.parametrize("nbytes", [1, 1000, peer._CHUNK_BYTES, 5 * peer._CHUNK_BYTES + 17])
def test_staged_copies_of_any_size_are_right(several, nbytes, addressable):
    """Through memory of the host's, or through rings of pinned memory on both sides where devices reach no other."""

    def capabilities(device):
        found = null.capabilities(device)
        return found if addressable else replace(found, names=found.names - {"host_addressable"})

    selectors = several(2, can_access_peer=lambda device, other: False, capabilities=capabilities)
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        np.testing.assert_array_equal(a.array(data).to(b).numpy(), data)


def test_strided_views_are_copied_across(several):
    selectors = several(2)
    data = np.arange(60, dtype=np.int32).reshape(6, 10)
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        np.testing.assert_array_equal(a.array(data)[::2, ::-1].to(b).numpy(), data[::2, ::-1])
        target = b.zeros((6, 10), gc.i32)
        target[1::2].copy_from(a.array(data)[::2])
        np.testing.assert_array_equal(target.numpy()[1::2], data[::2])


def test_a_direct_copy_waits_for_both_streams_and_they_for_it(several):
    """Order by events: the source's work so far, the copy, then whatever the source's stream does next."""
    order = []

    def record_event(device, event, stream):
        event.mark = stream
        null.record_event(device, event, stream)

    def wait_event(device, stream, event):
        order.append(("wait", stream, event.mark))
        null.wait_event(device, stream, event)

    def copy_peer(device, dst, dst_offset, src_device, src, src_offset, nbytes, stream):
        order.append(("copy", stream, None))
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    selectors = several(2, record_event=record_event, wait_event=wait_event, copy_peer=copy_peer)
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        x = a.ones(10, gc.f32)
        gc.peer_access(*selectors)
        y = b.empty(10, gc.f32)
        order.clear()
        y.copy_from(x)
        here, there = a.default_stream._handle, b.default_stream._handle
        assert order == [("wait", there, here), ("copy", there, None), ("wait", here, there)]


def test_streams_of_two_devices_wait_for_each_other(several):
    selectors = several(2)
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        a.default_stream.wait(b.default_stream)
        a.default_stream.wait(b.default_stream.record())
