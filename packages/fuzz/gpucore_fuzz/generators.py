"""The generators by name."""

from __future__ import annotations

from gpucore_fuzz.ir_programs import BlockPrograms, IrPrograms
from gpucore_fuzz.model import Generator, Runner
from gpucore_fuzz.programs.run import ValuePrograms
from gpucore_fuzz.programs.tiles import TilePrograms

__all__ = ["GENERATORS", "open_runner"]

GENERATORS: dict[str, Generator] = {
    "ir": IrPrograms,
    "blocks": BlockPrograms,
    "values": ValuePrograms,
    "tiles": TilePrograms,
}


def open_runner(generator: str, target: str | None, *, checked: bool) -> Runner:
    """Open a target for the programs of a generator."""
    return GENERATORS[generator].open(target, checked=checked)
