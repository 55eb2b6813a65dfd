"""Rows of what has several parts: vectors and complex numbers, views of arrays, products of packed bytes and of tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from random import Random
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import DType, bool_, dtype, i8, i32
from gpucore.testing.semantics import values
from gpucore.testing.semantics.reference import FORMATS, Arithmetic
from gpucore.testing.semantics.values import Case, Group, Views

__all__ = ["SHAPE", "dot_groups", "record_groups", "tile_groups", "view_groups"]


Part = Callable[[Arithmetic, tuple[int, ...]], int]


def _product(real: bool, run: Arithmetic, x: tuple[int, ...]) -> int:
    a, b, c, d = x
    op = run.apply
    if real:
        return op("sub", op("mul", a, c), op("mul", b, d))
    return op("add", op("mul", a, d), op("mul", b, c))


def _quotient(real: bool, run: Arithmetic, x: tuple[int, ...]) -> int:
    a, b, c, d = x
    op = run.apply
    swapped = bool(op("lt", op("abs", c), op("abs", d)))
    if swapped:
        a, b, c, d = b, a, d, c
    zero = run.format.canonical(0)
    ratio = zero if op("eq", c, zero) else op("div", d, c)
    divisor = op("add", c, op("mul", d, ratio))
    if real:
        return op("div", op("add", a, op("mul", b, ratio)), divisor)
    imaginary = op("div", op("sub", b, op("mul", a, ratio)), divisor)
    return op("neg", imaginary) if swapped else imaginary


def _scaled(real: bool, run: Arithmetic, x: tuple[int, ...]) -> int:
    a, b, c, _ = x
    return run.apply("mul", a if real else b, c)


def _cube(real: bool, run: Arithmetic, x: tuple[int, ...]) -> int:
    a, b, _, _ = x
    square = tuple(_product(part, run, (a, b, a, b)) for part in (True, False))
    return _product(real, run, (a, b, *square))


def _dot(run: Arithmetic, x: tuple[int, ...]) -> int:
    total = run.apply("mul", x[0], x[2])
    return run.apply("add", total, run.apply("mul", x[1], x[3]))


def _cross(run: Arithmetic, x: tuple[int, ...]) -> int:
    """The last part of the product of (x0, x1, x0) and (x2, x3, x1)."""
    return run.apply("sub", run.apply("mul", x[0], x[3]), run.apply("mul", x[1], x[2]))


def _operands(kind: DType) -> list[tuple[int, ...]]:
    form, stream = FORMATS[kind.name], Random(kind.bits)
    special = [0, form.sign, form.inf, form.inf | form.sign, form.nan, 1, values.encode(form, 1)]
    near = [
        (values.encode(form, 1) + stream.getrandbits(form.fraction_bits + 3))
        ^ (stream.getrandbits(1) << (form.width - 1))
        for _ in range(400)
    ]
    wide = [form.canonical(stream.getrandbits(form.width)) for _ in range(400)]
    rows = [tuple(x) for x in product(special[:4] + special[6:], repeat=4)][::3]
    for pool in (near, wide, near[:200] + wide[:200]):
        rows += [tuple(stream.choice(pool) for _ in range(4)) for _ in range(150)]
    rows += [tuple(stream.choice(special + near) for _ in range(4)) for _ in range(150)]
    return rows


def _record_cases(part: Part, kind: DType) -> list[Case]:
    run = Arithmetic(kind.name)
    return [(x, (part(run, x),)) for x in _operands(kind)]


def record_groups() -> Iterable[Group]:
    """The groups ``complex.mul.real.f32`` and so on."""
    for name, whole in (("f32", "gc.complex64"), ("f64", "gc.complex128")):
        kind = dtype(name)
        z, w = f"{whole}({{0}}, {{1}})", f"{whole}({{2}}, {{3}})"
        vector, turned = f"gc.vec2[gc.{name}]({{0}}, {{1}})", f"gc.vec2[gc.{name}]({{2}}, {{3}})"
        parts: list[tuple[str, str, Part]] = []
        for label, real in (("real", True), ("imag", False)):
            parts += [
                (f"complex.mul.{label}", f"({z} * {w}).{label}", partial(_product, real)),
                (f"complex.div.{label}", f"({z} / {w}).{label}", partial(_quotient, real)),
                (f"complex.scale.{label}", f"({z} * {{2}}).{label}", partial(_scaled, real)),
                (f"complex.cube.{label}", f"({z} ** 3).{label}", partial(_cube, real)),
            ]
        parts.append(("vec.dot", f"gc.dot({vector}, {turned})", _dot))
        three = f"gc.vec3[gc.{name}]({{0}}, {{1}}, {{0}})", f"gc.vec3[gc.{name}]({{2}}, {{3}}, {{1}})"
        parts.append(("vec.cross", f"gc.cross({three[0]}, {three[1]}).z", _cross))
        for key, template, part in parts:
            yield Group(
                f"{key}.{name}",
                key,
                (kind,) * 4,
                (kind,),
                partial(_record_cases, part, kind),
                template=template,
            )


SHAPE = (4, 6)
"""Of the array of each row."""
_DTYPES = ("u8", "i64", "f16", "f32", "bool")
_ROWS = 6
_VIEWS: dict[str, Views] = {
    "rows": (np.s_[1:3, 2:5], np.s_[0:2, 0:3]),
    "reversed": (np.s_[::-1, ::-1], np.s_[:, :]),
    "steps": (np.s_[::2, ::3], np.s_[2:, ::-5]),
    "both": (np.s_[::-3, 4:0:-2], np.s_[1::2, 5:1:-3]),
    "column": (np.s_[:, 5:4:-1], np.s_[::-1, 2:3]),
}
_SLICES: dict[str, str] = {
    "middle": "3:n - 5", "steps": "n - 20:n - 3:4", "down": "n + 7:2:-3", "empty": "n:3", "past": "20:n * 2",
    "front": "k - 12:k - 2", "all": "::-1",
}  # fmt: skip
Taken: TypeAlias = "Callable[[npt.NDArray[Any]], npt.NDArray[Any]]"


def _arrays(kind: DType) -> list[npt.NDArray[Any]]:
    """The bits of the elements of each row."""
    stream = Random(kind.bits)
    count = SHAPE[0] * SHAPE[1]
    most = 2 if kind is bool_ else 1 << (kind.bits - 2)  # of floats no NaN, whose bits are not promised
    return [np.array([stream.randrange(most) for _ in range(count)], np.uint64) for _ in range(_ROWS)]


def _view_cases(taken: Taken, kind: DType) -> list[Case]:
    return [(tuple(map(int, x)), tuple(map(int, taken(x)))) for x in _arrays(kind)]


def _copied(views: Views, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    source, target = views
    result = np.zeros(SHAPE, x.dtype)
    result[target] = x.reshape(SHAPE)[source]
    return result.ravel()


def _sliced(text: str, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    names = {"n": x.size, "k": 10}
    lower, upper, step = (*text.split(":"), "")[:3]
    # a bound below 0 is 0 in a kernel
    low, high, by = (int(eval(part, names)) if part else None for part in (lower, upper, step))
    part = x[max(low, 0) if low is not None else None : high : by]
    result = np.zeros_like(x)
    result[: part.size] = part
    return result


def view_groups() -> Iterable[Group]:
    """The groups ``view.rows.f32``, ``slice.middle.f32`` and so on."""
    lanes = SHAPE[0] * SHAPE[1]
    for name in _DTYPES:
        kind = dtype(name)
        for label, views in _VIEWS.items():
            cases = partial(_view_cases, partial(_copied, views), kind)
            yield Group(
                f"view.{label}.{name}", "view", (kind,), (kind,), cases, "view", lanes=lanes, views=views
            )
        for label, text in _SLICES.items():
            cases = partial(_view_cases, partial(_sliced, text), kind)
            yield Group(
                f"slice.{label}.{name}", "slice", (kind,), (kind,), cases, "view", lanes=lanes, template=text
            )


_FORMS = {
    "signed": ("u32", "u32", "i32"),
    "unsigned": ("u32", "u32", "u32"),
    "signed_words": ("i32", "i32", "i32"),
    "signed_words_wrapping": ("i32", "i32", "u32"),
    "mixed": ("u32", "i32", "i32"),
    "mixed_turned": ("i32", "u32", "u32"),
}
_BYTES = (0, 1, 2, 0x55, 0x7E, 0x7F, 0x80, 0x81, 0xAA, 0xFE, 0xFF)
_TOTALS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00010000, 0xFFFF0000)


def _number(byte: int, signed: bool) -> int:
    return byte - 256 if signed and byte > 127 else byte


def _byte_dot(first: int, second: int, total: int, signs: tuple[bool, bool]) -> int:
    for shift in (0, 8, 16, 24):
        a, b = (
            _number(word >> shift & 0xFF, sign) for word, sign in zip((first, second), signs, strict=True)
        )
        total += a * b
    return total % (1 << 32)


def _dot_cases(name: str, kinds: tuple[str, str, str]) -> list[Case]:
    stream = Random(name)
    words = [sum(byte << shift for shift in (0, 8, 16, 24)) for byte in _BYTES]
    words += [byte << shift for byte in (1, 0x80, 0xFF) for shift in (0, 8, 16, 24)]
    rows = [(a, b, stream.choice(_TOTALS)) for a in words for b in words]
    rows += [
        (stream.getrandbits(32), stream.getrandbits(32), stream.choice((*_TOTALS, stream.getrandbits(32))))
        for _ in range(400)
    ]
    both = kinds[:2] == ("u32", "u32")
    signs = (kinds[2] == "i32",) * 2 if both else (kinds[0] == "i32", kinds[1] == "i32")
    return [(row, (_byte_dot(*row, signs),)) for row in rows]


def dot_groups() -> Iterable[Group]:
    """The groups ``dot4.signed`` and so on."""
    for name, kinds in _FORMS.items():
        operands = tuple(dtype(kind) for kind in kinds)
        yield Group(f"dot4.{name}", "dot4", operands, operands[2:], partial(_dot_cases, name, kinds))


_SIZES = {16: 12, 32: 4, 48: 1}
"""Extents of the matrices and the number of rows; 48 is made of instructions of two depths where a device has those."""
_EXTREME_BYTES = (-128, -127, -1, 0, 1, 2, 126, 127)
_STARTS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _tile_product(a: list[int], b: list[int], start: list[int], size: int) -> tuple[int, ...]:
    """The bits of ``start + a @ b`` of matrices in C order."""
    return tuple(
        (start[i * size + j] + sum(a[i * size + k] * b[k * size + j] for k in range(size))) % (1 << 32)
        for i in range(size)
        for j in range(size)
    )


def _tile_cases(size: int) -> list[Case]:
    stream, count = Random(size), size * size
    found: list[Case] = []
    for number in range(_SIZES[size]):
        if number == 1:
            a, b = [-128] * count, [-128] * count
        elif number == 2:
            a, b = [127] * count, [-128] * count
        elif number % 3 == 0:
            a, b = ([stream.choice(_EXTREME_BYTES) for _ in range(count)] for _ in range(2))
        else:
            a, b = ([stream.randrange(-128, 128) for _ in range(count)] for _ in range(2))
        start = [stream.choice((*_STARTS, stream.getrandbits(32))) for _ in range(count)]
        bits = [value % 256 for value in (*a, *b)]
        found.append(((*bits, *start), _tile_product(a, b, start, size)))
    return found


def tile_groups() -> Iterable[Group]:
    """The groups ``tile.i8.16`` and so on."""
    for size in _SIZES:
        operands = (i8, i8, i32)
        yield Group(
            f"tile.i8.{size}", "tile", operands, (i32,), partial(_tile_cases, size), "tile", lanes=size * size
        )
