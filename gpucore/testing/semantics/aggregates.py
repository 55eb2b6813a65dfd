"""Rows of vectors and complex numbers, and of views: arguments of several numbers, and parts of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from random import Random
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import DType, bool_, dtype
from gpucore.testing.semantics import values
from gpucore.testing.semantics.model import Case, Group, Views
from gpucore.testing.semantics.reference import FORMATS, Arithmetic

__all__ = ["SHAPE", "record_groups", "view_groups"]


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
