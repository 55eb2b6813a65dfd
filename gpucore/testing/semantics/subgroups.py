"""Rows of the subgroup operations at a width of 32 lanes, with full and with partial subgroups."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random

from gpucore.ir.dtypes import DType, bool_, dtype, i32, u64
from gpucore.testing.semantics import integers, values
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import FORMATS, Arithmetic

WIDTH = 32
_PARTIAL = 21
"""Threads of the short block: its subgroup lacks lanes, and a butterfly meets the gap in every step."""

_NUMBERS = ("i32", "u32", "i64", "u64", "f16", "bf16", "f32", "f64")
_REDUCTIONS = ("sum", "min", "max", "inclusive_sum", "exclusive_sum")
_MOVES = ("broadcast", "shuffle", "shuffle_xor")
_VOTES = ("any", "all", "ballot")


def _binary(op: str, kind: DType, a: int, b: int) -> int:
    if kind.is_float:
        return Arithmetic(kind.name).apply(op, a, b)
    return integers.apply(op, integers.integer(kind), a, b)


def butterfly_sum(kind: DType, lanes: list[int]) -> list[int]:
    """``sum`` as :data:`gpucore.ir.ops.SUBGROUP_OPS` defines it; missing lanes are neutral."""
    neutral = FORMATS[kind.name].sign if kind.is_float else 0
    x = lanes + [neutral] * (WIDTH - len(lanes))
    mask = 1
    while mask < WIDTH:
        x = [_binary("add", kind, x[lane], x[lane ^ mask]) for lane in range(WIDTH)]
        mask *= 2
    return x[: len(lanes)]


def inclusive_sum(kind: DType, lanes: list[int]) -> list[int]:
    """Hillis and Steele's scan."""
    x, distance = list(lanes), 1
    while distance < WIDTH:
        x = [x[i] if i < distance else _binary("add", kind, x[i - distance], x[i]) for i in range(len(x))]
        distance *= 2
    return x


def _reduced(op: str, kind: DType, lanes: list[int]) -> list[int]:
    if op == "sum":
        return butterfly_sum(kind, lanes)
    if op == "inclusive_sum":
        return inclusive_sum(kind, lanes)
    if op == "exclusive_sum":
        return [0, *inclusive_sum(kind, lanes)[:-1]]
    total = lanes[0]
    for bits in lanes[1:]:
        total = _binary(op, kind, total, bits)
    return [total] * len(lanes)


def lane_vectors(kind: DType, count: int) -> list[list[int]]:
    """Operands of the lanes, row by row: edges, numbers that round, infinities and NaN among others."""
    if kind is bool_:
        return [
            [0] * count,
            [1] * count,
            [i % 2 for i in range(count)],
            [int(i == count - 1) for i in range(count)],
            [int(i != 3) for i in range(count)],
        ]
    stream = Random(kind.bits + count)
    if kind.is_float:
        form = FORMATS[kind.name]
        one = values.encode(form, 1)
        near = [[one + stream.getrandbits(form.fraction_bits + 2) for _ in range(count)] for _ in range(4)]
        near = [[bits ^ (stream.getrandbits(1) << (form.width - 1)) for bits in lanes] for lanes in near]
        zeros = [[form.sign] * count, [0] + [form.sign] * (count - 1)]
        special = [near[0][:5] + [form.inf] + near[0][6:], near[1][:9] + [form.nan] + near[1][10:]]
        wide = [[form.canonical(stream.getrandbits(form.width)) for _ in range(count)]]
        return near + zeros + special + wide
    form_int = integers.integer(kind)
    edges = [form_int.bits(v) for v in values.integers(form_int)]
    return [
        list(range(count)),
        [stream.getrandbits(kind.bits) for _ in range(count)],
        (edges * (3 + count // len(edges)))[:count],
    ]


def _reductions(op: str, kind: DType, count: int) -> list[Case]:
    return [(tuple(lanes), tuple(_reduced(op, kind, lanes))) for lanes in lane_vectors(kind, count)]


def _votes(op: str, count: int) -> list[Case]:
    cases: list[Case] = []
    for lanes in lane_vectors(bool_, count):
        ballot = sum(bit << lane for lane, bit in enumerate(lanes))
        result = {"any": int(any(lanes)), "all": int(all(lanes)), "ballot": ballot}[op]
        cases.append((tuple(lanes), (result,) * count))
    return cases


def _source(op: str, lane: int, selector: int, count: int) -> int:
    chosen = lane ^ selector if op == "shuffle_xor" else selector
    return chosen if 0 <= chosen < count else lane


def _moves(op: str, kind: DType, count: int) -> list[Case]:
    stream = Random(count)
    form = integers.integer(i32)
    selectors: list[list[int]]
    if op == "broadcast":
        selectors = [[n] * count for n in (0, 1, count - 1, count, WIDTH, WIDTH + 1, -1)]
    elif op == "shuffle":
        selectors = [[(i + 1) % WIDTH for i in range(count)], [WIDTH - 1 - i for i in range(count)],
                     [stream.randint(-2, WIDTH + 2) for _ in range(count)]]  # fmt: skip
    else:
        selectors = [[m] * count for m in (0, 1, 2, 16, 31, 32)] + [
            [stream.randint(0, 31) for _ in range(count)]
        ]
    vectors = lane_vectors(kind, count)
    cases: list[Case] = []
    for number, chosen in enumerate(selectors):
        lanes = vectors[number % len(vectors)]
        moved = tuple(lanes[_source(op, lane, chosen[lane], count)] for lane in range(count))
        cases.append(((*lanes, *(form.bits(c) for c in chosen)), moved))
    return cases


def _groups_of(count: int, suffix: str) -> Iterable[Group]:
    def group(
        op: str, operands: tuple[DType, ...], result: DType, name: str, cases: partial[list[Case]]
    ) -> Group:
        key = f"subgroup_{op}.{name}{suffix}"
        return Group(
            key, f"subgroup_{op}", operands, (result,), cases, "subgroup", lanes=count, subgroup=WIDTH
        )

    for name in _NUMBERS:
        kind = dtype(name)
        for op in _REDUCTIONS:
            yield group(op, (kind,), kind, name, partial(_reductions, op, kind, count))
    for op in _VOTES:
        yield group(op, (bool_,), u64 if op == "ballot" else bool_, "bool", partial(_votes, op, count))
    for name in (*_NUMBERS, "bool"):
        kind = dtype(name)
        for op in _MOVES:
            yield group(op, (kind, i32), kind, name, partial(_moves, op, kind, count))


def groups() -> Iterable[Group]:
    """The groups ``subgroup_sum.f32`` and so on; ``subgroup_sum.f32.partial`` for a short block."""
    yield from _groups_of(WIDTH, "")
    yield from _groups_of(_PARTIAL, ".partial")
