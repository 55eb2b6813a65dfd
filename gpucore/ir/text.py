"""The text form of the IR: for people, for tests, and as the cache key.

:func:`print_module` and :func:`parse` are inverse to each other on verified modules.  The text depends on
nothing but the module: no dictionary order, no identity, no locale.  One statement a line::

    module ir=1 ndim=1 math=strict

    kernel @scale(&x: f32[?], %a: f32) {
      %i: index = global_id 0
      %n: index = extent &x, 0
      %c: bool = lt %i, %n
      if %c {
        %0: f32 = load &x[%i]
        %1: f32 = mul %a, %0
        store &x[%i], %1
      }
    }

``%`` marks values, ``!`` variables, ``&`` memories, ``@`` functions; a name outside ``[A-Za-z0-9_.$]`` is a
JSON string.  Floats are written so that they read back exactly: ``repr``, ``nan``, ``inf``, ``-inf``.  A
statement may end with ``loc("file", line, column)``, which takes no part in equality.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, cast

from gpucore.errors import GpucoreError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.ir.dtypes import dtype as dtype_named
from gpucore.ir.nodes import Number

if TYPE_CHECKING:
    from gpucore.ir.reader import parse

__all__ = ["ParseError", "Tokens", "parse", "print_module", "print_statement"]

_PLAIN = re.compile(r"[A-Za-z0-9_.$]+\Z")


def _name(sigil: str, name: str) -> str:
    return sigil + (name if _PLAIN.match(name) else json.dumps(name))


def _v(value: ir.Value) -> str:
    return _name("%", value.name)


def _typed(value: ir.Value) -> str:
    return f"{_v(value)}: {value.dtype.name}"


def _values(values: tuple[ir.Value, ...]) -> str:
    return ", ".join(map(_v, values))


def _number(dtype: DType, value: ir.Number) -> str:
    if dtype.is_float:
        return repr(float(value))
    if dtype.kind == "bool":
        return "true" if value else "false"
    return str(int(value))


def _access(memory: ir.Memory, indices: tuple[ir.Value, ...]) -> str:
    return f"{_name('&', memory.name)}[{_values(indices)}]"


def _bits(dtype: DType | None) -> str:
    return f" bits {dtype.name}" if dtype is not None else ""


def _head(statement: ir.Stmt) -> str:
    """The statement without its nested blocks, in one line."""
    match statement:
        case ir.Const(result=r, value=value):
            return f"{_typed(r)} = const {_number(r.dtype, value)}"
        case ir.Op(result=r, op=op, args=args):
            return f"{_typed(r)} = {op} {_values(args)}"
        case ir.Call(result=r, function=function, args=args):
            return f"{_typed(r)} = call {_name('@', function)}({_values(args)})"
        case ir.GetVar(result=r, var=var):
            return f"{_typed(r)} = get {_name('!', var.name)}"
        case ir.SetVar(var=var, value=v):
            return f"set {_name('!', var.name)}, {_v(v)}"
        case ir.Extent(result=r, memory=memory, axis=axis):
            return f"{_typed(r)} = extent {_name('&', memory.name)}, {axis}"
        case ir.Load(result=r, memory=memory, indices=indices):
            return f"{_typed(r)} = load {_access(memory, indices)}"
        case ir.Store(memory=memory, indices=indices, value=v):
            return f"store {_access(memory, indices)}, {_v(v)}"
        case ir.InitLocal(memory=memory):
            return f"init {_name('&', memory.name)}"
        case ir.Allocate(memory=memory, extents=extents):
            return f"allocate {_access(memory, extents)}"
        case ir.Atomic(result=r, op=op, memory=memory, indices=indices, value=v, bits=bits):
            return f"{_typed(r)} = atomic {op} {_access(memory, indices)}, {_v(v)}{_bits(bits)}"
        case ir.AtomicCas(result=r, memory=memory, indices=indices, expected=e, desired=d, bits=bits):
            return f"{_typed(r)} = atomic cas {_access(memory, indices)}, {_v(e)}, {_v(d)}{_bits(bits)}"
        case ir.ThreadIndex(result=r, kind=kind, axis=axis):
            return f"{_typed(r)} = {kind} {axis}"
        case ir.Subgroup(result=r, op=op, args=args):
            return f"{_typed(r)} = subgroup {op} {_values(args)}".rstrip()
        case ir.Barrier():
            return "barrier"
        case ir.Fence():
            return "fence"
        case ir.Assert(condition=c, message=message):
            return f"assert {_v(c)}, {json.dumps(message)}"
        case ir.Print(text=text, values=values):
            return f"print {json.dumps(text)} {_values(values)}".rstrip()
        case ir.TileProduct(total=total, left=left, right=right, factor=factor, shape=shape):
            names = ", ".join(_name("&", memory.name) for memory in (total, left, right))
            return f"tile {factor.name} {names}, {', '.join(map(str, shape))}"
        case ir.If(condition=c):
            return f"if {_v(c)}"
        case ir.For(variable=v, start=start, stop=stop, step=step, site=site):
            return f"for {_typed(v)} = {_v(start)} to {_v(stop)} step {_v(step)}{_site(site)}"
        case ir.While(site=site):
            return f"while{_site(site)}"
        case ir.Break():
            return "break"
        case ir.Continue():
            return "continue"
        case ir.Return(value=rv):
            return "return" if rv is None else f"return {_v(rv)}"


def _site(site: int) -> str:
    return f" site {site}" if site else ""


def _loc_text(loc: ir.Loc | None, locations: bool) -> str:
    if not locations or loc is None:
        return ""
    return f" loc({json.dumps(loc.file)}, {loc.line}, {loc.column})"


def _block(block: ir.Block, indent: str, locations: bool) -> Iterator[str]:
    inner = indent + "  "
    for statement in block:
        head = indent + _head(statement) + _loc_text(statement.loc, locations)
        match statement:
            case ir.If(then=then, orelse=orelse):
                yield head + " {"
                yield from _block(then, inner, locations)
                if orelse:
                    yield indent + "} else {"
                    yield from _block(orelse, inner, locations)
                yield indent + "}"
            case ir.For(body=body):
                yield head + " {"
                yield from _block(body, inner, locations)
                yield indent + "}"
            case ir.While(header=header, condition=condition, body=body):
                yield head + " {"
                yield from _block(header, inner, locations)
                yield f"{indent}}} do {_v(condition)} {{"
                yield from _block(body, inner, locations)
                yield indent + "}"
            case _:
                yield head


def _memory(memory: ir.Memory) -> str:
    if memory.space == "global":
        text = f"{_name('&', memory.name)}: {memory.dtype.name}[{', '.join('?' * memory.rank)}]"
        return text if memory.layout == "contiguous" else f"{text} {memory.layout}"
    shape = ", ".join(map(str, memory.shape or "?" * memory.rank))
    text = f"{_name('&', memory.name)}: {memory.space} {memory.dtype.name}[{shape}]"
    if memory.space == "const":
        text += f" = {{{', '.join(_number(memory.dtype, v) for v in memory.values)}}}"
    return text


def _function(function: ir.Function, keyword: str, locations: bool) -> Iterator[str]:
    params = ", ".join(_memory(p) if isinstance(p, ir.Memory) else _typed(p) for p in function.params)
    result = f" -> {function.result.name}" if function.result is not None else ""
    yield f"{keyword} {_name('@', function.name)}({params}){result} {{"
    for memory in function.memories:
        yield f"  memory {_memory(memory)}"
    for var in function.variables:
        yield f"  var {_name('!', var.name)}: {var.dtype.name}"
    yield from _block(function.body, "  ", locations)
    yield "}"


def print_module(module: ir.Module, locations: bool = False) -> str:
    """The module as text.

    Parameters
    ----------
    module : ir.Module
    locations : bool
        Also print where each statement came from; without, kernels that differ in that only have one text.
    """
    head = f"module ir={ir.IR_VERSION} ndim={module.ndim} math={module.math}"
    if module.subgroup is not None:
        head += f" subgroup={module.subgroup}"
    if module.noalias:
        head += " noalias"
    lines = [head]
    for function in module.functions:
        lines.append("")
        lines += _function(function, "func", locations)
    lines.append("")
    lines += _function(module.kernel, "kernel", locations)
    return "\n".join(lines) + "\n"


def print_statement(statement: ir.Stmt) -> str:
    """The first line of a statement, for messages."""
    return _head(statement)


_TOKEN = r"""\s*(?:
      (?P<name>[%!&@](?:[A-Za-z0-9_.$]+|"(?:[^"\\]|\\.)*"))
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<number>-?(?:inf|nan)\b | -?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![A-Za-z_]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<mark>->|[][(){}:,=?])
    )"""
_SIGILS = {"%": "a value", "!": "a variable", "&": "a memory", "@": "a function"}


class ParseError(GpucoreError, ValueError):
    """The text is not a module.

    Attributes
    ----------
    line : int
        Counted from 1.
    expected : str
        What would have fitted there.
    """

    def __init__(self, message: str = "", *, line: int = 0, expected: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.expected = expected


class Tokens:
    """The tokens of a text, and a place in them."""

    def __init__(self, text: str) -> None:
        self.lines: list[tuple[int, list[tuple[str, str]]]] = []
        for number, line in enumerate(text.split("\n"), 1):
            tokens = self._tokens(number, line)
            if tokens:
                self.lines.append((number, tokens))
        self.row = 0
        self.column = 0

    @staticmethod
    def _tokens(number: int, line: str) -> list[tuple[str, str]]:
        tokens = []
        at = 0
        end = len(line.rstrip())
        while at < end:
            match = re.compile(_TOKEN, re.VERBOSE).match(line, at)
            if match is None:
                message = f"line {number}: expected a token, found {line[at:].strip()!r}"
                raise ParseError(message, line=number, expected="a token")
            kind = cast(str, match.lastgroup)
            tokens.append((kind, match[kind]))
            at = match.end()
        return tokens

    def fail(self, expected: str) -> NoReturn:
        if self.row >= len(self.lines):
            line = self.lines[-1][0] if self.lines else 1
            found = "the end of the text"
        else:
            line, tokens = self.lines[self.row]
            found = repr(tokens[self.column][1]) if self.column < len(tokens) else "the end of the line"
        raise ParseError(f"line {line}: expected {expected}, found {found}", line=line, expected=expected)

    def peek(self) -> tuple[str, str]:
        if self.row < len(self.lines):
            tokens = self.lines[self.row][1]
            if self.column < len(tokens):
                return tokens[self.column]
        return ("end", "")

    def token(self, kind: str, expected: str) -> str:
        found, text = self.peek()
        if found != kind:
            self.fail(expected)
        self.column += 1
        return text

    def accept(self, text: str) -> bool:
        kind, found = self.peek()
        if found == text and kind in ("word", "mark"):
            self.column += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.fail(repr(text))

    def end_line(self) -> None:
        if self.peek()[0] != "end":
            self.fail("the end of the line")
        self.row += 1
        self.column = 0

    def name(self, sigil: str) -> str:
        kind, text = self.peek()
        if kind != "name" or text[0] != sigil:
            self.fail(f"{_SIGILS[sigil]} ({sigil}name)")
        self.column += 1
        return cast(str, json.loads(text[1:])) if text[1] == '"' else text[1:]

    def integer(self) -> int:
        text = self.token("number", "an integer")
        try:
            return int(text)
        except ValueError:
            self.column -= 1
            self.fail("an integer")

    def dtype(self) -> DType:
        text = self.token("word", "a dtype")
        try:
            return dtype_named(text)
        except KeyError:
            self.column -= 1
            self.fail("a dtype")

    def number(self, dtype: DType) -> Number:
        if dtype.kind == "bool":
            if self.accept("true"):
                return True
            if self.accept("false"):
                return False
            self.fail("true or false")
        if not dtype.is_float:
            return self.integer()
        text = self.token("number", "a float")
        value = float(text)
        return math.nan if value != value else value

    def string(self) -> str:
        return cast(str, json.loads(self.token("string", "a string")))


def __getattr__(name: str) -> object:
    # the reader is needed by tests and tools only; printing is on the path of every compilation
    if name == "parse":
        from gpucore.ir.reader import parse

        return parse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
