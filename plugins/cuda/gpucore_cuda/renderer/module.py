"""A low-level module as one CUDA C++ translation unit, and how its parameters are laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import (
    Barrier,
    Block,
    DType,
    Extent,
    Fence,
    Function,
    InitLocal,
    Memory,
    Module,
    Stmt,
    Value,
    bf16,
    blocks_of,
    f16,
    i32,
    i64,
    walk,
    written_arrays,
)
from gpucore.ir.ops import is_routine
from gpucore_cuda.renderer.body import Body, table_type
from gpucore_cuda.renderer.helpers import Library
from gpucore_cuda.renderer.names import HALF_TYPEDEFS, TYPEDEFS, Names, bits_of, held, literal
from gpucore_cuda.renderer.ops import Arithmetic

STATIC_SHARED_LIMIT = 48 * 1024
"""Bytes of shared memory that a kernel may declare; more has to be asked for at launch."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """CUDA C++ source and what a launch of it needs to know.

    Attributes
    ----------
    source : str
    entry : str
        The kernel's symbol (``extern "C"``).
    params : tuple
        One for each kernel parameter of the IR: ``("array", rank, ((axis, dtype), ...))`` for a pointer
        followed by the extents that the kernel reads, or ``("scalar", dtype)``.
    dynamic_shared : int
        Bytes of shared memory to ask for at launch.
    """

    source: str
    entry: str
    params: tuple[tuple[Any, ...], ...]
    dynamic_shared: int = 0


def capability_number(arch: str) -> int:
    """``90`` for ``"sm_90"`` or ``"sm_90a"``."""
    return int("".join(c for c in arch if c.isdigit()))


def render_module(
    target: Target, module: Module, options: CompileOptions, *, threads: int | None = None,
    guarded: bool = False,
) -> Rendered:  # fmt: skip
    """Render a low-level module; a pure function of its arguments.

    Parameters
    ----------
    threads : int | None
        Keep to the registers that a block of so many threads has, where ``options`` names no block.
    guarded : bool
        Write operations so that ptxas does not combine them, see :mod:`gpucore_cuda.assembler`.
    """
    return _Unit(target, module, options, threads, guarded).render()


class _Unit:
    def __init__(
        self, target: Target, module: Module, options: CompileOptions, threads: int | None, guarded: bool
    ) -> None:
        self._target, self._module, self._options, self._threads = target, module, options, threads
        self._library = Library(capability_number(target.arch), options.block, guarded=guarded)
        self._names = Names()
        self._functions: dict[str, str] = {}
        self._tables: list[str] = []
        self._table_names: dict[str, str] = {}

    def render(self) -> Rendered:
        module = self._module
        entry = self._names.fresh(module.kernel.name)
        parts = [self._device_function(f) for f in module.functions]
        kernel, params, dynamic = self._kernel(entry)
        header = f"// {module.kernel.name}: {self._target.arch}, {module.math}\n{TYPEDEFS}"
        if self._uses_halves():
            header += HALF_TYPEDEFS
        sections = [header.rstrip(), str(self._library), "\n".join(self._tables), *parts, kernel]
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
            if stored == memory.dtype.name:
                items = [literal(v, memory.dtype) for v in memory.values]
            else:
                items = [
                    f"0x{bits_of(float(v), memory.dtype):x}{'ull' if stored == 'u64' else 'u'}"
                    for v in memory.values
                ]
            rows = [", ".join(items[i : i + 8]) for i in range(0, len(items), 8)]
            body = ",\n    ".join(rows)
            self._tables.append(f"static __device__ const {stored} {name}[{len(items)}] = {{\n    {body}}};")
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
                zeros = "" if _filled_first(function.body, memory) else " = {}"
                lines.append(f"  {kind} {name}[{size}]{zeros};")
            elif dynamic:
                lines.append(f"  {kind}* const {name} = reinterpret_cast<{kind}*>(gc_shared + {offset});")
                offset += -(-size * memory.dtype.itemsize // 16) * 16
            else:
                lines.append(f"  __shared__ __align__(16) {kind} {name}[{size}];")
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
            function, self._library, names, self._functions, extents,
            ndim=self._module.ndim, arithmetic=arithmetic, block=block,
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
        return f"static __device__ {result} {name}({', '.join(params)}) {{\n" + "\n".join(lines) + "\n}"

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
            const = "const " if module.noalias and parameter.name not in written else ""
            restrict = " __restrict__" if module.noalias and not (meets and parameter.name in written) else ""
            name = names("memory", parameter.name)
            declared.append(f"{const}{parameter.dtype.name}*{restrict} {name}")
            axes = [(a, *extents[m, a]) for m, a in sorted(extents) if m == parameter.name]
            declared += [f"{passed.name} {extent}" for _, extent, passed in axes]
            layout.append(("array", parameter.rank, tuple((axis, passed.name) for axis, _, passed in axes)))
        shared = sum(_size(m) * m.dtype.itemsize for m in kernel.memories if m.space == "shared")
        dynamic = shared > STATIC_SHARED_LIMIT
        lines: list[str] = []
        if dynamic:
            lines.append("  extern __shared__ __align__(16) u8 gc_shared[];")
        asked = self._memories(kernel, names, lines, dynamic=dynamic)
        lines += self._body(kernel, names, extents, self._options.block)
        threads = self._threads
        if self._options.block is not None:
            threads = math.prod(self._options.block)
        bounds = "" if threads is None else f" __launch_bounds__({threads})"
        head = f'extern "C" __global__ void{bounds} {entry}({_joined(declared)}) {{'
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
    """Whether every path fills the memory with zeros before it is used, so that none reads what C++ leaves undefined."""
    touching = [s for s in block if any(_touches(inner, memory) for inner in walk((s,)))]
    if not touching or isinstance(touching[0], InitLocal):
        return True
    inner = blocks_of(touching[0])
    return len(touching) == 1 and bool(inner) and all(_filled_first(b, memory) for b in inner)


def _touches(statement: Stmt, memory: Memory) -> bool:
    touched: Memory | None = getattr(statement, "memory", None)
    return touched is not None and touched.name == memory.name


def _joined(declared: list[str]) -> str:
    line = ", ".join(declared)
    return line if len(line) < 80 else "\n    " + ",\n    ".join(declared)


def _size(memory: Memory) -> int:
    return math.prod(memory.shape)
