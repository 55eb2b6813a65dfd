"""Records: what a gang keeps between regions, in scratch memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpucore import ir
from gpucore_cpu.spmd.coordinates import Coordinates
from gpucore_cpu.spmd.plan import Plan, Region
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements
from gpucore_cpu.spmd.variables import Variables

__all__ = ["Records"]


@dataclass(slots=True)
class _Current:
    """The record of the gang under way, and the values of its region that are kept in it."""

    address: str = ""
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Records:
    """Writes what keeps values, variables, local memories and live lanes from one region to the next.

    Attributes
    ----------
    start : int
        Bytes of scratch memory before the records.
    """

    state: FunctionState
    plan: Plan
    coordinates: Coordinates
    statements: Statements
    variables: Variables
    start: int
    _current: _Current = field(default_factory=_Current)

    # -- the record of a gang
    def find(self, row: str | None) -> None:
        """Work out where the record of the gang under way lies."""
        tmp = self.state.writer.tmp
        number = tmp(f"udiv i64 {self.coordinates.x}, {self.state.types.width}")
        if row is not None:
            number = tmp(f"add i64 {number}, {tmp(f'mul i64 {row}, {self.coordinates.gangs_of_row}')}")
        offset = tmp(f"mul i64 {number}, {self.plan.context.size}")
        offset = tmp(f"add i64 {offset}, {self.start}")
        self._current.address = tmp(f"getelementptr i8, ptr %scratch, i64 {offset}")

    def _field(self, key: str) -> tuple[str, str]:
        """Address and LLVM type of a field of the record."""
        offset, kind = self.plan.context.fields[key]
        return self.state.writer.tmp(f"getelementptr i8, ptr {self._current.address}, i64 {offset}"), kind

    def _load(self, kind: str, address: str) -> str:
        writer, types = self.state.writer, self.state.types
        if kind == types.mask:
            return writer.tmp(f"bitcast {types.bits} {writer.load(types.bits, address)} to {kind}")
        return writer.load(kind, address)

    def _store(self, kind: str, value: str, address: str) -> None:
        writer, types = self.state.writer, self.state.types
        if kind == types.mask:
            writer.store(types.bits, self.state.masks.bits(value), address)
        else:
            writer.store(kind, value, address)

    def first_threads(self, value: ir.Value) -> str:
        """A value as the first thread of the block keeps it."""
        offset, kind = self.plan.context.fields[f"%{value.name}"]
        address = self.state.writer.tmp(f"getelementptr i8, ptr %scratch, i64 {self.start + offset}")
        loaded = self._load(kind, address)
        if not kind.startswith("<"):
            return loaded
        return self.state.writer.tmp(f"extractelement {kind} {loaded}, i64 0")

    # -- live lanes
    def load_live(self) -> str:
        """The mask of lanes that have not returned in an earlier region."""
        writer, types = self.state.writer, self.state.types
        bits = writer.load(types.bits, self._field("live")[0])
        return writer.tmp(f"bitcast {types.bits} {bits} to {types.mask}")

    def store_live(self, mask: str) -> None:
        """Keep the mask of lanes that have not returned."""
        bits = self.state.masks.bits(mask)
        self.state.writer.store(self.state.types.bits, bits, self._field("live")[0])

    def revive(self) -> None:
        """Mark all lanes of all gangs as running."""
        writer, coordinates = self.state.writer, self.coordinates
        total = coordinates.gangs_of_row
        if coordinates.layout == "rows" and coordinates.ndim > 1:
            total = writer.tmp(f"mul i64 {total}, {coordinates.rows_of_block}")
        counter = writer.alloca("i64", "gang")
        writer.store("i64", "0", counter)
        head, done = writer.label("revive"), writer.label("revived")
        writer.begin(head)
        number = writer.load("i64", counter)
        offset = self.plan.context.fields["live"][0] + self.start
        address = writer.tmp(f"mul i64 {number}, {self.plan.context.size}")
        address = writer.tmp(f"getelementptr i8, ptr %scratch, i64 {address}")
        address = writer.tmp(f"getelementptr i8, ptr {address}, i64 {offset}")
        writer.store(self.state.types.bits, "-1", address)
        following = writer.tmp(f"add i64 {number}, 1")
        writer.store("i64", following, counter)
        writer.branch_if(writer.tmp(f"icmp slt i64 {following}, {total}"), head, done)
        writer.begin(done)

    # -- around a region
    def enter(self, region: Region) -> None:
        """Bring in what a region uses and another made."""
        self._current.kept = frozenset(region.stored)
        for name in region.imported:
            self._import(name)
        fields, function = self.plan.context.fields, self.state.function
        for variable in function.variables:
            key = f"!{variable.name}"
            if key in fields and variable.name in region.gets | region.sets:
                address, kind = self._field(key)
                self.state.writer.store(kind, self._load(kind, address), self.variables.address(variable)[0])
        for memory in function.memories:
            if f"&{memory.name}" in fields and memory.name in region.memories:
                self.state.memories[memory.name] = self._field(f"&{memory.name}")[0]

    def _import(self, name: str) -> None:
        values = self.state.values
        if values.find(name) is not None:
            return
        if f"%{name}" in self.plan.context.fields:
            address, kind = self._field(f"%{name}")
            values.keep(name, self._load(kind, address))
            return
        statement = self.state.analysis.definitions[name]
        for value in ir.operands_of(statement):
            self._import(value.name)
        self.statements.write(statement)

    def keep(self, statement: ir.Stmt) -> None:
        """Keep the result of a statement that another region wants."""
        result = ir.result_of(statement)
        if result is None or result.name not in self._current.kept or isinstance(statement, ir.For):
            return
        address, kind = self._field(f"%{result.name}")
        self._store(kind, self.state.values.scalar(result), address)

    def leave(self, region: Region) -> None:
        """Keep the variables that a region has set."""
        for variable in self.state.function.variables:
            key = f"!{variable.name}"
            if key in self.plan.context.fields and variable.name in region.sets:
                address, kind = self._field(key)
                value = self.state.writer.load(kind, self.variables.address(variable)[0])
                self._store(kind, value, address)
