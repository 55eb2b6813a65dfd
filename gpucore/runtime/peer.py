"""Copies between devices: direct where that was seen to be right, else staged through pinned host memory.

Drivers report success for direct copies that move garbage (pytorch#84803, CUDA.jl#3112), so each pair of devices is tried once
with a pattern that is read back, both ways.  What was found is kept between processes, tied to the devices, their driver, the
plugin and the boot of the machine; ``gpucore info`` shows it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpucore import _files
from gpucore._part_workers import PartWorkers
from gpucore.errors import DeviceError, DeviceLostError, GpucoreError, OutOfMemoryError, PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpucore.config import Settings
    from gpucore.runtime.device import Device
    from gpucore.runtime.memory_block import Owner
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["PeerAccess", "access", "copy_bytes", "known", "peer_access", "transfer"]

PATTERN_BYTES = 16 << 20
_CHUNK_BYTES = 8 << 20
_CHUNKS_AHEAD = 3
_PART_BYTES = 1 << 20
_WORKERS = 8
_FOLDER = "peers"


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """How two devices exchange data.

    Attributes
    ----------
    kind : {"direct", "staged"}
    reason : str
        Why it is staged; empty where it is direct.
    """

    kind: Literal["direct", "staged"]
    reason: str = ""


def peer_access(a: str, b: str) -> Literal["direct", "staged"]:
    """How copies between two devices go: ``"direct"``, or ``"staged"`` through pinned host memory.

    The pair is tried when it is first asked about, or first used: a pattern of 16 MiB is copied both ways and read back.

    Parameters
    ----------
    a, b : str
        Selectors, as ``Context`` takes them.

    Raises
    ------
    BackendNotFoundError, BackendUnavailableError, ConfigError
        As ``Context`` does.
    """
    from gpucore.runtime.context import Context

    with Context(a) as first, Context(b) as second:
        return access(first._state, second._state).kind


# --- what was found -----------------------------------------------------------------------------------
class _Found:
    """The pairs that this process knows about, and one lock for trying another."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pairs: dict[tuple[str, int], PeerAccess] = {}


_found = _Found()


def access(a: ContextState, b: ContextState) -> PeerAccess:
    """How the devices of two contexts exchange data; tried at the first call for a pair."""
    one, other = a.device, b.device
    if one is other:
        return PeerAccess("direct")
    table = one._peers
    answer: PeerAccess | None = table.get(other)
    if answer is None:
        try:
            answer = _look_up(a, b)
        except OutOfMemoryError as error:  # the next copy tries again
            return PeerAccess("staged", f"the pair could not be tried: {error}")
        table[other] = other._peers[one] = answer
    return answer


def _look_up(a: ContextState, b: ContextState) -> PeerAccess:
    one, other = a.device, b.device
    if one.backend != other.backend:
        return PeerAccess("staged", f"{one.backend} and {other.backend} do not reach each other's memory")
    if not ("peer_copy" in one.capabilities and "peer_copy" in other.capabilities):
        return PeerAccess("staged", f"{one.backend} has no copies between devices")
    key = pair_key(identity(one), identity(other), a.hooks.backend_info().versions)
    here = (key, id(a.hooks.plugin))
    with _found.lock:
        answer = _found.pairs.get(here) or _kept(key, a.settings)
        if answer is None:
            answer = _try_both(a, b)
            _keep(key, answer, a.settings)
        _found.pairs[here] = answer
        return answer


def identity(device: Any) -> tuple[str, ...]:
    """What tells a device from others: a ``Device`` or a ``DeviceInfo``."""
    which = device.uuid or f"{device.ordinal}"
    return (device.backend, which, device.name, device.driver)


def pair_key(a: tuple[str, ...], b: tuple[str, ...], versions: Mapping[str, str]) -> str:
    """The name under which is kept what was found for two devices."""
    boot = ""
    with contextlib.suppress(OSError):  # settings of the machine that break direct copies change with a boot
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    text = repr((sorted((a, b)), sorted(versions.items()), boot, PATTERN_BYTES))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _file(key: str, settings: Settings) -> Path | None:
    cache = _files.cache_directory(settings.cache_dir)
    if cache is None or _files.refusal(cache) is not None:
        return None
    return _files.plugin_directory(cache, _FOLDER) / f"{key}.json"


def _kept(key: str, settings: Settings) -> PeerAccess | None:
    file = _file(key, settings)
    content = None if file is None else _files.read_signed(file)
    if content is None:
        return None
    try:
        document = json.loads(content)
        if document["access"] in ("direct", "staged"):
            return PeerAccess(document["access"], str(document["reason"]))
    except (ValueError, KeyError, TypeError):
        pass
    return None


def _keep(key: str, found: PeerAccess, settings: Settings) -> None:
    file = _file(key, settings)
    if file is not None:
        with contextlib.suppress(OSError):  # then the next process tries the pair again
            _files.write_signed(file, json.dumps({"access": found.kind, "reason": found.reason}).encode())


def known(a: Any, b: Any, versions: Mapping[str, str], settings: Settings) -> PeerAccess | None:
    """What is kept about two devices, given as ``DeviceInfo``; None where the pair was not tried yet."""
    return _kept(pair_key(identity(a), identity(b), versions), settings)


# --- trying a pair ------------------------------------------------------------------------------------
def _try_both(a: ContextState, b: ContextState) -> PeerAccess:
    for source, target in ((a, b), (b, a)):
        reason = _try(source, target)
        if reason is not None:
            here, there = (f"{s.device.backend}:{s.device.ordinal}" for s in (source, target))
            return PeerAccess("staged", f"a direct copy from {here} to {there} {reason}")
    return PeerAccess("direct")


def _try(source: ContextState, target: ContextState) -> str | None:
    """Copy a pattern directly and read it back; what was wrong, None where nothing was."""
    try:
        if not target.call(target.hooks.can_access_peer, target.device._handle, source.device._handle):
            return "is not offered by the driver"
    except DeviceLostError:
        raise
    except DeviceError as error:
        return f"cannot be asked for: {error}"
    seed = [source.device.ordinal, target.device.ordinal]
    pattern = np.random.default_rng(seed).integers(0, 256, PATTERN_BYTES, np.uint8)
    stream = target.default_stream
    with contextlib.ExitStack() as stack:
        here = borrow(source, stack)
        there = borrow(target, stack)
        move(source, here, pattern.data)
        move(target, there, np.invert(pattern).data)
        source.default_stream._wait_idle()
        try:
            target.call(
                target.hooks.copy_peer, target.device._handle, there, 0, source.device._handle, here, 0, PATTERN_BYTES,
                stream._handle,
            )  # fmt: skip
            stream._wait_idle()
            found = np.zeros(PATTERN_BYTES, np.uint8)
            target.copy(target.device._handle, found.data, 0, there, 0, PATTERN_BYTES, stream._handle)
        except (DeviceLostError, OutOfMemoryError, PluginError):
            raise
        except GpucoreError as error:
            return f"fails: {error}"
    wrong = int(np.count_nonzero(found != pattern))
    return f"changes {wrong:,} of {PATTERN_BYTES:,} bytes" if wrong else None


def borrow(state: ContextState, stack: contextlib.ExitStack) -> Any:
    """Memory of a pattern's size, which no pool keeps; the stack gives it back."""
    device, stream = state.device._handle, state.default_stream
    allocation = state.alloc(device, PATTERN_BYTES, "device", stream._handle)

    def give_back() -> None:
        if state.device._dead is None:
            stream._wait_idle()
            state.free(device, allocation, None)

    stack.callback(give_back)
    return allocation


def move(state: ContextState, allocation: Any, content: memoryview) -> None:
    """Copy a pattern into borrowed memory, in the order of the default stream."""
    handle = state.default_stream._handle
    state.copy(state.device._handle, allocation, 0, content, 0, PATTERN_BYTES, handle)


# --- copies -------------------------------------------------------------------------------------------
def copy_bytes(
    target: Any, target_offset: int, stream: Stream, source: Any, source_offset: int, source_stream: Stream,
    nbytes: int,
) -> None:  # fmt: skip
    """Copy between allocations of two devices, after the work of both streams so far and before what they get later.

    A direct copy is enqueued on ``stream``; a staged one blocks until it is done.
    """
    stream._follow(source_stream)
    transfer(target, target_offset, stream, source, source_offset, source_stream, nbytes)
    source_stream._follow(stream)


def transfer(
    target: Any, target_offset: int, stream: Stream, source: Any, source_offset: int, source_stream: Stream,
    nbytes: int,
) -> None:  # fmt: skip
    """As :func:`copy_bytes`, where the caller has ordered the streams."""
    state, source_state = stream._state, source_stream._state
    device, source_device = state.device, source_state.device
    if device is source_device:
        state.copy(device._handle, target, target_offset, source, source_offset, nbytes, stream._handle)
    elif access(source_state, state).kind == "direct":
        state.call(
            state.hooks.copy_peer, device._handle, target, target_offset, source_device._handle, source, source_offset,
            nbytes, stream._handle,
        )  # fmt: skip
    else:
        _staged(target, target_offset, stream, source, source_offset, source_stream, nbytes)


def _staged(
    target: Any, target_offset: int, stream: Stream, source: Any, source_offset: int, source_stream: Stream,
    nbytes: int,
) -> None:  # fmt: skip
    """Through two rings of pieces of host memory, one that the source's device fills and one that the target's empties.

    While a piece comes down, the one before it is moved from ring to ring by several threads, and the one before that goes up.
    """
    size = min(_CHUNK_BYTES, nbytes)
    starts = range(0, nbytes, size)
    count = min(_CHUNKS_AHEAD, len(starts))
    down = [_Piece(source_stream, size) for _ in range(count)]
    up = [_Piece(stream, size) for _ in range(count)] if _has_ring(stream._state) else down
    workers = PartWorkers("gpucore-peer-copy", min(_WORKERS, os.cpu_count() or 1))

    def fetch(number: int) -> None:
        start = starts[number]
        down[number % count].fetch(source, source_offset + start, min(size, nbytes - start))

    try:
        for number in range(count):
            fetch(number)
        for number, start in enumerate(starts):
            length = min(size, nbytes - start)
            piece, out = down[number % count], up[number % count]
            piece.wait()
            if out is not piece:
                out.wait()
                _move_parts(workers, out, piece, length)
            out.send(stream, target, target_offset + start, length)
            if number + count < len(starts):
                fetch(number + count)
    finally:
        workers.close()
        for piece in {*down, *up}:
            piece.close()


def _has_ring(state: ContextState) -> bool:
    """Whether a device copies faster from pinned memory of its own than from any."""
    names = state.device.capabilities
    return "pinned_memory" in names and "host_addressable" not in names


def _move_parts(workers: PartWorkers, target: _Piece, source: _Piece, nbytes: int) -> None:
    to, at = target.address, source.address

    def move(offset: int, length: int) -> None:
        ctypes.memmove(to + offset, at + offset, length)

    workers.move(nbytes, _PART_BYTES, move, (target, source))


class _Piece:
    """A piece of host memory for copies of one device: pinned where it has such memory."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self._event: Any = None
        state = stream._state
        self._owner: Owner | None = None
        if _has_ring(state):
            self._owner = state.pool.allocate(size, "pinned", stream)
            self._side: Any = self._owner.block.allocation
            self._offset = self._owner.block.offset
            self.address = self._owner.block.host_address
        else:
            self._side, self._offset = memoryview(bytearray(size)), 0
            self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._side))

    def fetch(self, source: Any, offset: int, nbytes: int) -> None:
        """Copy to it, in the order of its stream."""
        state, stream = self._stream._state, self._stream
        state.copy(state.device._handle, self._side, self._offset, source, offset, nbytes, stream._handle)
        self._mark()

    def send(self, stream: Stream, target: Any, offset: int, nbytes: int) -> None:
        """Copy from it, in the order of a stream; it is free again after ``wait``."""
        state = stream._state
        if stream is self._stream and self._owner is not None:
            state.copy(state.device._handle, target, offset, self._side, self._offset, nbytes, stream._handle)
            self._mark()
            return
        # returns once the piece has been read
        content = memoryview((ctypes.c_uint8 * nbytes).from_address(self.address)).cast("B")
        state.copy(state.device._handle, target, offset, content, 0, nbytes, stream._handle)

    def _mark(self) -> None:
        state = self._stream._state
        if self._event is None:
            self._event = state.take_event()
        state.record_event(state.device._handle, self._event, self._stream._handle)

    def wait(self) -> None:
        """Wait for the last copy of the device."""
        if self._event is not None:
            state = self._stream._state
            state.synchronize_event(state.device._handle, self._event)

    def close(self) -> None:
        """Give the event back; the memory goes to its pool in the order of the stream."""
        if self._event is not None:
            self._stream._state.give_event(self._event)
            self._event = None


def of_device(device: Device) -> str:
    """A device in messages: ``"cuda:1 (NVIDIA H200)"``."""
    return f"{device.backend}:{device.ordinal} ({device.name})"
