"""Graphs: recorded work that is launched as a whole."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, Any

from gpucore._messages import did_you_mean
from gpucore.errors import DeviceLostError, GpucoreError, LaunchError, NotSupportedError
from gpucore.runtime import ProcessBound
from gpucore.runtime.array import Array
from gpucore.runtime.graph_nodes import FloatSlots, NodeKind, RecordedCopy, RecordedLaunch, RecordedNode
from gpucore.runtime.stream import live_stream

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation, GraphHandle
    from gpucore.hookspecs import GraphNode as NativeNode
    from gpucore.runtime.context import Context
    from gpucore.runtime.graph_recorder import Recording
    from gpucore.runtime.stream import Stream

__all__ = ["Graph", "GraphNode"]

_RECORDING = "it is still being recorded: launch and update it after the with block of ctx.graph()"


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One piece of a graph's work.

    Attributes
    ----------
    kind : {"kernel", "copy", "fill"}
    name : str
        The kernel's, or what is done.
    after : tuple[int, ...]
        The numbers of the nodes that come before it, in ``graph.nodes``.
    """

    kind: NodeKind
    name: str
    after: tuple[int, ...]


class Graph(ProcessBound):
    """Recorded work: made by ``with ctx.graph() as g:``, launched as a whole, as often as is wanted.

    It keeps what it uses alive, and the memory that was allocated while it was recorded is its own until it is closed. Launches
    of one graph run one after another, on whatever streams; any thread may launch it.

    Attributes
    ----------
    native : bool
        Whether the backend built it, so that a launch is one call; else the launches are made one by one.
    stream : Stream
        Where launches that named no stream were recorded, and where ``launch()`` enqueues the graph.
    nodes : tuple[GraphNode, ...]
    nbytes : int
        Of the memory that was allocated while it was recorded.
    """

    def __init__(
        self,
        context: Context,
        stream: Stream,
        recording: Recording,
        name_input: Callable[[str, Any], Array[Any]],
        name_scalar: Callable[[str, Any], Any],
    ) -> None:
        self.stream = stream
        self.native = False
        self._context = context
        self._state = context._state
        self._generation = self._state.device._generation
        self._lock = threading.RLock()
        self._recording: Recording = recording
        self._name_input = name_input
        self._name_scalar = name_scalar
        self._why: str | None = _RECORDING
        self._current: list[RecordedNode] = []
        self._nodes: tuple[GraphNode, ...] | None = None
        self._users: dict[str, list[int]] = {}  # the nodes that use a name
        self._slots = FloatSlots()
        self._handle: Any = None
        self._steps: list[tuple[Callable[[Any], None], bool]] = []
        self._last: Stream | None = None
        self._at_home = (
            -1,
            stream,
        )  # the context's version and the stream for which no use of memory is to be recorded
        self._state.graphs.add(self)

    def __repr__(self) -> str:
        how = "closed" if self._why else "native" if self.native else "replayed"
        return f"<Graph of {len(self.nodes)} nodes on {self._state.device.backend}:{self._state.device.ordinal}, {how}>"

    # --- while recording
    def scalar(self, name: str, value: float) -> Any:
        """A number to pass to kernels, which ``update(name=...)`` changes later.

        Parameters
        ----------
        name : str
        value : int, float or bool
            Until it is changed; arithmetic with what is returned gives plain numbers, which stay as they are.
        """
        return self._name_scalar(name, value)

    def input(self, name: str, array: Array[Any]) -> Array[Any]:
        """An array by a name: ``update(name=...)`` puts another of its dtype and shape in its place.

        Use what is returned, or views of it, in launches, copies and fills.
        """
        return self._name_input(name, array)

    # --- building
    def _build(self) -> None:
        """Make of the recorded nodes what is launched."""
        self._current = list(self._recording.nodes)
        self._nodes = self._public()
        self._users = {}
        for number, node in enumerate(self._current):
            for name in node.inputs:
                self._users.setdefault(name, []).append(number)
        self._make(self._current)
        self._why = None

    def _make(self, nodes: list[RecordedNode]) -> None:
        handle = self._native(nodes)
        self._steps = [] if handle is not None else [self._step(node) for node in nodes]
        self._handle, self.native = handle, handle is not None

    def _native(self, nodes: list[RecordedNode]) -> GraphHandle | None:
        """The backend's graph, None where it has none of these nodes."""
        state = self._state
        if not nodes or "graphs" not in state.device.capabilities:
            return None
        given: list[NativeNode[Allocation]] = []
        for node in nodes:
            native = node.native()
            if native is None:
                return None
            given.append(native)
        try:
            return state.call(state.hooks.build_graph, state.device._handle, given)
        except NotSupportedError:
            return None

    def _step(self, node: RecordedNode) -> tuple[Callable[[Any], None], bool]:
        """What enqueues one node, and whether it takes the Stream rather than the backend's."""
        state = self._state
        device = state.device._handle
        if isinstance(node, RecordedLaunch):
            return node.launcher.bound(node.call, node.packed), node.takes_stream
        if isinstance(node, RecordedCopy):
            args = (
                device,
                node.dst.allocation,
                node.dst.offset,
                node.src.allocation,
                node.src.offset,
                node.nbytes,
            )
            return (lambda stream: state.hooks.copy(*args, stream)), False
        to = (device, node.dst.allocation, node.dst.offset, node.nbytes, node.pattern)
        return (lambda stream: state.hooks.fill(*to, stream)), False

    # --- launching
    def launch(self, stream: Stream | None = None) -> None:
        """Enqueue the whole on a stream; later work of the stream comes after all of it.

        Raises
        ------
        LaunchError
            Where the graph is closed or still recorded, an array of it was freed, or the stream is of another device.
        """
        with self._lock:
            state = self._state
            device = state.device
            if self._why is not None or device._dead is not None or state.ending:
                self._check()
            target = self.stream if stream is None else live_stream(stream)
            if target._state.device is not device:
                raise LaunchError("the stream belongs to another device than the graph")
            if state.recorders and get_ident() in state.recorders:
                state.recorders[get_ident()].refuse(
                    "launching a graph", "record its work into this one, or launch both one after the other"
                )
            if self._last is not target:
                if self._last is not None and self._last._why is None:
                    target._follow(self._last)
                self._last = target
            if self._at_home != (state.version, target):
                self._use_memory(target)
            device._recent.append("graph")
            step: Callable[[Any], None] | None = None
            try:
                if state.observation.profiler is not None:
                    self._observed(target)
                elif self._handle is not None:
                    state.hooks.launch_graph(device._handle, self._handle, target._handle)
                else:
                    handle = target._handle
                    for step, takes_stream in self._steps:
                        step(target if takes_stream else handle)
            except DeviceLostError as error:
                raise device._lose(error) from error
            except GpucoreError:
                raise
            except Exception as error:
                self._judge(step, error)
                raise

    def _judge(self, step: Callable[[Any], None] | None, error: Exception) -> None:
        """Raise an error that names the plugin for what a step raised, or the backend's graph."""
        device, hooks = self._state.device, self._state.hooks
        if step is None:
            device._judge(hooks.launch_graph, error)
            return
        nodes = zip(self._current, self._steps, strict=True)
        node = next(node for node, (other, _) in nodes if other is step)
        if isinstance(node, RecordedLaunch):
            device._judge_launch(node.name, error)
        else:
            device._judge(hooks.copy if isinstance(node, RecordedCopy) else hooks.fill, error)

    def _check(self) -> None:
        self._state.check()
        if self._generation != self._state.device._generation:
            raise LaunchError("the graph is gone: the device was reset since; record it again")
        if self._why is not None:
            raise LaunchError(f"the graph cannot be launched: {self._why}")

    def _use_memory(self, stream: Stream) -> None:
        """Record that the stream uses the memory of the graph."""
        version, home = self._state.version, True
        arrays = [value for value in self._recording.values.values() if isinstance(value, Array)]
        for block in (*self._recording.blocks, *(array._block for array in arrays)):
            if block.home is not stream._timeline:
                home = False
                if block.home is None:
                    raise LaunchError(
                        f"an array that the graph uses is gone: {block.why}; record the graph again"
                    )
                block.record_use(stream)
        if home:
            self._at_home = (version, stream)

    def _observed(self, stream: Stream) -> None:
        """The launch where a profiler looks: the backend's graph as one kernel, else each piece for itself."""
        state = self._state
        profiler = state.observation.profiler
        assert profiler is not None
        if self._handle is not None:
            launch_graph = state.device._guard(state.hooks.launch_graph)
            call = functools.partial(launch_graph, state.device._handle, self._handle)
            name = f"graph of {len(self._current)} nodes"
            profiler.launch(name, stream, call, stream._handle, (), None, None, ())
            return
        for node, (step, takes_stream) in zip(self._current, self._steps, strict=True):
            target = stream if takes_stream else stream._handle
            if isinstance(node, RecordedLaunch):
                profiler.launch(node.name, stream, step, target, (), node.launcher, None, ())
            else:
                try:
                    step(target)  # a hook, which the profiler has replaced
                except Exception as error:
                    self._judge(step, error)
                    raise

    # --- changing
    def update(self, /, **values: Any) -> None:
        """Change scalars and inputs for the launches from now on; those that are enqueued keep what they had.

        Raises
        ------
        LaunchError
            Where the graph has no such name, or a value is of another dtype, shape or context. The graph is then as it was.
        """
        with self._lock:
            state = self._state
            if self._why is not None or state.device._dead is not None or state.closed or state.ending:
                self._check()
            known = self._recording.values
            if self._handle is not None:
                current = self._current
                changes = self._slots.changes(values, current)
                if changes is not None:
                    self._update_native(changes)
                    for number, launch in changes.items():
                        current[number].packed = launch.slots  # type: ignore[union-attr]
                    known.update(values)
                    return
            moved = False
            for name, value in values.items():
                if name not in known:
                    names = ", ".join(known) or "none"
                    raise LaunchError(
                        f"the graph has no name {name!r}{did_you_mean(name, known)}; its names: {names}"
                    )
                if value.__class__ is not float:
                    values[name] = value = _checked(name, known[name], value)
                elif isinstance(known[name], (Array, bool)):
                    _checked(name, known[name], value)
                moved = moved or isinstance(value, Array)
            users, everything = self._users, {**known, **values}
            if len(values) == 1:
                numbers: Sequence[int] = users.get(next(iter(values)), [])
            else:
                numbers = sorted({number for name in values for number in users.get(name, ())})
            nodes, before = self._recording.nodes, [self._current[number] for number in numbers]
            now = [nodes[number].with_values(everything) for number in numbers]
            self._change(list(zip(numbers, now, strict=True)))
            known.update(values)
            if len(values) == 1 and value.__class__ is float:
                self._slots.learn(name, value, numbers, before, now)
            if moved:
                self._at_home = (-1, self.stream)

    def _update_native(self, native: Mapping[int, NativeNode[Allocation]]) -> None:
        state = self._state
        update = state.hooks.update_graph
        try:
            update(state.device._handle, self._handle, native)
        except Exception as error:
            state.device._judge(update, error)
            raise

    def _change(self, changed: list[tuple[int, RecordedNode]]) -> None:
        state, current = self._state, self._current
        if self._handle is None:
            steps = [self._step(node) for _, node in changed]
            for (number, _), step in zip(changed, steps, strict=True):
                self._steps[number] = step
        elif (native := self._native_changes(changed)) is not None:
            self._update_native(native)
        else:  # another program, as for arrays that overlap
            old, changes = self._handle, dict(changed)
            self._make([changes.get(number, node) for number, node in enumerate(current)])
            state.dead_graphs.append((old, self._last, self._generation))
            state.drain()
        for number, node in changed:
            current[number] = node

    def _native_changes(
        self, changed: list[tuple[int, RecordedNode]]
    ) -> dict[int, NativeNode[Allocation]] | None:
        """The changed nodes as the backend takes them; None where a launch needs other code than the one before."""
        native: dict[int, NativeNode[Allocation]] = {}
        for number, node in changed:
            made = (
                node.native_instead_of(self._current[number])
                if isinstance(node, RecordedLaunch)
                else node.native()
            )
            if made is None:
                return None
            native[number] = made
        return native

    # --- looking
    @property
    def nodes(self) -> tuple[GraphNode, ...]:
        """The recorded work, in the order of recording."""
        return self._public() if self._nodes is None else self._nodes

    def _public(self) -> tuple[GraphNode, ...]:
        return tuple(GraphNode(node.kind, node.name, node.after) for node in self._recording.nodes)

    @property
    def nbytes(self) -> int:
        """Bytes that were allocated while the graph was recorded."""
        return self._recording.owned_bytes

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart, which notebooks, GitHub and documentation tools draw."""
        lines = ["flowchart TD"]
        for number, node in enumerate(self.nodes):
            lines.append(f'    n{number}["{node.name}"]')
            lines += [f"    n{other} --> n{number}" for other in node.after]
        return "\n".join(lines)

    def graphviz(self) -> str:
        """The graph in the language of Graphviz."""
        lines = ["digraph {", "    node [shape=box]"]
        for number, node in enumerate(self.nodes):
            lines.append(f'    n{number} [label="{node.name}"]')
            lines += [f"    n{other} -> n{number}" for other in node.after]
        return "\n".join([*lines, "}"])

    # --- life
    def close(self) -> None:
        """Wait for its launches and give back what it holds; twice does nothing."""
        with self._lock:
            if self._why is not None:
                return
            state = self._state
            last = self._last
            if last is not None and last._why is None and state.device._dead is None and not state.closed:
                last._wait_idle()
            self._end("it was closed")
            if not state.closed:
                state.drain()

    def _end(self, why: str) -> None:
        """Refuse launches from now on; the backend's graph is destroyed when no launch of it is pending."""
        state = self._state
        self._why = why
        if self._handle is not None:
            state.dead_graphs.append((self._handle, self._last, self._generation))
        self._forget(why)

    def _forget(self, why: str) -> None:
        self._why, self._handle, self._steps, self._current = why, None, [], []
        recording = self._recording
        self._nodes = self.nodes if self._nodes is None else self._nodes
        recording.forget()
        self._last = None

    def __del__(self) -> None:
        # only a note: hooks are called by whoever drains it
        if getattr(self, "_handle", None) is not None:
            self._state.dead_graphs.append((self._handle, self._last, self._generation))


def _checked(name: str, old: Any, new: Any) -> Any:
    """The new value of a name, once it is seen to fit."""
    if not isinstance(old, Array):
        new = new.item() if hasattr(new, "item") and not isinstance(new, Array) else new
        is_bool = isinstance(old, bool)
        if isinstance(new, bool) != is_bool or not isinstance(new, (int, float)):
            raise LaunchError(
                f"{name!r} of the graph is a {'bool' if is_bool else 'number'}, not {type(new).__name__}"
            )
        return new
    if not isinstance(new, Array):
        raise LaunchError(
            f"{name!r} of the graph is an Array, not {type(new).__name__}; make one: ctx.array(...)"
        )
    if new.context._state is not old.context._state:
        raise LaunchError(f"{name!r} of the graph is an array of its context, and the new one is of another")
    if new.dtype is not old.dtype or new.shape != old.shape:
        raise LaunchError(
            f"{name!r} of the graph is an array of {old.dtype} {old.shape}, and the new one of {new.dtype} {new.shape}; record "
            "another graph for it"
        )
    if not new._sig.contiguous:
        raise LaunchError(
            f"{name!r} of the graph is contiguous, and the new array a strided view; pass .contiguous()"
        )
    new._block_alive()
    return new
