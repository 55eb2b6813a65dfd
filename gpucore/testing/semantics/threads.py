"""Rows of what threads do together: atomics, subgroup operations and block functions.

The reference is what docs/numerics.md says of them: sums are balanced trees over the linear thread ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, reduce
from itertools import product
from random import Random

from gpucore.ir.dtypes import DType, bool_, dtype, i32, u64
from gpucore.ir.ops import ATOMIC_OPS
from gpucore.testing.semantics import reference, values
from gpucore.testing.semantics.reference import FORMATS, Arithmetic
from gpucore.testing.semantics.values import Case, Group

_INTEGERS = ("i32", "u32", "i64", "u64")
_FLOATS = ("f32", "f64")
_CONTENDED = ("add", "sub", "min", "max", "and", "or", "xor")
THREADS = 64
"""Threads that meet on one cell in a contended row."""


def combine(op: str, kind: DType, old: int, value: int) -> int:
    """The bits that an atomic operation leaves in the cell."""
    if op == "exchange":
        return value
    if kind.is_float:
        return Arithmetic(kind.name).apply(op, old, value)
    return reference.apply(op, reference.integer(kind), old, value)


def _operands(kind: DType) -> list[int]:
    if kind.is_float:
        form = FORMATS[kind.name]
        return [bits for bits in values.floats(form)[::3] if bits != form.nan] + [form.nan]
    form_int = reference.integer(kind)
    return [form_int.bits(v) for v in values.integers(form_int)[::2]]


def _alone(op: str, kind: DType) -> list[Case]:
    bits = _operands(kind)
    return [((old, value), (old, combine(op, kind, old, value))) for old, value in product(bits, bits)]


def _swaps(kind: DType) -> list[Case]:
    bits = _operands(kind)
    if kind.is_float:
        # compared by bits: zeros of unlike sign differ, NaNs are left out as their bits may be any
        bits = [b for b in bits if b != FORMATS[kind.name].nan]
    cases: list[Case] = []
    for old, expected in product(bits, bits[:6]):
        desired = bits[(bits.index(old) + 1) % len(bits)]
        cases.append(((old, expected, desired), (old, desired if old == expected else old)))
        cases.append(((old, old, desired), (old, desired)))
    return cases


def _contended(op: str, kind: DType) -> list[Case]:
    """One start value and ``THREADS`` operands; the result does not depend on their order."""
    form = reference.integer(kind)
    stream = Random(form.width)
    cases: list[Case] = []
    for start in (0, form.bits(form.low), form.bits(form.high), form.bits(-1)):
        operands = tuple(stream.getrandbits(form.width) for _ in range(THREADS))
        cases.append(((start, *operands), (reduce(partial(combine, op, kind), operands, start),)))
    return cases


def atomic_groups() -> Iterable[Group]:
    """The groups ``atomic_add.i32`` and so on; ``atomic_add.i32.contended`` for many threads on one cell."""
    for name in (*_INTEGERS, *_FLOATS):
        kind = dtype(name)
        for op in ATOMIC_OPS:
            if kind.is_float and op in ("and", "or", "xor"):
                continue
            operation = f"atomic_{op}"
            key = f"{operation}.{name}"
            yield Group(key, operation, (kind, kind), (kind, kind), partial(_alone, op, kind), "atomic")
        key = f"atomic_cas.{name}"
        yield Group(key, "atomic_cas", (kind, kind, kind), (kind, kind), partial(_swaps, kind), "atomic")
        if kind.is_integer:
            for op in _CONTENDED:
                key = f"atomic_{op}.{name}.contended"
                operands = (kind,) * (1 + THREADS)
                yield Group(
                    key, f"atomic_{op}", operands, (kind,), partial(_contended, op, kind), "contended"
                )


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
    return reference.apply(op, reference.integer(kind), a, b)


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
    form_int = reference.integer(kind)
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
    form = reference.integer(i32)
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


def subgroup_groups() -> Iterable[Group]:
    """The groups ``subgroup_sum.f32`` and so on; ``subgroup_sum.f32.partial`` for a short block."""
    yield from _groups_of(WIDTH, "")
    yield from _groups_of(_PARTIAL, ".partial")


BLOCK = 45
LARGE_BLOCK = 150
_BLOCK_REDUCTIONS: dict[str, tuple[str, ...]] = {
    "sum": ("i32", "u64", "f16", "bf16", "f32", "f64"),
    "min": ("i64", "f32"),
    "max": ("u32", "f16"),
    "inclusive_sum": ("u32", "f16", "f64"),
    "exclusive_sum": ("i64", "f32"),
}


def total(op: str, kind: DType, x: list[int], start: int = 0, size: int = 0) -> int:
    """The tree over ``size`` threads from ``start`` on, a power of two; what lies past the end is left out."""
    if not size:
        size = 1 << (len(x) - 1).bit_length()
    if size == 1:
        return x[start]
    half = size // 2
    left = total(op, kind, x, start, half)
    if start + half >= len(x):
        return left
    return _binary(op, kind, left, total(op, kind, x, start + half, half))


def prefix(kind: DType, x: list[int], last: int) -> int:
    """The sum up to a thread: its own value, and from the right the trees of which the bits of its number consist."""
    value, size = x[last], 1
    while size <= last:
        if last & size:
            value = _binary("add", kind, total("add", kind, x, last & -2 * size, size), value)
        size *= 2
    return value


def _reduced_block(op: str, kind: DType, x: list[int]) -> list[int]:
    if op == "inclusive_sum":
        return [prefix(kind, x, thread) for thread in range(len(x))]
    if op == "exclusive_sum":
        return [0, *(prefix(kind, x, thread) for thread in range(len(x) - 1))]
    return [total("add" if op == "sum" else op, kind, x)] * len(x)


def _block_reductions(op: str, kind: DType, count: int) -> list[Case]:
    return [(tuple(x), tuple(_reduced_block(op, kind, x))) for x in lane_vectors(kind, count)]


def _block_votes(op: str, count: int) -> list[Case]:
    decide = any if op == "any" else all
    return [(tuple(x), (int(decide(x)),) * count) for x in lane_vectors(bool_, count)]


def _broadcasts(kind: DType, count: int) -> list[Case]:
    form, stream = reference.integer(i32), Random(count)
    cases: list[Case] = []
    for number, chosen in enumerate((0, 1, count - 1, count, 4096, -1)):
        vectors = lane_vectors(kind, count)
        x = vectors[number % len(vectors)]
        got = (x[chosen],) * count if 0 <= chosen < count else tuple(x)
        cases.append(((*x, *(form.bits(chosen),) * count), got))
    x = lane_vectors(kind, count)[0]
    asked = [stream.randint(-2, count + 2) for _ in range(count)]  # each thread asks for another one
    got = tuple(x[w] if 0 <= w < count else x[thread] for thread, w in enumerate(asked))
    return [*cases, ((*x, *map(form.bits, asked)), got)]


def block_groups() -> Iterable[Group]:
    """The groups ``block_sum.f32`` and so on; ``.many`` for a block of more threads."""

    def group(
        op: str, operands: tuple[DType, ...], result: DType, key: str, cases: partial[list[Case]], count: int
    ) -> Group:
        return Group(f"block_{op}.{key}", f"block_{op}", operands, (result,), cases, "subgroup", lanes=count)

    for op, names in _BLOCK_REDUCTIONS.items():
        for name in names:
            kind = dtype(name)
            yield group(op, (kind,), kind, name, partial(_block_reductions, op, kind, BLOCK), BLOCK)
    many = partial(_block_reductions, "inclusive_sum", dtype("f32"), LARGE_BLOCK)
    yield group("inclusive_sum", (dtype("f32"),), dtype("f32"), "f32.many", many, LARGE_BLOCK)
    for op in ("any", "all"):
        yield group(op, (bool_,), bool_, "bool", partial(_block_votes, op, BLOCK), BLOCK)
    for name in ("f16", "i64", "bool"):
        kind = dtype(name)
        yield group("broadcast", (kind, i32), kind, name, partial(_broadcasts, kind, BLOCK), BLOCK)
