"""Recorded work: the nodes of a graph, what may change in them, and where packed arguments have the numbers that change.

A launch whose arguments change is checked and packed as any launch is. A float in the place of a float comes out of that
unchanged: its place is seen once, and later updates put the number there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gpucore.errors import LaunchError
from gpucore.hookspecs import GraphCopy, GraphFill, GraphLaunch, GraphNode
from gpucore.runtime.array import Array
from gpucore.runtime.memory_block import Owner

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation
    from gpucore.runtime.observation import ObservedLauncher
    from gpucore.runtime.stream import Stream

__all__ = [
    "FloatSlots",
    "GraphBool",
    "GraphFloat",
    "GraphInt",
    "InputOwner",
    "Place",
    "RecordedCopy",
    "RecordedFill",
    "RecordedLaunch",
    "RecordedNode",
    "input_of",
    "input_view",
    "named_arguments",
    "place_of",
    "scalar_name",
]


NodeKind = Literal["kernel", "copy", "fill"]


class GraphInt(int):
    """A number that a graph knows by a name: as a kernel's argument it is changed by ``graph.update(name=...)``."""

    graph_name: str
    graph_values: Mapping[str, Any]


class GraphBool(GraphInt):
    """The same of a bool, which Python lets no class derive from."""


class GraphFloat(float):
    """The same of a float."""

    graph_name: str
    graph_values: Mapping[str, Any]


def scalar_name(argument: object) -> str | None:
    """The name that a graph knows a number by."""
    return argument.graph_name if isinstance(argument, (GraphInt, GraphFloat)) else None


class InputOwner(Owner):
    """Stands for the owner of an array in the views that a graph knows by a name."""

    __slots__ = ("base", "name", "real", "values")

    def __init__(self, name: str, array: Array[Any], values: Mapping[str, Any]) -> None:
        assert array._owner is not None
        super().__init__(array._block)
        self.name = name
        self.values = values  # of its graph
        self.base = array._offset
        self.real: Owner = array._owner  # the memory lives as long as this

    def __del__(self) -> None:
        """The memory goes with its real owner."""


def input_view(name: str, array: Array[Any], values: Mapping[str, Any]) -> Array[Any]:
    """The array by its name in a graph; so are views of it."""
    return Array._make(
        array.context, InputOwner(name, array, values), array.dtype, array.shape, array.strides, array._offset
    )


def input_of(array: object) -> InputOwner | None:
    """What names an array, or a view of one, in a graph."""
    owner = array._owner if isinstance(array, Array) else None
    return owner if isinstance(owner, InputOwner) else None


def named_arguments(arguments: Sequence[object]) -> tuple[tuple[int, str], ...]:
    """The numbers of the arguments that a graph knows by a name, and that name."""
    found = []
    for number, argument in enumerate(arguments):
        owner = input_of(argument)
        name = scalar_name(argument) if owner is None else owner.name
        if name is not None:
            found.append((number, name))
    return tuple(found)


def place_of(array: Array[Any], values: Mapping[str, Any]) -> Array[Any]:
    """The same view of the array that has the name now."""
    named = input_of(array)
    if named is None or named.name not in values:
        return array
    now: Array[Any] = values[named.name]
    if array._offset == named.base and array.shape == now.shape and array._sig is now._sig:
        return now
    return Array._make(
        array.context,
        now._owner,
        array.dtype,
        array.shape,
        array.strides,
        now._offset + array._offset - named.base,
    )


@dataclass(slots=True)
class RecordedLaunch:
    """A kernel launch.

    Attributes
    ----------
    call : Callable
        ``call(target, *packed)`` enqueues it.
    takes_stream : bool
        Whether ``target`` is the Stream, whose error record the call adds, rather than the backend's.
    arguments : tuple
        As the user gave them; names of the graph among them.
    named : tuple
        The numbers of the arguments that the graph knows by a name, and that name.
    prepared : object
        What the backend prepared for the call, once that was asked for.
    """

    name: str
    stream: Stream
    call: Callable[..., None]
    takes_stream: bool
    packed: tuple[Any, ...]
    launcher: ObservedLauncher
    configured: Any
    arguments: tuple[Any, ...]
    after: tuple[int, ...]
    named: tuple[tuple[int, str], ...]
    kind: NodeKind = "kernel"
    prepared: Any = None

    @property
    def inputs(self) -> set[str]:
        """The names of the graph that it uses."""
        return {name for _, name in self.named}

    def with_values(self, values: Mapping[str, Any]) -> RecordedLaunch:
        """The launch with what the names stand for now; checked and packed as any launch is."""
        arguments = list(self.arguments)
        for number, name in self.named:
            old = arguments[number]
            arguments[number] = place_of(old, values) if isinstance(old, Array) else values[name]
        call, packed = self.launcher.repack(self.configured, self.stream, arguments)
        return RecordedLaunch(
            self.name, self.stream, call, self.takes_stream, packed, self.launcher, self.configured, self.arguments,
            self.after, self.named,
        )  # fmt: skip

    def native(self) -> GraphNode[Allocation] | None:
        """The node as a backend takes it, None where more belongs to the launch than the backend's call."""
        prepared = None if self.takes_stream else self.launcher.prepared(self.call)
        self.prepared = prepared
        return None if prepared is None else GraphLaunch(prepared, self.packed, self.after)

    def native_instead_of(self, old: RecordedNode) -> GraphNode[Allocation] | None:
        """The node as a backend takes it in the place of an old one, None where the launch needs other code than that."""
        assert isinstance(old, RecordedLaunch)
        if old.call != self.call:
            return None
        self.prepared = prepared = old.prepared
        return GraphLaunch(prepared, self.packed, self.after)


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a copy or fill: memory, and the array that keeps it."""

    allocation: Any
    offset: int
    array: Any

    @property
    def input(self) -> str | None:
        """The name that the graph knows it by."""
        named = input_of(self.array)
        return None if named is None else named.name

    def with_values(self, values: Mapping[str, Any]) -> Place:
        """The same place of the array that has the name now."""
        named = input_of(self.array)
        if named is None or named.name not in values:
            return self
        now: Array[Any] = values[named.name]
        return Place(now._packed[0], self.offset + now._offset - named.base, self.array)


@dataclass(slots=True)
class RecordedCopy:
    """A copy between memory of the device, pinned memory included."""

    dst: Place
    src: Place
    nbytes: int
    after: tuple[int, ...]
    kind: NodeKind = "copy"

    @property
    def name(self) -> str:
        """What it does."""
        return f"copy {self.nbytes:,} bytes"

    @property
    def inputs(self) -> set[str]:
        """The names of the graph that it uses."""
        return {name for name in (self.dst.input, self.src.input) if name is not None}

    def with_values(self, values: Mapping[str, Any]) -> RecordedCopy:
        """The copy with what the names stand for now."""
        dst, src = self.dst.with_values(values), self.src.with_values(values)
        if dst.allocation is src.allocation and 0 < abs(dst.offset - src.offset) < self.nbytes:
            raise LaunchError("a copy's source and target overlap now; record another graph for them")
        return RecordedCopy(dst, src, self.nbytes, self.after)

    def native(self) -> GraphNode[Allocation] | None:
        """The node as a backend takes it."""
        dst, src = self.dst, self.src
        return GraphCopy(dst.allocation, dst.offset, src.allocation, src.offset, self.nbytes, self.after)


@dataclass(slots=True)
class RecordedFill:
    """A fill."""

    dst: Place
    nbytes: int
    pattern: bytes
    after: tuple[int, ...]
    kind: NodeKind = "fill"

    @property
    def name(self) -> str:
        """What it does."""
        return f"fill {self.nbytes:,} bytes"

    @property
    def inputs(self) -> set[str]:
        """The names of the graph that it uses."""
        return set() if self.dst.input is None else {self.dst.input}

    def with_values(self, values: Mapping[str, Any]) -> RecordedFill:
        """The fill with what the names stand for now."""
        return RecordedFill(self.dst.with_values(values), self.nbytes, self.pattern, self.after)

    def native(self) -> GraphNode[Allocation] | None:
        """The node as a backend takes it."""
        return GraphFill(self.dst.allocation, self.dst.offset, self.nbytes, self.pattern, self.after)


RecordedNode: TypeAlias = RecordedLaunch | RecordedCopy | RecordedFill


class FloatSlots:
    """The places of a graph's floats in its launches, as far as they were seen."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # by name: the number of each launch that has it, and the places in its packed arguments
        self._known: dict[str, list[tuple[int, list[int]]]] = {}

    def learn(
        self, name: str, value: float, numbers: Sequence[int], before: Sequence[RecordedNode], now: Sequence[RecordedNode]
    ) -> None:  # fmt: skip
        """Look at what an update of one name to a float changed in the nodes that have it."""
        found: list[tuple[int, list[int]]] = []
        for number, old, new in zip(numbers, before, now, strict=True):
            if not isinstance(old, RecordedLaunch) or not isinstance(new, RecordedLaunch):
                return
            if new.takes_stream or new.launcher.reads_scalars or old.call != new.call:
                return
            if len(old.packed) != len(new.packed):
                return
            pairs = enumerate(zip(old.packed, new.packed, strict=True))
            places = [at for at, (then, packed) in pairs if packed is value and then is not value]
            # as many as arguments of that name, or the number came there some other way
            if len(places) != [other for _, other in new.named].count(name):
                return
            found.append((number, places))
        self._known[name] = found

    def changes(
        self, values: Mapping[str, Any], nodes: Sequence[Any]
    ) -> dict[int, GraphLaunch[Allocation]] | None:
        """The launches that change, with their packed arguments; None where a value is no float, or its places were not seen."""
        known = self._known
        changed: dict[int, GraphLaunch[Allocation]] = {}
        for name, value in values.items():
            # numbers near the end of f32 are checked as any launch's are
            if value.__class__ is not float or name not in known or not -3e38 < value < 3e38:
                return None
            for number, places in known[name]:
                node = nodes[number]
                # of several names, those before have changed it already
                slots = list(changed[number].slots if number in changed else node.packed)
                for at in places:
                    slots[at] = value
                changed[number] = GraphLaunch(node.prepared, tuple(slots), node.after)
        return changed
