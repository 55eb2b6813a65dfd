"""Gangs: loops over those of a block or a tile, and the masks of their ragged ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.branches import flattens
from gpucore_cpu.spmd.coordinates import Coordinates
from gpucore_cpu.spmd.exits import Exits
from gpucore_cpu.spmd.plan import Plan, Region
from gpucore_cpu.spmd.records import Records
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements
from gpucore_cpu.spmd.types import ALL_ONES, scalar_type

__all__ = ["Gangs"]

COPY_LIMIT = 150
"""A body of more statements is emitted once, masked, and not a second time for gangs with all lanes active."""

_PURE = (ir.Const, ir.Op, ir.GetVar, ir.SetVar, ir.ThreadIndex, ir.Extent)


@dataclass(slots=True)
class _Current:
    """What is known of the gang under way.

    Attributes
    ----------
    left : str
        Threads from lane 0 to the end of the strip.
    guards : list
        Conditions that lanes must meet (or must not) and that are not in the mask yet.
    """

    left: str = ""
    guards: list[tuple[ir.Value, bool]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gangs:
    """Writes regions as loops over gangs."""

    state: FunctionState
    plan: Plan
    coordinates: Coordinates
    exits: Exits
    statements: Statements
    records: Records
    single: bool
    """Whether the function runs one gang, which its caller chooses: ``%x`` threads from the begin of the tile."""
    _current: _Current = field(default_factory=_Current)

    # -- strips
    def emit_tile(self, region: Region, begin: str, end: str) -> None:
        """Run a region in the gangs of a part of a row."""
        self._strip(region, begin, end, None)

    def emit_block(self, region: Region) -> None:
        """Run a region in the gangs of a block."""
        coordinates, writer = self.coordinates, self.state.writer
        if coordinates.layout == "linear":
            self._strip(region, "0", coordinates.threads, None)
            return
        dims, ndim = coordinates.dims, coordinates.ndim
        if ndim == 1:
            coordinates.rows = []
            self._strip(region, "0", dims[0], None)
            return
        counter = writer.alloca("i64", "row")
        writer.store("i64", "0", counter)
        head, done = writer.label("row"), writer.label("rows.done")
        writer.begin(head)
        with self.state.values.scope():
            row = writer.load("i64", counter)
            if ndim == 2:
                coordinates.rows = [row]
            else:
                coordinates.rows = [
                    writer.tmp(f"udiv i64 {row}, {dims[1]}"), writer.tmp(f"urem i64 {row}, {dims[1]}")
                ]  # fmt: skip
            self._strip(region, "0", dims[-1], row)
        following = writer.tmp(f"add i64 {row}, 1")
        writer.store("i64", following, counter)
        more = writer.tmp(f"icmp ult i64 {following}, {coordinates.rows_of_block}")
        writer.branch_if(more, head, done, ", !llvm.loop !1")
        writer.begin(done)

    def _strip(self, region: Region, begin: str, end: str, row: str | None) -> None:
        """Gangs from ``begin`` to ``end`` along the last axis; the last one may be ragged."""
        writer = self.state.writer
        if self.single:
            self._single(region, begin, end)
            return
        counter = writer.alloca("i64", "x")
        writer.store("i64", begin, counter)
        head, following, done = writer.label("gang"), writer.label("gang.next"), writer.label("gangs.done")
        writer.begin(head)
        with self.state.values.scope():
            self.coordinates.x = writer.load("i64", counter)
            self._current.left = writer.tmp(f"sub i64 {end}, {self.coordinates.x}")
            self.exits.label = following
            self._gang(region, row)
        writer.begin(following)
        stepped = writer.tmp(f"add i64 {writer.load('i64', counter)}, {self.state.types.width}")
        writer.store("i64", stepped, counter)
        more = writer.tmp(f"icmp slt i64 {stepped}, {end}")
        writer.branch_if(more, head, done, ", !llvm.loop !1")
        writer.begin(done)

    def _single(self, region: Region, begin: str, end: str) -> None:
        """The gang at ``%x``; none where the strip ends before it."""
        writer = self.state.writer
        head, done = writer.label("gang"), writer.label("gang.done")
        x = writer.tmp(f"add i64 {begin}, %x")
        writer.branch_if(writer.tmp(f"icmp slt i64 {x}, {end}"), head, done)
        writer.begin(head)
        with self.state.values.scope():
            self.coordinates.x = x
            self._current.left = writer.tmp(f"sub i64 {end}, {x}")
            self.exits.label = done
            self._gang(region, None)
        writer.begin(done)

    # -- one gang
    def _gang(self, region: Region, row: str | None) -> None:
        writer, masks, exits = self.state.writer, self.state.masks, self.exits
        masks.current = masks.present = None
        self._current.guards = []
        outside = exits.label
        if self.plan.multiple:
            self.records.find(row)
            if self.plan.keeps_live:
                alive = self.records.load_live()
                masks.current = masks.present = masks.both(self._existing(), alive)
                going = writer.label("alive")
                writer.branch_if(masks.any_lane(masks.current), going, outside)
                writer.begin(going)
            self.records.enter(region)
        exits.label = writer.label("gang.end")
        if self.state.analysis.returns or self.plan.keeps_live:
            exits.live = exits.live or writer.alloca(self.state.types.mask, "alive")
            if masks.current is not None:
                writer.store(self.state.types.mask, masks.current, exits.live)
        self._peel(tuple(region.statements), False)
        writer.begin(exits.label)
        if self.plan.multiple:
            self.records.leave(region)
            if self.plan.keeps_live:
                assert exits.live is not None
                self.records.store_live(writer.load(self.state.types.mask, exits.live))
        exits.label = outside
        masks.current = None

    def _existing(self) -> str:
        """The mask of lanes before the end of the strip."""
        writer, types = self.state.writer, self.state.types
        limits = [("i64", self._current.left), ("i64", str(types.width))]
        lanes = writer.intrinsic("llvm.umin.i64", "i64", limits)
        count = self.state.values.splat("i32", writer.tmp(f"trunc i64 {lanes} to i32"))
        return writer.tmp(f"icmp ult {types.vec('i32')} {types.iota('i32')}, {count}")

    def _force(self) -> str:
        """The mask as a vector, with all guards met so far."""
        masks = self.state.masks
        mask = masks.current
        if mask is None:
            mask = masks.present = self._existing()
        for condition, negated in self._current.guards:
            vector = self.state.values.vector(condition)
            mask = masks.without(mask, vector) if negated else masks.both(mask, vector)
        self._current.guards = []
        masks.current = mask
        return mask

    # -- guards
    def _peel(self, block: ir.Block, guarded: bool) -> None:
        """Fold leading guards into the gang's mask, then emit the rest twice: for a full mask, and for
        another.

        While the mask is None it is yet to be made, and what is emitted must be harmless in all lanes.
        """
        emit = self.statements.emit
        position = 0
        while position < len(block):
            statement = block[position]
            rest = block[position + 1 :]
            if isinstance(statement, _PURE) and not (guarded and _traps(statement)):
                if self._wants_mask(statement):
                    self._force()
                emit(statement)
            elif isinstance(statement, ir.If) and self._is_pure(statement):
                self._force()
                emit(statement)
            elif isinstance(statement, ir.If) and _is_return(statement):
                if self.state.values.shape(statement.condition) <= Shape.GANG:
                    if self.plan.keeps_live:
                        self._force()
                    emit(statement)
                else:
                    self._guard_return(statement.condition)
                    guarded = True
            elif isinstance(statement, ir.If) and not rest and not statement.orelse and statement.then:
                self._guard(statement, guarded)
                return
            else:
                break
            position += 1
        rest = block[position:]
        if rest and not self.state.writer.terminated:
            self._twice(rest, guarded)

    def _guard_return(self, condition: ir.Value) -> None:
        """Lanes that meet the condition return: it joins the guards, negated."""
        masks = self.state.masks
        # what guards came before says nothing about which lanes end here
        before = self._force() if self.plan.keeps_live else ""
        self._current.guards.append((condition, True))
        if self.plan.keeps_live:
            writer, live, kind = self.state.writer, self.exits.live, self.state.types.mask
            assert live is not None
            ended = masks.without(before, self._force())
            alive = masks.without(writer.load(kind, live), ended)
            writer.store(kind, alive, live)

    def _guard(self, statement: ir.If, guarded: bool) -> None:
        """A last If: its condition joins the mask."""
        writer, values = self.state.writer, self.state.values
        if values.shape(statement.condition) <= Shape.GANG:
            then, outside = writer.label("then"), writer.label("join")
            writer.branch_if(values.scalar(statement.condition), then, outside)
            writer.begin(then)
            with values.scope():
                self._peel(statement.then, guarded)
            writer.begin(outside)
            return
        self._current.guards.append((statement.condition, False))
        with values.scope():
            self._peel(statement.then, True)

    # -- full gangs and others
    def _twice(self, rest: ir.Block, guarded: bool) -> None:
        writer, masks, current = self.state.writer, self.state.masks, self._current
        kind, live = self.state.types.mask, self.exits.live
        outside = writer.label("body.done")
        if sum(1 for _ in ir.walk(rest)) <= COPY_LIMIT:
            full, masked = writer.label("full"), writer.label("masked")
            writer.branch_if(self._is_full(), full, masked)
            writer.begin(full)
            if live is not None:
                writer.store(kind, ALL_ONES, live)
            guards, mask = current.guards, masks.current
            self.statements.nested(rest, None)
            current.guards, masks.current = guards, mask
            writer.branch(outside)
            writer.begin(masked)
        with self.state.values.scope():
            mask = self._force()
            if guarded:
                going = writer.label("some")
                writer.branch_if(masks.any_lane(mask), going, outside)
                writer.begin(going)
            if live is not None and not self.plan.keeps_live:
                # lanes that a guard keeps out are done; where regions follow, they are not
                writer.store(kind, mask, live)
            self.statements.nested(rest, mask)
        writer.begin(outside)

    def _is_full(self) -> str:
        """Whether every lane takes part: by scalar tests where the guards allow, else from the mask."""
        writer, tests = self.state.writer, list[str]()
        if self.state.masks.current is None and all(
            self._scalar_test(c, n, tests) for c, n in self._current.guards
        ):
            result = writer.tmp(f"icmp sge i64 {self._current.left}, {self.state.types.width}")
            for test in tests:
                result = writer.tmp(f"and i1 {result}, {test}")
            return result
        return self.state.masks.all_lanes(self._force())

    def _scalar_test(self, condition: ir.Value, negated: bool, tests: list[str]) -> bool:
        """Append tests of the last lane that hold when a condition holds (or does not) in all lanes.

        A condition that was decided before a barrier may be at hand where its operands are not; the mask decides then.
        """
        writer, values = self.state.writer, self.state.values
        if values.shape(condition) <= Shape.GANG:
            if values.find(condition.name) is None:
                return False
            scalar = values.scalar(condition)
            tests.append(writer.tmp(f"xor i1 {scalar}, true") if negated else scalar)
            return True
        definition = self.state.analysis.definitions.get(condition.name)
        if not isinstance(definition, ir.Op):
            return False
        op, args = definition.op, definition.args
        if op == ("or" if negated else "and"):
            return all(self._scalar_test(a, negated, tests) for a in args)
        if op not in ("lt", "le", "gt", "ge") or not args[0].dtype.is_signed:
            return False
        low, high = args
        if op in ("gt", "ge"):  # a > b is b < a
            low, high = high, low
        strict = op in ("lt", "gt")
        if negated:  # not (low < high) is high <= low
            low, high, strict = high, low, not strict
        if values.shape(low) != Shape.AFFINE or values.shape(high) > Shape.GANG:
            return False
        if values.find(low.name) is None or values.find(high.name) is None:
            return False
        # in 64 bits, a lane number that wrapped fails the test and the mask decides
        kind = scalar_type(low.dtype)
        a, b = values.scalar(low), values.scalar(high)
        if kind != "i64":
            a, b = writer.tmp(f"sext {kind} {a} to i64"), writer.tmp(f"sext {kind} {b} to i64")
        last = writer.tmp(f"add nsw i64 {a}, {self.state.types.width - 1}")
        tests.append(writer.tmp(f"icmp {'slt' if strict else 'sle'} i64 {last}, {b}"))
        return True

    def _wants_mask(self, statement: ir.Stmt) -> bool:
        """Whether idle lanes must be known: a division could trap in them, or they keep a variable's
        value."""
        if isinstance(statement, ir.SetVar):
            return id(statement) in self.state.analysis.divergent_sets
        if not _traps(statement):
            return False
        result = ir.result_of(statement)
        return result is not None and self.state.values.shape(result) == Shape.VARYING

    def _is_pure(self, statement: ir.If) -> bool:
        return all(
            isinstance(inner, _PURE) and not _traps(inner) for inner in (*statement.then, *statement.orelse)
        ) and (self.state.values.shape(statement.condition) <= Shape.GANG or flattens(statement))


def _traps(statement: ir.Stmt) -> bool:
    """Whether a statement needs an active lane: a scalar division."""
    return isinstance(statement, ir.Op) and statement.op in ("quot.raw", "rem.raw")


def _is_return(statement: ir.If) -> bool:
    return not statement.orelse and len(statement.then) == 1 and isinstance(statement.then[0], ir.Return)
