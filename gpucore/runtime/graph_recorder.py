"""Recording a graph: what one thread enqueues becomes nodes, ordered as streams and events order it.

Each stream that is used has a tail: the nodes that its next work comes after. Events and waits move tails; so does memory, whose
first use by another stream than its own comes after what its own did with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from gpucore.errors import LaunchError
from gpucore.runtime.array import Array
from gpucore.runtime.device import open_devices
from gpucore.runtime.graph import Graph
from gpucore.runtime.graph_nodes import (
    GraphBool,
    GraphFloat,
    GraphInt,
    Place,
    RecordedCopy,
    RecordedFill,
    RecordedLaunch,
    RecordedNode,
    input_of,
    input_view,
    named_arguments,
    scalar_name,
)  # fmt: skip
from gpucore.runtime.stream import Event, Stream

if TYPE_CHECKING:
    from gpucore.runtime.context import Context
    from gpucore.runtime.memory_block import Block, Owner
    from gpucore.runtime.observation import ObservedLauncher
    from gpucore.runtime.state import ContextState

__all__ = ["GraphRecorder", "Recording"]


class Recording:
    """The recorder of one thread in one context.

    Attributes
    ----------
    nodes : list[RecordedNode]
    keep : list[object]
        What the graph keeps alive.
    blocks : set[Block]
        The memory that it uses whatever its inputs stand for.
    """

    def __init__(self, state: ContextState) -> None:
        self._state = state
        self.elsewhere = _Elsewhere(f"{state.device.backend}:{state.device.ordinal}")
        self.nodes: list[RecordedNode] = []
        self.keep: list[object] = []
        self.blocks: set[Block] = set()
        self.values: dict[str, Any] = {}
        self._owned: set[Block] = set()
        self._first_inputs: set[Block] = set()
        self._tails: dict[Stream, tuple[int, ...]] = {}
        self._marks: dict[Event, tuple[int, ...]] = {}
        self._users: dict[Block, set[Stream]] = {}

    # --- order
    def _add(self, stream: Stream, make: Callable[[tuple[int, ...]], RecordedNode]) -> None:
        self.nodes.append(make(self._tails.get(stream, ())))
        self._tails[stream] = (len(self.nodes) - 1,)

    def _after(self, stream: Stream, others: tuple[int, ...]) -> None:
        """Let later work of a stream come after these nodes, too."""
        known = self._tails.get(stream, ())
        before = {ancestor for node in known for ancestor in self._ancestors(node)} | set(known)
        mine = [node for node in others if node not in before]
        covered = {ancestor for node in mine for ancestor in self._ancestors(node)}
        self._tails[stream] = tuple(sorted({*(node for node in known if node not in covered), *mine}))

    def _ancestors(self, node: int) -> set[int]:
        found: set[int] = set()
        stack = list(self.nodes[node].after)
        while stack:
            one = stack.pop()
            if one not in found:
                found.add(one)
                stack += self.nodes[one].after
        return found

    def record_event(self, event: Event, stream: Stream) -> None:
        """Mark this point of a stream."""
        self._check_stream(stream)
        self._marks[event] = self._tails.get(stream, ())

    def wait(self, stream: Stream, other: Event | Stream) -> None:
        """Order a stream after a mark, or after another stream."""
        self._check_stream(stream)
        if isinstance(other, Stream):
            self._check_stream(other)
            self._after(stream, self._tails.get(other, ()))
            return
        if other not in self._marks:
            if other._stream is None:
                return  # never recorded: nothing to wait for
            self.refuse(
                "waiting for an event that was recorded outside of the graph",
                "let the stream of graph.launch(stream) wait for it",
            )
        self._after(stream, self._marks[other])

    def use(self, block: Block, stream: Stream) -> None:
        """The first use by another stream comes after what the memory's own stream did."""
        users = self._users.setdefault(block, set())
        if stream not in users:
            users.add(stream)
            self._after(stream, self._tails.get(block.home_stream(), ()))

    def join(self, block: Block) -> Stream:
        """The memory's own stream comes after all others that used it."""
        home = block.home_stream()
        for user in self._users.pop(block, ()):
            self._after(home, self._tails.get(user, ()))
        return home

    def _check_stream(self, stream: Stream) -> None:
        if stream._state.device is not self._state.device:
            self.refuse(f"work of {stream!r}", "a graph is of one device; record another graph there")

    # --- work
    def launch(
        self,
        kernel: str,
        stream: Stream,
        call: Callable[..., None],
        target: Any,
        packed: tuple[Any, ...],
        launcher: ObservedLauncher | None,
        configured: Any,
        arguments: tuple[Any, ...],
    ) -> None:
        """Record a kernel."""
        assert launcher is not None
        self._check_stream(stream)
        for number, argument in enumerate(arguments):
            name = scalar_name(argument)
            if name is not None and argument.graph_values is not self.values:
                self._foreign(name)
            if name is not None and number in launcher.compiled_in:
                raise LaunchError(
                    f"{kernel}: argument {number + 1} is a compile-time value, and {name!r} of the graph changes; "
                    "pass a plain number, or make the parameter a scalar"
                )
            if configured is None and input_of(argument) is not None:
                raise LaunchError(
                    f"{kernel}: a bound launch has packed its arrays, so that {input_of(argument).name!r} of the graph "  # type: ignore[union-attr]
                    "could not change in it; launch the kernel itself while recording"
                )
            if isinstance(argument, Array):
                self._use_array(argument)
        named = named_arguments(arguments)
        self._add(
            stream,
            lambda after: RecordedLaunch(
                kernel, stream, call, target is stream, packed, launcher, configured, arguments, after, named
            ),
        )

    def _foreign(self, name: str) -> NoReturn:
        self.refuse(f"{name!r} of another graph", "name it in this one, too")

    def _use_array(self, array: Array[Any]) -> None:
        named = input_of(array)
        if named is not None:
            if named.values is not self.values:
                self._foreign(named.name)
            # what an input stands for may change, and is then no longer the graph's
            self._first_inputs.add(array._block)
            return
        self.keep.append(array)
        if array._owner is not None:
            self.blocks.add(array._block)

    def copy(
        self, stream: Stream, dst: Any, to: int, src: Any, at: int, nbytes: int, arrays: tuple[Any, ...]
    ) -> None:
        """Record a copy."""
        self._check_stream(stream)
        if dst.__class__ is memoryview or src.__class__ is memoryview:
            self.refuse(
                "a copy from or to pageable host memory, or of a strided view,",
                "copy contiguous arrays from and to pinned memory (ctx.pinned(...)) while recording, and read results with "
                "numpy() after graph.launch()",
            )
        for array in arrays:
            if isinstance(array, Array):
                self._use_array(array)
            else:
                self._use_pinned(array)
        target, source = arrays
        self._add(
            stream,
            lambda after: RecordedCopy(Place(dst, to, target), Place(src, at, source), nbytes, after),
        )

    def _use_pinned(self, host: Any) -> None:
        self.keep.append(host)
        base = host
        while isinstance(base, np.ndarray):
            base = base.base
        self.blocks.add(base.block)

    def fill(
        self, stream: Stream, dst: Any, offset: int, nbytes: int, pattern: bytes, array: Array[Any]
    ) -> None:
        """Record a fill."""
        self._check_stream(stream)
        self._use_array(array)
        self._add(stream, lambda after: RecordedFill(Place(dst, offset, array), nbytes, pattern, after))

    # --- memory
    def own(self, owner: Owner) -> None:
        """Memory that was allocated while recording is the graph's until it is closed."""
        self.keep.append(owner)
        self._owned.add(owner.block)

    def keeps(self, array: Array[Any]) -> bool:
        """Whether the memory of an array goes with the graph; refuses what the graph uses."""
        if array._block in self._owned:
            return True
        if array._block in self.blocks or array._block in self._first_inputs:
            self.refuse("freeing an array that the graph uses", "free it after graph.close()")
        return False

    @property
    def owned_bytes(self) -> int:
        """The bytes of what was allocated."""
        return sum(block.nbytes for block in self._owned)

    def forget(self) -> None:
        """Let everything go."""
        self.nodes = []
        self.keep.clear()
        self.blocks.clear()
        self.values.clear()
        self._owned.clear()
        self._first_inputs.clear()

    # --- the rest
    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise what cannot be recorded."""
        raise LaunchError(f"{what} cannot be recorded into a graph: {instead}")

    def check_joined(self, stream: Stream) -> None:
        """Every stream's work comes before the end of the graph's own stream."""
        tails = self._tails.get(stream, ())
        before = {*tails, *(ancestor for node in tails for ancestor in self._ancestors(node))}
        for other, nodes in self._tails.items():
            if not set(nodes) <= before:
                last = self.nodes[max(nodes)]
                raise LaunchError(
                    f"a stream never joins the graph, its last work is {last.name!r}: let the graph's stream wait for it before "
                    f"the recording ends: g.stream.wait(stream), with {other!r} as stream"
                )


class _Elsewhere:
    """The recorder of the same thread in other contexts: it refuses."""

    def __init__(self, owner: str) -> None:
        self._owner = owner

    @property
    def elsewhere(self) -> _Elsewhere:
        return self

    def refuse(self, what: str, instead: str) -> NoReturn:
        raise LaunchError(
            f"{what} while this thread records a graph on {self._owner}: a graph is of one context; do it before or after the "
            "recording, or on another thread"
        )

    def _refuse(self, *args: Any) -> NoReturn:
        self.refuse("work of another context", "")

    launch = copy = fill = record_event = wait = use = join = _refuse

    def keeps(self, array: Array[Any]) -> bool:
        """Freeing elsewhere is as ever."""
        return False

    def own(self, owner: Owner) -> None:
        """Memory elsewhere is not the graph's."""


_NAMES = "names are given while the graph is recorded, inside the with block of ctx.graph()"


class GraphRecorder:
    """Records a graph inside a ``with`` block; made by :meth:`Context.graph`.

    Attributes
    ----------
    stream : Stream
        Where launches that name no stream are recorded: the context's default stream.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._state = context._state
        self.stream: Stream = self._state.default_stream
        self._graph: Graph | None = None  # while it is recorded: a graph refers to its recorder
        self._used = False
        self._recording: Recording | None = None
        self._thread = 0

    def __enter__(self) -> Graph:
        state = self._state
        state.check()
        if self._used:
            raise LaunchError("this recorder has been used; make another: ctx.graph()")
        if get_ident() in state.recorders:
            raise LaunchError(
                "this thread records a graph already, and a graph within a graph has no meaning: record the work of both into "
                "one, or one after the other"
            )
        self._recording = recording = Recording(state)
        self._graph = graph = Graph(self._context, self.stream, recording, *self._namers())
        self._thread = get_ident()
        self._used = True
        try:
            state.observation.begin_recording(recording, self._thread)
            for other in open_devices.states():
                if other is not state:
                    other.observation.begin_recording(recording.elsewhere, self._thread)
        except BaseException:
            self._leave()
            raise
        return graph

    def _namers(self) -> tuple[Callable[[str, Array[Any]], Array[Any]], Callable[[str, Any], Any]]:
        """What a graph names its inputs and scalars by; they keep no recorder, so that a dropped one ends its recording."""
        recorder = weakref.ref(self)

        def live() -> GraphRecorder:
            found = recorder()
            if found is None:
                raise LaunchError(_NAMES)
            return found

        return (
            lambda name, array: live()._name_input(name, array),
            lambda name, value: live()._name_scalar(name, value),
        )

    def _leave(self) -> None:
        """Enqueue the thread's work again; may be called twice."""
        self._state.observation.end_recording(self._thread)
        for state in open_devices.states():
            state.observation.end_recording(self._thread)

    def __del__(self) -> None:
        # an interrupt can keep __exit__ from being called, or from doing anything
        recording = getattr(self, "_recording", None)
        if recording is not None and self._state.recorders.get(self._thread) is recording:
            self._leave()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        graph, recording = self._graph, self._recording
        assert graph is not None
        assert recording is not None
        if get_ident() != self._thread:
            raise LaunchError("a recording ends on the thread that it began on")
        try:
            self._leave()
        except BaseException:
            self._leave()
            graph._end("its recording was interrupted")
            raise
        self._graph = None
        if error is not None:
            graph._end("its recording was left by an exception")
            return
        try:
            self._state.check()
            recording.check_joined(self.stream)
            graph._build()
        except BaseException:
            graph._end("its recording failed")
            raise

    # --- names
    def _name(self, name: str) -> Recording:
        recording = self._recording
        if self._state.recorders.get(get_ident()) is not recording:
            raise LaunchError(_NAMES)
        assert recording is not None
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(f"a graph's name is a Python identifier, for update(name=...), not {name!r}")
        if name in recording.values:
            raise LaunchError(f"the graph has the name {name!r} already")
        return recording

    def _name_scalar(self, name: str, value: Any) -> Any:
        recording = self._name(name)
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, (int, float)):
            raise TypeError(f"a graph's scalar is a number or a bool, not {type(value).__name__}: {value!r}")
        kind = GraphBool if isinstance(value, bool) else GraphInt if isinstance(value, int) else GraphFloat
        made = kind(value)
        made.graph_name, made.graph_values = name, recording.values
        recording.values[name] = value
        return made

    def _name_input(self, name: str, array: Any) -> Array[Any]:
        recording = self._name(name)
        if not isinstance(array, Array):
            raise TypeError(
                f"a graph's input is an Array, not {type(array).__name__}; make one: ctx.array(...)"
            )
        if array.context._state is not self._state:
            raise LaunchError("the input belongs to another context than the graph")
        if array._owner is None or not array._sig.contiguous:
            raise LaunchError(
                "a graph's input is a contiguous array with at least one element; pass .contiguous()"
            )
        array._block_alive()
        recording.values[name] = array
        return input_view(name, array, recording.values)
