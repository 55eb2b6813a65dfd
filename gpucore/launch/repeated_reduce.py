"""All-reduces that come again with the same arrays: what a call has to look at and to pack is kept from the last one.

The results' memory returns here when nothing refers to it any more, together with the launches that are packed for it: a call's
time would else be that of handing out memory.

What remains is what the driver takes for launches and for order between streams.  So small arrays are combined by one device for
all: its kernel stores the result in every device's memory, and as much travels over its link in each direction as if each device
fetched the others' arrays.  The other devices wait for it when somebody uses their results.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from gpucore.errors import DeviceLostError
from gpucore.launch.calls import bind_arguments
from gpucore.runtime.array import Array, _Fields
from gpucore.runtime.memory_block import Owner

if TYPE_CHECKING:
    from gpucore.hookspecs import EventHandle
    from gpucore.launch.all_reduce import AllReduce, DirectReduce
    from gpucore.launch.calls import Call
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Timeline

__all__ = ["RepeatedReduce"]

_MOST_KEPT = 3
"""Rounds whose results wait to be used again."""
LARGEST_KEPT = 4 << 20
"""Bytes of a result whose memory is kept: with larger ones the devices take longer than the host."""
_LARGEST_FOR_ALL = 1 << 20
"""Bytes of arrays that one device combines for all."""


class _Round:
    """Memory for the results of all devices, and the launches that write it."""

    __slots__ = ("_marks", "launches", "lent", "owners", "results", "spare", "used")

    def __init__(
        self,
        spare: _Spare,
        owners: list[Owner],
        launches: list[Call],
        timelines: list[Timeline],
        templates: list[_Fields],
    ) -> None:
        self.spare, self.owners, self.launches = spare, owners, launches
        blocks = [owner.block for owner in owners]
        self.used = list(zip(blocks, timelines, strict=True))
        """For each result its memory and whose order that is used in."""
        self.results = [
            (template, block, (block.allocation, block.offset, *template.shape))
            for block, template in zip(blocks, templates, strict=True)
        ]
        """For each result what its array is made of."""
        self._marks = (True, *(False,) * (len(owners) - 1))
        self.lent: deque[bool] = deque()

    def lend(self) -> None:
        """Note that every result has a user now."""
        self.lent.extend(self._marks)


class _Spare:
    """Rounds whose results nobody refers to."""

    __slots__ = ("_open", "rounds")

    def __init__(self) -> None:
        self.rounds: deque[_Round] = deque()
        self._open = True

    def take_back(self, one: _Round) -> None:
        """Keep the memory of a round for the next call; called by finalizers."""
        self.rounds.append(one)
        if not self._open or len(self.rounds) > _MOST_KEPT:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.rounds.popleft()

    def close(self) -> None:
        """Give all memory to the pools, now and later."""
        self._open = False
        self.rounds.clear()


class _Lent(Owner):
    """Keeps a result's memory alive for its arrays, and then hands it to those that wait to be used again."""

    __slots__ = ("_round",)

    def __init__(self, block: Block, one: _Round) -> None:
        self.block, self._round = block, one

    def __del__(self) -> None:
        try:
            block, one = self.block, self._round
        except AttributeError:
            return  # an interrupt came before it had them: the memory goes when nobody refers to the round
        # else it was freed, or somebody outside has its address: the memory goes when nobody refers to the round
        # the last asks whether it was the last of the round: one call, whichever threads do it at once
        if block.home is not None and not block.exposed and one.lent.pop():
            one.spare.take_back(one)


class _Source:
    """An array that goes into the exchange, and how its device says that the work on it so far is done.

    Attributes
    ----------
    home : Timeline
        Of its device's default stream, in whose order the array is used.
    """

    __slots__ = ("block", "device", "device_handle", "event", "home", "record", "stream_handle")

    def __init__(self, block: Block, state: ContextState, event: EventHandle) -> None:
        default = state.default_stream
        self.block, self.home, self.event = block, default._timeline, event
        self.device, self.device_handle = state.device, state.device._handle
        self.stream_handle = default._handle
        # without the guard around it: whether the device is lost was looked at
        self.record = state.hooks.record_event


class RepeatedReduce:
    """The next all-reduce of the same arrays with the same operation."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_direct",
        "_op",
        "_packed_sources",
        "_readers",
        "_reducer",
        "_shards",
        "_sources",
        "_spare",
        "_states",
        "_templates",
        "_timelines",
        "_wait",
    )

    def __init__(
        self, reducer: AllReduce, direct: DirectReduce, shards: tuple[Array[Any], ...], op: str, results: list[Array[Any]]
    ) -> None:  # fmt: skip
        first = shards[0]
        self._reducer, self._direct, self._shards, self._op = reducer, direct, shards, op
        if first.nbytes <= _LARGEST_FOR_ALL:
            self._calls = [direct.call_for_all(op, first.dtype, first.size)]
        else:
            self._calls = direct.plan(op, first.dtype, first.size).calls
        self._readers = direct.streams[: len(self._calls)]
        self._blocks = [array._block for array in shards]
        self._states = [context._state for context in direct.contexts]
        self._sources = [
            _Source(block, state, event._handle)
            for block, state, event in zip(self._blocks, self._states, direct.events, strict=True)
        ]
        self._wait = self._states[0].hooks.wait_event
        self._timelines = [stream._timeline for stream in direct.streams]
        self._packed_sources = [
            part for array in shards for part in (array._packed[0], array._offset, first.size)
        ]
        self._templates = [array._template() for array in results]
        self._spare = _Spare()

    def __del__(self) -> None:
        spare = getattr(self, "_spare", None)
        if spare is not None:
            spare.close()

    def again(
        self, reducer: AllReduce | None, shards: tuple[Array[Any], ...], op: str
    ) -> tuple[Array[Any], ...] | None:
        """The combined array of each device; None where something is not as it was, or a device cannot work."""
        if reducer is not self._reducer or shards is not self._shards or op != self._op:
            return None
        for state in self._states:
            if (
                state.device._dead is not None
                or state.ending
                or state.recorders
                or state.observation.profiler is not None
            ):
                return None
        for block in self._blocks:
            if block.home is None:
                return None
        try:
            one = self._spare.rounds.pop()
        except IndexError:
            one = self._allocate()
        if len(self._readers) == 1:
            self._combine_for_all(one)
        else:
            self._combine_on_each(one)
        one.lend()
        make = Array._twin
        return tuple([make(template, _Lent(block, one), packed) for template, block, packed in one.results])

    def _combine_on_each(self, one: _Round) -> None:
        """Let each device store the result in its own memory."""
        direct, readers = self._direct, self._readers
        for block in self._blocks:
            direct.read(block, readers)
        for number, (block, timeline) in enumerate(one.used):
            if block.users:
                block.join_streams()
            block.last_use_epoch = timeline.epoch
            self._launch(number, one.launches[number])

    def _combine_for_all(self, one: _Round) -> None:
        """Let the first device store the result in every device's memory.

        The streams that hand the others' memory out follow it when somebody uses them.
        """
        leader, timeline = self._readers[0], self._timelines[0]
        device, handle, wait = self._states[0].device, leader._handle, self._wait
        device_handle, epoch, is_own = device._handle, timeline.epoch, self._direct.own.issuperset
        for source in self._sources:
            block = source.block
            users = block.users
            if block.home is not source.home or (users and not is_own(users)):
                self._direct.read(block, self._readers)
                continue
            try:
                source.record(source.device_handle, source.event, source.stream_handle)
            except Exception as error:
                source.device._judge(source.record, error)
                raise
            try:
                wait(device_handle, handle, source.event)
            except Exception as error:
                device._judge(wait, error)
                raise
            users[timeline] = epoch
        for block, home in one.used:
            users = block.users
            if home is timeline:
                if users:
                    block.join_streams()
            elif len(users) != 1 or timeline not in users:
                self._claim(block)
            else:
                users[timeline] = epoch
            block.last_use_epoch = home.epoch
        self._launch(0, one.launches[0])
        for stream in self._direct.followers:
            stream.follow_leader()

    def _claim(self, block: Block) -> None:
        """Let the device that combines for all come after whoever used the memory of another device's result.

        It is noted among the users from then on.  Whoever takes the memory in the order of its own stream clears them, so that
        where the note is still there, that stream has done nothing but wait for the last result, and other streams use it.
        """
        leader = self._readers[0]
        timeline, users = leader._timeline, block.users
        if timeline not in users:
            leader._follow(block.join_streams())
        elif len(users) > 1:
            homes = [source.home for source in self._blocks]  # which were waited for just now
            for user, epoch in list(users.items()):
                stream = user.stream()
                if (
                    user is not timeline
                    and user not in homes
                    and (user.epoch == epoch or user is stream._state.default_stream._timeline)
                ):
                    leader._follow(stream)
            users.clear()
        users[timeline] = timeline.epoch

    def _launch(self, number: int, launch: Call) -> None:
        """Enqueue a device's launch."""
        try:
            launch(self._readers[number]._handle)
        except DeviceLostError as error:
            raise self._states[number].device._lose(error) from error
        except Exception as error:
            self._states[number].device._judge_launch("all_reduce", error)
            raise

    def _allocate(self) -> _Round:
        """Memory for another round, in the order of the group's streams, with its launches."""
        size = self._templates[0].size
        owners = [
            state.pool.allocate(template.nbytes, "device", stream)
            for state, template, stream in zip(
                self._states, self._templates, self._direct.streams, strict=True
            )
        ]
        into = [(owner.block.allocation, owner.block.offset, size) for owner in owners]
        if len(self._calls) == 1:
            launches = [
                bind_arguments(
                    self._calls[0], *(part for parts in into for part in parts), *self._packed_sources, size
                )
            ]
        else:
            launches = [
                bind_arguments(call, *parts, *self._packed_sources, size)
                for call, parts in zip(self._calls, into, strict=True)
            ]
        return _Round(self._spare, owners, launches, self._timelines, self._templates)
