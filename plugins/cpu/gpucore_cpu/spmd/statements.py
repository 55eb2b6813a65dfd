"""Statements in order, each by the collaborator that knows its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gpucore import ir
from gpucore_cpu.spmd.exits import Exits
from gpucore_cpu.spmd.state import FunctionState

__all__ = ["Effects", "Results", "Statements"]

Results: TypeAlias = Mapping[type[Any], Callable[[Any], str]]
"""What writes each kind of statement that has a result, and gives its operand."""
Effects: TypeAlias = Mapping[type[Any], Callable[[Any], None]]
"""What writes each kind of statement without a result."""


@dataclass(frozen=True, slots=True)
class Statements:
    """Writes statements and blocks of them."""

    state: FunctionState
    exits: Exits
    _results: dict[type[Any], Callable[[Any], str]] = field(default_factory=dict)
    _effects: dict[type[Any], Callable[[Any], None]] = field(default_factory=dict)
    _watchers: list[Callable[[ir.Stmt], None]] = field(default_factory=list)

    def handle(self, results: Results, effects: Effects) -> None:
        """Let these write their kinds of statements."""
        self._results.update(results)
        self._effects.update(effects)

    def watch(self, watcher: Callable[[ir.Stmt], None]) -> None:
        """Call ``watcher`` with each statement that :meth:`emit` has written."""
        self._watchers.append(watcher)

    def emit(self, statement: ir.Stmt) -> None:
        """Write one statement."""
        self.write(statement)
        for watcher in self._watchers:
            watcher(statement)

    def write(self, statement: ir.Stmt) -> None:
        """Write one statement without telling anybody."""
        kind = type(statement)
        to_result = self._results.get(kind)
        if to_result is not None:
            result = ir.result_of(statement)
            assert result is not None
            self.state.values.define(result, to_result(statement))
            return
        effect = self._effects.get(kind)
        if effect is None:
            raise NotImplementedError(f"{kind.__name__} in {self.state.function.name}")
        effect(statement)

    def block(self, block: ir.Block) -> None:
        """Write statements in order; when no lane is left, jump over the rest."""
        writer, masks = self.state.writer, self.state.masks
        for number, statement in enumerate(block):
            before = masks.current
            self.emit(statement)
            if writer.terminated or isinstance(statement, (ir.Break, ir.Continue, ir.Return)):
                return
            if self.exits.ends_lanes(statement):
                self.exits.refresh(before)
                rest = block[number + 1 :]
                if not rest or masks.current is None:
                    continue
                going, done = writer.label("going"), writer.label("done")
                writer.branch_if(masks.any_lane(masks.current), going, done)
                writer.begin(going)
                self.block(rest)
                writer.begin(done)
                return

    def nested(self, block: ir.Block, mask: str | None) -> None:
        """Write a block in a scope of its own under a mask, and restore the mask."""
        masks = self.state.masks
        before = masks.current
        masks.current = mask
        with self.state.values.scope():
            self.block(block)
        masks.current = before
