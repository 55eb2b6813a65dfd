"""Exits: where lanes go that leave a loop or the function, and the masks of those that stay."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.state import FunctionState

__all__ = ["Exits", "LoopExits"]


@dataclass(slots=True)
class LoopExits:
    """A loop being written: where Break and Continue go, and the masks they clear."""

    break_label: str
    continue_label: str
    live: str | None = None
    """Address of the mask of lanes still in the loop."""
    cont: str | None = None
    """Address of the mask of lanes still in this iteration."""


class Exits:
    """Writes Break, Continue and Return, and what masks them.

    Attributes
    ----------
    label : str
        Where the function, or a gang's part of it, ends.
    live : str | None
        Address of the mask of lanes that have not returned, where a Return may be masked.
    loops : list[LoopExits]
        The loops around, the outermost first.
    result : tuple[str, str] | None
        Address and LLVM type of a device function's result.
    """

    def __init__(self, state: FunctionState) -> None:
        self._state = state
        self.label = "exit"
        self.live: str | None = None
        self.loops: list[LoopExits] = []
        self.result: tuple[str, str] | None = None

    def ends_lanes(self, statement: ir.Stmt) -> bool:
        """Whether some lanes may end, or leave the loop around, inside the statement."""
        if isinstance(statement, (ir.Break, ir.Continue, ir.Return)):
            return id(statement) in self._state.analysis.masked
        if isinstance(statement, ir.If):
            return any(map(self.ends_lanes, (*statement.then, *statement.orelse)))
        if isinstance(statement, (ir.For, ir.While)):
            return self._state.analysis.loops[id(statement)].masked_return
        return False

    def refresh(self, before: str | None) -> None:
        """The mask after a statement in which lanes may have ended."""
        address = self.live
        for loop in self.loops:
            address = loop.cont or loop.live or address
        if address is not None:
            masks, writer = self._state.masks, self._state.writer
            masks.current = masks.both(before, writer.load(self._state.types.mask, address))

    def emit(self, statement: ir.Break | ir.Continue | ir.Return) -> None:
        """Break, Continue or Return: a jump where all lanes go, else their bits are cleared."""
        writer = self._state.writer
        if isinstance(statement, ir.Return) and statement.value is not None:
            self._store_result(statement.value)
        if id(statement) in self._state.analysis.masked:
            self._end_lanes(statement)
        elif isinstance(statement, ir.Return):
            if self.live is not None:
                self._end_lanes(statement)
            writer.branch(self.label)
        elif isinstance(statement, ir.Break):
            writer.branch(self.loops[-1].break_label)
        else:
            writer.branch(self.loops[-1].continue_label)

    def _store_result(self, returned: ir.Value) -> None:
        if self.result is None:
            return
        writer, masks = self._state.writer, self._state.masks
        address, kind = self.result
        value = self._state.values.operand(returned, kind.startswith("<"))
        if self._state.analysis.returns and masks.current is not None:
            # lanes that returned before keep what they gave
            value = masks.where_active(kind, value, writer.load(kind, address))
        writer.store(kind, value, address)

    def _end_lanes(self, statement: ir.Stmt) -> None:
        """Take the active lanes out of the masks that a Break, Continue or Return ends."""
        addresses: list[str | None] = []
        if isinstance(statement, ir.Return):
            addresses.append(self.live)
            for loop in self.loops:
                addresses += [loop.live, loop.cont]
        elif isinstance(statement, ir.Break):
            addresses += [self.loops[-1].live, self.loops[-1].cont]
        else:
            addresses.append(self.loops[-1].cont)
        writer, masks, kind = self._state.writer, self._state.masks, self._state.types.mask
        for address in addresses:
            if address is not None:
                old = writer.load(kind, address)
                writer.store(kind, masks.without(old, masks.operand()), address)
