"""Rows of vectors and complex numbers: what docs/numerics.md says of their operators, in exact scalar arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from random import Random

from gpucore.ir.dtypes import DType, dtype
from gpucore.testing.semantics import values
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import FORMATS, Arithmetic

__all__ = ["groups"]

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


def _cases(part: Part, kind: DType) -> list[Case]:
    run = Arithmetic(kind.name)
    return [(x, (part(run, x),)) for x in _operands(kind)]


def groups() -> Iterable[Group]:
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
                f"{key}.{name}", key, (kind,) * 4, (kind,), partial(_cases, part, kind), template=template
            )
