"""The table: every operation on every dtype it is defined for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache, partial
from itertools import product
from random import Random
from types import MappingProxyType

from gpucore.ir.dtypes import ALL, DType, bool_, i32, index
from gpucore.ir.ops import COMPARISONS, OPS
from gpucore.testing.semantics import aggregates, functions, pairs, threads, values
from gpucore.testing.semantics.reference import (
    FORMATS,
    Arithmetic,
    apply,
    apply_bool,
    cast_bits,
    integer,
)
from gpucore.testing.semantics.values import Case, Group

INTEGERS: tuple[DType, ...] = tuple(d for d in ALL if d.is_integer)
FLOATS: tuple[DType, ...] = tuple(d for d in ALL if d.is_float)

_INT_UNARY = ("neg", "abs", "not", "popcount", "clz")
_INT_BINARY = ("add", "sub", "mul", "floordiv", "mod", "min", "max", "and", "or", "xor")
_FLOAT_UNARY = ("neg", "abs", "sqrt", "floor", "ceil", "trunc", "round", "isnan", "isinf")
_FLOAT_BINARY = ("add", "sub", "mul", "div", "floordiv", "mod", "min", "max")


def operand_bits(dtype: DType) -> list[int]:
    """The bit patterns of a dtype that unary and pairwise tests take."""
    if dtype is bool_:
        return [0, 1]
    if dtype.is_float:
        return values.floats(FORMATS[dtype.name])
    kind = integer(dtype)
    return [kind.bits(v) for v in values.integers(kind)]


# --- integers and bool ---------------------------------------------------------------------------------
def _pairs(dtype: DType) -> Iterable[tuple[int, int]]:
    bits = operand_bits(dtype)
    return product(bits, bits)


def _shift_pairs(dtype: DType) -> list[tuple[int, int]]:
    kind = integer(dtype)
    amounts = [
        0,
        1,
        2,
        kind.width // 2,
        kind.width - 2,
        kind.width - 1,
        kind.width,
        kind.width + 1,
        64,
        65,
        127,
    ]
    amounts += [-1, -2, -kind.width, kind.low, kind.high, 32, 33]
    legal = [kind.bits(a) for a in values.unique([a for a in amounts if kind.low <= a <= kind.high])]
    return list(product(operand_bits(dtype), legal))


def _power_pairs(dtype: DType) -> list[tuple[int, int]]:
    kind = integer(dtype)
    bases = [0, 1, 2, 3, 5, 10, -1, -2, -3, kind.high, kind.low, kind.high // 3]
    exponents = [0, 1, 2, 3, 4, 5, 7, 8, 15, 31, 32, 63, 64, 100, kind.high, -1, -2, kind.low]
    return [
        (kind.bits(b), kind.bits(e))
        for b, e in product(values.unique(bases), values.unique(exponents))
        if kind.low <= b <= kind.high and kind.low <= e <= kind.high
    ]


def _integer_cases(op: str, dtype: DType) -> list[Case]:
    kind = integer(dtype)
    if op in _INT_UNARY:
        return [((a,), (apply(op, kind, a),)) for a in operand_bits(dtype)]
    source = {"shl": _shift_pairs, "shr": _shift_pairs, "pow": _power_pairs}.get(op, _pairs)
    return [(pair, (apply(op, kind, *pair),)) for pair in source(dtype)]


def _bool_cases(op: str) -> list[Case]:
    return [(args, (apply_bool(op, *args),)) for args in product((0, 1), repeat=OPS[op].arity)]


# --- floats ----------------------------------------------------------------------------------------------
def _float_cases(op: str, dtype: DType) -> list[Case]:
    form = FORMATS[dtype.name]
    run = Arithmetic(dtype.name).apply
    operands: Iterable[tuple[int, ...]]
    if op == "fma":
        operands = values.fma_triples(form)
    elif OPS[op].arity == 2:
        operands = values.float_pairs(form)
    else:
        halves = [values.encode(form, v) for v in _halves()]
        operands = [(bits,) for bits in values.unique(values.floats(form) + halves + _scattered(dtype))]
    return [(args, (run(op, *args),)) for args in operands]


def _halves() -> list[Fraction]:
    fractions = [Fraction(k, 4) for k in range(-14, 15)]
    return fractions + [Fraction(k, 2) for k in (2**11 - 1, 2**24 - 1, 2**53 - 1, 1 - 2**11, 1 - 2**24)]


def _scattered(dtype: DType) -> list[int]:
    form, stream = FORMATS[dtype.name], Random(dtype.bits + 7)
    return [form.canonical(stream.getrandbits(dtype.bits)) for _ in range(60)]


# --- choice and conversion -----------------------------------------------------------------------------
def _select_cases(dtype: DType) -> list[Case]:
    bits = operand_bits(dtype)
    pairs = list(zip(bits, bits[1:] + bits[:1], strict=True))
    return [((c, a, b), (a if c else b,)) for c in (0, 1) for a, b in pairs]


@cache
def _cast_operands(source: DType, to_float: bool) -> tuple[int, ...]:
    """Operands for all float targets, or for all others: each gets what is hard for its neighbours too."""
    if not (source.is_float or (to_float and source.is_integer)):
        return tuple(operand_bits(source))
    bits: list[int] = []
    for target in FLOATS if to_float else INTEGERS:
        if source.is_float:
            form = FORMATS[source.name]
            if to_float:
                bits += values.narrowing(form, FORMATS[target.name])
            else:
                bits += values.truncating(form, integer(target))
        else:
            kind = integer(source)
            bits += [kind.bits(v) for v in values.midpoint_integers(kind, FORMATS[target.name])]
    return tuple(values.unique(bits))


def _cast_cases(source: DType, target: DType) -> list[Case]:
    return [((b,), (cast_bits(source, target, b),)) for b in _cast_operands(source, target.is_float)]


def _bitcast_cases(source: DType, target: DType) -> list[Case]:
    bits = operand_bits(source)
    stream = Random(source.bits + target.bits)
    bits += [stream.getrandbits(source.bits) for _ in range(8)]
    for form in (FORMATS[d.name] for d in (source, target) if d.is_float):
        # payloads, signalling and negative NaNs: a float's NaN has the canonical bits
        nans = [
            form.nan,
            form.nan | 1,
            form.inf | 1,
            form.sign | form.nan,
            form.sign | form.inf | 1,
            (1 << form.width) - 1,
        ]
        bits += nans
    cases: list[Case] = []
    for b in values.unique(bits):
        result = b
        for form in (FORMATS[d.name] for d in (source, target) if d.is_float):
            result = form.canonical(result)
        cases.append(((b,), (result,)))
    return cases


def _bitcasts() -> Iterable[tuple[DType, DType]]:
    plain = [d for d in ALL if d not in (bool_, index)]
    return ((a, b) for a in plain for b in plain if a.bits == b.bits)


# --- the table -------------------------------------------------------------------------------------------
def _group(op: str, dtype: DType, generate: Callable[[], list[Case]], result: DType | None = None) -> Group:
    operands = (dtype,) * OPS[op].arity
    return Group(f"{op}.{dtype.name}", op, operands, (result or dtype,), generate)


def _elementwise() -> Iterable[Group]:
    comparisons = tuple(sorted(COMPARISONS))
    for dtype in INTEGERS:
        for op in (*_INT_UNARY, *_INT_BINARY, "shl", "shr", "pow"):
            result: DType | None = i32 if OPS[op].result == "i32" else None
            yield _group(op, dtype, partial(_integer_cases, op, dtype), result)
        for op in comparisons:
            yield _group(op, dtype, partial(_integer_cases, op, dtype), bool_)
    for op in ("not", "and", "or", "xor", *comparisons):
        yield _group(op, bool_, partial(_bool_cases, op))
    for dtype in FLOATS:
        for op in (*_FLOAT_UNARY, *_FLOAT_BINARY, "fma", *comparisons):
            result = bool_ if OPS[op].result == "bool" else None
            yield _group(op, dtype, partial(_float_cases, op, dtype), result)
    for dtype in ALL:
        yield Group(
            f"select.{dtype.name}", "select", (bool_, dtype, dtype), (dtype,), partial(_select_cases, dtype)
        )
    targets = (bool_, *INTEGERS, *FLOATS)  # those that share operands together
    for source, target in product(ALL, targets):
        key = f"cast.{source.name}.{target.name}"
        yield Group(key, "cast", (source,), (target,), partial(_cast_cases, source, target))
    for source, target in _bitcasts():
        key = f"bitcast.{source.name}.{target.name}"
        yield Group(key, "bitcast", (source,), (target,), partial(_bitcast_cases, source, target))


@cache
def parts() -> MappingProxyType[str, MappingProxyType[str, Group]]:
    """What came to the table later, part by part, each with its groups as :func:`groups` has them."""
    later = {
        "random": functions.random_groups,
        "pairs": pairs.groups,
        "math.h": functions.math_h_groups,
        "blocks": threads.block_groups,
        "records": aggregates.record_groups,
        "dot4": aggregates.dot_groups,
        "error and gamma": functions.latest_groups,
        "views": aggregates.view_groups,
        "tiles": aggregates.tile_groups,
    }
    return MappingProxyType(
        {name: MappingProxyType({group.key: group for group in make()}) for name, make in later.items()}
    )


def group(key: str) -> Group:
    """The group of a key, of whatever part."""
    tables = (groups(), *parts().values())
    return next(table[key] for table in tables if key in table)


@cache
def groups() -> MappingProxyType[str, Group]:
    """Every group of the first part by its key, in a fixed order; the rows are made when first asked for."""
    everything = [*_elementwise(), *functions.groups(), *threads.atomic_groups(), *threads.subgroup_groups()]
    return MappingProxyType({group.key: group for group in everything})
