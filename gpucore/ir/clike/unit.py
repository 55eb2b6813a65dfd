"""A low-level module as one translation unit, and how its parameters are laid out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpucore.ir.choices import compiled_once, has_many_loops
from gpucore.ir.clike.body import Body, table_type
from gpucore.ir.clike.dialect import Arithmetic, Dialect
from gpucore.ir.clike.literals import bits_of, literal
from gpucore.ir.clike.names import Names, held
from gpucore.ir.dtypes import DType, bf16, f16, i32, i64
from gpucore.ir.nodes import (
    Barrier,
    Block,
    Extent,
    Fence,
    Function,
    InitLocal,
    Memory,
    Module,
    Stmt,
    Value,
    blocks_of,
    memories_of,
    walk,
    written_arrays,
)
from gpucore.ir.ops import is_routine


@dataclass(frozen=True, slots=True)
class Rendered:
    """Source and what a launch of it needs to know.

    Attributes
    ----------
    source : str
    entry : str
        The kernel's symbol.
    params : tuple
        One for each kernel parameter of the IR: ``("array", rank, ((axis, dtype), ...))`` for a pointer
        followed by the extents that the kernel reads, or ``("scalar", dtype)``.
    dynamic_shared : int
        Bytes of block memory to ask for at launch.
    """

    source: str
    entry: str
    params: tuple[tuple[Any, ...], ...]
    dynamic_shared: int = 0


def render_unit(
    dialect: Dialect, module: Module, *, block: tuple[int, ...] | None = None, threads: int | None = None
) -> Rendered:
    """Render a low-level module; a pure function of its arguments, for a dialect that has rendered nothing yet.

    Parameters
    ----------
    dialect : Dialect
        The language.
    module : Module
    block : tuple[int, ...] | None
        The block in array order where it is known.
    threads : int | None
        The size of the largest block, where no block is known and the compiler is to be told one.

    Raises
    ------
    KeyError
        For an operation that neither C nor the dialect has.
    """
    return _Unit(dialect, module, block, threads).render()


class _Unit:
    def __init__(
        self, dialect: Dialect, module: Module, block: tuple[int, ...] | None, threads: int | None
    ) -> None:
        self._dialect, self._module, self._block, self._threads = dialect, module, block, threads
        self._names = Names(reserved=dialect.reserved)
        self._functions: dict[str, str] = {}
        self._once = compiled_once(module)
        self._tables: list[str] = []
        self._table_names: dict[str, str] = {}

    def render(self) -> Rendered:
        module, dialect = self._module, self._dialect
        entry = self._names.fresh(module.kernel.name)
        parts = [self._device_function(f) for f in module.functions]
        kernel, params, dynamic = self._kernel(entry)
        header = dialect.header(module.kernel.name, module.math, halves=self._uses_halves())
        sections = [header.rstrip(), str(dialect.library), "\n".join(self._tables), *parts, kernel]
        return Rendered("\n\n".join(s for s in sections if s) + "\n", entry, params, dynamic)

    def _uses_halves(self) -> bool:
        halves = (f16, bf16)
        module = self._module
        for function in (module.kernel, *module.functions):
            dtypes: list[DType] = [
                p.dtype for p in (*function.params, *function.variables, *function.memories)
            ]
            dtypes += [r.dtype for s in walk(function.body) if (r := getattr(s, "result", None)) is not None]
            if any(d in halves for d in dtypes):
                return True
        return False

    def _table(self, memory: Memory) -> str:
        """A table of constants: global memory, as constant memory serialises lanes that read different
        elements."""
        if memory.name not in self._table_names:
            name = self._table_names[memory.name] = self._names.fresh(memory.name)
            stored = table_type(memory)
            suffix = f"u{self._dialect.wide}" if stored == "u64" else "u"
            if stored == memory.dtype.name:
                items = [literal(self._dialect, v, memory.dtype).text for v in memory.values]
            else:
                items = [f"0x{bits_of(float(v), memory.dtype):x}{suffix}" for v in memory.values]
            rows = [", ".join(items[i : i + 8]) for i in range(0, len(items), 8)]
            body = ",\n    ".join(rows)
            self._tables.append(f"{self._dialect.table} {stored} {name}[{len(items)}] = {{\n    {body}}};")
        return self._table_names[memory.name]

    def _memories(self, function: Function, names: Names, lines: list[str], *, dynamic: bool) -> int:
        """Declare a function's memories; returns the bytes of dynamic shared memory laid out."""
        offset = 0
        for memory in function.memories:
            if memory.space == "const":
                names.adopt("memory", memory.name, self._table(memory))
                continue
            name, kind = names("memory", memory.name), memory.dtype.name
            size = _size(memory)
            if memory.space == "local":
                zeros = "" if _filled_first(function.body, memory) else f" = {self._dialect.zeros}"
                lines.append(f"  {kind} {name}[{size}]{zeros};")
            elif dynamic:
                lines.append(f"  {self._dialect.shared_part(kind, name, offset)}")
                offset += -(-size * memory.dtype.itemsize // 16) * 16
            else:
                lines.append(f"  {self._dialect.shared(kind, name, size)}")
        return offset

    def _body(
        self, function: Function, names: Names, extents: dict[tuple[str, int], tuple[str, DType]],
        block: tuple[int, ...] | None = None,
    ) -> list[str]:  # fmt: skip
        variables = [f"  {held(v.dtype)} {names('var', v.name)};" for v in function.variables]
        arithmetic: Arithmetic = "strict"
        if self._module.math == "fast":
            arithmetic = "pinned" if is_routine(function.name) else "fast"
        body = Body(
            function, self._dialect, names, self._functions, extents,
            ndim=self._module.ndim, arithmetic=arithmetic, block=block,
            before_loops=self._dialect.loop_once if has_many_loops(function) else "",
        )  # fmt: skip
        body.block(function.body)
        return variables + body.lines.out

    def _device_function(self, function: Function) -> str:
        name = self._functions[function.name] = self._names.fresh(function.name)
        names = Names(self._names)
        params = [f"{held(p.dtype)} {names('value', p.name)}" for p in function.params]
        lines: list[str] = []
        self._memories(function, names, lines, dynamic=False)
        lines += self._body(function, names, {})
        result = "void" if function.result is None else held(function.result)
        kind = self._dialect.function_once if function.name in self._once else self._dialect.function
        return f"{kind} {result} {name}({', '.join(params)}) {{\n" + "\n".join(lines) + "\n}"

    def _kernel(self, entry: str) -> tuple[str, tuple[tuple[Any, ...], ...], int]:
        module, kernel = self._module, self._module.kernel
        names = Names(self._names)
        extents = self._extents(names)
        written = written_arrays(module)
        # to a compiler nobody but this thread writes what a restricted pointer points to, not at a barrier either
        meets = any(isinstance(s, (Barrier, Fence)) for s in walk(kernel.body))
        declared: list[str] = []
        layout: list[tuple[Any, ...]] = []
        for parameter in kernel.params:
            if isinstance(parameter, Value):
                declared.append(f"{parameter.dtype.name} {names('value', parameter.name)}")
                layout.append(("scalar", parameter.dtype.name))
                continue
            constant = module.noalias and parameter.name not in written
            restrict = module.noalias and not (meets and parameter.name in written)
            name = names("memory", parameter.name)
            declared.append(
                self._dialect.pointer(parameter.dtype.name, name, constant=constant, restrict=restrict)
            )
            axes = [(a, *extents[m, a]) for m, a in sorted(extents) if m == parameter.name]
            declared += [f"{passed.name} {extent}" for _, extent, passed in axes]
            layout.append(("array", parameter.rank, tuple((axis, passed.name) for axis, _, passed in axes)))
        shared = sum(_size(m) * m.dtype.itemsize for m in kernel.memories if m.space == "shared")
        dynamic = shared > self._dialect.static_shared
        lines: list[str] = []
        if dynamic:
            lines.append(f"  {self._dialect.shared_block()}")
        asked = self._memories(kernel, names, lines, dynamic=dynamic)
        lines += self._body(kernel, names, extents, self._block)
        threads = self._threads if self._block is None else math.prod(self._block)
        head = self._dialect.kernel(entry, declared, threads)
        return head + "\n" + "\n".join(lines) + "\n}", tuple(layout), asked

    def _extents(self, names: Names) -> dict[tuple[str, int], tuple[str, DType]]:
        """The extents that the kernel reads, each as i64 if any reading is."""
        found: dict[tuple[str, int], DType] = {}
        for statement in walk(self._module.kernel.body):
            if isinstance(statement, Extent):
                key = (statement.memory.name, statement.axis)
                wide = statement.result.dtype is i64 or found.get(key) is i64
                found[key] = i64 if wide else i32
        return {(m, a): (names.fresh(f"{m}_shape{a}"), passed) for (m, a), passed in sorted(found.items())}


def _filled_first(block: Block, memory: Memory) -> bool:
    """Whether every path fills the memory with zeros before it is used, so that none reads what C leaves undefined."""
    touching = [s for s in block if any(_touches(inner, memory) for inner in walk((s,)))]
    if not touching or isinstance(touching[0], InitLocal):
        return True
    inner = blocks_of(touching[0])
    return len(touching) == 1 and bool(inner) and all(_filled_first(b, memory) for b in inner)


def _touches(statement: Stmt, memory: Memory) -> bool:
    return any(touched.name == memory.name for touched in memories_of(statement))


def joined(parameters: Sequence[str]) -> str:
    """Parameters of a function, on lines of their own where one would be long."""
    line = ", ".join(parameters)
    return line if len(line) < 80 else "\n    " + ",\n    ".join(parameters)


def _size(memory: Memory) -> int:
    return math.prod(memory.shape)
