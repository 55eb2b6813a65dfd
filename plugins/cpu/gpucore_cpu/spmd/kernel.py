"""The kernel itself: regions in a block, blocks in a grid, and the two entry points.

Entry points of the object, ``@NAME(ptr args)`` and ``@NAME.range(ptr args, i64 begin, i64 end, ptr
scratch)``, run all units of work or some of them.  ``args`` is an array of 8-byte words: the address of the
launch header, the address of scratch memory for the first entry point, then the parameters (a pointer and
the extents that the kernel reads for an array).  The header holds the number of units, the tile of a unit,
the tiles of a row, then grid and block, and after them 0 if arrays may be written past the caches, else 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.coordinates import Coordinates
from gpucore_cpu.spmd.gangs import Gangs
from gpucore_cpu.spmd.loops import Counting
from gpucore_cpu.spmd.plan import Item, Outer, OuterIf, OuterLoop, Plan, Region
from gpucore_cpu.spmd.records import Records
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["HEADER_WORDS", "Kernel"]

HEADER_WORDS = 3


@dataclass(slots=True)
class _Labels:
    """Where jumps outside of regions go: to the next unit, and out of the loops around (break, continue)."""

    next_unit: str = ""
    loops: list[tuple[str, str]] = field(default_factory=list)
    tile: tuple[str, str] = ("", "")
    """Begin and end of the tile under way."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Writes the function that runs a range of units."""

    state: FunctionState
    plan: Plan
    coordinates: Coordinates
    statements: Statements
    records: Records
    gangs: Gangs
    _labels: _Labels = field(default_factory=_Labels)

    # -- units
    def emit_gang(self) -> None:
        """Run one gang of the unit ``%unit``."""
        self._labels.next_unit = self.state.writer.label("unit.next")
        with self.state.values.scope():
            self._decode_tile("%unit")
            self._items(self.plan.items)
        self.state.writer.begin(self._labels.next_unit)
        self.state.writer.line("ret void")

    def emit_units(self) -> None:
        """Loop over the units of work from ``%begin`` to ``%end``."""
        writer, labels = self.state.writer, self._labels
        counter = writer.alloca("i64", "unit")
        writer.store("i64", "%begin", counter)
        some = writer.tmp("icmp slt i64 %begin, %end")
        head, done = writer.label("unit"), writer.label("units.done")
        labels.next_unit = writer.label("unit.next")
        writer.branch_if(some, head, done)
        writer.begin(head)
        with self.state.values.scope():
            unit = writer.load("i64", counter)
            if self.coordinates.layout == "flat":
                self._decode_tile(unit)
            else:
                self._decode_block(unit)
            if self.plan.keeps_live:
                self.records.revive()
            self._items(self.plan.items)
        writer.begin(labels.next_unit)
        following = writer.tmp(f"add i64 {writer.load('i64', counter)}, 1")
        writer.store("i64", following, counter)
        more = writer.tmp(f"icmp slt i64 {following}, %end")
        writer.branch_if(more, head, done, ", !llvm.loop !1")
        writer.begin(done)
        if self.state.text.streamed:
            self._fence_streams()
        writer.line("ret void")

    def _fence_streams(self) -> None:
        """Stores past the caches are weakly ordered: let none be outstanding when the units are reported
        done."""
        writer = self.state.writer
        fence, done = writer.label("fence"), writer.label("fenced")
        writer.branch_if(writer.tmp("icmp eq i64 %cached, 0"), fence, done)
        writer.begin(fence)
        writer.intrinsic_void("llvm.x86.sse.sfence", [])
        writer.begin(done)

    def _decode_tile(self, unit: str) -> None:
        """A tile of a row of the whole grid: blocks do not matter."""
        tmp, coordinates = self.state.writer.tmp, self.coordinates
        grid, dims, ndim = coordinates.grid, coordinates.dims, coordinates.ndim
        row = tile = unit
        if ndim > 1:
            row = tmp(f"udiv i64 {unit}, %tiles")
            tile = tmp(f"urem i64 {unit}, %tiles")
        total = tmp(f"mul i64 {grid[-1]}, {dims[-1]}")
        begin = tmp(f"mul i64 {tile}, %tile")
        last = tmp(f"add i64 {begin}, %tile")
        end = self.state.writer.intrinsic("llvm.smin.i64", "i64", [("i64", last), ("i64", total)])
        self._labels.tile = (begin, end)
        if ndim == 2:
            coordinates.rows = [row]
        elif ndim == 3:
            height = tmp(f"mul i64 {grid[1]}, {dims[1]}")
            coordinates.rows = [tmp(f"udiv i64 {row}, {height}"), tmp(f"urem i64 {row}, {height}")]

    def _decode_block(self, unit: str) -> None:
        tmp, coordinates = self.state.writer.tmp, self.coordinates
        ids: list[str] = []
        left = unit
        for axis in range(coordinates.ndim - 1, 0, -1):
            ids.append(tmp(f"urem i64 {left}, {coordinates.grid[axis]}"))
            left = tmp(f"udiv i64 {left}, {coordinates.grid[axis]}")
        coordinates.block_ids = [*reversed([*ids, left])]

    # -- regions and what stands around them
    def _items(self, items: list[Item]) -> None:
        for item in items:
            match item:
                case Region():
                    with self.state.values.scope():
                        if self.coordinates.layout == "flat":
                            self.gangs.emit_tile(item, *self._labels.tile)
                        else:
                            self.gangs.emit_block(item)
                case Outer(statement=statement):
                    self._outer(statement)
                case OuterIf():
                    self._outer_if(item)
                case OuterLoop():
                    self._outer_loop(item)
            if self.state.writer.terminated:
                return

    def _outer(self, statement: ir.Stmt) -> None:
        writer, labels = self.state.writer, self._labels
        match statement:
            case ir.Break():
                writer.branch(labels.loops[-1][0])
            case ir.Continue():
                writer.branch(labels.loops[-1][1])
            case ir.Return():
                writer.branch(labels.next_unit)
            case _:
                self.state.masks.current = None
                self.statements.write(statement)

    def _agreed(self, value: ir.Value) -> str:
        """A value on which all threads agree: where that is not proven, the first thread's."""
        if self.state.values.shape(value) == Shape.UNIFORM:
            return self.state.values.scalar(value)
        return self.records.first_threads(value)

    def _outer_if(self, item: OuterIf) -> None:
        writer = self.state.writer
        then, orelse, join = writer.label("then"), writer.label("else"), writer.label("join")
        writer.branch_if(self._agreed(item.statement.condition), then, orelse)
        for label, items in ((then, item.then), (orelse, item.orelse)):
            writer.begin(label)
            with self.state.values.scope():
                self._items(items)
            writer.branch(join)
        writer.begin(join)

    def _outer_loop(self, item: OuterLoop) -> None:
        writer, loop = self.state.writer, item.statement
        body, following, done = writer.label("loop"), writer.label("continue"), writer.label("break")
        self._labels.loops.append((done, following))
        with self.state.values.scope():
            if isinstance(loop, ir.While):
                self._outer_while(loop, item, body, following, done)
            else:
                self._outer_for(loop, item, body, following, done)
        self._labels.loops.pop()
        writer.begin(done)

    def _outer_while(self, loop: ir.While, item: OuterLoop, body: str, following: str, done: str) -> None:
        writer = self.state.writer
        writer.begin(following)
        self._items(item.header)
        writer.branch_if(self._agreed(loop.condition), body, done)
        writer.begin(body)
        with self.state.values.scope():
            self._items(item.body)
        writer.branch(following)

    def _outer_for(self, loop: ir.For, item: OuterLoop, body: str, following: str, done: str) -> None:
        writer, values = self.state.writer, self.state.values
        kind = scalar_type(loop.variable.dtype)
        start, stop, step = map(self._agreed, (loop.start, loop.stop, loop.step))
        counting = Counting(writer, kind, "i1", stop, step, values.constant(loop.step))
        counter = writer.alloca(kind, "counter")
        writer.store(kind, start, counter)
        writer.branch_if(counting.before_stop(start), body, done)
        writer.begin(body)
        with values.scope():
            values.define(loop.variable, writer.load(kind, counter))
            self._items(item.body)
        writer.begin(following)
        value = writer.load(kind, counter)
        going = counting.steps_on(value)
        writer.store(kind, writer.tmp(f"add {kind} {value}, {step}"), counter)
        writer.branch_if(going, body, done)
