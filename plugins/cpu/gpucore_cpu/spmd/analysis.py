"""What differs between the lanes of a gang, and where control flow diverges.

A *gang* is the group of threads that run as the lanes of one vector.  The analysis gives each value a
:class:`Shape`, each loop what leaves it early, and each assignment whether it must be masked.  It is a
fixpoint over the structured IR: everything starts at the most uniform shape and only ever gets more varying.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from gpucore import ir
from gpucore_cpu.spmd.types import ERROR_RECORD

__all__ = ["Analysis", "LoopInfo", "Shape", "analyse", "contains_barrier", "is_outer", "with_locals_cleared"]


class Shape(IntEnum):
    """How a value differs between threads, from least to most."""

    UNIFORM = 0
    """Alike in the whole block."""
    GANG = 1
    """Alike in the lanes of a gang."""
    AFFINE = 2
    """An integer that grows by one from lane to lane; held as that of lane 0."""
    VARYING = 3


def join(a: Shape, b: Shape) -> Shape:
    """The least shape that covers both."""
    if a == b:
        return a
    if Shape.AFFINE in (a, b):
        return Shape.VARYING
    return max(a, b)


@dataclass(slots=True)
class LoopInfo:
    """What makes lanes leave a loop, or an iteration, at different times."""

    varying_exit: bool = False
    masked_break: bool = False
    masked_continue: bool = False
    masked_return: bool = False
    gang_exit: bool = False

    @property
    def partial(self) -> bool:
        """Whether some lanes may wait, alive, while others run the body."""
        return self.varying_exit or self.masked_break or self.masked_continue

    @property
    def needs_mask(self) -> bool:
        """Whether the loop must keep a mask of the lanes still in it."""
        return self.varying_exit or self.masked_break or self.masked_return


@dataclass(slots=True)
class Analysis:
    """The result; statements are keyed by ``id``, and what two places that share a node need is joined."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    variables: dict[str, Shape] = field(default_factory=dict)
    loops: dict[int, LoopInfo] = field(default_factory=dict)
    masked: set[int] = field(default_factory=set)
    """Break, Continue and Return statements that end some lanes only."""
    divergent_sets: set[int] = field(default_factory=set)
    """SetVar statements that must keep the old value in the lanes that do not take part."""
    homes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    result: Shape = Shape.UNIFORM
    """The shape of a device function's result."""
    definitions: dict[str, ir.Stmt] = field(default_factory=dict)
    returns: bool = False
    """Whether some Return is masked."""


def contains_barrier(statement: ir.Stmt) -> bool:
    """Whether a barrier stands inside the statement, or is it."""
    return isinstance(statement, ir.Barrier) or any(
        contains_barrier(inner) for block in ir.blocks_of(statement) for inner in block
    )


def _escapes(statement: ir.Stmt) -> bool:
    """Whether a Break or Continue inside leaves the statement."""
    match statement:
        case ir.Break() | ir.Continue():
            return True
        case ir.If(then=then, orelse=orelse):
            return any(map(_escapes, (*then, *orelse)))
        case _:
            return False


def is_outer(statement: ir.Stmt, in_outer_loop: bool) -> bool:
    """Whether a statement of an outer block runs once a block rather than once a gang: it holds a barrier,
    or leaves a loop that does."""
    return contains_barrier(statement) or (in_outer_loop and _escapes(statement))


def _homes(body: ir.Block) -> dict[str, tuple[int, ...]]:
    """For each variable the path of the innermost block that holds all its accesses."""
    homes: dict[str, tuple[int, ...]] = {}

    def note(name: str, path: tuple[int, ...]) -> None:
        old = homes.get(name)
        if old is None:
            homes[name] = path
            return
        common = 0
        while common < min(len(old), len(path)) and old[common] == path[common]:
            common += 1
        homes[name] = path[: common - common % 2]

    def visit(block: ir.Block, path: tuple[int, ...]) -> None:
        for number, statement in enumerate(block):
            if isinstance(statement, (ir.GetVar, ir.SetVar)):
                note(statement.var.name, path)
            for branch, inner in enumerate(ir.blocks_of(statement)):
                # the header and the body of a loop make one block: both run once an iteration
                visit(inner, (*path, number, branch if isinstance(statement, ir.If) else 0))

    visit(body, ())
    return homes


def with_locals_cleared(function: ir.Function) -> ir.Function:
    """The function with local memories zeroed first that some path reads without coming by their ``InitLocal``."""
    inits: dict[str, list[tuple[int, ...]]] = {}
    accesses: dict[str, list[tuple[int, ...]]] = {}

    def visit(block: ir.Block, path: tuple[int, ...]) -> None:
        for number, statement in enumerate(block):
            match statement:
                case ir.InitLocal(memory=memory):
                    inits.setdefault(memory.name, []).append(path)
                case ir.Load(memory=memory) | ir.Store(memory=memory) if memory.space == "local":
                    accesses.setdefault(memory.name, []).append(path)
            for branch, inner in enumerate(ir.blocks_of(statement)):
                visit(inner, (*path, number, branch))

    visit(function.body, ())
    missing = [
        memory
        for memory in function.memories
        if memory.name in accesses
        and not any(
            all(path[: len(init)] == init for path in accesses[memory.name])
            for init in inits.get(memory.name, ())
        )
    ]
    if not missing:
        return function
    return replace(function, body=(*map(ir.InitLocal, missing), *function.body))


_AFFINE_CASTS = ("cast", "bitcast.raw", "bitcast")


class _Walker:
    def __init__(
        self,
        function: ir.Function,
        parameters: Mapping[str, Shape],
        thread_shape: Callable[[ir.ThreadIndex], Shape],
        outer: bool,
    ) -> None:
        self.function = function
        self.thread_shape = thread_shape
        self.outer = outer
        self.a = Analysis(shapes=dict(parameters), homes=_homes(function.body))
        for variable in function.variables:
            self.a.variables[variable.name] = Shape.UNIFORM
        for statement in ir.walk(function.body):
            result = ir.result_of(statement)
            if result is not None:
                self.a.definitions[result.name] = statement
        self.entry: dict[tuple[int, ...], tuple[int, int]] = {}
        self.no_wrap: set[str] = set()
        self.set_variables: set[str] = set()
        self.changed = True

    def run(self) -> Analysis:
        while self.changed:
            self.changed = False
            self.entry.clear()
            self.set_variables.clear()
            self.block(self.function.body, (), 0, 0, self.outer, [])
        return self.a

    # -- recording, with a note of what changed
    def shape(self, name: str, shape: Shape) -> None:
        old = self.a.shapes.get(name)
        new = shape if old is None else join(old, shape)
        if new != old:
            self.a.shapes[name] = new
            self.changed = True

    def variable(self, name: str, shape: Shape) -> None:
        # the first assignment decides between affine and uniform; later ones join
        old = self.a.variables[name] if name in self.set_variables or self.a.variables[name] else None
        self.set_variables.add(name)
        new = shape if old is None else join(old, shape)
        if new != self.a.variables[name]:
            self.a.variables[name] = new
            self.changed = True

    def of(self, value: ir.Value) -> Shape:
        return self.a.shapes.get(value.name, Shape.UNIFORM)

    def flag(self, loop: LoopInfo, name: str) -> None:
        if not getattr(loop, name):
            setattr(loop, name, True)
            self.changed = True

    def mark(self, statements: set[int], statement: ir.Stmt) -> None:
        if id(statement) not in statements:
            statements.add(id(statement))
            self.changed = True

    # -- the walk
    def block(
        self,
        block: ir.Block,
        path: tuple[int, ...],
        depth: int,
        gang_depth: int,
        outer: bool,
        loops: list[tuple[LoopInfo, int]],
    ) -> None:
        """``depth`` counts the divergent constructs around the block, ``gang_depth`` those alike in a gang
        only."""
        self.entry.setdefault(path, (depth, gang_depth))
        for number, statement in enumerate(block):
            stays = outer and is_outer(statement, bool(loops))
            match statement:
                case ir.If(condition=condition, then=then, orelse=orelse):
                    cond = self.of(condition)
                    inner = (depth + (cond >= Shape.AFFINE), gang_depth + (cond == Shape.GANG))
                    if stays:  # every thread agrees on it, whatever the analysis can prove
                        inner = (depth, gang_depth)
                    self.block(then, (*path, number, 0), *inner, stays, loops)
                    self.block(orelse, (*path, number, 1), *inner, stays, loops)
                case ir.For():
                    self.loop(statement, (*path, number, 0), depth, gang_depth, stays, loops)
                case ir.While():
                    self.loop(statement, (*path, number, 0), depth, gang_depth, stays, loops)
                case ir.Break():
                    info, base = loops[-1]
                    if depth > base or info.masked_continue:
                        self.mark(self.a.masked, statement)
                        self.flag(info, "masked_break")
                    elif gang_depth:
                        self.flag(info, "gang_exit")
                case ir.Continue():
                    info, base = loops[-1]
                    if depth > base:
                        self.mark(self.a.masked, statement)
                        self.flag(info, "masked_continue")
                    elif gang_depth:
                        self.flag(info, "gang_exit")
                case ir.Return(value=value):
                    if value is not None:
                        shape = join(self.a.result, self.of(value))
                        if depth:
                            shape = Shape.VARYING
                        if shape != self.a.result:
                            self.a.result = shape
                            self.changed = True
                    if depth:
                        self.mark(self.a.masked, statement)
                        self.a.returns = True
                        for info, _ in loops:
                            self.flag(info, "masked_return")
                case _:
                    self.simple(statement, path, depth, gang_depth, outer)

    def loop(
        self,
        loop: ir.For | ir.While,
        path: tuple[int, ...],
        depth: int,
        gang_depth: int,
        stays: bool,
        loops: list[tuple[LoopInfo, int]],
    ) -> None:
        info = self.a.loops.setdefault(id(loop), LoopInfo())
        if isinstance(loop, ir.For):
            start, stop, step = self.of(loop.start), self.of(loop.stop), self.of(loop.step)
            variable = start
            if step >= Shape.AFFINE:
                variable = Shape.VARYING
            elif start != Shape.AFFINE:
                variable = join(start, step)
            if not stays:
                if max(start, stop, step) >= Shape.AFFINE:
                    self.flag(info, "varying_exit")
                elif max(start, stop, step) == Shape.GANG:
                    self.flag(info, "gang_exit")
            if self.outer and not stays and variable == Shape.UNIFORM:
                variable = Shape.GANG
            self.shape(loop.variable.name, Shape.UNIFORM if stays else variable)
        inner = depth + (info.partial and not stays)
        inner_gang = gang_depth + (info.gang_exit and not stays)
        nested = [*loops, (info, inner)]
        if isinstance(loop, ir.While):
            self.block(loop.header, path, inner, inner_gang, stays, nested)
            condition = self.of(loop.condition)
            if not stays:
                if condition >= Shape.AFFINE:
                    self.flag(info, "varying_exit")
                elif condition == Shape.GANG:
                    self.flag(info, "gang_exit")
        self.block(loop.body, path, inner, inner_gang, stays, nested)

    def simple(
        self, statement: ir.Stmt, path: tuple[int, ...], depth: int, gang_depth: int, outer: bool
    ) -> None:
        match statement:
            case ir.Const(result=result) | ir.Extent(result=result):
                self.shape(result.name, Shape.UNIFORM)
            case ir.Op(result=result, op=op, args=args):
                self.shape(result.name, self.operation(result, op, args))
            case ir.Call(result=result, args=args):
                shape = max((self.of(a) for a in args), default=Shape.UNIFORM)
                self.shape(result.name, Shape.VARYING if shape >= Shape.AFFINE else shape)
            case ir.GetVar(result=result, var=var):
                self.shape(result.name, self.a.variables[var.name])
            case ir.SetVar(var=var, value=value):
                home_depth, home_gang = self.entry[self.a.homes[var.name]]
                shape = self.of(value)
                if depth > home_depth:
                    self.mark(self.a.divergent_sets, statement)
                    shape = Shape.VARYING
                elif shape == Shape.UNIFORM and self.outer and (not outer or gang_depth > home_gang):
                    shape = Shape.GANG  # assigned once a gang: each gang has its own
                self.variable(var.name, shape)
            case ir.Load(result=result, memory=memory, indices=indices):
                shape = max((self.of(i) for i in indices), default=Shape.UNIFORM)
                if memory.space == "local" or shape >= Shape.AFFINE:
                    shape = Shape.VARYING
                elif memory.space != "const":
                    shape = Shape.GANG
                self.shape(result.name, shape)
            case ir.ThreadIndex(result=result):
                self.no_wrap.add(result.name)
                self.shape(result.name, self.thread_shape(statement))
            case ir.Subgroup(result=result, op=op, args=args):
                self.shape(result.name, self.subgroup(op, args))
            case ir.AtomicCas(result=result, memory=memory) if memory.name == ERROR_RECORD:
                self.shape(result.name, Shape.GANG)  # one lane claims the record for all
            case ir.Atomic(result=result) | ir.AtomicCas(result=result):
                self.shape(result.name, Shape.VARYING)
            case _:
                pass

    def operation(self, result: ir.Value, op: str, args: tuple[ir.Value, ...]) -> Shape:
        shapes = [self.of(a) for a in args]
        widest = max(shapes, default=Shape.UNIFORM)
        if widest <= Shape.GANG:
            return widest
        if Shape.VARYING in shapes or not result.dtype.is_integer:
            return Shape.VARYING
        if (
            op in ("add", "add.raw", "sub")
            and shapes.count(Shape.AFFINE) == 1
            and (op != "sub" or shapes[0] == Shape.AFFINE)
        ):
            return Shape.AFFINE
        if op in _AFFINE_CASTS and args[0].dtype.is_integer:
            narrowing = result.dtype.bits <= args[0].dtype.bits
            if narrowing or (args[0].name in self.no_wrap and args[0].dtype.is_signed):
                return Shape.AFFINE
        return Shape.VARYING

    def subgroup(self, op: str, args: tuple[ir.Value, ...]) -> Shape:
        if op == "size":
            return Shape.UNIFORM
        if op == "lane":
            return Shape.AFFINE
        if op in ("inclusive_sum", "exclusive_sum", "shuffle_xor"):
            return Shape.VARYING
        if op == "shuffle" or op == "broadcast":
            # a lane that names no lane gives each thread its own operand
            return Shape.VARYING
        return Shape.GANG


def analyse(
    function: ir.Function,
    parameters: Mapping[str, Shape],
    thread_shape: Callable[[ir.ThreadIndex], Shape],
    outer: bool = False,
) -> Analysis:
    """Analyse a function.

    Parameters
    ----------
    parameters : Mapping[str, Shape]
        Shapes of the scalar parameters.
    thread_shape : callable
        The shape of a thread coordinate, which depends on how gangs lie in a block.
    outer : bool
        Whether the function is a kernel with barriers, whose outer blocks run once a block of threads.
    """
    return _Walker(function, parameters, thread_shape, outer).run()
