"""Parameters: the words of the launch header and of the argument array, and how they reach the kernel's function."""

from __future__ import annotations

from typing import Any

from gpucore import ir
from gpucore_cpu.spmd.coordinates import Coordinates
from gpucore_cpu.spmd.kernel import HEADER_WORDS
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Parameters"]

_FIRST_ARGUMENT = 2
"""Words of the argument array before the parameters."""


class Parameters:
    """The parameters of the function that runs a range of units.

    Attributes
    ----------
    loads : list[str]
        Instructions of an entry point that load them.
    signature, arguments : list[str]
        As the function declares them, and as the entry points pass them.
    packing : list[dict]
        How the host packs each parameter of the kernel.
    """

    def __init__(self, state: FunctionState, coordinates: Coordinates, *, noalias: bool) -> None:
        self._state = state
        self._coordinates = coordinates
        self._pointer = "ptr noalias nocapture" if noalias else "ptr nocapture"
        self.loads = ["  %header = load ptr, ptr %args, align 8, !invariant.load !0"]
        self.signature: list[str] = []
        self.arguments: list[str] = []
        self.packing: list[dict[str, Any]] = []
        self._header()
        self._position = _FIRST_ARGUMENT
        for number, parameter in enumerate(state.function.params):
            if isinstance(parameter, ir.Memory):
                self._array(number, parameter)
            else:
                self._scalar(number, parameter)

    def _word(self, kind: str, base: str, number: int, name: str) -> None:
        self.loads.append(f"  %a.{name}.p = getelementptr i64, ptr {base}, i64 {number}")
        self.loads.append(f"  %a.{name} = load {kind}, ptr %a.{name}.p, align 8, !invariant.load !0")
        self.signature.append(f"{self._pointer if kind == 'ptr' else kind} %{name}")
        self.arguments.append(f"{kind} %a.{name}")

    def _header(self) -> None:
        ndim = self._coordinates.ndim
        self._word("i64", "%header", 1, "tile")
        self._word("i64", "%header", 2, "tiles")
        for axis in range(ndim):
            self._word("i64", "%header", HEADER_WORDS + axis, f"grid{axis}")
            self._word("i64", "%header", HEADER_WORDS + ndim + axis, f"block{axis}")
            self._coordinates.grid.append(f"%grid{axis}")
            self._coordinates.dims.append(f"%block{axis}")
        self._word("i64", "%header", HEADER_WORDS + 2 * ndim, "cached")

    def _argument(self, kind: str, name: str) -> None:
        self._word(kind, "%args", self._position, name)
        self._position += 1

    def _array(self, number: int, memory: ir.Memory) -> None:
        """An array, with only the extents that are read."""
        self._argument("ptr", f"m{number}")
        self._state.memories[memory.name] = f"%m{number}"
        axes = sorted(
            {
                s.axis
                for s in ir.walk(self._state.function.body)
                if isinstance(s, ir.Extent) and s.memory.name == memory.name
            }
        )
        for axis in axes:
            self._argument("i64", f"m{number}.{axis}")
            self._state.extents[memory.name, axis] = f"%m{number}.{axis}"
        self.packing.append({"kind": "array", "rank": memory.rank, "extents": axes})

    def _scalar(self, number: int, value: ir.Value) -> None:
        operand = f"%s{number}"
        if value.dtype.kind == "bool":
            self._argument("i8", f"s{number}")
            operand = self._state.writer.tmp(f"icmp ne i8 {operand}, 0")
        else:
            self._argument(scalar_type(value.dtype), f"s{number}")
        self._state.values.define(value, operand)
        self.packing.append({"kind": "scalar", "dtype": value.dtype.name})
