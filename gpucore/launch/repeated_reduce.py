"""All-reduces that come again with the same arrays: what a call has to look at and to pack is kept from the last one.

A call's time on the host would else be that of handing out memory and taking it back.  The results' memory returns here instead,
when nothing refers to it any more, together with the launches that are packed for it.

What remains is what the driver takes for launches and for order between streams.  So small arrays are combined by one device for
all: its kernel stores the result in every device's memory, and as much travels over its link in each direction as if each device
fetched the others' arrays.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from gpucore.errors import DeviceLostError
from gpucore.launch.calls import bind_arguments
from gpucore.runtime.array import Array
from gpucore.runtime.memory_block import Owner

if TYPE_CHECKING:
    from gpucore.launch.all_reduce import AllReduce
    from gpucore.launch.calls import Call
    from gpucore.launch.direct_reduce import DirectReduce
    from gpucore.runtime.memory_block import Block

__all__ = ["RepeatedReduce"]

_MOST_KEPT = 3
"""Rounds whose results wait to be used again."""
LARGEST_KEPT = 4 << 20
"""Bytes of a result whose memory is kept: with larger ones the devices take longer than the host."""
_LARGEST_FOR_ALL = 1 << 20
"""Bytes of arrays that one device combines for all."""


class _Round:
    """Memory for the results of all devices, and the launches that write it."""

    __slots__ = ("_lent", "launches", "owners", "packed")

    def __init__(self, owners: list[Owner], packed: list[tuple[Any, ...]], launches: list[Call]) -> None:
        self.owners, self.packed, self.launches = owners, packed, launches
        self._lent: deque[bool] = deque()

    def lend(self) -> None:
        """Note that every result has a user now."""
        self._lent.extend((True, *(False,) * (len(self.owners) - 1)))

    def take_back(self) -> bool:
        """Note that one result has none any more; whether it was the last.  One call, whichever threads do it at once."""
        return self._lent.pop()


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

    __slots__ = ("_round", "_spare")

    def __init__(self, block: Block, one: _Round, spare: _Spare) -> None:
        super().__init__(block)
        self._round, self._spare = one, spare

    def __del__(self) -> None:
        block = self.block
        # else it was freed, or somebody outside has its address: the memory goes when nobody refers to the round
        if block.home is not None and not block.exposed and self._round.take_back():
            self._spare.take_back(self._round)


class RepeatedReduce:
    """The next all-reduce of the same arrays with the same operation."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_direct",
        "_op",
        "_readers",
        "_reducer",
        "_shards",
        "_sources",
        "_spare",
        "_states",
        "_templates",
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
        self._sources = [part for array in shards for part in (array._packed[0], array._offset, first.size)]
        self._templates = [array._template() for array in results]
        self._spare = _Spare()

    def __del__(self) -> None:
        spare = getattr(self, "_spare", None)
        if spare is not None:
            spare.close()

    def again(
        self, reducer: AllReduce | None, shards: tuple[Array[Any], ...], op: str
    ) -> list[Array[Any]] | None:
        """The combined array of each device; None where something is not as it was, or a device cannot work."""
        if reducer is not self._reducer or shards is not self._shards or op != self._op:
            return None
        for state in self._states:
            if (
                state.recorders
                or state.ending
                or state.device._dead is not None
                or state.observation.profiler is not None
            ):
                return None
        for block in self._blocks:
            if block.home is None:
                return None
        direct, spare, readers = self._direct, self._spare, self._readers
        try:
            one = spare.rounds.pop()
        except IndexError:
            one = self._allocate()
        for block in self._blocks:
            direct.read(block, readers)
        for number, (owner, stream) in enumerate(zip(one.owners, direct.streams, strict=True)):
            block = owner.block
            if number >= len(readers):
                self._claim(block)
            elif block.users:
                block.join_streams()
            block.last_use_epoch = stream._timeline.epoch
        for number, launch in enumerate(one.launches):
            self._launch(number, launch)
        if len(readers) < len(self._blocks):
            direct.publish(readers[0], direct.streams)
        one.lend()
        return [
            Array._twin(template, _Lent(owner.block, one, spare), packed)
            for template, owner, packed in zip(self._templates, one.owners, one.packed, strict=True)
        ]

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
                    self._calls[0], *(part for parts in into for part in parts), *self._sources, size
                )
            ]
        else:
            launches = [
                bind_arguments(call, *parts, *self._sources, size)
                for call, parts in zip(self._calls, into, strict=True)
            ]
        packed = [
            (owner.block.allocation, owner.block.offset, *template.shape)
            for owner, template in zip(owners, self._templates, strict=True)
        ]
        return _Round(owners, packed, launches)
