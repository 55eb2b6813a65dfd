"""All-reduces that come again with the same arrays: what a call has to look at and to pack is kept from the last one.

A call's time on the host would else be that of handing out memory and taking it back.  The results' memory returns here instead,
when nothing refers to it any more, together with the launch that is packed for it: a call is then one bound launch a device.
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
    from gpucore.runtime.stream import Stream

__all__ = ["RepeatedReduce"]

_MOST_KEPT = 3
"""Results of one device that wait to be used again."""
LARGEST_KEPT = 4 << 20
"""Bytes of a result whose memory is kept: with larger ones the devices take longer than the host."""


class _Result:
    """Memory for a result, and the launch that writes it."""

    __slots__ = ("launch", "owner", "packed")

    def __init__(self, owner: Owner, packed: tuple[Any, ...], launch: Call) -> None:
        self.owner, self.packed, self.launch = owner, packed, launch


class _Spare:
    """One device's results that nobody refers to."""

    __slots__ = ("_open", "results")

    def __init__(self) -> None:
        self.results: deque[_Result] = deque()
        self._open = True

    def take_back(self, result: _Result) -> None:
        """Keep the memory of a result for the next call; called by finalizers."""
        self.results.append(result)
        if not self._open or len(self.results) > _MOST_KEPT:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.results.popleft()

    def close(self) -> None:
        """Give all memory to the pool, now and later."""
        self._open = False
        self.results.clear()


class _Lent(Owner):
    """Keeps a result's memory alive for its arrays, and then hands it to those that wait to be used again."""

    __slots__ = ("_result", "_spare")

    def __init__(self, result: _Result, spare: _Spare) -> None:
        super().__init__(result.owner.block)
        self._result, self._spare = result, spare

    def __del__(self) -> None:
        block = self.block
        if (
            block.home is not None and not block.exposed
        ):  # else it was freed, or somebody outside has its address
            self._spare.take_back(self._result)


class RepeatedReduce:
    """The next all-reduce of the same arrays with the same operation."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_direct",
        "_op",
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
        self._calls = direct.plan(op, first.dtype, first.size).calls
        self._blocks = [array._block for array in shards]
        self._states = [context._state for context in direct.contexts]
        self._sources = [part for array in shards for part in (array._packed[0], array._offset, first.size)]
        self._templates = [array._template() for array in results]
        self._spare = [_Spare() for _ in shards]

    def __del__(self) -> None:
        for spare in getattr(self, "_spare", ()):
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
        direct = self._direct
        for block in self._blocks:
            direct.read(block)
        return [self._launch(number, stream) for number, stream in enumerate(direct.streams)]

    def _launch(self, number: int, stream: Stream) -> Array[Any]:
        """Enqueue a device's launch; its result."""
        spare = self._spare[number]
        try:
            result = spare.results.pop()
        except IndexError:
            result = self._allocate(number, stream)
        block = result.owner.block
        if block.users:
            block.join_streams()
        block.last_use_epoch = stream._timeline.epoch
        try:
            result.launch(stream._handle)
        except DeviceLostError as error:
            raise self._states[number].device._lose(error) from error
        except Exception as error:
            self._states[number].device._judge_launch("all_reduce", error)
            raise
        return Array._twin(self._templates[number], _Lent(result, spare), result.packed)

    def _allocate(self, number: int, stream: Stream) -> _Result:
        template, state = self._templates[number], self._states[number]
        owner = state.pool.allocate(template.nbytes, "device", stream)
        block, size = owner.block, template.size
        into = (block.allocation, block.offset, size)
        launch = bind_arguments(self._calls[number], *into, *self._sources, size)
        return _Result(owner, (block.allocation, block.offset, *template.shape), launch)
