"""Copies between devices: tried before they are relied on, right whatever the driver says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gpucore as gc
from gpucore.launch import peer_kernels
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


# --- what only devices of real drivers do: refuse, fail, and reach each other one way only
def reaching():
    """The hook ``capabilities`` of devices that reach each other's memory in kernels."""

    def capabilities(device):
        found = null.capabilities(device)
        return replace(found, names=found.names | {"peer_copy", "peer_events", "peer_memory"})

    return capabilities


@pytest.fixture
def small_patterns(monkeypatch):
    """Patterns that an interpreted kernel copies in no time, and nothing known of kernels."""
    monkeypatch.setattr(peer, "PATTERN_BYTES", 1 << 10)
    monkeypatch.setattr(peer_kernels, "_reach", peer_kernels._Reach())


def combined(selectors):
    """The sum of three arrays of each device, by an all-reduce that comes twice."""
    data = np.arange(6, dtype=np.float32)
    with gc.Group(selectors) as group:
        x = group.replicate(data)
        for _ in range(2):
            result = group.all_reduce(x)
        parts = [shard.numpy() for shard in result.shards]
        assert all((part == data * len(selectors)).all() for part in parts)
        first, second = group.contexts[:2]
        return peer_kernels.reaches(first, second), peer_kernels.reaches(second, first)


def test_access_that_the_driver_offers_one_way_only_is_not_used(several):
    honest = Lying()
    selectors = several(
        2, copy_peer=honest.hook(), can_access_peer=lambda device, other: device.ordinal < other.ordinal
    )
    assert gc.peer_access(*selectors) == gc.peer_access(*reversed(selectors)) == "staged"
    tried = honest.calls
    assert exchange(selectors) and honest.calls == tried


def test_a_driver_that_cannot_say_whether_devices_reach_each_other_is_not_relied_on(several):
    def can_access_peer(device, other):
        raise gc.DeviceError("invalid device")

    selectors = several(2, can_access_peer=can_access_peer)
    assert gc.peer_access(*selectors) == "staged" and exchange(selectors)
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        reason = peer.access(a._state, b._state).reason
    assert "from many:0 to many:1 cannot be asked for: invalid device" in reason


def test_a_copy_that_fails_when_it_is_read_back_is_not_used(several):
    copied = []

    def copy_peer(device, dst, dst_offset, src_device, src, src_offset, nbytes, stream):
        copied.append(dst)

    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        if any(src is one for one in copied):
            raise gc.DeviceError("the copy before it failed")
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    selectors = several(2, copy_peer=copy_peer, copy=copy)
    assert gc.peer_access(*selectors) == "staged" and exchange(selectors)


def test_a_pair_that_could_not_be_tried_for_want_of_memory_is_tried_again(several):
    full = True

    def alloc(device, nbytes, kind, stream):
        if full and nbytes >= peer.PATTERN_BYTES and device.ordinal == 1:
            raise gc.OutOfMemoryError("the device is full")
        return null.alloc(device, nbytes, kind, stream)

    honest = Lying()
    selectors = several(2, alloc=alloc, copy_peer=honest.hook())
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        x = a.ones(8, gc.f32)
        assert x.to(b).numpy().tolist() == [1] * 8 and honest.calls == 0, "staged meanwhile"
        full = False
        assert x.to(b).numpy().tolist() == [1] * 8 and honest.calls == 3, "tried both ways, and used"


def test_a_device_that_is_lost_in_the_trial_is_named_and_the_pair_is_not_judged(several):
    lost = True

    def copy_peer(device, dst, dst_offset, src_device, src, src_offset, nbytes, stream):
        if lost and device.ordinal == 1:
            raise gc.DeviceLostError("it fell off the bus")
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    selectors = several(2, copy_peer=copy_peer)
    a, b = (gc.Context(selector) for selector in selectors)
    x = a.ones(8, gc.f32)
    with pytest.raises(gc.DeviceLostError, match="many:1"):
        x.to(b)
    assert x.numpy().tolist() == [1] * 8
    b.close()
    a.close()
    lost = False
    assert gc.peer_access(*selectors) == "direct"


@pytest.mark.parametrize("error", [gc.DeviceError("no mapping"), gc.NotSupportedError("not across sockets")])
@pytest.mark.parametrize("refused", [(0,), (1,), (0, 1)])
def test_kernels_use_no_memory_that_the_driver_does_not_map(several, small_patterns, caplog, error, refused):
    """Both ways or one: the exchange is made by copies, the driver is asked once a process, and a warning says why."""
    caplog.set_level("WARNING", logger="gpucore")  # another test's settings may have silenced it
    asked = []

    def enable_peer_access(device, other):
        asked.append(device.ordinal)
        if device.ordinal in refused:
            raise type(error)(str(error))

    selectors = several(2, capabilities=reaching(), enable_peer_access=enable_peer_access)
    found = combined(selectors)
    assert found == (0 not in refused, 1 not in refused)
    assert combined(selectors) == found
    assert [asked.count(number) for number in refused] == [1] * len(refused)
    warnings = [record.getMessage() for record in caplog.records]
    assert [f"kernels on many:{n}" in text and str(error) in text for n, text in zip(refused, warnings, strict=True)] == (
        [True] * len(refused)
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [0, 1])
def test_kernels_that_read_or_write_garbage_one_way_are_not_used(several, small_patterns, monkeypatch, wrong):
    holds, seen = peer_kernels._holds, []

    def one_is_wrong(state, allocation, expected):
        seen.append(state.device.ordinal)
        # of each direction the kernel's own device is looked at first
        return holds(state, allocation, expected) and not (seen[-2:] == [1 - wrong, wrong])

    monkeypatch.setattr(peer_kernels, "_holds", one_is_wrong)
    selectors = several(2, capabilities=reaching(), enable_peer_access=lambda device, other: None)
    assert combined(selectors) == (wrong == 0, wrong == 1)


def test_a_pair_whose_copies_are_wrong_is_not_asked_for_its_memory(several, small_patterns):
    asked = []
    selectors = several(
        2,
        capabilities=reaching(),
        copy_peer=Lying(garbage).hook(),
        enable_peer_access=lambda device, other: asked.append(device),
    )
    assert combined(selectors) == (False, False) and asked == []


def test_access_is_enabled_for_each_open_device_again_and_tried_once(several, small_patterns, monkeypatch):
    enabled, tried, try_pair = [], [], peer_kernels._try
    monkeypatch.setattr(
        peer_kernels, "_try", lambda here, there: tried.append(here.device.ordinal) or try_pair(here, there)
    )
    selectors = several(
        3,
        capabilities=reaching(),
        enable_peer_access=lambda device, other: enabled.append((device.ordinal, other.ordinal)),
    )
    for turn in (1, 2):
        assert combined(selectors) == (True, True)
        assert len(enabled) == 6 * turn and len(set(enabled)) == 6
    assert sorted(tried) == [0, 0, 1, 1, 2, 2]


def test_access_is_enabled_again_after_a_device_was_reset(several, small_patterns):
    enabled = []

    def capabilities(device):
        found = reaching()(device)
        return replace(found, names=found.names | {"device_reset"})

    selectors = several(
        2,
        capabilities=capabilities,
        enable_peer_access=lambda device, other: enabled.append((device.ordinal, other.ordinal)),
        reset_device=lambda device: None,
    )
    with gc.Context(selectors[0]) as a, gc.Context(selectors[1]) as b:
        assert peer_kernels.reaches(a, b) and peer_kernels.reaches(b, a)
        assert peer_kernels.reaches(a, b) and enabled == [(0, 1), (1, 0)]
        b.device.reset()
        assert peer_kernels.reaches(a, b) and peer_kernels.reaches(b, a)
        assert enabled == [(0, 1), (1, 0)] * 2, "a reset ends the access both ways"
