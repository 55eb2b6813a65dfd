"""Memories of a function: shared and local arrays, tables of constants."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.ir.records import RecordType, leaf_dtypes, memory_name
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import Array, Operand, Records, as_constant
from gpucore.lang.record_values import private_places
from gpucore.lang.state import FunctionState

__all__ = ["SCRATCH", "Declarations", "Memories"]

SCRATCH = "block.scratch."
"""How the names of the shared memories of block functions begin; the dots keep them apart from the user's."""


@dataclass(frozen=True, slots=True)
class Memories:
    """The memories met in this pass, in order."""

    state: FunctionState
    all: list[ir.Memory] = field(default_factory=list)
    unnamed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where the calls stand that declared shared and local arrays, until a name of the user's takes the place of theirs."""
    _tables: dict[Any, ir.Memory] = field(default_factory=dict)
    _scratch: dict[tuple[DType, str], Array] = field(default_factory=dict)

    def allocate(self, space: Literal["shared", "local"], dtype: DType, shape: tuple[int, ...]) -> ir.Memory:
        """A new shared or local memory."""
        memory = ir.Memory(self._named(space), dtype, space, len(shape), shape)
        self.all.append(memory)
        return memory

    def table(self, dtype: DType, values: tuple[Any, ...], hint: str, shape: tuple[int, ...]) -> ir.Memory:
        """The memory of constants with these values."""
        key = (dtype, shape, repr(values))
        found = self._tables.get(key)
        if found is None:
            stem = "".join(c if c.isalnum() or c == "_" else "_" for c in hint) or "table"
            found = ir.Memory(self._named(stem), dtype, "const", len(shape), shape, values)
            self._tables[key] = found
            self.all.append(found)
        return found

    def records(
        self, space: Literal["shared", "local"], dtype: RecordType, shape: tuple[int, ...]
    ) -> Records:
        """New shared or local memories that hold an array of records, one for each dtype among their scalars."""
        places = private_places(dtype)
        stem = self._named(space)
        memories: dict[DType, ir.Memory] = {}
        for part in leaf_dtypes(dtype):
            count = sum(leaf.dtype is part for leaf in dtype.leaves)
            name = memory_name(stem, part)
            memories[part] = ir.Memory(name, part, space, len(shape) + 1, (*shape, count))
        self.all.extend(memories.values())
        return Records(dtype, memories, places)

    def tile(self, dtype: DType, size: int) -> ir.Memory:
        """A thread's share of a tile."""
        memory = ir.Memory(self._named("tile"), dtype, "local", 1, (size,))
        self.all.append(memory)
        return memory

    def scratch(self, dtype: DType, size: int, use: str = "") -> Array:
        """The shared memory that the block functions of a dtype use in turn, or products of tiles for one ``use``."""
        key = (dtype, use)
        if key not in self._scratch:
            name = self._named(f"{SCRATCH}{dtype}{use and '.'}{use}")
            memory = ir.Memory(name, dtype, "shared", 1, (size,))
            self.all.append(memory)
            self._scratch[key] = Array(memory)
        return self._scratch[key]

    def renamed(self, operand: Array, name: str, node: ast.expr) -> Array:
        """The shared or local array that ``node`` declares, under the name that it is assigned to."""
        old = operand.memory
        if self.unnamed.get(old.name) != (node.lineno, node.col_offset):
            return operand
        del self.unnamed[old.name]
        new = ir.Memory(self._named(name), old.dtype, old.space, old.rank, old.shape)
        self.all[self.all.index(old)] = new
        block = self.state.writer.blocks[-1]
        for place in reversed(range(len(block))):
            found = block[place]
            if isinstance(found, ir.InitLocal) and found.memory == old:
                block[place] = ir.InitLocal(new, found.loc)
                break
        return Array(new)

    def _named(self, stem: str) -> str:
        # the memories of all functions of a module have names of their own
        prefix = f"{self.state.name}." if self.state.pure else ""
        return prefix + self.state.writer.unique(stem)


@dataclass(frozen=True, slots=True)
class Declarations:
    """Lowers ``gc.shared`` and ``gc.local``."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    memories: Memories

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        return {"shared": self.shared, "local": self.local}

    def shared(self, node: ast.Call) -> Operand:
        self.state.impure("shared memory")
        if self.state.writer.depth > 1:
            self.state.source.syntax_error(
                node, "gc.shared stands at the top level of a kernel", "Move it to the kernel's first lines."
            )
        return self.declare("shared", node)

    def local(self, node: ast.Call) -> Operand:
        operand = self.declare("local", node)
        memories = operand.memories.values() if isinstance(operand, Records) else (operand.memory,)
        for memory in memories:
            self.state.writer.emit(ir.InitLocal(memory, self.state.writer.location))
        return operand

    def declare(self, space: Literal["shared", "local"], node: ast.Call) -> Array | Records:
        source, expression = self.state.source, self.evaluator.expression
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("shape", "dtype") if k in keywords)]
        if len(nodes) != 2:
            source.type_error(
                node, f"gc.{space} takes a shape and a dtype", f"Write gc.{space}((16, 16), gc.f32)."
            )
        shape = as_constant(expression(nodes[0]))
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, tuple) or not all(
            isinstance(n, int) and not isinstance(n, bool) for n in shape
        ):
            source.type_error(
                nodes[0],
                f"the shape of gc.{space} is known when the kernel is compiled",
                "Use a constant or a gc.constexpr parameter.",
            )
        if not 1 <= len(shape) <= ir.MOST_AXES or min(shape) < 1:
            source.type_error(
                nodes[0],
                f"the shape {shape} has 1 to {ir.MOST_AXES} positive extents",
                f"Write gc.{space}((16, 16), gc.f32).",
            )
        dtype = self.conversions.dtype_of(expression(nodes[1]), nodes[1])
        if isinstance(dtype, RecordType):
            return self.memories.records(space, dtype, shape)
        memory = self.memories.allocate(space, dtype, shape)
        self.memories.unnamed[memory.name] = (node.lineno, node.col_offset)
        return Array(memory)
