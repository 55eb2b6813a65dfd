"""Gangs: how they lie in a block or a grid, the coordinates of their lanes, and the masks of their ragged
ends."""

from __future__ import annotations

from typing import Literal, TypeAlias

from gpucore import ir
from gpucore_cpu.spmd.analysis import Analysis, Shape
from gpucore_cpu.spmd.control import Lowerer
from gpucore_cpu.spmd.emitter import ModuleText
from gpucore_cpu.spmd.plan import Plan, Region
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["GangEmitter", "Layout"]

Layout: TypeAlias = Literal["flat", "rows", "linear"]
"""How gangs lie: ``flat`` along the last axis of the whole grid, for kernels that know of global ids only;
``rows`` along the last axis of a block; ``linear`` over the linear thread id, as subgroups want it."""

COPY_LIMIT = 150
"""A body of more statements is emitted once, masked, and not a second time for gangs with all lanes active."""

_PURE = (ir.Const, ir.Op, ir.GetVar, ir.SetVar, ir.ThreadIndex, ir.Extent)


class GangEmitter(Lowerer):
    """Emits regions as loops over gangs."""

    def __init__(
        self,
        text: ModuleText,
        analysis: Analysis,
        module: ir.Module,
        layout: Layout,
        plan: Plan,
        fixed_bytes: int,
    ) -> None:
        super().__init__(text, analysis)
        self.module = module
        self.layout = layout
        self.plan = plan
        self.fixed_bytes = fixed_bytes
        self.ndim = module.ndim
        self.used = frozenset(v.name for s in ir.walk(module.kernel.body) for v in ir.operands_of(s))
        self.extents: dict[tuple[str, int], str] = {}
        self.grid: list[str] = []
        self.dims: list[str] = []
        self.block_ids: list[str] = []
        self.rows: list[str] = []  # thread (flat: global) coordinates on all axes but the last
        self.x = ""  # that of lane 0 on the last axis; linear: the linear id
        self.record = ""  # the gang's context
        self.outer_loops: list[tuple[str, str]] = []
        self.guards = []
        self.next_unit = "unit.next"

    # -- coordinates
    def thread_index(self, statement: ir.ThreadIndex) -> str:
        """A coordinate: i64 inside, narrowed to the dtype asked for."""
        kind, axis = statement.kind, statement.axis
        last = axis == self.ndim - 1
        to = scalar_type(statement.result.dtype)
        if kind == "grid_dim":
            return self._narrow(self.grid[axis], to)
        if kind == "block_dim":
            return self._narrow(self.dims[axis], to)
        if kind == "block_id":
            return self._narrow(self.block_ids[axis], to)
        if self.layout == "linear" and self.ndim > 1:
            return self._linear_coordinate(kind, axis, to)
        coordinate = self.x if last else self.rows[axis]
        if kind == "global_id" and self.layout != "flat":
            base = self.tmp(f"mul i64 {self.block_ids[axis]}, {self.dims[axis]}")
            coordinate = self.tmp(f"add i64 {base}, {coordinate}")
        return self._narrow(coordinate, to)

    def _narrow(self, value: str, to: str) -> str:
        if to == "i64":
            return value
        narrow = self.tmp(f"trunc i64 {value} to {to}")
        if to == "i32":  # core keeps coordinates and extents in 32 bits only where they fit
            self.sources[narrow] = value
        return narrow

    def _linear_coordinate(self, kind: str, axis: int, to: str) -> str:
        """A thread coordinate of each lane from its linear id."""
        vector = self.vec("i32")
        linear = self.find("linear ids")
        if linear is None:
            base = self.splat("i32", self.tmp(f"trunc i64 {self.x} to i32"))
            linear = self.tmp(f"add {vector} {base}, {self.iota('i32')}")
            self.scopes[-1]["linear ids"] = linear
        inner = "1"
        for dim in self.dims[axis + 1 :]:
            inner = dim if inner == "1" else self.tmp(f"mul i64 {inner}, {dim}")
        quotient = linear if inner == "1" else self._quotient(linear, inner)
        if axis:
            over = self._quotient(quotient, self.dims[axis])
            size = self.splat("i32", self.tmp(f"trunc i64 {self.dims[axis]} to i32"))
            quotient = self.tmp(f"sub {vector} {quotient}, {self.tmp(f'mul {vector} {over}, {size}')}")
        if kind == "global_id":
            base64 = self.tmp(f"mul i64 {self.block_ids[axis]}, {self.dims[axis]}")
            wide = self.vec("i64")
            quotient = self.tmp(f"sext {vector} {quotient} to {wide}")
            quotient = self.tmp(f"add {wide} {quotient}, {self.splat('i64', base64)}")
            return quotient if to == "i64" else self.tmp(f"trunc {wide} {quotient} to {self.vec(to)}")
        if to == "i32":
            return quotient
        return self.tmp(f"{'sext' if to == 'i64' else 'trunc'} {vector} {quotient} to {self.vec(to)}")

    def _quotient(self, vector: str, divisor: str) -> str:
        """Division of small non-negative integers, exact in f32's wider brother."""
        ints, doubles = self.vec("i32"), self.vec("double")
        a = self.tmp(f"sitofp {ints} {vector} to {doubles}")
        b = self.splat("double", self.tmp(f"sitofp i64 {divisor} to double"))
        return self.tmp(f"fptosi {doubles} {self.tmp(f'fdiv {doubles} {a}, {b}')} to {ints}")

    def extent(self, statement: ir.Extent) -> str:
        """An extent: i64 in the arguments."""
        return self._narrow(
            self.extents[statement.memory.name, statement.axis], scalar_type(statement.result.dtype)
        )

    # -- gangs
    def gangs(self, region: Region) -> None:
        """Loop over the gangs of a block (or of a tile) and run a region in each."""
        if self.layout == "flat":
            self._strip(region, self.tile_begin, self.tile_end, None)
        elif self.layout == "linear":
            self._strip(region, "0", self.threads, None)
        else:
            self._rows_of_block(region)

    tile_begin = tile_end = threads = ""

    def _rows_of_block(self, region: Region) -> None:
        if self.ndim == 1:
            self.rows = []
            self._strip(region, "0", self.dims[0], None)
            return
        counter = self.alloca("i64", "row")
        self.store("i64", "0", counter)
        head, done = self.label("row"), self.label("rows.done")
        self.place(head)
        with self.scope():
            row = self.load("i64", counter)
            if self.ndim == 2:
                self.rows = [row]
            else:
                self.rows = [
                    self.tmp(f"udiv i64 {row}, {self.dims[1]}"), self.tmp(f"urem i64 {row}, {self.dims[1]}")
                ]  # fmt: skip
            self._strip(region, "0", self.dims[-1], row)
        following = self.tmp(f"add i64 {row}, 1")
        self.store("i64", following, counter)
        self.branch_if(
            self.tmp(f"icmp ult i64 {following}, {self.rows_total}"), head, done, ", !llvm.loop !1"
        )
        self.place(done)

    rows_total = ""

    def _strip(self, region: Region, begin: str, end: str, row: str | None) -> None:
        """Gangs from ``begin`` to ``end`` along the last axis; the last one may be ragged."""
        counter = self.alloca("i64", "x")
        self.store("i64", begin, counter)
        head, following, done = self.label("gang"), self.label("gang.next"), self.label("gangs.done")
        self.place(head)
        with self.scope():
            self.x = self.load("i64", counter)
            self.left = self.tmp(f"sub i64 {end}, {self.x}")
            self.exit_label = following
            self._gang(region, row)
        self.place(following)
        stepped = self.tmp(f"add i64 {self.load('i64', counter)}, {self.width}")
        self.store("i64", stepped, counter)
        self.branch_if(self.tmp(f"icmp slt i64 {stepped}, {end}"), head, done, ", !llvm.loop !1")
        self.place(done)

    left = ""
    guards: list[tuple[ir.Value, bool]]
    """Conditions that lanes must meet (or must not) and that are not in the mask yet."""

    def _valid(self) -> str:
        """The mask of lanes before the end of the strip."""
        lanes = self.intrinsic("llvm.umin.i64", "i64", [("i64", self.left), ("i64", str(self.width))])
        count = self.splat("i32", self.tmp(f"trunc i64 {lanes} to i32"))
        return self.tmp(f"icmp ult {self.vec('i32')} {self.iota('i32')}, {count}")

    def _gang(self, region: Region, row: str | None) -> None:
        self.mask = self.present = None
        self.guards = []
        outside = self.exit_label
        if self.plan.multiple:
            self._find_record(row)
            if self.plan.keeps_live:
                bits = self.load(f"i{self.width}", self._slot("live")[0])
                alive = self.tmp(f"bitcast i{self.width} {bits} to {self.mask_type}")
                self.mask = self.present = self.mask_and(self._valid(), alive)
                going = self.label("alive")
                self.branch_if(self.any_lane(self.mask), going, self.exit_label)
                self.place(going)
            self._prologue(region)
        self.exit_label = self.label("gang.end")
        if self.analysis.returns or self.plan.keeps_live:
            self.live = self.live or self.alloca(self.mask_type, "alive")
            if self.mask is not None:
                self.store(self.mask_type, self.mask, self.live)
        self._peel(tuple(region.statements), False)
        self.place(self.exit_label)
        if self.plan.multiple:
            self._epilogue(region)
        self.exit_label = outside
        self.mask = None

    def _force(self) -> str:
        """The mask as a vector, with all guards met so far."""
        mask = self.mask
        if mask is None:
            mask = self.present = self._valid()
        for condition, negated in self.guards:
            vector = self.vector(condition)
            mask = self.mask_and_not(mask, vector) if negated else self.mask_and(mask, vector)
        self.guards = []
        self.mask = mask
        return mask

    def _peel(self, block: ir.Block, guarded: bool) -> None:
        """Fold leading guards into the gang's mask, then emit the rest twice: for a full mask, and for
        another.

        While the mask is None it is yet to be made, and what is emitted must be harmless in all lanes.
        """
        position = 0
        while position < len(block):
            statement = block[position]
            rest = block[position + 1 :]
            if isinstance(statement, _PURE) and not (guarded and self._traps(statement)):
                if self._wants_mask(statement):
                    self._force()
                self.statement(statement)
            elif isinstance(statement, ir.If) and self._is_pure(statement):
                self._force()
                self.statement(statement)
            elif isinstance(statement, ir.If) and _is_return(statement):
                if self.shape(statement.condition) <= Shape.GANG:
                    if self.plan.keeps_live:
                        self._force()
                    self.statement(statement)
                else:
                    # what guards came before says nothing about which lanes end here
                    before = self._force() if self.plan.keeps_live else ""
                    self.guards.append((statement.condition, True))
                    if self.plan.keeps_live:
                        assert self.live is not None
                        ended = self.mask_and_not(before, self._force())
                        alive = self.mask_and_not(self.load(self.mask_type, self.live), ended)
                        self.store(self.mask_type, alive, self.live)
                    guarded = True
            elif isinstance(statement, ir.If) and not rest and not statement.orelse and statement.then:
                self._guard(statement, guarded)
                return
            else:
                break
            position += 1
        rest = block[position:]
        if rest and not self.terminated:
            self._twice(rest, guarded)

    def _twice(self, rest: ir.Block, guarded: bool) -> None:
        outside = self.label("body.done")
        if sum(1 for _ in ir.walk(rest)) <= COPY_LIMIT:
            full, masked = self.label("full"), self.label("masked")
            self.branch_if(self._full(), full, masked)
            self.place(full)
            if self.live is not None:
                self.store(self.mask_type, self.all_ones, self.live)
            guards, mask = self.guards, self.mask
            self.nested(rest, None)
            self.guards, self.mask = guards, mask
            self.branch(outside)
            self.place(masked)
        with self.scope():
            mask = self._force()
            if guarded:
                going = self.label("some")
                self.branch_if(self.any_lane(mask), going, outside)
                self.place(going)
            if self.live is not None and not self.plan.keeps_live:
                # lanes that a guard keeps out are done; where regions follow, they are not
                self.store(self.mask_type, mask, self.live)
            self.nested(rest, mask)
        self.place(outside)

    def _full(self) -> str:
        """Whether every lane takes part: by scalar tests where the guards allow, else from the mask."""
        tests: list[str] = []
        if self.mask is None and all(self._scalar_test(c, n, tests) for c, n in self.guards):
            result = self.tmp(f"icmp sge i64 {self.left}, {self.width}")
            for test in tests:
                result = self.tmp(f"and i1 {result}, {test}")
            return result
        return self.all_lanes(self._force())

    def _scalar_test(self, condition: ir.Value, negated: bool, tests: list[str]) -> bool:
        """Append tests of the last lane that hold when a condition holds (or does not) in all lanes.

        A condition that was decided before a barrier may be at hand where its operands are not; the mask decides then.
        """
        if self.shape(condition) <= Shape.GANG:
            if self.find(condition.name) is None:
                return False
            scalar = self.scalar(condition)
            tests.append(self.tmp(f"xor i1 {scalar}, true") if negated else scalar)
            return True
        definition = self.analysis.definitions.get(condition.name)
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
        if self.shape(low) != Shape.AFFINE or self.shape(high) > Shape.GANG:
            return False
        if self.find(low.name) is None or self.find(high.name) is None:
            return False
        # in 64 bits, a lane number that wrapped fails the test and the mask decides
        kind = scalar_type(low.dtype)
        a, b = self.raw(low), self.raw(high)
        if kind != "i64":
            a, b = self.tmp(f"sext {kind} {a} to i64"), self.tmp(f"sext {kind} {b} to i64")
        last = self.tmp(f"add nsw i64 {a}, {self.width - 1}")
        tests.append(self.tmp(f"icmp {'slt' if strict else 'sle'} i64 {last}, {b}"))
        return True

    def _guard(self, statement: ir.If, guarded: bool) -> None:
        """A last If: its condition joins the mask."""
        if self.shape(statement.condition) <= Shape.GANG:
            then, outside = self.label("then"), self.label("join")
            self.branch_if(self.scalar(statement.condition), then, outside)
            self.place(then)
            with self.scope():
                self._peel(statement.then, guarded)
            self.place(outside)
            return
        self.guards.append((statement.condition, False))
        with self.scope():
            self._peel(statement.then, True)

    def _wants_mask(self, statement: ir.Stmt) -> bool:
        """Whether idle lanes must be known: a division could trap in them, or they keep a variable's
        value."""
        if isinstance(statement, ir.SetVar):
            return id(statement) in self.analysis.divergent_sets
        return self._traps(statement) and self.shape(ir.result_of(statement)) == Shape.VARYING  # type: ignore[arg-type]

    def _traps(self, statement: ir.Stmt) -> bool:
        """Whether a statement needs an active lane: a scalar division."""
        return isinstance(statement, ir.Op) and statement.op in ("quot.raw", "rem.raw")

    def _is_pure(self, statement: ir.If) -> bool:
        return all(
            isinstance(inner, _PURE) and not self._traps(inner)
            for inner in (*statement.then, *statement.orelse)
        ) and (self.shape(statement.condition) <= Shape.GANG or self._flattens(statement))

    # -- what lives across regions; see KernelEmitter
    def _find_record(self, row: str | None) -> None:
        raise NotImplementedError

    def _slot(self, key: str) -> tuple[str, str]:
        raise NotImplementedError

    def _prologue(self, region: Region) -> None:
        raise NotImplementedError

    def _epilogue(self, region: Region) -> None:
        raise NotImplementedError


def _is_return(statement: ir.If) -> bool:
    return not statement.orelse and len(statement.then) == 1 and isinstance(statement.then[0], ir.Return)
