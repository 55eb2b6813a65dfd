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
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType

if TYPE_CHECKING:
    from gpucore.ir.reader import ParseError, parse

__all__ = ["ParseError", "parse", "print_module", "print_statement"]

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


def __getattr__(name: str) -> object:
    # the reader is needed by tests and tools only; printing is on the path of every compilation
    if name in ("ParseError", "parse"):
        from gpucore.ir import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
