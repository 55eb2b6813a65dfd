"""Splitting a kernel at its barriers.

A block of threads runs on one CPU thread as a loop over gangs.  Where a kernel has barriers, each maximal
stretch of statements without one becomes a :class:`Region`, a gang loop of its own; control flow around
barriers, which every thread of a block takes alike, runs once a block.  Values and variables that several
regions use live in a context record of each gang, save those that are cheaper to compute again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from gpucore import ir
from gpucore_cpu.spmd.analysis import Analysis, Shape, contains_barrier, is_outer
from gpucore_cpu.spmd.types import scalar_type, vector_type

__all__ = ["Context", "Item", "Outer", "OuterIf", "OuterLoop", "Plan", "Region", "make_plan"]

REMATERIALISE_DEPTH = 8


@dataclass(slots=True, eq=False)
class Region:
    """Statements without a barrier: one loop over gangs."""

    statements: list[ir.Stmt]
    defines: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    gets: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)
    memories: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    """Values defined here that another region, or the code around, wants."""
    imported: list[str] = field(default_factory=list)
    """Values defined elsewhere that are loaded or computed again here."""


@dataclass(slots=True, eq=False)
class Outer:
    """One statement that runs once a block: a uniform computation, or a jump."""

    statement: ir.Stmt


@dataclass(slots=True, eq=False)
class OuterIf:
    """A branch that all threads of a block take alike."""

    statement: ir.If
    then: list[Item]
    orelse: list[Item]


@dataclass(slots=True, eq=False)
class OuterLoop:
    """A loop that all threads of a block run alike; ``header`` is that of a While."""

    statement: ir.For | ir.While
    header: list[Item]
    body: list[Item]


Item: TypeAlias = Region | Outer | OuterIf | OuterLoop


@dataclass(slots=True)
class Context:
    """The record of a gang: offsets and LLVM types of what lives across regions."""

    size: int = 0
    fields: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, key: str, kind: str, nbytes: int) -> None:
        """Reserve a field; vectors are aligned to a cache line."""
        align = min(64, 1 << max(0, nbytes - 1).bit_length())
        offset = -(-self.size // align) * align
        self.fields[key] = (offset, kind)
        self.size = offset + nbytes


@dataclass(slots=True)
class Plan:
    """The regions of a kernel and what crosses between them."""

    items: list[Item]
    context: Context = field(default_factory=Context)
    multiple: bool = False
    """Whether the kernel has barriers, so that gangs meet between regions."""
    keeps_live: bool = False
    """Whether a thread may return in one region while others come after."""


class _Planner:
    def __init__(self, kernel: ir.Function, analysis: Analysis, width: int) -> None:
        self.kernel = kernel
        self.analysis = analysis
        self.width = width
        self.regions: list[Region] = []

    # -- partition
    def partition(self, block: ir.Block, in_loop: bool) -> list[Item]:
        items: list[Item] = []
        pending: list[ir.Stmt] = []

        def flush() -> None:
            if pending:
                region = Region(list(pending))
                self.regions.append(region)
                items.append(region)
                pending.clear()

        for statement in block:
            match statement:
                case ir.Barrier():
                    flush()
                case ir.Break() | ir.Continue() | ir.Return():
                    flush()
                    items.append(Outer(statement))
                case ir.If() if is_outer(statement, in_loop) or self._uniform_return(statement):
                    flush()
                    then = self.partition(statement.then, in_loop)
                    items.append(OuterIf(statement, then, self.partition(statement.orelse, in_loop)))
                case ir.For() | ir.While() if contains_barrier(statement):
                    flush()
                    header = self.partition(statement.header, True) if isinstance(statement, ir.While) else []
                    items.append(OuterLoop(statement, header, self.partition(statement.body, True)))
                case _ if self._once(statement):
                    if isinstance(statement, ir.SetVar) and _reads(pending, statement.var.name):
                        flush()
                    items.append(Outer(statement))
                case _:
                    pending.append(statement)
        flush()
        # uniform computations may move before a pending region: they read nothing that it makes
        return items

    def _uniform_return(self, statement: ir.If) -> bool:
        return (
            self.analysis.shapes.get(statement.condition.name) == Shape.UNIFORM
            and not statement.orelse
            and len(statement.then) == 1
            and isinstance(statement.then[0], ir.Return)
        )

    def _once(self, statement: ir.Stmt) -> bool:
        """Whether a statement of an outer block runs once a block."""
        match statement:
            case ir.SetVar(var=var):
                return self.analysis.variables[var.name] == Shape.UNIFORM
            case ir.GetVar(var=var):
                return self.analysis.variables[var.name] == Shape.UNIFORM
            case ir.Const() | ir.Extent():
                return True
            case ir.Op(result=result) | ir.Call(result=result) | ir.ThreadIndex(result=result):
                return self.analysis.shapes[result.name] == Shape.UNIFORM
            case ir.Load(result=result, memory=memory):
                return memory.space == "const" and self.analysis.shapes[result.name] == Shape.UNIFORM
            case ir.Subgroup(op="size"):
                return True
            case _:
                return False

    # -- what crosses
    def plan(self) -> Plan:
        plan = Plan(self.partition(self.kernel.body, False), multiple=True)
        home: dict[str, Region] = {}
        for region in self.regions:
            for statement in ir.walk(tuple(region.statements)):
                result = ir.result_of(statement)
                if result is not None:
                    region.defines.add(result.name)
                    home[result.name] = region
                region.reads |= {v.name for v in ir.operands_of(statement)}
                match statement:
                    case ir.GetVar(var=var):
                        region.gets.add(var.name)
                    case ir.SetVar(var=var):
                        region.sets.add(var.name)
                    case ir.Load(memory=memory) | ir.Store(memory=memory) | ir.InitLocal(memory=memory):
                        region.memories.add(memory.name)
                    case ir.Return():
                        plan.keeps_live = True
        outer_reads = {name for item in _walk(plan.items) for name in _outer_reads(item)}
        for region in self.regions:
            for name in sorted(region.reads - region.defines):
                if name not in home:
                    continue  # a parameter, or computed once a block
                region.imported.append(name)
                if not self.rematerialises(name, home, REMATERIALISE_DEPTH):
                    self.keep(plan, name, home[name])
        for name in sorted(outer_reads):
            if name in home:
                self.keep(plan, name, home[name])
        for variable in self.kernel.variables:
            shape = self.analysis.variables[variable.name]
            users = [r for r in self.regions if variable.name in r.gets | r.sets]
            if len(users) > 1 and shape != Shape.UNIFORM:
                self.slot(plan, f"!{variable.name}", variable.dtype, shape)
        for memory in self.kernel.memories:
            users = [r for r in self.regions if memory.name in r.memories]
            if memory.space == "local" and len(users) > 1:
                count = self.width * memory.dtype.itemsize
                for extent in memory.shape:
                    count *= extent
                plan.context.add(f"&{memory.name}", "ptr", -(-count // 64) * 64)
        if plan.keeps_live:
            plan.context.add("live", f"i{self.width}", 8)
        plan.context.size = -(-plan.context.size // 64) * 64
        return plan

    def keep(self, plan: Plan, name: str, region: Region) -> None:
        region.stored.add(name)
        if f"%{name}" not in plan.context.fields:
            definition = self.analysis.definitions[name]
            result = ir.result_of(definition)
            assert result is not None
            self.slot(plan, f"%{name}", result.dtype, self.analysis.shapes[name])

    def slot(self, plan: Plan, key: str, dtype: ir.DType, shape: Shape) -> None:
        kind, nbytes = scalar_type(dtype), dtype.itemsize
        if shape == Shape.VARYING:
            kind, nbytes = vector_type(kind, self.width), nbytes * self.width
        plan.context.add(key, kind, nbytes)

    def rematerialises(self, name: str, home: dict[str, Region], depth: int) -> bool:
        if name not in home:
            return True
        statement = self.analysis.definitions[name]
        match statement:
            case ir.ThreadIndex() | ir.Const() | ir.Extent() | ir.Subgroup(op="lane"):
                return True
            case ir.Op(op=op, args=args):
                if depth == 0 or op in ("quot.raw", "rem.raw", "div", "sqrt"):
                    return False
                return all(self.rematerialises(a.name, home, depth - 1) for a in args)
            case _:
                return False


def _reads(statements: list[ir.Stmt], variable: str) -> bool:
    return any(isinstance(s, ir.GetVar) and s.var.name == variable for s in ir.walk(tuple(statements)))


def _walk(items: list[Item]) -> Iterator[Item]:
    for item in items:
        yield item
        match item:
            case OuterIf(then=then, orelse=orelse):
                yield from _walk(then)
                yield from _walk(orelse)
            case OuterLoop(header=header, body=body):
                yield from _walk(header)
                yield from _walk(body)


def _outer_reads(item: Item) -> list[str]:
    if isinstance(item, Region):
        return []
    return [v.name for v in ir.operands_of(item.statement)]


def make_plan(kernel: ir.Function, analysis: Analysis, width: int) -> Plan:
    """Split a kernel into regions; without barriers there is one."""
    if not any(map(contains_barrier, kernel.body)):
        return Plan([Region(list(kernel.body))])
    return _Planner(kernel, analysis, width).plan()
