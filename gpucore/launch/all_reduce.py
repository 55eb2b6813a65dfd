"""All-reduce: every device ends with the combination of all devices' arrays, in their order.

Where every device reads the others' memory, each launches one kernel that loads the element of every array, combines them in the
order of the devices and stores the result in its own memory.  No copy travels ahead, no buffer is kept, and no device waits for
another: what orders the exchange are the arrays' producers before it, and whoever writes or frees the arrays after it.  Small
arrays that come again are combined by one device for all: see :mod:`gpucore.launch.repeated_reduce`.

Else each device fetches the others' arrays, piece by piece, on a stream for copies, and combines them with its own on another
stream, while the next piece travels.

Of three devices and more, and for large arrays, each combines one segment and the others fetch the result: twice the array's size
over a link, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from gpucore.errors import DeviceLostError, GpucoreError
from gpucore.ir.dtypes import bool_, u8
from gpucore.ir.records import RecordType
from gpucore.launch.peer_kernels import (
    FOLDS,
    FOLDS_FOR_ALL,
    MOST_PARTS,
    FollowingStream,
    prepare_call,
    reaches,
)
from gpucore.launch.repeated_reduce import LARGEST_KEPT, RepeatedReduce
from gpucore.runtime import peer
from gpucore.runtime.array import Array
from gpucore.runtime.stream import Event

if TYPE_CHECKING:
    from gpucore.hookspecs import EventHandle
    from gpucore.ir.dtypes import DType
    from gpucore.launch.calls import Call
    from gpucore.runtime.context import Context
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.stream import Stream

__all__ = ["AllReduce", "DirectReduce"]


_ALIGNMENT = 256
_MOST_PLANS = 256


class _Plan:
    """The launches for arrays of one dtype and size: the same for each device but for the backend's calls.

    Attributes
    ----------
    size : int
    calls : list[Call]
        For each device the first launch, which combines up to ``MOST_PARTS`` arrays.
    more : list[list[tuple[Call, int, int]]]
        For each device those that combine the result with the arrays from one number to another.
    """

    __slots__ = ("calls", "more", "size")

    def __init__(self, contexts: tuple[Context, ...], op: str, dtype: DType, size: int) -> None:
        count = len(contexts)
        first = min(count, MOST_PARTS)
        if dtype is bool_:
            dtype = u8  # bools have no order in the language; their bytes have
        self.size = size
        self.calls: list[Call] = []
        self.more: list[list[tuple[Call, int, int]]] = []
        for context in contexts:
            self.calls.append(prepare_call(context, FOLDS[op][first], dtype, size))
            later: list[tuple[Call, int, int]] = []
            for start in range(first, count, MOST_PARTS - 1):
                stop = min(count, start + MOST_PARTS - 1)
                call = prepare_call(context, FOLDS[op][1 + stop - start], dtype, size, noalias=False)
                later.append((call, start, stop))
            self.more.append(later)


class DirectReduce:
    """The direct exchange of a group's devices on streams of the group's own.

    Parameters
    ----------
    streams : list[Stream]
        One of each device, on which its launches run.

    Attributes
    ----------
    followers : list[FollowingStream]
        The streams of the other devices, which can follow the first one's.
    own : frozenset[Timeline]
        Of the streams.
    events : list[Event]
        One of each device, recorded again and again where its work has to come first.
    """

    def __init__(self, contexts: tuple[Context, ...], streams: list[Stream]) -> None:
        self.contexts = contexts
        self.streams = streams
        self.followers = [stream for stream in streams if isinstance(stream, FollowingStream)]
        self.own = frozenset(stream._timeline for stream in streams)
        self._devices_wait = all("peer_events" in context.device.capabilities for context in contexts)
        self._plans: dict[tuple[str, DType, int], _Plan] = {}
        self.events: list[Event] = [
            Event(state, state.create_event(state.device._handle, False), False)
            for state in (context._state for context in contexts)
        ]

    @staticmethod
    def is_possible(contexts: tuple[Context, ...]) -> bool:
        """Whether each device can read the memory of each other."""
        return all(reaches(here, there) for here in contexts for there in contexts)

    @staticmethod
    def takes(array: Array[Any]) -> bool:
        """Whether kernels of other devices may read an array: memory of the context's, of plain numbers."""
        block, signature = array._block, array._sig
        return (
            block.kind == "device"
            and not block.outside
            and signature.contiguous
            and not isinstance(array.dtype, RecordType)
        )

    def __call__(self, shards: tuple[Array[Any], ...], op: str) -> list[Array[Any]]:
        """The combined array of each device."""
        first = shards[0]
        results = [
            context._allocate(first.shape, first.dtype, "device", stream)
            for context, stream in zip(self.contexts, self.streams, strict=True)
        ]
        for array in shards:
            self.read(array._block, self.streams)
        if len(shards) > 2 and first.nbytes >= _SEGMENT_BYTES:
            self._in_segments(shards, results, op)
        else:
            plan = self.plan(op, first.dtype, first.size)
            for number in range(len(shards)):
                self._fold(plan, number, shards, results[number], 0)
        for array, stream in zip(results, self.streams, strict=True):
            array._block.last_use_epoch = stream._timeline.epoch
        return results

    def plan(self, op: str, dtype: DType, size: int) -> _Plan:
        key = (op, dtype, size)
        found = self._plans.get(key)
        if found is None:
            while len(self._plans) >= _MOST_PLANS:
                del self._plans[next(iter(self._plans))]
            found = self._plans[key] = _Plan(self.contexts, op, dtype, size)
        return found

    def is_one_launch(self, shards: tuple[Array[Any], ...]) -> bool:
        """Whether each device combines arrays like these by one launch."""
        count, nbytes = len(shards), shards[0].nbytes
        return bool(nbytes) and count <= MOST_PARTS and (count == 2 or nbytes < _SEGMENT_BYTES)

    def call_for_all(self, op: str, dtype: DType, size: int) -> Call:
        """The first device's launch that combines small arrays and stores the result on every device."""
        fold = FOLDS_FOR_ALL[op][len(self.contexts)]
        return prepare_call(self.contexts[0], fold, u8 if dtype is bool_ else dtype, size)

    def read(self, block: Block, readers: list[Stream]) -> None:
        """Let streams of the group come after the work on an array so far, and whoever uses it next after them."""
        users = block.users
        if users and not self.own.issuperset(users):
            block.join_streams()
        home = block.home_stream()
        self.publish(home, readers)
        for stream in readers:
            timeline = stream._timeline
            if stream is home:
                block.last_use_epoch = timeline.epoch
            else:
                users[timeline] = timeline.epoch

    def publish(self, stream: Stream, readers: list[Stream]) -> None:
        """Let streams of the group come after the work of a stream so far."""
        # asking first whether there is any takes the driver longer than marking it and letting one stream wait
        state = stream._state
        event = state.take_event()
        try:
            state.record_event(state.device._handle, event, stream._handle)
            for reader in readers:
                if reader is stream:
                    continue
                if self._devices_wait:
                    waiting = reader._state
                    waiting.wait_event(waiting.device._handle, reader._handle, event)
                else:
                    reader._wait_event(state, event)
        finally:
            state.give_event(event)

    def _fold(
        self, plan: _Plan, number: int, shards: tuple[Array[Any], ...], result: Array[Any], start: int
    ) -> None:
        """Enqueue a device's launches for the plan's elements from ``start`` on."""
        size, skip = plan.size, start * result.dtype.itemsize
        parts: list[Any] = []
        for array in shards:
            parts += (array._packed[0], array._offset + skip, size)
        into = (result._packed[0], result._offset + skip, size)
        handle = self.streams[number]._handle
        device = self.contexts[number].device
        device._recent.append("all_reduce")
        try:
            plan.calls[number](handle, *into, *parts[: 3 * MOST_PARTS], size)
            for call, begin, end in plan.more[number]:
                call(handle, *into, *into, *parts[3 * begin : 3 * end], size)
        except DeviceLostError as error:
            raise device._lose(error) from error
        except GpucoreError:
            raise
        except Exception as error:
            device._judge_launch("all_reduce", error)
            raise

    def _in_segments(self, shards: tuple[Array[Any], ...], results: list[Array[Any]], op: str) -> None:
        """Each device combines its segment, then all fetch those of the others."""
        count, first = len(shards), shards[0]
        step = _ALIGNMENT // first.dtype.itemsize
        cuts = [first.size * n // count // step * step for n in range(count)] + [first.size]
        for n in range(count):
            self._fold(self.plan(op, first.dtype, cuts[n + 1] - cuts[n]), n, shards, results[n], cuts[n])
        self._meet()
        for shift in range(1, count):
            for n in range(count):
                other = (n + shift) % count  # so that no device is asked by all at once
                offset = cuts[other] * first.dtype.itemsize
                into, source = results[n], results[other]
                peer.transfer(
                    into._packed[0], into._offset + offset, self.streams[n],
                    source._packed[0], source._offset + offset, self.streams[other],
                    (cuts[other + 1] - cuts[other]) * first.dtype.itemsize,
                )  # fmt: skip
        self._meet()

    def _meet(self) -> None:
        """Let each of the streams wait for the work of all of them so far."""
        meet(self.streams)


def meet(streams: list[Stream]) -> None:
    """Let each of the streams wait for the work of all of them so far."""
    events: list[EventHandle] = []
    try:
        for stream in streams:
            state = stream._state
            events += (state.take_event(),)
            state.record_event(state.device._handle, events[-1], stream._handle)
        for stream in streams:
            for other, event in zip(streams, events, strict=True):
                if other is not stream:
                    stream._wait_event(other._state, event)
    finally:
        for stream, event in zip(streams, events, strict=False):
            stream._state.give_event(event)


_PIECE_BYTES = 32 << 20
"""Bytes that travel while the ones before them are combined."""
_SEGMENT_BYTES = 4 << 20
"""Arrays of this size and more, of three devices and more, are combined in segments."""
_SMALL_BYTES = 4 << 20
_RING = 3


class _Member:
    """A device of the group, with its streams: one for copies, one for combining what they brought."""

    __slots__ = ("combines", "context", "copies", "state")

    def __init__(self, context: Context, leader: Stream | None = None) -> None:
        self.context, self.state = context, context._state
        self.copies = context.stream() if leader is None else FollowingStream(context, leader)
        self.combines = context.stream()

    def empty(self, shape: tuple[int, ...], dtype: DType, stream: Stream) -> Array[Any]:
        """An array with undefined contents, usable in the order of ``stream``."""
        return self.context._allocate(shape, dtype, "device", stream)


class AllReduce:
    """The exchange of one group; keeps its streams."""

    def __init__(self, contexts: tuple[Context, ...]) -> None:
        _refuse_recording(contexts)  # before pairs are tried
        self._contexts = contexts
        self._states = [context._state for context in contexts]
        first = _Member(contexts[0])
        is_direct = len(contexts) > 1 and DirectReduce.is_possible(contexts)
        leader = first.copies if is_direct else None
        self._members = [first, *(_Member(context, leader) for context in contexts[1:])]
        streams = [member.copies for member in self._members]
        self._direct = DirectReduce(contexts, streams) if is_direct else None

    def __call__(self, shards: tuple[Array[Any], ...], op: str) -> list[Array[Any]]:
        """The combined array of each device."""
        direct = self._direct
        _refuse_recording(self._contexts)
        for state in self._states:
            if state.observation.profiler is not None:
                direct = None  # a profile shows what is copied and what is combined
        if direct is not None and shards[0].size and all(map(direct.takes, shards)):
            return direct(shards, op)
        return self._by_copies(shards, op)

    def repeated(
        self, shards: tuple[Array[Any], ...], op: str, results: list[Array[Any]]
    ) -> RepeatedReduce | None:
        """What makes the next call with the same arrays cheaper; None where nothing does."""
        direct = self._direct
        if direct is None or shards[0].nbytes > LARGEST_KEPT or not direct.is_one_launch(shards):
            return None
        if not all(map(direct.takes, shards)):
            return None
        return RepeatedReduce(self, direct, shards, op, results)

    def _by_copies(self, shards: tuple[Array[Any], ...], op: str) -> list[Array[Any]]:
        first, count = shards[0], len(shards)
        small = first.nbytes <= _SMALL_BYTES
        # a small array is combined where it arrives: another stream would cost more than it hides
        streams = [m.copies if small else m.combines for m in self._members]
        results = [
            m.empty(first.shape, first.dtype, stream)
            for m, stream in zip(self._members, streams, strict=True)
        ]
        if not first.size:
            return results
        flat = [_flat(array) for array in shards]
        into = [_flat(array) for array in results]
        for m, array in zip(self._members, flat, strict=True):
            array._block.join_streams()
            array._block.record_use(m.copies)
        if count == 1:
            into[0].copy_from(flat[0], stream=streams[0])
            results[0]._block.last_use_epoch = streams[0]._timeline.epoch
            return results
        meet([m.copies for m in self._members])
        if count > 2 and first.nbytes >= _SEGMENT_BYTES:
            self._in_segments(flat, into, streams, op)
        else:
            _in_turn([self._combine(n, flat, into[n], streams[n], op, 0, first.size) for n in range(count)])
        # what is done later with the arrays comes after everybody has fetched them
        meet([m.copies for m in self._members])
        for m, array in zip(self._members, flat, strict=True):
            array._block.record_use(m.copies)
        for array, stream in zip(results, streams, strict=True):
            array._block.last_use_epoch = stream._timeline.epoch
        return results

    def _in_segments(
        self, flat: list[Array[Any]], into: list[Array[Any]], streams: list[Stream], op: str
    ) -> None:
        """Each device combines its segment, then all fetch those of the others."""
        count, size = len(flat), flat[0].size
        cuts = [size * n // count for n in range(count + 1)]
        _in_turn(
            [self._combine(n, flat, into[n], streams[n], op, cuts[n], cuts[n + 1]) for n in range(count)]
        )
        meet(streams)
        for step in range(1, count):
            for n in range(count):
                other = (n + step) % count  # so that no device is asked by all at once
                section = slice(cuts[other], cuts[other + 1])
                _fetch(into[n][section], streams[n], into[other][section], streams[other])
        meet(streams)

    def _combine(
        self, n: int, flat: list[Array[Any]], into: Array[Any], stream: Stream, op: str, start: int, stop: int
    ) -> Iterator[None]:
        """Combine elements ``start`` to ``stop`` on device ``n``, in the order of the devices, a piece at a time."""
        m, dtype = self._members[n], into.dtype
        step = max(1, min(_PIECE_BYTES // dtype.itemsize, stop - start))
        starts = range(start, stop, step)
        others = [number for number in range(len(flat)) if number != n]
        ring = [[m.empty((step,), dtype, m.copies) for _ in others] for _ in starts[:_RING]]
        free: list[Any] = [None] * len(ring)
        for turn, begin in enumerate(starts):
            section = slice(begin, min(begin + step, stop))
            slot = turn % len(ring)
            if free[slot] is not None:
                m.copies.wait(free[slot])  # what is there was combined
            parts = {n: _part(flat[n], section)}
            for buffer, other in zip(ring[slot], others, strict=True):
                parts[other] = _part(buffer, slice(0, section.stop - section.start))
                _fetch(parts[other], m.copies, _part(flat[other], section), self._members[other].copies)
            if stream is not m.copies:
                stream._follow(m.copies)
            _fold([parts[number] for number in range(len(flat))], _part(into, section), stream, op)
            if stream is not m.copies:
                free[slot] = stream.record()
            yield


def _refuse_recording(contexts: tuple[Context, ...]) -> None:
    for context in contexts:
        recorder = context._state.recorders.get(get_ident())
        if recorder is not None:
            recorder.refuse(
                "an exchange between devices",
                "this thread records a graph, and a graph is of one device: launch it, and call all_reduce() before or after",
            )


def _in_turn(work: list[Iterator[None]]) -> None:
    """Take a step of each in turn, so that all devices are busy from the start."""
    while work:
        work = [one for one in work if next(one, _END) is not _END]


_END = object()


def _flat(array: Array[Any]) -> Array[Any]:
    """The array with one axis; of bools, which have no order in the language, their bytes."""
    if array.dtype is bool_:
        array = Array._make(array.context, array._owner, u8, array.shape, array.strides, array._offset)
    return array if array.ndim == 1 else array.reshape(-1)


def _part(array: Array[Any], section: slice) -> Array[Any]:
    """Elements of an array; itself where they are all of them, since making a view takes as long as a launch."""
    return array if section.start == 0 and section.stop == array.size else array[section]


def _fold(parts: list[Array[Any]], into: Array[Any], stream: Stream, op: str) -> None:
    launch = FOLDS[op][2].over(into.shape, stream=stream)
    launch(into, parts[0], parts[1])
    for part in parts[2:]:
        launch(into, into, part)


def _fetch(target: Array[Any], stream: Stream, source: Array[Any], source_stream: Stream) -> None:
    """Copy a piece between devices, or within one that is listed twice; the streams have met."""
    peer.transfer(
        target._packed[0],
        target._offset,
        stream,
        source._packed[0],
        source._offset,
        source_stream,
        target.nbytes,
    )
