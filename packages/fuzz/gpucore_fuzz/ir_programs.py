"""The generators of IR modules, compared with the interpreter: ``ir`` and ``blocks``."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import click
import numpy as np

from gpucore import Context
from gpucore.errors import NotSupportedError
from gpucore.ir import nodes as ir
from gpucore_fuzz.cases import Case, Mismatch, bits_of, compare, expected, generate, generate_block, shrink
from gpucore_fuzz.launch import block_case, launcher
from gpucore_fuzz.model import Verdict

__all__ = ["BlockPrograms", "IrPrograms"]

CHECKED_EVERY = 5
"""One seed of so many of the generator "blocks" runs in checked mode, whatever is asked for."""


class _IrRunner:
    def __init__(self, generator: str, target: str | None, *, checked: bool) -> None:
        self.generator, self.checked = generator, checked
        self.plain, self.careful = Context(target), Context(target, check=True)

    @property
    def where(self) -> tuple[str, str]:
        return self.plain.backend, self.plain.device.name

    def _case(self, seed: int) -> Case:
        if self.generator == "blocks":
            return block_case(self.plain, seed)
        return generate(seed)

    def _mismatch(self, seed: int, case: Case, found: list[Any]) -> Mismatch | None:
        """What is wrong on the device, whose results go into the arguments ``found``."""
        # modules of the generator "ir" divide by zero, which has a result, and which checked mode reports
        checked = self.generator == "blocks" and (self.checked or seed % CHECKED_EVERY == 3)
        run = launcher(self.careful if checked else self.plain)
        try:
            run(case.module, case.grid, case.block, found)
        except NotSupportedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an executor raises is the finding
            return Mismatch(case, "", (), None, error)
        return compare(case, expected(case), found)

    def run(self, seed: int) -> Verdict:
        case = self._case(seed)
        found = case.arguments()
        try:
            wrong = self._mismatch(seed, case, found)
        except NotSupportedError:
            return Verdict(seed, "refused")
        if wrong is None:
            return Verdict(seed, "right", _digest(case, found))
        return Verdict(seed, "wrong", "", str(wrong))

    def smaller(self, verdict: Verdict) -> Verdict:
        seed = verdict.seed

        def fails(smaller: Case) -> bool:
            try:
                return self._mismatch(seed, smaller, smaller.arguments()) is not None
            except NotSupportedError:
                return False

        case = shrink(self._case(seed), fails)
        wrong = self._mismatch(seed, case, case.arguments())
        return verdict if wrong is None else replace(verdict, text=str(wrong))

    def close(self) -> None:
        self.careful.close()
        self.plain.close()


def _digest(case: Case, results: list[Any]) -> str:
    sha = hashlib.sha256()
    for parameter, value in zip(case.module.kernel.params, results, strict=True):
        if isinstance(parameter, ir.Memory) and isinstance(value, np.ndarray):
            sha.update(bits_of(value, parameter.dtype).tobytes())
    return sha.hexdigest()[:32]


class _IrGenerator:
    def __init__(self, name: str, summary: str) -> None:
        self.name, self._summary = name, summary

    @property
    def summary(self) -> str:
        return self._summary

    def text(self, seed: int) -> str:
        make = generate_block if self.name == "blocks" else generate
        return str(make(seed).module)

    def check(self, target: str | None, checked: bool) -> None:
        if target == "interpreter":
            raise click.ClickException(
                f"the generator {self.name!r} compares a device with the interpreter; name a device, or another generator"
            )
        if checked and self.name == "ir":
            raise click.ClickException(
                "programs of the generator 'ir' divide by zero on purpose; --checked goes with blocks alone"
            )

    def open(self, target: str | None, *, checked: bool) -> _IrRunner:
        return _IrRunner(self.name, target, checked=checked)


IrPrograms = _IrGenerator(
    "ir", "Modules of the IR: every statement, operation and dtype, against the interpreter."
)
BlockPrograms = _IrGenerator("blocks", "Modules whose threads work together, against the interpreter.")
