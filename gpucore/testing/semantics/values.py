"""What the table is made of: rows, the groups of rows that one kernel evaluates, and operands worth trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from random import Random
from typing import Literal, TypeAlias

from gpucore.ir.dtypes import DType
from gpucore.testing.semantics.reference import FORMATS, Format, Integer, Real

Shape = Literal["elementwise", "atomic", "contended", "subgroup", "view", "tile"]
Views: TypeAlias = "tuple[tuple[slice, slice], tuple[slice, slice]]"
"""Of the array that a kernel reads, of the one that it writes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case of one operation.

    Attributes
    ----------
    id : str
        Unique in the table: the group and the operands' bits, ``"add.i8(7f,01)"``.
    op : str
        The operation, as :data:`gpucore.ir.ops.OPS` names it (``atomic_add``, ``subgroup_sum`` besides).
    dtypes : tuple[str, ...]
        Of the operands, then of the results.
    inputs : tuple[int, ...]
        The operands' bit patterns.
    expected : tuple[int, ...]
        The results' bit patterns; NaN is the canonical one.
    group : str
        The key of the group.
    ulp : int
        How many representable numbers the result may be off: 0 but for the math functions.
    """

    id: str
    op: str
    dtypes: tuple[str, ...]
    inputs: tuple[int, ...]
    expected: tuple[int, ...]
    group: str
    ulp: int = 0


Case = tuple[tuple[int, ...], tuple[int, ...]]
"""The bits of the operands and of the results."""


@dataclass(frozen=True)
class Group:
    """The rows of one operation on one combination of dtypes; one kernel evaluates them in one launch.

    Attributes
    ----------
    key : str
        ``"add.f32"``, ``"cast.f64.f16"``.
    op : str
    operands, results : tuple[DType, ...]
        Dtypes in the operation's own terms (``index`` is stored as i64, see the kernels).
    shape : {"elementwise", "atomic", "contended", "subgroup", "view", "tile"}
        How the kernel lays out its operands.
    generate : Callable[[], list[Case]]
        Makes the cases; deterministic.
    lanes : int
        Operands of one row: threads of its block for subgroup operations, elements for views and tiles, else 1.
    subgroup : int | None
        The subgroup width asked for.
    ulp : int
        Tolerance of the rows.
    template : str
        How a kernel writes the operation, where that is not ``gc.op(operands)``: its operands stand for the braces.
        One that names ``{into}`` is a statement, which does something to element ``i`` of that array of zeros. For the
        shape "view": a slice.
    views : Views | None
        For the shape "view": of what is read and written; None where the kernel slices.
    """

    key: str
    op: str
    operands: tuple[DType, ...]
    results: tuple[DType, ...]
    generate: Callable[[], list[Case]]
    shape: Shape = "elementwise"
    lanes: int = 1
    subgroup: int | None = None
    ulp: int = 0
    template: str = ""
    views: Views | None = None

    @property
    def dtypes(self) -> tuple[str, ...]:
        return tuple(d.name for d in (*self.operands, *self.results))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows, in a fixed order, without repeats."""
        cases = dict(self.generate())
        widths = [d.bits // 4 for d in self.operands for _ in range(self.lanes)]
        return tuple(
            Row(self._id(inputs, widths), self.op, self.dtypes, inputs, expected, self.key, self.ulp)
            for inputs, expected in cases.items()
        )

    def _id(self, inputs: tuple[int, ...], widths: list[int]) -> str:
        digits = ",".join(f"{bits:0{width}x}" for bits, width in zip(inputs, widths, strict=True))
        return f"{self.key}({digits})"


def unique(items: list[int]) -> list[int]:
    """The items without repeats, in order."""
    return list(dict.fromkeys(items))


def integers(kind: Integer) -> list[int]:
    """Integers of a type, as values: small, border, alternating and random ones."""
    half = kind.width // 2
    alternating = int("55" * (kind.width // 8), 16)
    candidates = [
        0, 1, 2, 3, 7, 10, kind.width - 1, kind.width, kind.width + 1,
        -1, -2, -3, -7, -10, kind.high, kind.high - 1, kind.low, kind.low + 1,
        (1 << half) - 1, 1 << half, -(1 << half), alternating, ~alternating, 1 << (kind.width - 2),
    ]  # fmt: skip
    stream = Random(kind.width * 2 + kind.signed)
    candidates += [stream.getrandbits(kind.width) + kind.low for _ in range(3)]
    return unique([c for c in candidates if kind.low <= c <= kind.high])


def encode(form: Format, value: Fraction | int) -> int:
    """The nearest float's bits."""
    return form.encode(Real(value < 0, abs(Fraction(value))))


def power(exponent: int) -> Fraction:
    """``2**exponent``, exactly."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def floats(form: Format) -> list[int]:
    """Bits of zeros, infinities, NaN, denormals, the borders of the normal range, numbers about one, ties."""
    epsilon = power(-form.fraction_bits)
    one = encode(form, 1)
    positive = [
        0, 1, 2, (1 << form.fraction_bits) - 1, 1 << form.fraction_bits, (1 << form.fraction_bits) + 1,
        form.inf - 1, form.inf, one, one + 1, one - 1,
        *(encode(form, v) for v in (2, 3, 7, Fraction(1, 2), Fraction(3, 2), Fraction(5, 2), Fraction(1, 3))),
        encode(form, epsilon / 2), encode(form, epsilon / 2) + 1, encode(form, 1 / epsilon) + 1,
    ]  # fmt: skip
    return positive + [form.sign | bits for bits in positive] + [form.nan]


def float_specials(form: Format) -> list[int]:
    """A short list for operations of three operands."""
    positive = [0, 1, encode(form, 1), form.inf - 1, form.inf]
    return positive + [form.sign | bits for bits in positive] + [form.nan]


def float_pairs(form: Format) -> Iterator[tuple[int, int]]:
    """Every pair of a dense core, every float with a few partners, and random pairs of close exponents."""
    everything = floats(form)
    core = [0, 1, 1 << form.fraction_bits, form.inf - 1, form.inf, encode(form, 1), encode(form, 1) + 1,
            encode(form, 3), encode(form, Fraction(1, 3)), encode(form, power(-form.precision))]  # fmt: skip
    core = core + [form.sign | bits for bits in core] + [form.nan]
    yield from product(core, core)
    for bits in everything:
        for partner in (encode(form, 1), encode(form, Fraction(-5, 2)), encode(form, 7), form.inf - 1, 3):
            yield bits, partner
            yield partner, bits
    stream = Random(form.width)
    for _ in range(60):
        a = stream.getrandbits(form.width)
        b = a ^ stream.getrandbits(form.fraction_bits + 2) ^ (stream.getrandbits(1) << (form.width - 1))
        yield form.canonical(a), form.canonical(b)
        yield form.canonical(a), form.canonical(stream.getrandbits(form.width))


def fma_triples(form: Format) -> Iterator[tuple[int, int, int]]:
    """Specials, exact ties that a tiny addend breaks, cancellation, the overflow border, denormals."""
    specials = float_specials(form)
    yield from product(specials, specials, specials)
    epsilon = power(-form.fraction_bits)
    tiny = [0, 1, 1 << form.fraction_bits, *(encode(form, power(-k)) for k in (24, 30, 54, 60, 110))]
    tiny = unique([t for bits in tiny for t in (bits, form.sign | bits)])
    # (1 + k eps) * 3/2 and the like end in one bit too many: ties without the addend
    for k, factor in product(
        (1, 3, 5, 7, 11), (Fraction(3, 2), Fraction(5, 4), Fraction(-3, 2), Fraction(1, 2))
    ):
        for addend in tiny:
            yield encode(form, 1 + k * epsilon), encode(form, factor), addend
    # products that leave a residue: the addend cancels the rounded product
    stream = Random(form.width + 1)
    for _ in range(60):
        a = encode(form, 1) + stream.getrandbits(form.fraction_bits)
        b = encode(form, 1) + stream.getrandbits(form.fraction_bits)
        exact = form.decode(a).value * form.decode(b).value
        rounded = encode(form, -exact)
        for addend in (rounded, rounded + 1, rounded - 1):
            yield a, b, addend
        # an addend of one and a half ulp makes sums one bit past the tie
        yield a, b, encode(form, exact * power(-form.precision) * Fraction(3, 2))
    # the overflow border: largest + half an ulp is a tie to infinity, anything less is the largest
    top = form.decode(form.inf - 1).value
    half_ulp = encode(form, power(form.emin * -1 + 1 - form.precision))
    for nudge in (0, -1, 1):
        yield encode(form, 1), half_ulp + nudge, form.inf - 1
        yield encode(form, -1), half_ulp + nudge, form.sign | (form.inf - 1)
    yield encode(form, 2), encode(form, top / 2), form.sign | 1
    # denormal results: ties at half of the smallest
    for a in (1, 3, 5, (1 << form.fraction_bits) - 1, (1 << form.fraction_bits) + 1):
        for factor in (Fraction(1, 2), Fraction(-1, 2), Fraction(3, 4), Fraction(1, 4)):
            for addend in (0, form.sign, 1, 2, form.sign | 1, 1 << form.fraction_bits):
                yield a, encode(form, factor), addend
    for _ in range(120):
        a, b = stream.getrandbits(form.width), stream.getrandbits(form.width)
        c = form.encode(_product_scaled(form, a, b, stream))
        yield form.canonical(a), form.canonical(b), c


def _product_scaled(form: Format, a: int, b: int, stream: Random) -> Real:
    x, y = form.decode(a), form.decode(b)
    if x.magnitude is None or y.magnitude is None:
        return Real(False, Fraction(1))
    factor = power(stream.randint(-form.precision - 2, form.precision + 2))
    jitter = 1 + Fraction(stream.getrandbits(form.fraction_bits), 1 << form.fraction_bits)
    return Real(bool(stream.getrandbits(1)), x.magnitude * y.magnitude * factor * jitter)


# --- operands of conversions -----------------------------------------------------------------------------
def narrowing(source: Format, target: Format) -> list[int]:
    """Floats about the midpoints of a narrower format, and about a middle format's midpoints there.

    A conversion that goes through an intermediate format rounds some of these twice.
    """
    bits = floats(source)
    step = power(-target.fraction_bits)
    places = [power(e) for e in (0, 1, -1, target.emin, target.emin - 1, target.emin - target.fraction_bits)]
    places += [power(-target.emin)]  # half of the range's end
    for place in places:
        exponent_step = max(place * step, power(target.emin - target.fraction_bits))
        for k in (0, 1, 2, 3, 6):
            middle = place + exponent_step * (k + Fraction(1, 2))
            bits += _about(source, middle)
            for middle_format in (FORMATS["f32"], FORMATS["f16"], FORMATS["bf16"]):
                nudge = place * power(-middle_format.fraction_bits) / 2
                bits += _about(source, middle + nudge) + _about(source, middle - nudge)
    # the overflow border
    top = target.decode(target.inf - 1).value
    border = top + power(-target.emin + 1 - target.precision)
    bits += _about(source, border) + _about(source, top)
    stream = Random(source.width * 100 + target.width)
    bits += [source.canonical(stream.getrandbits(source.width)) for _ in range(20)]
    return unique(bits + [source.sign ^ b for b in bits if b != source.nan])


def _about(form: Format, value: Fraction) -> list[int]:
    bits = encode(form, value)
    if bits in (0, form.inf):
        return [bits]
    return [bits - 1, bits, bits + 1] if bits + 1 < form.inf else [bits - 1, bits]


def midpoint_integers(kind: Integer, target: Format) -> list[int]:
    """Integers about the midpoints of a float format, of f32 and f64 too, and the type's own borders."""
    values = integers(kind)
    for precision in {target.precision, FORMATS["f32"].precision, FORMATS["f64"].precision}:
        for exponent in range(target.precision, kind.width):
            base, half = 1 << exponent, 1 << (exponent - target.precision)
            for middle in (base + half, base + 3 * half, 2 * base - half):
                values += [middle - 1, middle, middle + 1]
                if precision != target.precision and exponent > precision:
                    nudge = 1 << (exponent - precision)
                    values += [middle + nudge, middle - nudge, middle + nudge // 2, middle - nudge // 2]
    top = int(target.decode(target.inf - 1).value)
    if top < kind.high:
        border = top + (1 << (-target.emin + 1 - target.precision))
        values += [top, top + 1, border - 1, border, border + 1]
    values += [-v for v in values]
    return unique([v for v in values if kind.low <= v <= kind.high])


def truncating(source: Format, kind: Integer) -> list[int]:
    """Floats about the borders of an integer type, and fractions on both sides of the integers near zero."""
    bits = floats(source)
    for border in (kind.low, kind.high, kind.high + 1, kind.low - 1):
        for offset in (Fraction(0), Fraction(1, 2), Fraction(-1, 2), Fraction(9, 10), Fraction(-9, 10)):
            value = border + offset
            bits += _about(source, abs(value))
            bits += [source.sign | about for about in _about(source, abs(value))]
    for value in (Fraction(9, 10), Fraction(19, 10), Fraction(255, 2), Fraction(1000), Fraction(2**20 + 1)):
        bits += [encode(source, value), encode(source, -value)]
    return unique([b for b in bits if source.canonical(b) == b])
