"""Where a value may come from, as far as NVIDIA's compiler may see: what ``combinations`` keeps apart depends on it."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from gpucore.ir import Call, Const, Function, GetVar, Load, Op, Stmt, Value, operands_of, result_of, walk

__all__ = ["is_bounded", "is_clamped", "is_half", "is_literal", "is_shift", "only_picks_literals"]

CHOOSING: Final = frozenset({"min", "max", "select"})
PASSING: Final = frozenset({"cast", "bitcast.raw"})


def is_bounded(statement: Stmt, bounded: set[str]) -> bool:
    """Whether a value may be a minimum or maximum of integers: variables and calls may hide one."""
    result = result_of(statement)
    if result is None or not result.dtype.is_integer:
        return False
    match statement:
        case Op(op=op, args=args):
            return op in CHOOSING or (op in PASSING and args[0].name in bounded)
        case GetVar() | Call():
            return True
    return False


def is_shift(statement: Stmt, known: Container[str], shifts: Container[str]) -> bool:
    """Whether a value may be a literal shifted by what no compiler knows: 0 or large, so its size says how far."""
    match statement:
        case Op(op="shl.raw", args=(first, amount)):
            return first.name in known and amount.name not in known
        case Op(op="select", args=(_, *args)) | Op(op="min" | "max" | "cast" | "bitcast.raw", args=args):
            return any(a.name in shifts for a in args)
    return False


def is_clamped(statement: Stmt, shifts: Container[str], clamped: Container[str]) -> bool:
    """Whether a value may be such a shift that a minimum or maximum bounds, which leaves few numbers."""
    match statement:
        case Op(op="min" | "max", args=args):
            return any(a.name in shifts for a in args)
        case Op(op="select", args=(_, *args)) | Op(op="cast" | "bitcast.raw", args=args):
            return any(a.name in clamped for a in args)
    return False


def is_half(statement: Stmt, known: Container[str], halves: Container[str]) -> bool:
    """Whether a value of 64 bits was shifted to the right by a literal: the lower part of what may be a rotation."""
    match statement:
        case Op(op="shr.raw", args=(first, amount)):
            return first.dtype.bits == 64 and amount.name in known
        case Op(op="select", args=(_, *args)) | Op(op="cast" | "bitcast.raw", args=args):
            return any(a.name in halves for a in args)
    return False


def is_literal(statement: Stmt, literals: set[str]) -> bool:
    """Whether a compiler may come to know a value, on one way to it at least."""
    match statement:
        case Const() | GetVar() | Call():
            return True
        case Load(memory=memory):
            return memory.space in ("const", "local")
        case Op(op="select", args=(_, *args)) | Op(op="min" | "max", args=args):
            return any(a.name in literals for a in args)
        case Op(args=args):
            return all(a.name in literals for a in args)
    return False


def only_picks_literals(function: Function, truth: Value) -> bool:
    """Whether a truth value does no more than choose between two literals each time, so that nothing it says is used."""
    literals: set[str] = set()
    for statement in walk(function.body):
        if isinstance(statement, Const):
            literals.add(statement.result.name)
        if all(operand.name != truth.name for operand in operands_of(statement)):
            continue
        match statement:
            case Op(op="select", args=(_, first, second)) if {first.name, second.name} <= literals:
                continue
        return False
    return True
