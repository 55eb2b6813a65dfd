"""Loops that count: ``while k < n: ...; k += 1`` as ``for`` loops, so that checks can be made before them.

The variable has a sign and 32 or 64 bits, grows by 1 in the last statement and nowhere else, and the loop does not change ``n``.
A value below ``n`` has a successor, so counting wraps neither here nor there. The variable is still set at the end of each
iteration: what follows the loop, or leaves it, finds what it would have found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpucore.ir.dtypes import i32, i64, index
from gpucore.ir.nodes import (
    Block,
    Const,
    Continue,
    Extent,
    GetVar,
    If,
    Op,
    SetVar,
    Stmt,
    ThreadIndex,
    Value,
    Var,
    While,
    operands_of,
    result_of,
    walk,
)  # fmt: skip

__all__ = ["Counted", "counted"]


@dataclass(frozen=True, slots=True)
class Counted:
    """A loop that counts.

    Attributes
    ----------
    variable : Var
        What counts.
    before : Block
        What works out the limit, to be done once.
    limit : Value
        The first value with which the loop does not go on.
    body : Block
    """

    variable: Var
    before: Block
    limit: Value
    body: Block

    def body_with(self, counter: Value, zero: Value) -> Block:
        """The body with the counter of a ``for`` loop in the place of the variable, where that is read."""
        return _read_from(self.body, self.variable, counter, zero)


def counted(s: While) -> Counted | None:
    """How a loop counts; None where it does not."""
    last = s.body[-1] if s.body else None
    if not isinstance(last, SetVar) or last.var.dtype not in (i32, i64, index):
        return None
    variable = last.var
    made = {r.name: x for x in walk((*s.header, *s.body)) if (r := result_of(x)) is not None}
    changed = [x.var.name for x in walk(s.body) if isinstance(x, SetVar)]
    if changed.count(variable.name) != 1 or any(isinstance(x, Continue) for x in walk(s.body)):
        return None
    match made.get(last.value.name):
        case Op(op="add", args=(a, b)) if _reads(made, a, variable) and _is_one(made, b):
            pass
        case _:
            return None
    condition = made.get(s.condition.name)
    if not isinstance(condition, Op) or condition.op != "lt" or not _reads(made, condition.args[0], variable):
        return None
    counting = {condition.args[0].name, s.condition.name}
    before = tuple(x for x in s.header if (r := result_of(x)) is None or r.name not in counting)
    if not all(_is_repeatable(x, changed) for x in before):
        return None
    limit = condition.args[1]
    kept = {r.name for x in before if (r := result_of(x)) is not None}
    if limit.name in made and limit.name not in kept:
        return None
    if any(v.name in counting for x in (*before, *walk(s.body)) for v in operands_of(x)):
        return None
    return Counted(variable, before, limit, s.body)


def _reads(made: dict[str, Stmt], value: Value, variable: Var) -> bool:
    s = made.get(value.name)
    return isinstance(s, GetVar) and s.var.name == variable.name


def _is_one(made: dict[str, Stmt], value: Value) -> bool:
    s = made.get(value.name)
    return isinstance(s, Const) and s.value == 1


def _is_repeatable(s: Stmt, changed: list[str]) -> bool:
    """Whether a statement gives the same before the loop as in it."""
    if isinstance(s, GetVar):
        return s.var.name not in changed
    return isinstance(s, (Const, Extent, ThreadIndex, Op))


def _read_from(block: Block, variable: Var, counter: Value, zero: Value) -> Block:
    """The block; a value of dtype ``index`` is the counter plus ``zero``, so that its growth is seen."""
    read = {x.result.name for x in block if isinstance(x, GetVar) and x.var.name == variable.name}
    found: list[Stmt] = []
    for s in block:
        match s:
            case GetVar(result=result) if result.name in read:
                same = result.dtype is index
                args = (counter, zero) if same else (counter,)
                found.append(Op(result, "add" if same else "cast", args, s.loc))
            case Op(op="cast", result=result, args=(arg,)) if result.dtype is index and arg.name in read:
                found.append(Op(result, "add", (counter, zero), s.loc))
            case If():
                then, orelse = (_read_from(b, variable, counter, zero) for b in (s.then, s.orelse))
                found.append(replace(s, then=then, orelse=orelse))
            case _:
                found.append(s)
    return tuple(found)
