"""Smaller programs that fail as a program did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from gpucore_fuzz.programs.evaluate import AmbiguousError
from gpucore_fuzz.programs.tree import (
    Assign,
    Atomic,
    Barrier,
    Collective,
    Expression,
    For,
    Function,
    If,
    LocalPair,
    LocalStore,
    Program,
    Return,
    SharedStore,
    Statement,
    Store,
    While,
    expressions_of,
)

__all__ = ["shrink", "size_of"]

Body = tuple[Statement, ...]


def shrink(
    program: Program, fails: Callable[[Program], bool], *, limit: int = 1500, seconds: float = 60.0
) -> Program:
    """The smallest program found that still fails.

    Parameters
    ----------
    fails : callable
        Raises what it likes for programs that are none.
    limit : int
        Candidates to try at most.
    seconds : float
        For how long.
    """
    end = time.monotonic() + seconds
    tried = 0
    progress = True
    while progress:
        progress = False
        position = 0
        while True:
            found = None
            for number, candidate in enumerate(_candidates(program)):
                if number < position:
                    continue
                if tried >= limit or time.monotonic() > end:
                    return program
                tried += 1
                smaller = _pruned(candidate)
                if size_of(smaller) < size_of(program) and _is_whole(smaller) and _still(smaller, fails):
                    # go on from here: what failed to be left out before will mostly do so again
                    found, position, progress = smaller, number, True
                    break
            if found is None:
                break
            program = found
    return program


def _still(program: Program, fails: Callable[[Program], bool]) -> bool:
    try:
        return fails(program)
    except (AmbiguousError, KeyError, IndexError, AssertionError, TypeError):  # no program any more
        return False


def _is_whole(program: Program) -> bool:
    """Whether every output is written, and nothing of the block is read between a store and the barrier after it."""
    written = {s.array for s in program.body if isinstance(s, Store)}
    ready, pending = set(program.tallies), set[str]()
    for s in program.body:
        if isinstance(s, Barrier):
            ready, pending = ready | pending, set()
        read = {name for e in _inner_expressions(s) for name in _named(e)} & {
            *program.shared,
            *program.tallies,
        }
        if read - ready or read & pending:
            return False
        pending |= _stored(s)
    return written == set(program.outputs)


def _inner_expressions(s: Statement) -> Iterator[Expression]:
    yield from expressions_of(s)
    for inner in _inner(s):
        yield from _inner_expressions(inner)


def _stored(s: Statement) -> set[str]:
    found = {s.array} if isinstance(s, (SharedStore, Atomic)) else set[str]()
    return found.union(*map(_stored, _inner(s)))


def _inner(s: Statement) -> Body:
    match s:
        case If(then=a, orelse=b):
            return (*a, *b)
        case For(body=a) | While(body=a):
            return a
    return ()


def size_of(program: Program) -> tuple[int, int, int]:
    """What shrinking makes less of: the tree, then the threads, then the data."""
    nodes = sum(map(_nodes, program.body)) + sum(4 + sum(map(_nodes, f.body)) for f in program.functions)
    data = sum(len(repr(v)) for values in program.values.values() for v in values)
    return (
        nodes * 4 + program.threads + bool(program.block) + len(program.outputs) * 4,
        len(program.values),
        data,
    )


def _nodes(s: Statement) -> int:
    return 2 + sum(map(_size, expressions_of(s))) + sum(map(_nodes, _inner(s)))


def _size(e: Expression) -> int:
    if e.op == "const":
        return 2 if e.value in (0, 1) else 3
    return (1 if e.op == "implicit" else 4) + sum(map(_size, e.args))


# --- candidates ----------------------------------------------------------------------------------------
def _candidates(program: Program) -> Iterator[Program]:
    yield from _launches(program)
    for name in program.outputs:
        body = tuple(s for s in program.body if not (isinstance(s, Store) and s.array == name))
        yield replace(program, body=body, outputs={n: t for n, t in program.outputs.items() if n != name})
    for body in _bodies(program.body):
        yield replace(program, body=body)
    for n, f in enumerate(program.functions):
        for body in _bodies(f.body):
            yield replace(
                program,
                functions=(*program.functions[:n], replace(f, body=body), *program.functions[n + 1 :]),
            )
    for name, values in program.values.items():
        t = {**program.inputs, **program.scalars}[name]
        for simple in (0, 1, -1):
            if (
                len(values) == 1
                and values[0] not in (0, 1, simple)
                and (simple >= 0 or not t.startswith("u"))
            ):
                value = float(simple) if isinstance(values[0], float) else simple
                yield replace(program, values={**program.values, name: (value,)})


def _launches(program: Program) -> Iterator[Program]:
    """Fewer threads, with their part of the data."""
    if program.threads == 1:
        if program.block and not (program.shared or program.tallies):
            yield replace(program, block=0)
        return
    if program.block and not program.shared and not program.tallies:
        yield replace(program, grid=program.threads, block=0)
    width = max(program.block, 1)
    if program.grid > 1:
        halves = (range(program.grid // 2), range(program.grid // 2, program.grid))
        for part in (*halves, *([n] for n in range(program.grid) if program.grid <= 6)):
            yield _of_threads(
                program, [n * width + k for n in part for k in range(width)], len(part), program.block
            )


def _of_threads(program: Program, threads: list[int], grid: int, block: int) -> Program:
    values = {
        name: tuple(program.values[name][n] for n in threads)
        if name in program.inputs
        else program.values[name]
        for name in program.values
    }
    return replace(program, values=values, grid=grid, block=block)


def _with(s: Statement, name: str, value: Expression) -> Statement:
    """A statement of a loop's body in one turn, without the loop."""

    def put(e: Expression) -> Expression:
        if e.op == "var" and e.name == name:
            return value
        return replace(e, args=tuple(map(put, e.args))) if e.args else e

    parts: dict[str, Any] = {}
    for part in fields(s):
        held = getattr(s, part.name)
        if isinstance(held, Expression):
            parts[part.name] = put(held)
        elif isinstance(held, tuple):
            parts[part.name] = tuple(_with(inner, name, value) for inner in held)
    return replace(s, **parts)


def _without_runs(body: Body) -> Iterator[Body]:
    """Many statements less at once, stores into outputs left in."""
    size = len(body) // 2
    while size > 2:
        for start in range(0, len(body), size):
            run = tuple(s for s in body[start : start + size] if isinstance(s, (Store, Return, Barrier)))
            yield (*body[:start], *run, *body[start + size :])
        size //= 2


def _bodies(body: Body) -> Iterator[Body]:
    yield from _without_runs(body)
    for n, s in enumerate(body):
        before, after = body[:n], body[n + 1 :]
        if not isinstance(s, Return):
            yield (*before, *after)
        match s:
            case If(then=then, orelse=orelse):
                yield (*before, *then, *after)
                if orelse:
                    yield (*before, *orelse, *after)
                    yield (*before, replace(s, orelse=()), *after)
                yield from ((*before, replace(s, then=b), *after) for b in _bodies(then))
                yield from ((*before, replace(s, orelse=b), *after) for b in _bodies(orelse))
            case For(body=inner) | While(body=inner):
                yield (*before, *inner, *after)
                yield from ((*before, replace(s, body=b), *after) for b in _bodies(inner))
                once = s.start + (1 if s.step > 0 else -1) if isinstance(s, For) else 0
                if isinstance(s, For):
                    number = Expression("const", "index", name="bare", value=s.start)
                    yield (*before, *(_with(b, s.name, number) for b in inner), *after)
                if isinstance(s, For) and s.stop != once:
                    yield (*before, replace(s, stop=once), *after)
                if isinstance(s, While) and s.limit > 1:
                    yield (*before, replace(s, limit=1), *after)
            case _:
                pass
        yield from ((*before, changed, *after) for changed in _changed(s))


def _changed(s: Statement) -> Iterator[Statement]:
    """The statement with one of its expressions made smaller."""
    match s:
        case Assign() | Return() | Store() | SharedStore() | Collective():
            yield from (replace(s, value=e) for e in _smaller(s.value))
        case If() | While():
            yield from (replace(s, condition=e) for e in _smaller(s.condition))
        case LocalStore() | Atomic():
            yield from (replace(s, value=e) for e in _smaller(s.value))
            yield from (replace(s, index=e) for e in _smaller(s.index))
        case LocalPair():
            yield LocalStore(s.array, s.t, s.index, s.value)
            yield LocalStore(s.array, s.t, s.other, s.second)
            yield from (replace(s, value=e) for e in _smaller(s.value))
            yield from (replace(s, second=e) for e in _smaller(s.second))
            yield from (replace(s, index=e) for e in _smaller(s.index))
            yield from (replace(s, other=e) for e in _smaller(s.other))
        case _:
            pass


def _smaller(e: Expression) -> Iterator[Expression]:
    for a in e.args:
        if a.t == e.t and not (a.op == "const" and a.name == "bare"):
            yield a
        elif (
            a.t not in ("bool", "index") and e.t not in ("bool", "index") and e.op not in ("cast", "implicit")
        ):
            yield Expression("cast", e.t, (a,))
    if e.op in ("cast", "bitcast") and e.args[0].args and e.args[0].op == "cast":
        yield replace(e, args=e.args[0].args)
    if e.args and e.t != "index":
        simple = 0.0 if e.t in ("f16", "bf16", "f32", "f64") else 0
        yield from (Expression("const", e.t, value=v) for v in (simple, type(simple)(1)))
    for n, a in enumerate(e.args):
        for smaller in _smaller(a):
            yield replace(e, args=(*e.args[:n], smaller, *e.args[n + 1 :]))


# --- what nothing names any more -----------------------------------------------------------------------
def _pruned(program: Program) -> Program:
    """The program without parameters, arrays and functions that nobody names."""
    functions: list[Function] = []
    used = _names(program.body)
    for f in reversed(program.functions):
        if f.name in used:
            functions.insert(0, f)
            used |= _names(f.body)
    kept = {**program.inputs, **program.scalars}
    return replace(
        program,
        inputs={n: t for n, t in program.inputs.items() if n in used},
        scalars={n: t for n, t in program.scalars.items() if n in used},
        counters={n: c for n, c in program.counters.items() if n in used},
        tables={n: c for n, c in program.tables.items() if n in used},
        locals={n: c for n, c in program.locals.items() if n in used},
        shared={n: c for n, c in program.shared.items() if n in used},
        tallies={n: c for n, c in program.tallies.items() if n in used},
        functions=tuple(functions),
        values={n: v for n, v in program.values.items() if n in used and n in kept},
        body=_without_idle(program.body),
    )


def _without_idle(body: Body) -> Body:
    barriers = any(isinstance(s, (SharedStore, Atomic)) for s in body)
    return tuple(s for s in body if not isinstance(s, Barrier) or barriers)


def _names(body: Body) -> set[str]:
    found: set[str] = set()
    for s in body:
        if isinstance(s, (Atomic, LocalPair, LocalStore, SharedStore)):
            found.add(s.array)
        found |= _names(_inner(s))
        for e in expressions_of(s):
            found |= _named(e)
    return found


def _named(e: Expression) -> set[str]:
    found = {e.name} if e.op in ("load", "scalar", "element", "call", "var") else set()
    for a in e.args:
        found |= _named(a)
    return found
