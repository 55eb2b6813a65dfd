"""Programs on a device or on gpucore's interpreter, compared with the reference."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import linecache
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click
import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import DType, dtype
from gpucore_fuzz.model import Verdict
from gpucore_fuzz.programs.arithmetic import BITS, FLOATS, Scalar, bits_of
from gpucore_fuzz.programs.evaluate import evaluate
from gpucore_fuzz.programs.generate import generate
from gpucore_fuzz.programs.shrinking import shrink
from gpucore_fuzz.programs.tree import Program, text_of
from gpucore_fuzz.programs.views import step_of

__all__ = ["ValuePrograms", "differences", "loaded", "outputs_of"]

SHRUNK = 8
"""Failing programs that one process makes small; of a backend that is wrong everywhere the others are but counted."""

Words = npt.NDArray[np.unsignedinteger[Any]]


@contextlib.contextmanager
def loaded(program: Program) -> Iterator[gc.Kernel[Any]]:
    """The kernel of a program, with its source where Python looks for it."""
    text = text_of(program)
    name = f"<gpucore fuzz {id(program)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        namespace: dict[str, Any] = {"__name__": "gpucore_fuzz.program"}
        exec(compile(text, name, "exec", dont_inherit=True), namespace)
        yield namespace["k"]
    finally:
        linecache.cache.pop(name, None)


def _dtype(t: str) -> DType:
    return dtype(t)


def _word(t: str) -> np.dtype[Any]:
    return np.dtype(f"u{BITS[t] // 8}")


def _array(values: tuple[Scalar, ...], t: str) -> npt.NDArray[Any]:
    words = np.array([bits_of(v, t) for v in values], _word(t))
    return words.view(_dtype(t).numpy).copy()


def _canonical(array: npt.NDArray[Any], t: str) -> list[int]:
    """The bits of an array, NaNs as the canonical one."""
    words = np.ascontiguousarray(array).view(_word(t))
    if t in FLOATS:
        nan = bits_of(float("nan"), t)
        fraction = {"f16": 10, "bf16": 7, "f32": 23, "f64": 52}[t]
        infinity = ((1 << (BITS[t] - 1 - fraction)) - 1) << fraction
        magnitude = words & words.dtype.type((1 << (BITS[t] - 1)) - 1)
        words = np.where(magnitude > words.dtype.type(infinity), words.dtype.type(nan), words)
    found: list[int] = words.tolist()
    return found


def outputs_of(program: Program, kernel: gc.Kernel[Any], context: gc.Context | None) -> dict[str, list[int]]:
    """Launch on a context, or on the interpreter where there is none; the bits of outputs and counters.

    Outputs start as ones in all bits, so that one that is not written shows.
    """
    host = {name: _array(program.values[name], t) for name, t in program.inputs.items()}
    written = {name: (t, program.threads) for name, t in program.outputs.items()}
    written |= program.counters
    for name, (t, size) in written.items():
        fill = 0 if name in program.counters or t == "bool" else 0xFF
        host[name] = np.full(size * BITS[t] // 8, fill, np.uint8).view(_dtype(t).numpy)
    # some are views of arrays that are longer, whose other elements show that nothing else is written
    steps = {name: step_of(program.seed, name) for name in host}
    wholes = {name: _spread(array, steps[name]) for name, array in host.items()}
    host = {name: _viewed(whole, steps[name]) for name, whole in wholes.items()}
    before = {name: whole.tobytes() for name, whole in wholes.items() if name not in written}
    scalars = [program.values[name][0] for name in program.scalars]
    if context is None:
        block = program.block or 1
        kernel.interpret(program.grid, block, *host.values(), *scalars, detect_races=False)
        return {name: _canonical(host[name], t) for name, (t, _) in written.items()}
    on_device = {name: context.array(whole) for name, whole in wholes.items()}
    arrays: dict[str, Any] = {name: _viewed(whole, steps[name]) for name, whole in on_device.items()}
    configured = kernel[program.grid, program.block] if program.block else kernel.over(program.grid)
    configured(*arrays.values(), *scalars)
    for name, data in before.items():
        if on_device[name].numpy().tobytes() != data:
            raise AssertionError(f"the kernel changed the input {name}")
    return {name: _canonical(arrays[name].numpy(), t) for name, (t, _) in written.items()}


def _spread(array: npt.NDArray[Any], step: int) -> npt.NDArray[Any]:
    """An array of which the given one is every ``abs(step)``-th element, from the front or the back."""
    if step == 1:
        return array
    whole = np.repeat(array[:: 1 if step > 0 else -1], abs(step))
    return np.concatenate([whole, array[:1]])


def _viewed(whole: Any, step: int) -> Any:
    """The view with the elements that were spread."""
    if step == 1:
        return whole
    return whole[:-1:step] if step > 0 else whole[-2::step]


def differences(wanted: dict[str, list[int]], found: dict[str, list[int]]) -> list[tuple[str, int, int, int]]:
    """Array, element, expected bits, bits found."""
    return [
        (name, n, a, b)
        for name in wanted
        for n, (a, b) in enumerate(zip(wanted[name], found[name], strict=True))
        if a != b
    ]


class _Runner:
    def __init__(self, target: str | None) -> None:
        self.context = None if target == "interpreter" else gc.Context(target)
        self.left = SHRUNK

    @property
    def where(self) -> tuple[str, str]:
        if self.context is None:
            return "interpreter", ""
        return self.context.backend, self.context.device.name

    def _run(self, program: Program) -> dict[str, list[int]]:
        with loaded(program) as kernel:
            return outputs_of(program, kernel, self.context)

    def run(self, seed: int) -> Verdict:
        program, wanted = generate(seed)
        try:
            found = self._run(program)
        except NotSupportedError:
            return Verdict(seed, "refused")
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is the finding
            return Verdict(seed, "wrong", "", _raised(program, error))
        if differences(wanted, found):
            return Verdict(seed, "wrong", "", described(program, wanted, found))
        return Verdict(seed, "right", _digest(wanted))

    def smaller(self, verdict: Verdict) -> Verdict:
        if not self.left:
            return verdict
        self.left -= 1
        program, wanted = generate(verdict.seed)
        try:
            found = self._run(program)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is the finding
            program = shrink(program, functools.partial(self._raises, error))
            return replace(verdict, text=_raised(program, error))
        if not differences(wanted, found):  # not again
            return verdict
        program = shrink(program, self._differs)
        return replace(verdict, text=described(program, evaluate(program), self._run(program)))

    def _differs(self, program: Program) -> bool:
        wanted = evaluate(program)
        try:
            return bool(differences(wanted, self._run(program)))
        except Exception:  # noqa: BLE001 - a candidate that is no kernel
            return False

    def _raises(self, error: Exception, program: Program) -> bool:
        evaluate(program)
        try:
            self._run(program)
        except Exception as other:  # noqa: BLE001 - compared with the finding
            return type(other) is type(error) and str(other)[:40] == str(error)[:40]
        return False

    def close(self) -> None:
        if self.context is not None:
            self.context.close()


def _raised(program: Program, error: Exception) -> str:
    return f"{type(error).__name__}: {error}\n{text_of(program)}"


def described(program: Program, wanted: dict[str, list[int]], found: dict[str, list[int]]) -> str:
    """A failing program with its data, as a file to run, and what is wrong."""
    lines = [text_of(program)]
    types = {
        **program.inputs,
        **program.scalars,
        **program.outputs,
        **{n: t for n, (t, _) in program.counters.items()},
    }
    for name, values in program.values.items():
        digits = ", ".join(f"{bits_of(v, types[name]):#x}" for v in values)
        shown = ", ".join(map(repr, values))
        lines.append(
            f"# {name}: {types[name]}, bits [{digits}]" + (f", [{shown}]" if len(values) <= 4 else "")
        )
    for name in (*program.inputs, *program.outputs, *program.counters):
        if (step := step_of(program.seed, name)) != 1:
            lines.append(f"# {name} is given as a view with a stride of {step} elements")
    how = f"k[{program.grid}, {program.block}]" if program.block else f"k.over({program.grid})"
    lines.append(f"# launched as {how}")
    for name, n, a, b in differences(wanted, found)[:6]:
        lines.append(f"# {name}[{n}]: {types[name]} is {b:#x}, not {a:#x}")
    return "\n".join(lines)


def _digest(outputs: dict[str, list[int]]) -> str:
    return hashlib.sha256(repr(sorted(outputs.items())).encode()).hexdigest()[:32]


class _ValueGenerator:
    summary = "Python kernels on every builtin and dtype, against a reference in Python's own numbers."

    def text(self, seed: int) -> str:
        return text_of(generate(seed)[0])

    def check(self, target: str | None, checked: bool) -> None:
        if checked:
            raise click.ClickException(
                "programs of the generator 'values' divide by zero on purpose; --checked goes with blocks alone"
            )

    def open(self, target: str | None, *, checked: bool) -> _Runner:
        return _Runner(target)


ValuePrograms = _ValueGenerator()
