"""``fma`` on f32 where the hardware's own is right, save that it takes denormals for zeros.

Such hardware is used for groups of operations whose operands are proven, before the group, to lead to no
denormal; the rest go through a function that is exact everywhere. Write ``E(x)`` for the exponent field of
a normal number, so that ``x`` is an integer times ``2**(E(x) - 150)`` and not below ``2**(E(x) - 127)`` in
magnitude. A group is *safe* when, over all of its operations ``a * b + c``,

1. every ``a``, ``b`` and ``c`` is zero, infinite, NaN or normal,
2. ``E(a) + E(b) >= 174`` for the least ``a`` and the least ``b`` that are not zero.

Then no operand is denormal, and neither is a result, by cases. Infinite or NaN operands lead to infinities
and NaN. Where the product is zero, the result is ``c``, or zero. Any other product is at least ``2**(174 -
254) = 2**-80`` in magnitude, and an integer times ``2**(174 - 300) = 2**-126``. If ``c`` is below
``2**-81``, the sum is above that. If it is not, it is an integer times ``2**-104``; hence the exact sum is
an integer times ``2**-126``: zero, or not below ``2**-126``, which is normal before and after rounding.

So results of safe operations meet the first condition as addends of later ones. Only operands from outside
are tested, once each, by the least of ``2 * bits - 1``: there zero is the largest number, the sign is gone,
and the upper eight bits are the exponent field, or one less for a power of two, which errs to the safe side.
A product of matrices tests two values for every row and column of its registers, and its sums at the start
of a block alone. The minima are never reset within a block, so a safe group had only safe ones before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gpucore.ir import (
    Block,
    Const,
    Extent,
    Function,
    GetVar,
    Load,
    Op,
    Return,
    SetVar,
    Stmt,
    Store,
    ThreadIndex,
    Value,
    bool_,
    f32,
    f64,
    i64,
)  # fmt: skip
from gpucore_vulkan.spirv import operations
from gpucore_vulkan.spirv.grammar import VOLATILE

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["GuardedBlock", "exact_fma", "is_fused"]

GROUP: Final = 128
"""How many fma may share a branch: more of them keep more loaded operands in registers."""
LONGEST: Final = 2 * GROUP
NOTHING: Final = 0xFFFFFFFF
LEAST_FIELDS: Final = 174

Slot = tuple[str, int]
"""A variable or an element of a local array: its name, and its place or -1."""


def is_fused(statement: Stmt) -> bool:
    """Whether a statement is an fma on f32."""
    return isinstance(statement, Op) and statement.op == "fma" and statement.result.dtype is f32


@functools.cache
def exact_fma() -> Function:
    """``a * b + c`` with one rounding, by way of f64.

    The product is exact in f64, the sum is rounded to odd with the help of Knuth's TwoSum, and the second
    rounding is then harmless (S. Boldo and G. Melquiond, *Emulation of FMA and correctly rounded sums: proved
    algorithms using rounding to odd*, IEEE Transactions on Computers 57(4), 2008).
    """
    a, b, c = (Value(name, f32) for name in "abc")
    body: list[Stmt] = []

    def op(name: str, kind: object, *args: Value) -> Value:
        result = Value(f"v{len(body)}", kind)  # type: ignore[arg-type]
        body.append(Op(result, name, args))
        return result

    def const(kind: object, number: float) -> Value:
        result = Value(f"v{len(body)}", kind)  # type: ignore[arg-type]
        body.append(Const(result, number))
        return result

    zero = const(f64, 0.0)
    product = op("mul", f64, op("cast", f64, a), op("cast", f64, b))
    addend = op("cast", f64, c)
    total = op("add", f64, product, addend)
    back = op("sub", f64, total, product)
    error = op("add", f64, op("sub", f64, product, op("sub", f64, total, back)), op("sub", f64, addend, back))
    bits = op("bitcast.raw", i64, total)
    even = op("eq", bool_, op("and", i64, bits, const(i64, 1)), const(i64, 0))
    above = op("gt", bool_, error, zero)
    # not for a NaN, which comes from infinite sums
    inexact = op("or", bool_, above, op("lt", bool_, error, zero))
    # away from zero where the error has the sign of the sum
    outward = op("eq", bool_, above, op("gt", bool_, total, zero))
    step = op("select", i64, outward, const(i64, 1), const(i64, -1))
    odd = op("select", i64, op("and", bool_, inexact, even), op("add", i64, bits, step), bits)
    body.append(Return(op("cast", f32, op("bitcast.raw", f64, odd))))
    return Function("soft.fma_exact.f32", (a, b, c), f32, (), (), tuple(body))


class GuardedBlock:
    """Emits the statements of one block, its fma and what follows from them in groups.

    Parameters
    ----------
    f : FunctionState
    statement : Callable[[Stmt], bool]
        Emits any other statement; whether control reaches its end.
    """

    def __init__(self, f: FunctionState, statement: Callable[[Stmt], bool]) -> None:
        self._f = f
        self._emit = statement
        self._least = [f.asm.word(NOTHING)] * 3
        self._tested: tuple[set[int], set[int], set[int]] = (set(), set(), set())
        self._fused: set[int] = set()
        self._loads: dict[tuple[str, int], int] = {}
        # of the group that is being collected
        self._group: list[Op] = []
        self._count = 0
        self._waiting: dict[str, Op] = {}
        self._aliases: dict[str, list[str]] = {}
        self._pending: dict[Slot, Store | SetVar] = {}

    def emit(self, block: Block) -> bool:
        """Emit all; whether control reaches the end."""
        for statement in block:
            if is_fused(statement) and isinstance(statement, Op):
                self._fma(statement)
            elif not self._take(statement):
                self._close()
                self._loads.clear()
                if not self._emit(statement):
                    return False
        self._close()
        return True

    # --- collecting ----------------------------------------------------------------------------------
    def _fma(self, statement: Op) -> None:
        a, b, c = statement.args
        follows = self._waiting.get(c.name)
        if a.name in self._waiting or b.name in self._waiting or (follows and not is_fused(follows)):
            self._close()
            follows = None
        self._test(0, a)
        self._test(1, b)
        if follows is None and self._f.values[c.name] not in self._fused:
            self._test(2, c)
        self._collect(statement)
        self._count += 1
        if self._count >= GROUP:
            self._close()

    def _test(self, role: int, value: Value) -> None:
        f = self._f
        operand = f.values[value.name]
        if operand in self._tested[role]:
            return
        self._tested[role].add(operand)
        word, one = f.asm.uint(32), f.asm.word(1)
        doubled = f.result("OpShiftLeftLogical", word, f.result("OpBitcast", word, operand), one)
        key = f.result("OpISub", word, doubled, one)
        self._least[role] = f.extended("UMin", word, self._least[role], key)

    def _collect(self, statement: Op) -> None:
        self._f.note(statement)
        self._group.append(statement)
        self._waiting[statement.result.name] = statement

    def _take(self, statement: Stmt) -> bool:
        """Emit or collect a statement that a group may go past; False for others."""
        f, waiting = self._f, self._waiting
        match statement:
            case Op(args=args):
                if not any(a.name in waiting for a in args):
                    return self._emit(statement)
                if len(self._group) >= LONGEST:
                    return False
                self._collect(statement)
                return True
            case Const() | Extent() | ThreadIndex():
                return self._emit(statement)
            case GetVar(result=result, var=var):
                return self._read(statement, result, (var.name, -1))
            case SetVar(var=var):
                return self._write(statement, (var.name, -1))
            case Load(result=result, memory=memory, indices=(index,)) if memory.space == "local":
                place = f.known.get(index.name)
                if place is not None:
                    return self._read(statement, result, (memory.name, place))
            case Store(memory=memory, indices=(index,)) if memory.space == "local":
                place = f.known.get(index.name)
                if place is not None:
                    return self._write(statement, (memory.name, place))
            case Load(memory=memory, indices=(index,)) if index.name not in waiting:
                return self._load(statement, memory.name, f.values[index.name])
        return False

    def _load(self, statement: Load, memory: str, index: int) -> bool:
        """Elements are loaded, and tested, once; nothing is stored before the block's next barrier or store."""
        f = self._f
        key = memory, index
        if f.unit.access & VOLATILE or key not in self._loads:
            self._emit(statement)
            self._loads[key] = f.values[statement.result.name]
        else:
            f.note(statement)
            f.values[statement.result.name] = self._loads[key]
        return True

    def _read(self, statement: Stmt, result: Value, slot: Slot) -> bool:
        f = self._f
        writer = self._pending.get(slot)
        if writer is None:
            return self._emit(statement)
        f.note_alike(result, writer.value)
        source = writer.value.name
        if source in self._waiting:
            self._waiting[result.name] = self._waiting[source]
            self._aliases.setdefault(self._waiting[source].result.name, []).append(result.name)
        else:
            f.values[result.name] = f.values[source]
        return True

    def _write(self, statement: Store | SetVar, slot: Slot) -> bool:
        if slot not in self._pending and statement.value.name not in self._waiting:
            return self._emit(statement)
        # the last one counts, and stands where the last one stood
        self._pending.pop(slot, None)
        self._pending[slot] = statement
        return True

    # --- a group -------------------------------------------------------------------------------------
    def _safe(self) -> int:
        """Whether the conditions hold of all that was tested so far."""
        f, asm = self._f, self._f.asm
        word, truth, shift = asm.uint(32), asm.bool_type(), asm.word(24)
        a, b, c = (f.result("OpShiftRightLogical", word, least, shift) for least in self._least)
        fields = f.result("OpIAdd", word, a, b)
        wide = f.result("OpUGreaterThanEqual", truth, fields, asm.word(LEAST_FIELDS))
        least = f.extended("UMin", word, f.extended("UMin", word, a, b), c)
        normal = f.result("OpUGreaterThanEqual", truth, least, asm.word(1))
        return f.result("OpLogicalAnd", truth, wide, normal)

    def _results(self, exact: bool) -> list[int]:
        """Emit the group; the ids of its values."""
        f = self._f
        found: list[int] = []
        for statement in self._group:
            f.unit.line(f.words, statement.loc)
            if exact and is_fused(statement):
                operands = [f.values[a.name] for a in statement.args]
                new = f.result("OpFunctionCall", f.type(f32), f.unit.helper(exact_fma()), *operands)
            else:
                new = operations.emit_operation(f, statement)
            self._define(statement, new)
            found.append(new)
        return found

    def _define(self, statement: Op, new: int) -> None:
        name = statement.result.name
        for known in (name, *self._aliases.get(name, ())):
            self._f.values[known] = new

    def _close(self) -> None:
        """Emit the group that was collected: as it is where it is safe, else with the exact function."""
        if not self._group:
            return
        f = self._f
        safe = self._safe()
        fast, slow, merge = (f.asm.id() for _ in range(3))
        f.put("OpSelectionMerge", merge, 0)
        f.put("OpBranchConditional", safe, fast, slow)
        f.label(fast)
        quick = self._results(exact=False)
        f.put("OpBranch", merge)
        f.label(slow)
        careful = self._results(exact=True)
        f.put("OpBranch", merge)
        f.label(merge)
        for statement, one, other in zip(self._group, quick, careful, strict=True):
            new = f.result("OpPhi", f.type(statement.result.dtype), one, fast, other, slow)
            self._define(statement, new)
            if is_fused(statement):
                self._fused.add(new)
        self._group, self._count = [], 0
        self._waiting, self._aliases = {}, {}
        pending, self._pending = self._pending, {}
        for writer in pending.values():
            self._emit(writer)
