"""How accurate the math functions are on a device: ``python -m gpucore_fuzz.ulp --json FILE``.

The error of a result is its distance from the exact value in units in the last place: the distance between
the two floats of the dtype about the exact value.  Results of f16, bf16 and f32 are compared with NumPy's
f64 functions, whose own error is below 2**-26 of those units; results of f64 with mpmath at 160 bits.
Special values are the rows of :mod:`gpucore.testing.semantics`, computed with mpmath.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import DType, dtype, f64
from gpucore.ir.ops import MATH_BINARY
from gpucore.testing.semantics import kernels, runner, table
from gpucore.testing.semantics.reference import FORMATS

__all__ = ["Accuracy", "accuracy", "errors_by_f64", "errors_by_mpmath", "measure", "samples_for"]

Floats = npt.NDArray[np.float64]
Evaluate = Callable[[kernels.Launch], Sequence[npt.NDArray[Any]]]

DTYPES = ("f16", "bf16", "f32", "f64")
DEFAULT_SAMPLES = {"f16": 100_000, "bf16": 100_000, "f32": 4_000_000, "f64": 20_000}
_CHUNK = 1 << 20


def _by_python(function: Callable[[float], float], at_pole: float = math.nan) -> Callable[[Floats], Floats]:
    """A function of Python's ``math`` on arrays."""

    def one(x: float) -> float:
        try:
            return function(x)
        except ValueError:
            return at_pole
        except OverflowError:
            return math.inf

    return np.vectorize(one, otypes=[np.float64])


def _gamma(x: float) -> float:
    return math.copysign(math.inf, x) if x == 0 else math.gamma(x)


def _lgamma(x: Floats) -> Floats:
    """Near its zeros 1 and 2, where C's has too few digits, Taylor's series in values of the zeta function."""
    from mpmath import zeta

    far = _by_python(math.lgamma, at_pole=math.inf)(x)
    d = np.clip(np.where(x < 1.5, x - 1.0, x - 2.0), -0.25, 0.25)
    series = np.zeros_like(d)
    for k in range(40, 1, -1):
        series = (series + float(zeta(k)) / k * (-1) ** k) * d
    near = (series - 0.5772156649015329) * d
    near = np.where(x < 1.5, near, near + np.log1p(d))
    return np.where(np.abs(x - np.where(x < 1.5, 1.0, 2.0)) <= 0.25, near, far)


_REFERENCES: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: 1.0 / np.sqrt(x), "exp": np.exp, "exp2": np.exp2, "log": np.log,
    "log2": np.log2, "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "pow": np.power,
    "exp10": lambda x: np.power(10.0, x), "expm1": np.expm1, "log1p": np.log1p, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "cbrt": np.cbrt, "hypot": np.hypot, "erf": _by_python(math.erf), "erfc": _by_python(math.erfc),
    "tgamma": _by_python(_gamma), "lgamma": _lgamma,
}  # fmt: skip
FUNCTIONS = tuple(sorted(_REFERENCES))
"""The functions of the portable library that round."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of one function on one dtype.

    Attributes
    ----------
    function, dtype : str
    samples : int
        Arguments tried.
    max_ulp : float
        The largest error seen.
    worst : tuple[float, ...]
        The arguments that gave it.
    specials : int
        Rows of the semantics table, special values among them.
    specials_failed : int
        How many of them gave the wrong bits.
    """

    function: str
    dtype: str
    samples: int
    max_ulp: float
    worst: tuple[float, ...]
    specials: int
    specials_failed: int


# --- samples ---------------------------------------------------------------------------------------------
def samples_for(name: str, kind: DType, count: int, seed: int = 0) -> list[Floats]:
    """About ``count`` arguments as f64, exact in ``kind``: all magnitudes, and where functions bend."""
    rng = np.random.default_rng([seed, *name.encode()])
    if name == "pow":
        return _power_samples(kind, count, rng)
    first = _unary_samples(kind, count, rng)
    if name == "lgamma":
        first = np.abs(first)  # below zero it has zeros of its own, see docs/numerics.md
    return [first] if name not in (*MATH_BINARY, "hypot") else [first, rng.permutation(first)]


def _rounded(values: Floats, kind: DType) -> Floats:
    if kind is f64:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(kind.numpy).astype(np.float64)


def _unary_samples(kind: DType, count: int, rng: np.random.Generator) -> Floats:
    form, n = FORMATS[kind.name], count // 6 + 1
    stream = Random(int(rng.integers(1 << 32)))
    raw = np.array([stream.getrandbits(form.width) for _ in range(min(n, 65536))], dtype=f"u{kind.itemsize}")
    with np.errstate(invalid="ignore"):  # there are NaNs among them
        any_bits = np.resize(raw.view(kind.numpy).astype(np.float64), n)
        # random significands under the same exponents, so that repeats differ
        any_bits = any_bits * rng.uniform(0.5, 1.0, n)
    limit = 1.05 * -form.emin
    parts = [
        any_bits,
        rng.uniform(-1.0, 1.0, n) * 10.0 ** rng.uniform(-3.0, 7.0, n),
        rng.uniform(-2.0, 2.0, n),
        rng.uniform(-limit, limit, n),
        1.0 + rng.normal(0.0, 1e-3, n),
        rng.integers(1, 1 << 20, n) * (np.pi / 2),
    ]
    return _rounded(np.concatenate(parts), kind)


def _power_samples(kind: DType, count: int, rng: np.random.Generator) -> list[Floats]:
    form, n = FORMATS[kind.name], count // 3 + 1
    low, high = form.emin - form.fraction_bits - 2.0, 2.0 - form.emin
    spread = np.exp2(rng.uniform(form.emin, -form.emin, n))
    about_one = 1.0 + rng.uniform(-0.5, 1.0, n)
    near_one = 1.0 + rng.integers(-4000, 4000, n) * 2.0**-form.fraction_bits
    x = _rounded(np.abs(np.concatenate([spread, about_one, near_one])), kind)
    with np.errstate(all="ignore"):
        y = rng.uniform(low, high, x.size) / np.log2(x)
    return [x, _rounded(np.where(np.isfinite(y), y, 1.0), kind)]


# --- errors ----------------------------------------------------------------------------------------------
def errors_by_f64(name: str, got: Floats, arguments: Sequence[Floats], kind: DType) -> Floats:
    """The same for dtypes of at most 32 bits against NumPy's f64 functions, which is fast."""
    form = FORMATS[kind.name]
    with np.errstate(all="ignore"):
        exact = np.asarray(_REFERENCES[name](*arguments), dtype=np.float64)
        exponent = np.frexp(exact)[1] - 1
        unit = np.ldexp(1.0, np.maximum(exponent, form.emin) - form.fraction_bits)
        infinite = np.ldexp(1.0, 2 - form.emin)  # what an infinite result stands for
        limited = np.where(np.isinf(got), np.copysign(infinite, got), got)
        target = np.clip(exact, -infinite, infinite)
        # past the largest number every value rounds to the infinity
        unit = np.where(np.abs(exact) >= infinite, np.ldexp(1.0, 1 - form.emin - form.fraction_bits), unit)
        errors = np.abs(limited - target) / unit
        errors = np.where(np.isnan(exact), np.where(np.isnan(got), 0.0, np.inf), errors)
    return np.asarray(np.where(np.isnan(errors), np.inf, errors), dtype=np.float64)


def errors_by_mpmath(name: str, got: Floats, arguments: Sequence[Floats], kind: DType) -> Floats:
    """Errors in ulp against mpmath at 160 bits.

    Parameters
    ----------
    name : str
    got : ndarray of f64
        Results of ``kind``, exact in f64.
    arguments : sequence of ndarray of f64
        Exact in ``kind``.
    kind : DType
    """
    from mpmath import mp

    from gpucore.testing.semantics.reference import F64
    from gpucore_fuzz.correct_values import correct

    form = FORMATS[kind.name]
    errors = np.zeros(got.size)
    columns = [a.view(np.uint64).tolist() for a in arguments]
    top = Fraction(1 << (2 - form.emin))  # what an infinity stands for
    smallest_normal = Fraction(1, 1 << -form.emin)
    with mp.workprec(160):
        for position, (result, *operands) in enumerate(
            zip(got.view(np.uint64).tolist(), *columns, strict=True)
        ):
            exact, found = correct(name, *(F64.decode(b) for b in operands)), F64.decode(result)
            if exact.is_nan or found.is_nan:
                errors[position] = 0.0 if exact.is_nan and found.is_nan else np.inf
                continue
            want = top if exact.magnitude is None else min(exact.magnitude, top)
            have = top if found.magnitude is None else found.magnitude
            distance = abs(have - want) if exact.negative == found.negative else have + want
            if distance:
                exponent = form.emin if want < smallest_normal else math.frexp(min(want, top / 2))[1] - 1
                errors[position] = float(distance * Fraction(2) ** (form.fraction_bits - exponent))
    return errors


# --- measuring -------------------------------------------------------------------------------------------
def _evaluate(evaluate: Evaluate, name: str, kind: DType, arguments: Sequence[Floats]) -> Floats:
    spelled = f"gc.Array[gc.{kind.name}]"
    names = [f"x{n}" for n in range(len(arguments))]
    parameters = ", ".join(f"{n}: {spelled}" for n in (*names, "r"))
    call = kernels.expression(name, [f"{n}[i]" for n in names], kind)
    lines = (
        f"def accuracy({parameters}):",
        "    i = gc.global_id(0)",
        "    if i < r.shape[0]:",
        f"        r[i] = {call}",
    )
    arrays = tuple(a.astype(kind.numpy) for a in (*arguments, np.zeros(arguments[0].size)))
    grid = -(-arguments[0].size // kernels.BLOCK)
    where = len(arguments)
    work = kernels.Launch("accuracy", "\n".join(lines) + "\n", grid, kernels.BLOCK, None, arrays, ((where,),))
    return np.asarray(evaluate(work)[where]).astype(np.float64)


def accuracy(
    evaluate: Evaluate,
    name: str,
    kind: DType,
    samples: int,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Accuracy:
    """Measure one function on one dtype.

    Parameters
    ----------
    evaluate : callable
        ``runner.context_evaluator(context)`` or ``runner.interpreter_evaluator``.
    name : str
        One of :data:`FUNCTIONS`.
    kind : DType
    samples : int
    seed : int
    advance : callable, optional
        Called with the number of samples done.
    """
    worst, total = -1.0, 0
    at: tuple[float, ...] = ()
    arguments = samples_for(name, kind, samples, seed)
    for start in range(0, arguments[0].size, _CHUNK):
        chunk = [a[start : start + _CHUNK] for a in arguments]
        got = _evaluate(evaluate, name, kind, chunk)
        errors = (errors_by_mpmath if kind is f64 else errors_by_f64)(name, got, chunk, kind)
        place = int(np.argmax(errors))
        if errors[place] > worst:
            worst, at = float(errors[place]), tuple(float(a[place]) for a in chunk)
        total += got.size
        if advance is not None:
            advance(got.size)
    (result,) = runner.evaluate([table.group(f"{name}.{kind.name}")], evaluate)
    return Accuracy(name, kind.name, total, worst, at, result.passed + result.failed, result.failed)


def measure(
    evaluate: Evaluate,
    names: Iterable[str] | None = None,
    dtypes: Iterable[str] = DTYPES,
    samples: int | None = None,
    advance: Callable[[str, int], None] | None = None,
) -> list[Accuracy]:
    """Measure functions, all by default, on several dtypes."""
    chosen = FUNCTIONS if names is None else list(names)
    found = []
    for kind in dtypes:
        for name in chosen:
            count = samples or DEFAULT_SAMPLES[kind]
            key = f"{name}.{kind}"
            step = None if advance is None else _labelled(advance, key)
            found.append(accuracy(evaluate, name, dtype(kind), count, advance=step))
    return found


def _labelled(advance: Callable[[str, int], None], key: str) -> Callable[[int], None]:
    return lambda count: advance(key, count)


def write(path: Path, backend: str, device: str, found: Sequence[Accuracy]) -> None:
    """Write the measurements as JSON."""
    body = {"backend": backend, "device": device, "accuracy": [asdict(a) for a in found]}
    path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    import click

    @click.command()
    @click.option("--backend", default=None, help="A selector, as GPUCORE_BACKEND takes it.")
    @click.option("--interpreter", is_flag=True, help="Measure the interpreter instead of a device.")
    @click.option("--function", "names", multiple=True, help="Only these functions.")
    @click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="Only these dtypes.")
    @click.option("--samples", type=int, default=None, help="Arguments a function, in place of the default.")
    @click.option(
        "--json", "path", type=click.Path(path_type=Path), default=None, help="Write the figures here."
    )
    def command(
        backend: str | None,
        interpreter: bool,
        names: tuple[str, ...],
        dtypes: tuple[str, ...],
        samples: int | None,
        path: Path | None,
    ) -> None:
        """Measure the math functions' errors in ulp."""
        if interpreter:
            found = _with_progress(runner.interpreter_evaluator, names, dtypes, samples or 300)
            where = ("interpreter", "")
        else:
            import gpucore as gc

            with gc.Context(backend) as context:
                found = _with_progress(runner.context_evaluator(context), names, dtypes, samples)
                where = (context.backend, context.device.name)
        _show(found, *where)
        if path is not None:
            write(path, *where, found)

    command()


def _with_progress(
    evaluate: Evaluate, names: Sequence[str], dtypes: Sequence[str], samples: int | None
) -> list[Accuracy]:
    from rich.progress import Progress

    kinds = dtypes or DTYPES
    functions = len(names) or len(FUNCTIONS)
    with Progress(transient=True) as progress:
        total = sum(samples or DEFAULT_SAMPLES[k] for k in kinds) * functions
        task = progress.add_task("math functions", total=total)

        def advance(key: str, count: int) -> None:
            progress.update(task, advance=count, description=key)

        return measure(evaluate, names or None, kinds, samples, advance)


def _show(found: Sequence[Accuracy], backend: str, device: str) -> None:
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=f"Largest errors in ulp on {backend} {device}".rstrip())
    for heading in ("function", "dtype", "samples", "max ulp", "at", "special rows", "wrong"):
        grid.add_column(heading, justify="left" if heading in ("function", "dtype", "at") else "right")
    for a in found:
        at = ", ".join(f"{x:.9g}" for x in a.worst)
        grid.add_row(
            a.function,
            a.dtype,
            f"{a.samples:,}",
            f"{a.max_ulp:.3f}",
            at,
            str(a.specials),
            str(a.specials_failed),
        )
    Console().print(grid)


if __name__ == "__main__":
    main()
