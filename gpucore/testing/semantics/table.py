"""The table: every operation on every dtype it is defined for, alone, and in pairs, where its result goes to another one.

A row of the first part of the table stores its result at once, to its own dtype, so that nobody sees what a compiler kept
beyond it: bits above a narrow integer's width, the precision of a wider float, a sign of zero that a conversion drops.
Here each operation's result is consumed by one operation of each kind that sees more than the dtype has.  The expected
bits are composed from the same arithmetic on bits as those of the first part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from itertools import product
from random import Random
from types import MappingProxyType

from gpucore.ir.dtypes import ALL, DType, bf16, bool_, f16, f32, f64, i16, i32, i64, index, u8, u16, u32, u64
from gpucore.ir.ops import COMPARISONS, OPS
from gpucore.testing.semantics import aggregates, functions, threads, values
from gpucore.testing.semantics.reference import (
    FORMATS,
    Arithmetic,
    Integer,
    apply,
    apply_bool,
    cast_bits,
    compare,
    integer,
)
from gpucore.testing.semantics.values import Case, Group

PAIRED_INTEGERS = tuple(d for d in ALL if d.is_integer and d is not index)
PAIRED_FLOATS = (f16, bf16, f32, f64)
_UNSIGNED = {8: u8, 16: u16, 32: u32, 64: u64}


@dataclass(frozen=True)
class Producer:
    """An operation whose result is consumed.

    Attributes
    ----------
    name : str
    operands : tuple[DType, ...]
    result : DType
    text : str
        With ``{0}``, ``{1}`` for the operands.
    run : Callable
        From the operands' bits to the result's.
    """

    name: str
    operands: tuple[DType, ...]
    result: DType
    text: str
    run: Callable[..., int]


@dataclass(frozen=True)
class Consumer:
    """An operation on a result ``p`` and on another number ``y`` of its dtype; a statement where it names ``{into}``."""

    name: str
    result: DType
    text: str
    run: Callable[[int, int], int]


# --- integers --------------------------------------------------------------------------------------------
_UNARY = {"neg": "(-{0})", "abs": "gc.abs({0})", "not": "(~{0})"}
_BINARY = {
    "add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "floordiv": "({0} // {1})", "mod": "({0} % {1})",
    "and": "({0} & {1})", "or": "({0} | {1})", "xor": "({0} ^ {1})", "shl": "({0} << {1})", "shr": "({0} >> {1})",
    "min": "gc.min({0}, {1})", "max": "gc.max({0}, {1})",
}  # fmt: skip
_COUNTS = {"popcount": "gc.popcount({0})", "clz": "gc.clz({0})"}


def _integer_producers(dtype: DType) -> Iterable[Producer]:
    kind = integer(dtype)
    for name, text in _UNARY.items():
        yield Producer(name, (dtype,), dtype, text, partial(apply, name, kind))
    for name, text in _BINARY.items():
        yield Producer(name, (dtype, dtype), dtype, text, partial(apply, name, kind))
    for name, text in _COUNTS.items():
        yield Producer(name, (dtype,), i32, text, partial(apply, name, kind))
    for source in (f32, f64, i64 if dtype is not i64 else u64):
        yield Producer(
            f"cast_{source}", (source,), dtype, f"gc.{dtype}({{0}})", partial(cast_bits, source, dtype)
        )


def _integer_consumers(dtype: DType) -> Iterable[Consumer]:
    kind = integer(dtype)
    run = partial(_applied, kind)
    yield Consumer("lt", bool_, "({p} < {y})", lambda p, y: compare("lt", kind.value(p), kind.value(y)))
    yield Consumer("floordiv", dtype, "({p} // {y})", lambda p, y: run("floordiv", p, y))
    yield Consumer("divisor", dtype, "({y} // {p})", lambda p, y: run("floordiv", y, p))
    yield Consumer("shr", dtype, "({p} >> 1)", lambda p, y: run("shr", p, 1))
    yield Consumer("min", dtype, "gc.min({p}, {y})", lambda p, y: run("min", p, y))
    yield Consumer("max", dtype, "gc.max({p}, 0)", lambda p, y: run("max", p, 0))
    yield Consumer("popcount", i32, "gc.popcount({p})", lambda p, y: run("popcount", p))
    for wide in (i64, f64):
        if wide is not dtype:
            yield Consumer(wide.name, wide, f"gc.{wide}({{p}})", partial(_converted, dtype, wide))
    yield Consumer(
        "index", i32, "(7, 11, 13, 17)[gc.index(gc.clamp({p}, 0, 3))]",
        lambda p, y: (7, 11, 13, 17)[min(max(kind.value(p), 0), 3)],
    )  # fmt: skip
    yield Consumer(
        "atomic", i32, "gc.atomic_add({into}, i, gc.i32({p}))", lambda p, y: cast_bits(dtype, i32, p)
    )


def _converted(source: DType, target: DType, p: int, y: int) -> int:
    return cast_bits(source, target, p)


def _applied(kind: Integer, op: str, *operands: int) -> int:
    return apply(op, kind, *operands)


def _integer_edges(dtype: DType, count: int) -> list[int]:
    kind = integer(dtype)
    values = [kind.low, kind.high, 0, 1, -1, kind.high - 1, kind.low + 1, 3, kind.width - 1, -7]
    legal = [kind.bits(v) for v in dict.fromkeys(values) if kind.low <= v <= kind.high]
    return legal[:count]


def _edges(dtype: DType, count: int) -> list[int]:
    return _float_edges(dtype, count) if dtype.is_float else _integer_edges(dtype, count)


# --- floats ------------------------------------------------------------------------------------------------
def _float_edges(dtype: DType, count: int) -> list[int]:
    form = FORMATS[dtype.name]
    borders = [
        cast_bits(i64, dtype, v % (1 << 64))
        for v in (1, -1, 3, 255, 256, -129, 65535, 1 << 31, 1 << 32, -(1 << 63))
    ]
    return [form.nan, 0, form.sign, form.inf, form.sign | form.inf, *borders, 1, form.inf - 1][:count]


def _float_producers(dtype: DType) -> Iterable[Producer]:
    run = Arithmetic(dtype.name).apply
    for name, text in (
        ("neg", "(-{0})"),
        ("abs", "gc.abs({0})"),
        ("sqrt", "gc.sqrt({0})"),
        ("round", "gc.round({0})"),
    ):
        yield Producer(name, (dtype,), dtype, text, partial(run, name))
    for name, text in (
        ("add", "({0} + {1})"), ("sub", "({0} - {1})"), ("mul", "({0} * {1})"), ("div", "({0} / {1})"),
        ("floordiv", "({0} // {1})"), ("mod", "({0} % {1})"), ("min", "gc.min({0}, {1})"), ("max", "gc.max({0}, {1})"),
    ):  # fmt: skip
        yield Producer(name, (dtype, dtype), dtype, text, partial(run, name))
    for source in (*(s for s in PAIRED_FLOATS if s is not dtype), i16, i64, u64):
        yield Producer(
            f"cast_{source}", (source,), dtype, f"gc.{dtype}({{0}})", partial(cast_bits, source, dtype)
        )


def _choices(dtype: DType) -> Iterable[Producer]:
    """Choices between constants, for which compilers have short ways that lose the sign of zero."""
    form = FORMATS[dtype.name]
    one = cast_bits(i64, dtype, 1)
    constants = {"0.0": 0, "-0.0": form.sign, "1.0": one, "-1.0": form.sign | one}
    for (a, x), (b, y) in product(constants.items(), constants.items()):
        if a == b:
            continue
        chosen = partial(_chosen, x, y)
        first, second = f"gc.{dtype}({a})", f"gc.{dtype}({b})"
        yield Producer(f"select({a},{b})", (bool_,), dtype, f"gc.select({{0}}, {first}, {second})", chosen)
        yield Producer(f"choice({a},{b})", (bool_,), dtype, f"({first} if {{0}} else {second})", chosen)


def _chosen(a: int, b: int, condition: int) -> int:
    return a if condition else b


def _float_consumers(dtype: DType) -> Iterable[Consumer]:
    run = Arithmetic(dtype.name).apply
    form = FORMATS[dtype.name]
    one, words = cast_bits(i64, dtype, 1), _UNSIGNED[dtype.bits]
    yield Consumer("lt", bool_, "({p} < {y})", lambda p, y: run("lt", p, y))
    yield Consumer("divisor", dtype, f"(gc.{dtype}(1.0) / {{p}})", lambda p, y: run("div", one, p))
    yield Consumer("sub", dtype, "({p} - {y})", lambda p, y: run("sub", p, y))
    yield Consumer("min", dtype, "gc.min({p}, {y})", lambda p, y: run("min", p, y))
    yield Consumer("isnan", bool_, "gc.isnan({p})", lambda p, y: run("isnan", p))
    yield Consumer("bits", words, f"gc.bitcast({{p}}, gc.{words})", lambda p, y: form.canonical(p))
    for target in (u8, i32, u64, f16, f64):
        if target is not dtype:
            yield Consumer(target.name, target, f"gc.{target}({{p}})", partial(_converted, dtype, target))


# --- the part ------------------------------------------------------------------------------------------------
def _cases(producer: Producer, consumer: Consumer) -> list[Case]:
    """Every pair of edges for two operands; of one operand, with the first few as the consumer's other number."""
    first = producer.operands[0]
    y_dtype = producer.result
    count = 17 if first.is_float else 10
    others = _edges(y_dtype, 7)
    if first is bool_:
        rows = [(c, others[1]) for c in (0, 1)]
    elif len(producer.operands) == 1 and first is not y_dtype:
        rows = [(a, others[n % len(others)]) for n, a in enumerate(_edges(first, count))]
    else:
        rows = list(product(_edges(first, count), _edges(y_dtype, 7)))
    cases: list[Case] = []
    for a, y in rows:
        operands = (a, y) if len(producer.operands) == 2 else (a,)
        cases.append(((a, y), (consumer.run(producer.run(*operands), y),)))
    return cases


def _pair_group(producer: Producer, consumer: Consumer) -> Group:
    text = producer.text
    template = consumer.text.replace("{p}", text).replace("{y}", "{1}")
    first = producer.operands[0]
    key = f"pair.{producer.name}.{first if first is not bool_ else producer.result}"
    key += (
        f".{consumer.name}" if producer.result in producer.operands else f".{producer.result}.{consumer.name}"
    )
    return Group(
        key,
        "pair",
        (first, producer.result),
        (consumer.result,),
        partial(_cases, producer, consumer),
        template=template,
    )


def pair_groups() -> Iterable[Group]:
    """The groups ``pair.neg.i8.i64``, an operation on a dtype and what consumes its result."""
    for dtype in PAIRED_INTEGERS:
        for producer in _integer_producers(dtype):
            yield from (_pair_group(producer, consumer) for consumer in _integer_consumers(producer.result))
    for dtype in PAIRED_FLOATS:
        for producer in _float_producers(dtype):
            yield from (_pair_group(producer, consumer) for consumer in _float_consumers(dtype))
        kinds = [c for c in _float_consumers(dtype) if c.name in ("divisor", "bits", "f64")]
        for producer in _choices(dtype):
            yield from (_pair_group(producer, consumer) for consumer in kinds)


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
        "pairs": pair_groups,
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
