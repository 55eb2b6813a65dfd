"""The operations of :class:`gpucore.ir.nodes.Op` as data: arity, operand and result types, meaning.

Keys
----
An operation on a dtype has a key such as ``"add.f32"``: the operation and the dtype of its first value
operand (for ``select`` the second).  A cast or bitcast has two dtypes: ``"cast.f64.f16"``.  A
:class:`gpucore.hookspecs.Target` lists in ``native`` the keys that its renderer does exactly as specified
here; what is neither native nor in :data:`BASELINE` is expanded by ``gpucore.ir.passes.legalise``.

Raw operations (``*.raw``) are partial: they have preconditions that the legalise pass establishes.  They
occur only at the low level, so a renderer may emit the device's plain instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpucore.ir.dtypes import ALL, DType, bool_, f32, f64, index

Types = Literal["bool", "int", "signed", "float", "number", "any", "bits", "word"]
# bool: bool only; int: all integers and index; signed: i8..i64, index; number: int and float;
# bits: int and bool; word: u32, four bytes, the lowest first; any: everything.
Result = Literal["same", "bool", "i32", "free"]


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operation: how many operands, of which types (all alike), and the type of the result."""

    arity: int
    types: Types
    result: Result = "same"
    level: Literal["high", "low", "both"] = "both"
    meaning: str = ""


def _float_unary(meaning: str) -> OpSpec:
    return OpSpec(1, "float", meaning=meaning)


MATH_UNARY = (
    "rsqrt", "exp", "exp2", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh",
)  # fmt: skip
MATH_BINARY = ("atan2", "pow")
MATH: frozenset[str] = frozenset(MATH_UNARY + MATH_BINARY)
"""Operations that the portable math library implements (``pow`` on floats only; on integers it is exact)."""


@dataclass(frozen=True, slots=True)
class LibraryOp:
    """An operation that the portable math library alone implements: no renderer and no device has one of its own.

    Attributes
    ----------
    operands, result : "float" or "i32"
        Floats are alike.
    halves : bool
        Whether it is defined on f16 and bf16, which go through f32.
    """

    operands: tuple[Literal["float", "i32"], ...] = ("float",)
    result: Literal["float", "i32"] = "float"
    halves: bool = True


LIBRARY: dict[str, LibraryOp] = {
    **dict.fromkeys(
        ("exp10", "expm1", "log1p", "asinh", "acosh", "atanh", "cbrt", "erf", "erfc", "tgamma", "lgamma"),
        LibraryOp(),
    ),
    **dict.fromkeys(("hypot", "fmod", "remainder"), LibraryOp(("float", "float"))),
    "nextafter": LibraryOp(("float", "float"), halves=False),
    "ldexp": LibraryOp(("float", "i32"), halves=False),
    "frexp_fraction": LibraryOp(),
    "frexp_exponent": LibraryOp(result="i32"),
}
"""Operations of the high level that linking turns into calls, in fast mode too; what they mean is in docs/numerics.md."""

SLICE_INDEX = "slice_index"
"""An operation of the high level on four values of ``index``: of ``(k, start, extent, step)`` it gives ``start + k * step``,
the index along an axis of element ``k`` of a slice with ``extent`` elements, and -1, which is in no array, where ``k`` is not
one of them. A slice lies inside of its axis, so an access at such an index is inside where ``k`` is."""

COMPARISONS: frozenset[str] = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})

OPS: dict[str, OpSpec] = {
    # arithmetic; floats IEEE-754, correctly rounded (f16 and bf16: in f32, then rounded once)
    "neg": OpSpec(1, "number", meaning="wraps; flips the sign of a float, of zero and NaN too"),
    "add": OpSpec(2, "number", meaning="integers wrap"),
    "sub": OpSpec(2, "number", meaning="integers wrap"),
    "mul": OpSpec(2, "number", meaning="integers wrap"),
    "div": OpSpec(2, "float", meaning="IEEE-754 division"),
    "floordiv": OpSpec(
        2, "number",
        meaning="floor of the quotient; integers: zero divisor gives 0, MIN // -1 wraps; floats: CPython's divmod, "
        "a zero divisor gives the IEEE quotient; see FLOAT_DIVMOD",
    ),
    "mod": OpSpec(
        2, "number",
        meaning="sign of the divisor, as Python; integers: zero divisor gives 0; floats: CPython's divmod, "
        "a zero divisor gives NaN; an infinite divisor follows CPython; see FLOAT_DIVMOD",
    ),
    "pow": OpSpec(2, "number", meaning="integers: wraps, 0 ** 0 is 1, a negative exponent gives 0; floats: math.pow of C"),
    "fma": OpSpec(3, "float", meaning="a * b + c, one rounding (f16, bf16: exact, then one rounding)"),
    "min": OpSpec(2, "number", meaning="floats: NaN if either is, -0 < +0"),
    "max": OpSpec(2, "number", meaning="floats: NaN if either is, -0 < +0"),
    "abs": OpSpec(1, "number", meaning="integers wrap at MIN; floats: clears the sign bit"),
    # bits
    "not": OpSpec(1, "bits", meaning="bitwise on integers, logical on bool"),
    "and": OpSpec(2, "bits"),
    "or": OpSpec(2, "bits"),
    "xor": OpSpec(2, "bits"),
    "shl": OpSpec(2, "int", meaning="an amount below 0 or at least the width gives 0"),
    "shr": OpSpec(2, "int", meaning="arithmetic on signed; an amount below 0 or at least the width gives 0, or the sign"),
    "popcount": OpSpec(1, "int", result="i32"),
    "clz": OpSpec(1, "int", result="i32", meaning="the width for 0"),
    # dot products of the bytes of two words, added to a third; they wrap
    "dot4_signed": OpSpec(3, "word", meaning="both words hold i8"),
    "dot4_unsigned": OpSpec(3, "word", meaning="both words hold u8"),
    "dot4_mixed": OpSpec(3, "word", meaning="the first word holds u8, the second i8"),
    # comparisons; IEEE on floats (ne is true on NaN, the others false)
    **{name: OpSpec(2, "any", result="bool") for name in sorted(COMPARISONS)},
    "isnan": OpSpec(1, "float", result="bool"),
    "isinf": OpSpec(1, "float", result="bool"),
    # rounding to integral floats; the sign of zero is kept
    "floor": _float_unary("toward minus infinity"),
    "ceil": _float_unary("toward plus infinity"),
    "trunc": _float_unary("toward zero"),
    "round": _float_unary("to nearest, ties to even"),
    "sqrt": _float_unary("correctly rounded"),
    **{name: _float_unary("gpucore.math") for name in MATH_UNARY},
    "atan2": OpSpec(2, "float", meaning="gpucore.math"),
    # choice and conversion
    "select": OpSpec(3, "any", meaning="select(condition: bool, a, b); a and b alike, both evaluated"),
    "cast": OpSpec(
        1, "any", result="free",
        meaning="int to int wraps; to bool is != 0 (NaN is true); float to int truncates, saturates, NaN gives 0; "
        "int to float and float to float round once, to even",
    ),
    "bitcast": OpSpec(1, "any", result="free", meaning="equal widths; a NaN float gives the bits of the canonical quiet NaN"),
    # raw: partial, low level only
    "add.raw": OpSpec(2, "int", level="low", meaning="the sum, as signed numbers, fits"),
    "mul.raw": OpSpec(2, "int", level="low", meaning="the product, as signed numbers, fits"),
    "shl.raw": OpSpec(2, "int", level="low", meaning="0 <= amount < width"),
    "shr.raw": OpSpec(2, "int", level="low", meaning="0 <= amount < width; arithmetic on signed"),
    "quot.raw": OpSpec(2, "int", level="low", meaning="truncated quotient; divisor not 0, not MIN / -1"),
    "rem.raw": OpSpec(2, "int", level="low", meaning="remainder of the truncated quotient; same conditions"),
    "f2i.raw": OpSpec(1, "float", result="free", level="low", meaning="truncates; the result is in range"),
    "bitcast.raw": OpSpec(1, "any", result="free", level="low", meaning="bits as they are"),
}  # fmt: skip

FLOAT_DIVMOD = """
    mod = fmod(a, b)                         # exact
    div = (a - mod) / b
    if mod != 0:                             # true for NaN
        if (b < 0) != (mod < 0):
            mod, div = mod + b, div - 1
    else:
        mod = copysign(0, b)
    if div != 0:
        quotient = floor(div)
        if div - quotient > 0.5:
            quotient += 1
    else:
        quotient = copysign(0, a / b)
"""
"""``a // b`` (quotient) and ``a % b`` (mod) of floats with ``b != 0``: CPython's ``float.__divmod__``,
each step rounded to the operands' own dtype, as NumPy does it; f16 and bf16 run it in f32 and round the
result once."""

SUBGROUP_OPS: dict[str, int] = {
    "size": 0, "lane": 0,
    "sum": 1, "min": 1, "max": 1, "inclusive_sum": 1, "exclusive_sum": 1,
    "any": 1, "all": 1, "ballot": 1,
    "broadcast": 2, "shuffle": 2, "shuffle_xor": 2,
}  # fmt: skip
"""Subgroup operations and their arity; every backend gives these bits.

Let N be the subgroup width and ``linear`` the thread's linear id in its block, last axis fastest.  A
thread's lane is ``linear % N``, its subgroup ``linear // N``; lane ``l`` of the last subgroup is *missing*
when the block ends before it, so the lanes that exist are always ``0 .. count - 1``.  Below ``x[l]`` is
the operand of lane ``l``.

``size``, ``lane`` : i32
``sum`` : number -> same
    An xor butterfly: for ``m`` in 1, 2, 4, ... below N, in that order, all lanes at once,
    ``x[l] = x[l] + x[l ^ m]``, with :data:`OPS` ``add`` of the dtype (f16, bf16: in f32, rounded at each
    step).  A missing lane takes part with the neutral element, -0.0 for floats (``v + -0.0`` is ``v``, bit
    for bit) and 0 for integers: it may as well be skipped, but its aligned group may hold lanes that
    exist.  As after the steps below ``m`` all lanes of an aligned group of ``m`` agree, the partner's
    value is that of lane ``p = (l ^ m) & ~(m - 1)`` if ``p < count``, and nothing is added otherwise.  All
    lanes get the same bits.  Integers wrap, so any order will do.
``min``, ``max`` : number -> same
    Of the lanes that exist, as ``OPS`` min and max (NaN wins, -0 < +0); any order will do.
``inclusive_sum`` : number -> same
    Hillis and Steele: for ``d`` in 1, 2, 4, ... below N, in that order, all lanes at once, lanes ``l >=
    d`` do ``x[l] = x[l - d] + x[l]``; missing lanes do not matter.
``exclusive_sum`` : number -> same
    Lane 0 gets 0 (+0.0), lane ``l`` the inclusive sum of lane ``l - 1``.
``any``, ``all`` : bool -> bool
    Over the lanes that exist.
``ballot`` : bool -> u64
    Bit ``l`` is the operand of lane ``l``, 0 for a missing one; N is at most 64.
``broadcast``, ``shuffle`` : any, i32 -> type of the first
    The first operand of the lane that the second names; the thread's own when that lane is negative, at
    least N, or missing.  For ``broadcast`` the second operand is the same in all lanes.
``shuffle_xor`` : any, i32 -> type of the first
    As ``shuffle`` with the lane ``lane ^ mask``.

All but ``size`` and ``lane`` want every existing lane of the subgroup to arrive; they order no memory."""

ATOMIC_OPS = ("add", "sub", "min", "max", "and", "or", "xor", "exchange")


def op_key(op: str, operand_dtypes: tuple[DType, ...], result: DType) -> str:
    """The key of an operation on these operand dtypes, as ``Target.native`` spells it."""
    if op in ("cast", "bitcast", "f2i.raw", "bitcast.raw"):
        return f"{op}.{operand_dtypes[0].name}.{result.name}"
    subject = operand_dtypes[1] if op == "select" else operand_dtypes[0]
    return f"{op}.{subject.name}"


def is_routine(function: str) -> bool:
    """Whether a function of that name comes from the portable library, as ``exp.f32`` or a helper of it.

    Such functions are written for strict arithmetic: in fast mode too a renderer neither contracts nor
    reassociates inside them.
    """
    head = function.partition(".")[0]
    return head == "soft" or head in MATH or head in LIBRARY


def is_linked(op: str) -> bool:
    """Whether an operation on floats becomes a call of the portable library, unless the target has one of its own."""
    return op in MATH or op in LIBRARY


def _baseline() -> frozenset[str]:
    ints = [d for d in ALL if d.is_integer and d is not index]
    floats = [f32, f64]
    keys: set[str] = set()
    for d in (*ints, *floats):
        keys |= {f"{op}.{d.name}" for op in ("neg", "add", "sub", "mul", "select", *COMPARISONS)}
    for d in ints:
        keys |= {
            f"{op}.{d.name}"
            for op in (
                "not",
                "and",
                "or",
                "xor",
                "add.raw",
                "mul.raw",
                "shl.raw",
                "shr.raw",
                "quot.raw",
                "rem.raw",
            )
        }
        keys |= {f"cast.{d.name}.{to.name}" for to in (*ints, *floats)}
        keys |= {f"f2i.raw.{src.name}.{d.name}" for src in floats}
        keys |= {f"bitcast.raw.{d.name}.{to.name}" for to in (*ints, *floats) if to.bits == d.bits}
    for d in floats:
        keys |= {f"bitcast.raw.{d.name}.{to.name}" for to in ints if to.bits == d.bits}
    keys |= {"cast.f32.f64", "cast.f64.f32"}
    keys |= {f"{op}.bool" for op in ("not", "and", "or", "xor", "select", "eq", "ne")}
    keys |= {f"cast.bool.{to.name}" for to in ints}
    return frozenset(keys)


BASELINE: frozenset[str] = _baseline()
"""What every renderer does natively, whatever the target: integers of 8 to 64 bits, f32 and f64, no f16,
bf16, division of floats, roots, fma, or rounding.  Where the device lacks a width (f64, i64, ...), the
target says so in ``Capabilities`` and core refuses the kernel before rendering."""

assert bool_.bits == 8
