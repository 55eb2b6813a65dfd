"""How many results of the f32 functions of one argument are not correctly rounded, of all 2**32 arguments:
``python -m gpucore_fuzz.rounding -b cuda --json FILE``.

The device compares each result with the f64 function's, rounded once. Where a relative error of ``2**-50`` of the f64
function (its own is at most 2 ulp, ``2**-51``) could change what it rounds to, mpmath on the host judges.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gpucore as gc
from gpucore.testing.semantics.reference import FORMATS

__all__ = ["FUNCTIONS", "Rounding", "count", "count_all"]

FUNCTIONS = (
    "rsqrt", "cbrt", "exp", "exp2", "exp10", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "tgamma", "lgamma",
)  # fmt: skip
_BLOCK, _STEPS = 256, 64
_KEPT = 1 << 16
_MARGIN = {"lgamma": "4e-16"}
"""Absolute errors of f64 functions that have no relative bound."""

_TEXT = """\
def rounding(first: gc.i64, stride: gc.i64, end: gc.i64, totals: gc.Array[gc.u32], kept: gc.Array[gc.u32]):
    start = gc.i64(gc.global_id(0)) * {steps}
    wrong, open_ = 0, 0
    for k in range({steps}):
        at = first + (start + k) * stride
        if at < end:
            bits = gc.u32(at)
            x = gc.bitcast(bits, gc.f32)
            found = gc.{name}(x)
            wide = gc.{name}(gc.f64(x))
            margin = max(abs(wide) * gc.f64(8.881784197001252e-16), gc.f64({margin}))
            low, high = gc.f32(wide - margin), gc.f32(wide + margin)
            if gc.isinf(wide) or wide == gc.f64(0.0):
                low, high = gc.f32(wide), gc.f32(wide)
            both_nan = gc.isnan(wide) and gc.isnan(found)
            if not both_nan:
                if gc.bitcast(low, gc.u32) != gc.bitcast(high, gc.u32):
                    open_ += 1
                    place = gc.i64(gc.atomic_add(totals, 2, 1))
                    if place < kept.shape[0]:
                        kept[place] = bits
                elif gc.bitcast(low, gc.u32) != gc.bitcast(found, gc.u32):
                    wrong += 1
    wrong_here = gc.block_sum(wrong)
    if gc.thread_id(0) == 0:
        gc.atomic_add(totals, 0, gc.u32(wrong_here))
"""


@dataclass(frozen=True, slots=True)
class Rounding:
    """What was found of one function.

    Attributes
    ----------
    function : str
    arguments : int
    wrong : int
        Results that are not the correctly rounded ones; NaN counts as one value.
    open : int
        Arguments that mpmath judged.
    unjudged : int
        Those of them that there was no room to keep.
    seconds : float
    """

    function: str
    arguments: int
    wrong: int
    open: int
    unjudged: int
    seconds: float


def _kernel(name: str) -> Any:
    text = _TEXT.format(name=name, steps=_STEPS, margin=_MARGIN.get(name, "0.0"))
    scope: dict[str, Any] = {"gc": gc}
    exec(compile(text, f"<rounding of {name}>", "exec"), scope)
    return gc.kernel(source=text)(scope["rounding"])


def count(context: gc.Context, name: str, *, stride: int = 1, first: int = 0) -> Rounding:
    """Count the wrong results of a function over every ``stride``-th f32.

    Parameters
    ----------
    context : Context
    name : str
        One of :data:`FUNCTIONS`.
    stride : int
        1 for all 2**32 arguments.
    first : int
        The bits of the first one.
    """
    from gpucore_fuzz.correct_values import correct

    begin = time.perf_counter()
    kernel, form = _kernel(name), FORMATS["f32"]
    ctx = context.options(check=False)
    totals, kept = ctx.zeros(3, gc.u32), ctx.zeros(_KEPT, gc.u32)
    arguments = len(range(first, 2**32, stride))
    span = _BLOCK * _STEPS * min(1 << 14, -(-arguments // (_BLOCK * _STEPS)))
    for start in range(0, arguments, span):
        kernel[span // (_BLOCK * _STEPS), _BLOCK](first + start * stride, stride, 2**32, totals, kept)
    wrong, _, met = (int(n) for n in totals.numpy())
    bits = kept.numpy()[: min(met, _KEPT)].tolist()
    found = _results(ctx, name, bits)
    for pattern, got in zip(bits, found, strict=True):
        wanted = form.encode(correct(name, form.decode(pattern)))
        wrong += wanted != form.canonical(got)
    return Rounding(name, arguments, wrong, met, max(0, met - _KEPT), time.perf_counter() - begin)


def _results(context: gc.Context, name: str, bits: Sequence[int]) -> list[int]:
    """The bits of what the device computes for these arguments."""
    if not bits:
        return []
    text = f"def results(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):\n    i = gc.global_id(0)\n    y[i] = gc.{name}(x[i])\n"
    scope: dict[str, Any] = {"gc": gc}
    exec(compile(text, f"<results of {name}>", "exec"), scope)
    x = context.array(np.array(bits, np.uint32).view(np.float32))
    y = context.empty(len(bits), gc.f32)
    gc.kernel(source=text)(scope["results"]).over(len(bits))(x, y)
    found: list[int] = y.numpy().view(np.uint32).tolist()
    return found


def count_all(
    context: gc.Context, names: Sequence[str] = FUNCTIONS, *, stride: int = 1
) -> Iterator[Rounding]:
    """Count the wrong results of several functions, one after another."""
    for name in names:
        yield count(context, name, stride=stride)


def main() -> None:
    """The command line."""
    import click

    @click.command()
    @click.option("-b", "--backend", default=None, help="A selector, as GPUCORE_BACKEND takes it.")
    @click.option(
        "-f", "--function", "names", multiple=True, type=click.Choice(FUNCTIONS), help="Only these functions."
    )
    @click.option(
        "--stride", default=1, type=click.IntRange(min=1), help="Every so many of the 2**32 arguments."
    )
    @click.option(
        "--json", "path", type=click.Path(path_type=Path), default=None, help="Write the counts here."
    )
    def command(backend: str | None, names: tuple[str, ...], stride: int, path: Path | None) -> None:
        """Count results of f32 functions that are not correctly rounded."""
        found = []
        with gc.Context(backend) as context:
            for one in count_all(context, names or FUNCTIONS, stride=stride):
                found.append(one)
                share = one.wrong / one.arguments
                click.echo(
                    f"{one.function:8} {one.wrong:>13,} of {one.arguments:,} wrong ({share:.3%}), {one.open:,} by mpmath"
                    f"{f', {one.unjudged:,} not judged' if one.unjudged else ''}, {one.seconds:.1f} s"
                )
            device = context.device.name
        if path is not None:
            body = {"device": device, "stride": stride, "rounding": [asdict(one) for one in found]}
            path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")

    command()


if __name__ == "__main__":
    main()
