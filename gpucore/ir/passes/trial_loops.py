"""Loops that are tried: run without a branch for each checked load, and run again with reports where a load was wrong.

A loop that changes variables alone may run twice: what its variables held before is kept. In the trial a load outside its array
reads the first element in its place, and a variable remembers that there was one. So compilers see a loop without exits, which
they unroll, with several loads on their way at a time.

A wrong load must not make a trial long: a loop with a way out (``break``) is not tried, for what it waits for may never be read
once a load was wrong; nor is one whose range no index bounds (:func:`~gpucore.ir.passes.loop_versions.is_bounded`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpucore.ir.nodes import (
    Block,
    Call,
    Const,
    Continue,
    Extent,
    For,
    GetVar,
    If,
    Load,
    Memory,
    Op,
    SetVar,
    ThreadIndex,
    Var,
    walk,
)  # fmt: skip
from gpucore.ir.ops import SLICE_INDEX

__all__ = ["OUTSIDE", "Trial", "trial_of"]

OUTSIDE = "$outside"
"""What the names of variables begin with that say whether a loop is still to be run with reports."""

_MOST_STATEMENTS = 200
_REPEATABLE = (Const, Op, Call, GetVar, SetVar, Extent, Load, ThreadIndex, If, Continue)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial of a loop needs.

    Attributes
    ----------
    memories : tuple[Memory, ...]
        Of the loads that are checked in the loop: each must have an element.
    kept : tuple[Var, ...]
        The variables that a second run begins with.
    """

    memories: tuple[Memory, ...]
    kept: tuple[Var, ...]


def trial_of(s: For, guarded: Iterable[int], kernel: Block, assigned: set[str]) -> Trial | None:
    """The trial of an innermost loop; None where it does more than change variables, has a way out, or no checked load.

    Parameters
    ----------
    guarded : Iterable[int]
        The accesses that are checked in the loop, by ``id``.
    kernel : Block
        The body of the kernel.
    assigned : set[str]
        Variables that were set on each way to the loop.
    """
    inner = list(walk(s.body))
    if (
        len(inner) > _MOST_STATEMENTS
        or not all(isinstance(x, _REPEATABLE) for x in inner)
        or any(type(x) is Op and x.op == SLICE_INDEX for x in inner)
    ):
        return None
    wanted = set(guarded)
    memories = {x.memory.name: x.memory for x in inner if isinstance(x, Load) and id(x) in wanted}
    if not memories:
        return None
    kept: dict[str, Var] = {}
    for x in inner:
        if type(x) is SetVar:
            if x.var.name in assigned:
                kept[x.var.name] = x.var
            elif not _is_of_one_iteration(x.var, s.body, kernel):
                return None
    return Trial(tuple(memories.values()), tuple(kept.values()))


def _is_of_one_iteration(var: Var, body: Block, kernel: Block) -> bool:
    """Whether a variable is set anew in each iteration before it is read, and is read nowhere else."""

    def reads(block: Block) -> int:
        return sum(1 for x in walk(block) if type(x) is GetVar and x.var.name == var.name)

    if reads(kernel) != reads(body):
        return False
    for x in body:
        if type(x) is SetVar and x.var.name == var.name:
            return True
        if any(isinstance(y, (GetVar, SetVar)) and y.var.name == var.name for y in walk((x,))):
            return False
    return False
