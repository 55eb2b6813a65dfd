"""Pairs: the result of an operation goes to another one before it is stored.

A row of the first part of the table stores its result at once, to its own dtype, so that nobody sees what a compiler kept
beyond it: bits above a narrow integer's width, the precision of a wider float, a sign of zero that a conversion drops.
Here each operation's result is consumed by one operation of each kind that sees more than the dtype has.  The expected
bits are composed from the same arithmetic on bits as those of the first part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product

from gpucore.ir.dtypes import ALL, DType, bf16, bool_, f16, f32, f64, i16, i32, i64, index, u8, u16, u32, u64
from gpucore.testing.semantics.reference import (
    FORMATS,
    Arithmetic,
    Integer,
    apply,
    cast_bits,
    compare,
    integer,
)
from gpucore.testing.semantics.values import Case, Group

INTEGERS = tuple(d for d in ALL if d.is_integer and d is not index)
FLOATS = (f16, bf16, f32, f64)
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
    for source in (*(s for s in FLOATS if s is not dtype), i16, i64, u64):
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


def _group(producer: Producer, consumer: Consumer) -> Group:
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


def groups() -> Iterable[Group]:
    """The groups ``pair.neg.i8.i64``, an operation on a dtype and what consumes its result."""
    for dtype in INTEGERS:
        for producer in _integer_producers(dtype):
            yield from (_group(producer, consumer) for consumer in _integer_consumers(producer.result))
    for dtype in FLOATS:
        for producer in _float_producers(dtype):
            yield from (_group(producer, consumer) for consumer in _float_consumers(dtype))
        kinds = [c for c in _float_consumers(dtype) if c.name in ("divisor", "bits", "f64")]
        for producer in _choices(dtype):
            yield from (_group(producer, consumer) for consumer in kinds)
