"""The kernel itself: regions in a block, blocks in a grid, and the two entry points.

Entry points of the object, ``@NAME(ptr args)`` and ``@NAME.range(ptr args, i64 begin, i64 end, ptr
scratch)``, run all units of work or some of them.  ``args`` is an array of 8-byte words: the address of the
launch header, the address of scratch memory for the first entry point, then the parameters (a pointer and
the extents that the kernel reads for an array).  The header holds the number of units, the tile of a unit,
the tiles of a row, then grid and block, and after them 0 if arrays may be written past the caches, else 1.
"""

from __future__ import annotations

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.control import before_stop, constant_value, steps_on
from gpucore_cpu.spmd.functions import emit_constant_memories, place_local
from gpucore_cpu.spmd.gangs import GangEmitter
from gpucore_cpu.spmd.plan import Item, Outer, OuterIf, OuterLoop, Region
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["HEADER_WORDS", "KernelEmitter"]

HEADER_WORDS = 3


class KernelEmitter(GangEmitter):
    """Emits the function that runs a range of units."""

    # -- regions
    def statement(self, statement: ir.Stmt) -> None:
        """Emit a statement; a value that another region wants is kept in the gang's record."""
        super().statement(statement)
        if self.plan.multiple:
            self._keep(statement)

    kept: frozenset[str] = frozenset()

    def _keep(self, statement: ir.Stmt) -> None:
        result = ir.result_of(statement)
        if result is None or result.name not in self.kept or isinstance(statement, ir.For):
            return
        address, kind = self._slot(f"%{result.name}")
        self._store_slot(kind, self.raw(result), address)

    def _find_record(self, row: str | None) -> None:
        number = self.tmp(f"udiv i64 {self.x}, {self.width}")
        if row is not None:
            number = self.tmp(f"add i64 {number}, {self.tmp(f'mul i64 {row}, {self.gangs_per_row}')}")
        offset = self.tmp(f"mul i64 {number}, {self.plan.context.size}")
        offset = self.tmp(f"add i64 {offset}, {self.fixed_bytes}")
        self.record = self.tmp(f"getelementptr i8, ptr %scratch, i64 {offset}")

    gangs_per_row = ""

    def _slot(self, key: str) -> tuple[str, str]:
        offset, kind = self.plan.context.slots[key]
        return self.tmp(f"getelementptr i8, ptr {self.record}, i64 {offset}"), kind

    def _load_slot(self, kind: str, address: str) -> str:
        if kind == self.mask_type:
            bits = self.load(f"i{self.width}", address)
            return self.tmp(f"bitcast i{self.width} {bits} to {kind}")
        return self.load(kind, address)

    def _store_slot(self, kind: str, value: str, address: str) -> None:
        if kind == self.mask_type:
            self.store(f"i{self.width}", self.mask_bits(value), address)
        else:
            self.store(kind, value, address)

    def _prologue(self, region: Region) -> None:
        self.kept = frozenset(region.stored)
        for name in region.imported:
            self._import(name)
        slots = self.plan.context.slots
        for variable in self.module.kernel.variables:
            key = f"!{variable.name}"
            if key in slots and variable.name in region.gets | region.sets:
                address, kind = self._slot(key)
                self.store(kind, self._load_slot(kind, address), self.variable(variable)[0])
        for memory in self.module.kernel.memories:
            if f"&{memory.name}" in slots and memory.name in region.memories:
                self.memories[memory.name] = self._slot(f"&{memory.name}")[0]

    def _import(self, name: str) -> None:
        if self.find(name) is not None:
            return
        if f"%{name}" in self.plan.context.slots:
            address, kind = self._slot(f"%{name}")
            self.scopes[-1][name] = self._load_slot(kind, address)
            return
        statement = self.analysis.definitions[name]
        for value in ir.operands_of(statement):
            self._import(value.name)
        super().statement(statement)

    def _epilogue(self, region: Region) -> None:
        slots = self.plan.context.slots
        for variable in self.module.kernel.variables:
            key = f"!{variable.name}"
            if key in slots and variable.name in region.sets:
                address, kind = self._slot(key)
                self._store_slot(kind, self.load(kind, self.variable(variable)[0]), address)
        if self.plan.keeps_live:
            assert self.live is not None
            bits = self.mask_bits(self.load(self.mask_type, self.live))
            self.store(f"i{self.width}", bits, self._slot("live")[0])

    def items(self, items: list[Item]) -> None:
        """Emit regions and what stands around them."""
        for item in items:
            match item:
                case Region():
                    with self.scope():
                        self.gangs(item)
                case Outer(statement=statement):
                    self._outer(statement)
                case OuterIf():
                    self._outer_if(item)
                case OuterLoop():
                    self._outer_loop(item)
            if self.terminated:
                return

    def _outer(self, statement: ir.Stmt) -> None:
        match statement:
            case ir.Break():
                self.branch(self.outer_loops[-1][0])
            case ir.Continue():
                self.branch(self.outer_loops[-1][1])
            case ir.Return():
                self.branch(self.next_unit)
            case _:
                self.mask = None
                super().statement(statement)

    def _agreed(self, value: ir.Value) -> str:
        """A value on which all threads agree: where that is not proven, the first thread's."""
        if self.shape(value) == Shape.UNIFORM:
            return self.scalar(value)
        offset, kind = self.plan.context.slots[f"%{value.name}"]
        address = self.tmp(f"getelementptr i8, ptr %scratch, i64 {self.fixed_bytes + offset}")
        loaded = self._load_slot(kind, address)
        return self.tmp(f"extractelement {kind} {loaded}, i64 0") if kind.startswith("<") else loaded

    def _outer_if(self, item: OuterIf) -> None:
        then, orelse, join = self.label("then"), self.label("else"), self.label("join")
        self.branch_if(self._agreed(item.statement.condition), then, orelse)
        for label, items in ((then, item.then), (orelse, item.orelse)):
            self.place(label)
            with self.scope():
                self.items(items)
            self.branch(join)
        self.place(join)

    def _outer_loop(self, item: OuterLoop) -> None:
        loop = item.statement
        body, following, done = self.label("loop"), self.label("continue"), self.label("break")
        self.outer_loops.append((done, following))
        with self.scope():
            if isinstance(loop, ir.While):
                self.place(following)
                self.items(item.header)
                self.branch_if(self._agreed(loop.condition), body, done)
                self.place(body)
                with self.scope():
                    self.items(item.body)
                self.branch(following)
            else:
                kind = scalar_type(loop.variable.dtype)
                start, stop, step = map(self._agreed, (loop.start, loop.stop, loop.step))
                sign = constant_value(self, loop.step)
                counter = self.alloca(kind, "counter")
                self.store(kind, start, counter)
                self.branch_if(before_stop(self, kind, False, start, stop, step, sign), body, done)
                self.place(body)
                with self.scope():
                    self.define(loop.variable, self.load(kind, counter))
                    self.items(item.body)
                self.place(following)
                value = self.load(kind, counter)
                going = steps_on(self, kind, False, value, stop, step, sign)
                self.store(kind, self.tmp(f"add {kind} {value}, {step}"), counter)
                self.branch_if(going, body, done)
        self.outer_loops.pop()
        self.place(done)

    # -- units
    def units(self) -> None:
        """Loop over the units of work from ``%begin`` to ``%end``."""
        counter = self.alloca("i64", "unit")
        self.store("i64", "%begin", counter)
        some = self.tmp("icmp slt i64 %begin, %end")
        head, done = self.label("unit"), self.label("units.done")
        self.next_unit = self.label("unit.next")
        self.branch_if(some, head, done)
        self.place(head)
        with self.scope():
            unit = self.load("i64", counter)
            if self.layout == "flat":
                self._decode_tile(unit)
            else:
                self._decode_block(unit)
            if self.plan.keeps_live:
                self._revive()
            self.items(self.plan.items)
        self.place(self.next_unit)
        following = self.tmp(f"add i64 {self.load('i64', counter)}, 1")
        self.store("i64", following, counter)
        self.branch_if(self.tmp(f"icmp slt i64 {following}, %end"), head, done, ", !llvm.loop !1")
        self.place(done)
        if self.text.streamed:
            self._fence_streams()
        self.line("ret void")

    def _fence_streams(self) -> None:
        """Stores past the caches are weakly ordered: let none be outstanding when the units are reported
        done."""
        fence, done = self.label("fence"), self.label("fenced")
        self.branch_if(self.tmp("icmp eq i64 %cached, 0"), fence, done)
        self.place(fence)
        self.intrinsic_void("llvm.x86.sse.sfence", [])
        self.place(done)

    def _decode_tile(self, unit: str) -> None:
        """A tile of a row of the whole grid: blocks do not matter."""
        row = unit
        tile = unit
        if self.ndim > 1:
            row = self.tmp(f"udiv i64 {unit}, %tiles")
            tile = self.tmp(f"urem i64 {unit}, %tiles")
        total = self.tmp(f"mul i64 {self.grid[-1]}, {self.dims[-1]}")
        self.tile_begin = self.tmp(f"mul i64 {tile}, %tile")
        last = self.tmp(f"add i64 {self.tile_begin}, %tile")
        self.tile_end = self.intrinsic("llvm.smin.i64", "i64", [("i64", last), ("i64", total)])
        if self.ndim == 2:
            self.rows = [row]
        elif self.ndim == 3:
            height = self.tmp(f"mul i64 {self.grid[1]}, {self.dims[1]}")
            self.rows = [self.tmp(f"udiv i64 {row}, {height}"), self.tmp(f"urem i64 {row}, {height}")]

    def _decode_block(self, unit: str) -> None:
        ids: list[str] = []
        left = unit
        for axis in range(self.ndim - 1, 0, -1):
            ids.append(self.tmp(f"urem i64 {left}, {self.grid[axis]}"))
            left = self.tmp(f"udiv i64 {left}, {self.grid[axis]}")
        self.block_ids = [*reversed([*ids, left])]

    def _revive(self) -> None:
        """Mark all lanes of all gangs as running."""
        total = self.gangs_per_row
        if self.layout == "rows" and self.ndim > 1:
            total = self.tmp(f"mul i64 {total}, {self.rows_total}")
        counter = self.alloca("i64", "gang")
        self.store("i64", "0", counter)
        head, done = self.label("revive"), self.label("revived")
        self.place(head)
        number = self.load("i64", counter)
        offset = self.plan.context.slots["live"][0] + self.fixed_bytes
        address = self.tmp(f"mul i64 {number}, {self.plan.context.size}")
        address = self.tmp(f"getelementptr i8, ptr %scratch, i64 {address}")
        address = self.tmp(f"getelementptr i8, ptr {address}, i64 {offset}")
        self.store(f"i{self.width}", "-1", address)
        following = self.tmp(f"add i64 {number}, 1")
        self.store("i64", following, counter)
        self.branch_if(self.tmp(f"icmp slt i64 {following}, {total}"), head, done)
        self.place(done)

    def sizes(self) -> None:
        """Figures of the block that do not change within a launch."""
        self.threads = self.dims[0]
        for dim in self.dims[1:]:
            self.threads = self.tmp(f"mul i64 {self.threads}, {dim}")
        self.rows_total = "1"
        for dim in self.dims[:-1]:
            self.rows_total = dim if self.rows_total == "1" else self.tmp(f"mul i64 {self.rows_total}, {dim}")
        along = self.threads if self.layout == "linear" else self.dims[-1]
        padded = self.tmp(f"add i64 {along}, {self.width - 1}")
        self.gangs_per_row = self.tmp(f"udiv i64 {padded}, {self.width}")

    def set_memories(self, shared_offsets: dict[str, int]) -> None:
        """Addresses of shared, local and const memories."""
        kernel = self.module.kernel
        emit_constant_memories(self.text, kernel.memories, self.memories)
        for memory in kernel.memories:
            if memory.space == "shared":
                offset = shared_offsets[memory.name]
                self.memories[memory.name] = self.tmp(f"getelementptr i8, ptr %scratch, i64 {offset}")
            elif memory.space == "local" and f"&{memory.name}" not in self.plan.context.slots:
                self.memories[memory.name] = place_local(self, kernel, memory)
