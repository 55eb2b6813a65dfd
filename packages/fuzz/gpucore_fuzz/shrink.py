"""Ways of making a module smaller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gpucore.ir import nodes as ir

__all__ = ["lost_order", "smaller_modules", "without_dead_code"]

_PURE = (ir.Op, ir.Const, ir.GetVar, ir.Load, ir.Extent, ir.ThreadIndex, ir.Call)


def _constant(result: ir.Value) -> ir.Const:
    zero: ir.Number = 0.0 if result.dtype.is_float else False if result.dtype.kind == "bool" else 0
    return ir.Const(result, zero)


def _smaller_statements(s: ir.Stmt) -> Iterator[tuple[ir.Stmt, ...]]:
    """What may take a statement's place; what only computes goes when nobody reads it any more."""
    if not isinstance(s, _PURE):
        yield ()
    match s:
        case ir.If(then=then, orelse=orelse):
            yield then
            if orelse:
                yield orelse
        case ir.While(header=header):
            yield header
        case _:
            pass
    result = ir.result_of(s)
    if result is not None and not isinstance(s, (ir.For, ir.Const)):
        yield (_constant(result),)


def _smaller_blocks(block: ir.Block) -> Iterator[ir.Block]:
    for cut in (len(block) // 2, len(block) // 4, len(block) // 8, len(block) // 16):
        if cut > 1:
            for start in range(0, len(block), cut):
                yield block[:start] + block[start + cut :]
    for i in reversed(range(len(block))):
        s = block[i]
        for instead in _smaller_statements(s):
            yield (*block[:i], *instead, *block[i + 1 :])
        changed: Iterator[ir.Stmt] = iter(())
        match s:
            case ir.If():
                changed = (replace(s, then=b) for b in _smaller_blocks(s.then))
                yield from ((*block[:i], c, *block[i + 1 :]) for c in changed)
                changed = (replace(s, orelse=b) for b in _smaller_blocks(s.orelse))
            case ir.For():
                changed = (replace(s, body=b) for b in _smaller_blocks(s.body))
            case ir.While():
                changed = (replace(s, body=b) for b in _smaller_blocks(s.body))
            case _:
                pass
        yield from ((*block[:i], c, *block[i + 1 :]) for c in changed)


def smaller_modules(module: ir.Module) -> Iterator[ir.Module]:
    """Modules with something left out; not all of them are valid."""
    kernel = module.kernel
    for body in _smaller_blocks(kernel.body):
        yield replace(module, kernel=replace(kernel, body=body))
    for i, function in enumerate(module.functions):
        rest = module.functions[:i] + module.functions[i + 1 :]
        yield replace(module, functions=rest)
        for body in _smaller_blocks(function.body):
            functions = (*module.functions[:i], replace(function, body=body), *module.functions[i + 1 :])
            yield replace(module, functions=functions)
    for memory in kernel.memories:
        memories = tuple(m for m in kernel.memories if m is not memory)
        yield replace(module, kernel=replace(kernel, memories=memories))
    for var in kernel.variables:
        variables = tuple(v for v in kernel.variables if v is not var)
        yield replace(module, kernel=replace(kernel, variables=variables))


def lost_order(before: ir.Module, after: ir.Module) -> bool:
    """Whether atomics that a barrier kept apart may have come together, which is no race but changes results."""

    def barriers(module: ir.Module) -> int:
        return sum(isinstance(s, ir.Barrier) for s in ir.walk(module.kernel.body))

    atomics = any(isinstance(s, (ir.Atomic, ir.AtomicCas)) for s in ir.walk(after.kernel.body))
    return atomics and barriers(after) < barriers(before)


def without_dead_code(module: ir.Module) -> ir.Module:
    """The module without what only computes and is read by nobody."""
    functions = tuple(_live(function) for function in module.functions)
    return replace(module, kernel=_live(module.kernel), functions=functions)


def _live(function: ir.Function) -> ir.Function:
    while True:
        statements = list(ir.walk(function.body))
        read = {v.name for s in statements for v in ir.operands_of(s)}
        variables = {s.var.name for s in statements if isinstance(s, ir.GetVar)}
        body = _live_block(function.body, read, variables)
        if body == function.body:
            return function
        function = replace(function, body=body)


def _live_block(block: ir.Block, read: set[str], variables: set[str]) -> ir.Block:
    kept: list[ir.Stmt] = []
    for s in block:
        match s:
            case ir.SetVar(var=var) if var.name not in variables:
                continue
            case ir.If(then=then, orelse=orelse):
                then, orelse = _live_block(then, read, variables), _live_block(orelse, read, variables)
                if then or orelse:
                    kept.append(replace(s, then=then, orelse=orelse))
                continue
            case ir.For(body=body):
                body = _live_block(body, read, variables)
                if body:
                    kept.append(replace(s, body=body))
                continue
            case ir.While(header=header, body=body):
                header, body = _live_block(header, read, variables), _live_block(body, read, variables)
                kept.append(replace(s, header=header, body=body))
                continue
            case _:
                pass
        result = ir.result_of(s)
        if isinstance(s, _PURE) and result is not None and result.name not in read:
            continue
        kept.append(s)
    return tuple(kept)
