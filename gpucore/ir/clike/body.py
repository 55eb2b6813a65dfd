"""Statements: a function of the IR as the body of a function.

A value used once is written where it is used, so that a line of Python comes out as about a line of C++; a
value that reads memory or a variable is given a name before anything is written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gpucore.ir import nodes
from gpucore.ir.clike.dialect import Arithmetic, Dialect
from gpucore.ir.clike.expressions import ADD, Expr, call
from gpucore.ir.clike.literals import literal
from gpucore.ir.clike.names import Names, held, unsigned
from gpucore.ir.clike.operations import render_op
from gpucore.ir.dtypes import DType, f32, f64

_LONGEST, _WIDTH = 90, 110
_TWICE = {"isnan", "abs", "min", "max", "shl", "shr"}  # operations whose expression names an operand twice


class Lines:
    """Output lines, with a ``#line`` directive wherever the compiler's own count would name another Python
    line.

    Statements of one Python line share an output line while there is room.
    """

    def __init__(self) -> None:
        self.out: list[str] = []
        self.depth = 1
        self._at: tuple[str, int] | None = None  # the Python line that the last output line counts as
        self._open = False  # whether another statement may be put on it

    def add(self, text: str, loc: nodes.Loc | None = None) -> None:
        """Append one statement, or one end of a compound statement, at the current indentation."""
        here = None if loc is None else (loc.file, loc.line)
        whole = text.endswith(";") and not text.startswith(("for ", "if "))
        if whole and self._open and here == self._at and len(self.out[-1]) + len(text) < _WIDTH:
            self.out[-1] += f" {text}"
            self._open = whole
            return
        if self._at is not None:
            self._at = (self._at[0], self._at[1] + 1)
        if here is not None and here != self._at:
            name = "" if self._at is not None and self._at[0] == here[0] else f" {_quoted(here[0])}"
            self.out.append(f"#line {here[1]}{name}")
            self._at = here
        self.out.append("  " * self.depth + text)
        self._open = whole and here is not None


def _quoted(file: str) -> str:
    return '"' + file.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class _Pending:
    """A value with one use that has not been written anywhere yet."""

    value: nodes.Value
    expr: Expr
    loc: nodes.Loc | None


class Body:
    """Renders one function's statements.

    Parameters
    ----------
    function : Function
    dialect : Dialect
        The language; its library takes the helpers that the body calls.
    names : Names
        The identifiers of the function's parameters and memories, to which its own are added.
    functions : dict[str, str]
        The names of the module's device functions.
    extents : dict[tuple[str, int], tuple[str, DType]]
        The parameter and its dtype that hold an array's extent along an axis.
    ndim : int
        Of the module.
    arithmetic : {"strict", "fast", "pinned"}
    block : tuple[int, ...] | None
        The block in array order where it is known.
    before_loops : str
        What stands before the head of each loop.
    """

    def __init__(
        self, function: nodes.Function, dialect: Dialect, names: Names, functions: dict[str, str],
        extents: dict[tuple[str, int], tuple[str, DType]], *, ndim: int, arithmetic: Arithmetic,
        block: tuple[int, ...] | None = None, before_loops: str = "",
    ) -> None:  # fmt: skip
        self.lines = Lines()
        self._dialect, self._names, self._functions, self._extents = dialect, names, functions, extents
        self._ndim, self._arithmetic, self._block_shape = ndim, arithmetic, block
        self._before_loops = f"{before_loops} " if before_loops else ""
        self._tiles = {
            memory.name
            for s in nodes.walk(function.body)
            if type(s) is nodes.TileProduct
            for memory in nodes.memories_of(s)
        }
        self._uses = Counter(v.name for s in nodes.walk(function.body) for v in nodes.operands_of(s))
        self._exprs: dict[str, Expr] = {}
        self._constants: dict[str, nodes.Number] = {}
        self._pending: dict[str, _Pending] = {}
        self._loc: nodes.Loc | None = None
        for parameter in function.params:
            if isinstance(parameter, nodes.Value):
                given = Expr(names("value", parameter.name))
                if function.result is None and held(parameter.dtype) != parameter.dtype.name:
                    given = dialect.widened(parameter.dtype, given)  # the host passes a narrow integer
                self._exprs[parameter.name] = given

    # values
    def _take(self, value: nodes.Value) -> Expr:
        """The expression of an operand; a pending one is consumed."""
        pending = self._pending.pop(value.name, None)
        return pending.expr if pending is not None else self._exprs[value.name]

    def _named(self, value: nodes.Value) -> Expr:
        """The operand as something that may be written twice."""
        if value.name in self._pending:
            self._materialise(value.name)
        return self._exprs[value.name]

    def _materialise(self, name: str) -> None:
        pending = self._pending.pop(name)
        self._declare(pending.value, pending.expr, pending.loc)

    def _declare(self, value: nodes.Value, expr: Expr, loc: nodes.Loc | None) -> None:
        identifier = self._names("value", value.name)
        self.lines.add(f"const {held(value.dtype)} {identifier} = {expr.text};", loc)
        self._exprs[value.name] = Expr(identifier)

    def _flush(self) -> None:
        """Name every pending value that a write could change."""
        for name in [n for n, pending in self._pending.items() if pending.expr.reads]:
            self._materialise(name)

    def _flush_before(self, loop: nodes.For | nodes.While) -> None:
        """Also name what the loop uses, so that it is computed once.

        A value of an outer scope that is used elsewhere must wait: a name given here would not be seen there.
        """
        used = {v.name for s in nodes.walk((loop,)) for v in nodes.operands_of(s)}
        for name in [n for n, pending in self._pending.items() if pending.expr.reads or n in used]:
            self._materialise(name)

    def _define(self, value: nodes.Value, expr: Expr, loc: nodes.Loc | None) -> None:
        uses = self._uses[value.name]
        if uses == 1 and len(expr.text) <= _LONGEST:
            self._pending[value.name] = _Pending(value, expr, loc)
        elif uses:
            self._declare(value, expr, loc)
        # a value without uses has no effect: operations, loads and calls of functions are pure

    def _statement(self, text: str, loc: nodes.Loc | None) -> None:
        """A statement with an effect; its operands have been taken already."""
        self._flush()
        self.lines.add(text, loc)

    def _element(self, memory: nodes.Memory, indices: tuple[nodes.Value, ...]) -> Expr:
        index = self._take(indices[0])
        return Expr(f"{self._names('memory', memory.name)}[{index.text}]", reads=True)

    def _pointer(self, memory: nodes.Memory, indices: tuple[nodes.Value, ...]) -> Callable[[str], str]:
        address = f"&{self._element(memory, indices).text}"

        def seen_as(element: str) -> str:
            return (
                address
                if element == memory.dtype.name
                else self._dialect.seen_as(address, element, memory.space)
            )

        return seen_as

    # statements
    def block(self, block: nodes.Block) -> None:
        """Render a block at the current indentation."""
        for statement in block:
            loc = getattr(statement, "loc", None) or self._loc
            self._loc = loc
            self._one(statement, loc)
        self._flush()

    def _nested(self, block: nodes.Block) -> None:
        self.lines.depth += 1
        self.block(block)
        self.lines.depth -= 1

    def _one(self, statement: nodes.Stmt, loc: nodes.Loc | None) -> None:
        match statement:
            case nodes.Const(result=result, value=value):
                self._exprs[result.name] = self._dialect.constant(value, result.dtype)
                self._constants[result.name] = value
            case nodes.Op(result=result, op=op, args=args):
                twice = op in _TWICE
                taken = [self._named(a) if twice else self._take(a) for a in args]
                known = [self._constants.get(a.name) for a in args]
                dtypes = [a.dtype for a in args]
                expr = render_op(self._dialect, op, dtypes, result.dtype, taken, known, self._arithmetic)
                self._define(result, expr, loc)
            case nodes.Call(result=result, function=function, args=args):
                self._define(result, call(self._functions[function], *(self._take(a) for a in args)), loc)
            case nodes.GetVar(result=result, var=var):
                self._define(result, Expr(self._names("var", var.name), reads=True), loc)
            case nodes.SetVar(var=var, value=value):
                text = self._take(value).text
                self._statement(f"{self._names('var', var.name)} = {text};", loc)
            case nodes.Extent(result=result, memory=memory, axis=axis):
                name, passed = self._extents[memory.name, axis]
                self._exprs[result.name] = (
                    Expr(name)
                    if passed is result.dtype
                    else self._dialect.cast(result.dtype.name, Expr(name))
                )
            case nodes.Load(result=result, memory=memory, indices=indices):
                element = self._element(memory, indices)
                if memory.space == "const" and table_type(memory) != memory.dtype.name:
                    element = self._dialect.from_bits(memory.dtype, element)
                elif held(memory.dtype) != memory.dtype.name:
                    element = self._dialect.widened(memory.dtype, element)
                self._define(result, element, loc)
            case nodes.Store(memory=memory, indices=indices, value=value):
                target, stored = self._element(memory, indices).text, self._take(value)
                if held(memory.dtype) != memory.dtype.name:
                    stored = self._dialect.cast(memory.dtype.name, stored)
                self._statement(f"{target} = {stored.text};", loc)
            case nodes.InitLocal(memory=memory):
                name, size = self._names("memory", memory.name), _elements(memory)
                before = f"{self._dialect.loop_unrolled} " if memory.name in self._tiles else ""
                self._statement(f"{before}for (i32 gc_i = 0; gc_i < {size}; ++gc_i) {name}[gc_i] = 0;", loc)
            case nodes.Atomic() | nodes.AtomicCas():
                self._atomic(statement, loc)
            case nodes.ThreadIndex(result=result):
                self._define(result, self._thread_index(statement), loc)
            case nodes.Subgroup(result=result, op=op, args=args):
                texts = [self._take(a).text for a in args]
                d = args[0].dtype if args else result.dtype
                text = self._dialect.subgroup(op, d, texts)
                self._flush()
                if self._uses[result.name] or op not in ("size", "lane"):
                    self._declare(result, Expr(text), loc)
            case nodes.TileProduct(total=total, left=left, right=right):
                names = [self._names("memory", memory.name) for memory in (total, left, right)]
                self._statement(self._dialect.tile_product(statement, names), loc)
            case nodes.Barrier():
                self._statement(self._dialect.barrier, loc)
            case nodes.Fence():
                self._statement(self._dialect.fence, loc)
            case _:
                self._control(statement, loc)

    def _control(self, statement: nodes.Stmt, loc: nodes.Loc | None) -> None:
        match statement:
            case nodes.If(condition=condition, then=then, orelse=orelse):
                if not then:
                    text, then, orelse = f"!({self._take(condition).text})", orelse, ()
                else:
                    text = self._take(condition).text
                self._statement(f"if ({text}) {{", loc)
                self._nested(then)
                if orelse:
                    self.lines.add("} else {")
                    self._nested(orelse)
                self.lines.add("}")
            case nodes.For():
                self._for(statement, loc)
            case nodes.While(header=header, condition=condition, body=body):
                self._flush_before(statement)
                self._statement(f"{self._before_loops}while (true) {{", loc)
                self.lines.depth += 1
                self.block_open(header)
                text = self._take(condition).text
                self._statement(f"if (!({text})) break;", loc)
                self.block(body)
                self.lines.depth -= 1
                self.lines.add("}")
            case nodes.Break():
                self._statement("break;", loc)
            case nodes.Continue():
                self._statement("continue;", loc)
            case nodes.Return(value=None):
                self._statement("return;", loc)
            case nodes.Return(value=value) if value is not None:
                self._statement(f"return {self._take(value).text};", loc)
            case _:
                raise TypeError(f"not a low-level statement: {type(statement).__name__}")

    def block_open(self, block: nodes.Block) -> None:
        """Render a block but leave its last values pending, for a condition that reads them."""
        for statement in block:
            self._loc = getattr(statement, "loc", None) or self._loc
            self._one(statement, self._loc)

    def _for(self, statement: nodes.For, loc: nodes.Loc | None) -> None:
        """With a literal step a plain loop, for lowering promises that the variable plus the step does not
        overflow.

        Otherwise the direction is not known, and the trips are counted beforehand.
        """
        d = statement.variable.dtype
        step = self._constants.get(statement.step.name)
        start, stop = self._named(statement.start), self._named(statement.stop)
        name = self._names("value", statement.variable.name)
        self._exprs[statement.variable.name] = Expr(name)
        if step:
            self._flush_before(statement)
            compare = "<" if step > 0 else ">"
            advance = {1: f"++{name}", -1: f"--{name}"}.get(
                int(step), f"{name} += {literal(self._dialect, step, d).text}"
            )
            head = f"for ({d.name} {name} = {start.text}; {name} {compare} {stop.text}; {advance}) {{"
            before = f"{self._dialect.loop_unrolled} " if self._fills_tiles(statement) else self._before_loops
            self.lines.add(before + head, loc)
        else:
            by, u = self._named(statement.step), unsigned(d)
            trips, counter = self._names.fresh(f"{name}_trips"), self._names.fresh(f"{name}_trip")
            counted = self._dialect.library.use(f"gc_trips_{d.name}")
            self._flush_before(statement)
            self.lines.add(f"const {u} {trips} = {counted}({start.text}, {stop.text}, {by.text});", loc)
            head = f"for ({u} {counter} = 0; {counter} < {trips}; ++{counter}) {{"
            self.lines.add(self._before_loops + head, loc)
            self.lines.depth += 1
            cast = self._dialect.cast
            moved = Expr(f"{cast(u, start).text} + {counter} * {cast(u, by).text}", ADD)
            self.lines.add(f"const {d.name} {name} = {cast(d.name, moved).text};", loc)
            self.lines.depth -= 1
        self._nested(statement.body)
        self.lines.add("}")

    def _fills_tiles(self, loop: nodes.For) -> bool:
        """Whether the loop does nothing but read or write tiles, which are to stay in registers."""
        if not self._tiles:
            return False
        touched = {memory.name for s in nodes.walk(loop.body) for memory in nodes.memories_of(s)}
        return bool(touched & self._tiles) and not any(
            type(s) in (nodes.TileProduct, nodes.Barrier, nodes.While) for s in nodes.walk(loop.body)
        )

    def _thread_index(self, statement: nodes.ThreadIndex) -> Expr:
        extent = None if self._block_shape is None else self._block_shape[statement.axis]
        return self._dialect.thread_index(statement, self._ndim - 1 - statement.axis, extent)

    def _atomic(self, statement: nodes.Atomic | nodes.AtomicCas, loc: nodes.Loc | None) -> None:
        values = (
            (statement.expected, statement.desired)
            if isinstance(statement, nodes.AtomicCas)
            else (statement.value,)
        )
        operands = [self._take(value) for value in values]
        pointer, used = (
            self._pointer(statement.memory, statement.indices),
            self._uses[statement.result.name] > 0,
        )
        old = self._dialect.atomic(statement, pointer, operands, self._arithmetic, used=used)
        self._flush()
        if used:
            self._declare(statement.result, Expr(old), loc)
        else:
            self.lines.add(f"{old};", loc)


def table_type(memory: nodes.Memory) -> str:
    """The type of a table's elements: bits where there is no
    constant for infinity and NaN without headers."""
    if memory.dtype in (f32, f64) and not all(math.isfinite(v) for v in memory.values):
        return f"u{memory.dtype.bits}"
    return memory.dtype.name


def _elements(memory: nodes.Memory) -> int:
    return math.prod(memory.shape)
