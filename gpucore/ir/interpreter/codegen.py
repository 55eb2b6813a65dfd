"""Python code for a module: one Python function for each IR function, on the user's own lines.

A statement becomes a line or a few; each is then given the line number of the user's source, and the code
object the user's file name, so that tracebacks, breakpoints and stepping show the kernel itself.
Variables keep their names.  Everything that belongs to the machine is called ``_gc_...`` and is a global of
the code, filled in at launch:

``_gc_m_K``, ``_gc_n_K_A``
    Memory K as a flat sequence, and its extents.
``_gc_s_K``
    Its shadow (see :mod:`gpucore.ir.interpreter.shadow`) when races are looked for.
``_gc_fence``
    Called with a thread's offset at its fences when races are looked for.
``_gc_fail``
    Called with a site number when something is wrong; raises.

A kernel with barriers or subgroup operations becomes a generator: it yields what it waits for, and is
resumed with the answer.
"""

from __future__ import annotations

import ast
import keyword
import linecache
import math
import re
from collections import Counter
from types import CodeType

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bf16, f16, f32
from gpucore.ir.interpreter.program import Program, Site, operation, unsupported_math, zero
from gpucore.ir.ops import MATH, SLICE_INDEX, is_linked

__all__ = ["compile_module"]

_HALVES = (f16, bf16)


def is_low(module: ir.Module) -> bool:
    """Whether the module looks lowered: no value has the dtype ``index``, or an access is flat."""
    for s in ir.walk(module.kernel.body):
        result = ir.result_of(s)
        if result is not None and result.dtype.name == "index":
            return False
        memory = getattr(s, "memory", None)
        if memory is not None and not isinstance(s, (ir.Extent, ir.InitLocal, ir.Allocate)):
            return len(s.indices) == 1 and s.indices[0].dtype.name != "index"  # type: ignore[union-attr]
    return True


def compile_module(module: ir.Module, races: bool) -> Program:
    """Generate and compile the code of a module.

    Parameters
    ----------
    module : Module
        Verified, of either level; linked if strict.
    races : bool
        Whether the code keeps shadow memory.
    """
    program = Program(written=ir.written_arrays(module), flat=is_low(module))
    functions = (*module.functions, module.kernel)
    for function in functions:
        arrays = [p for p in function.params if isinstance(p, ir.Memory)]
        for memory in (*arrays, *function.memories):
            program.memories[memory.name] = len(program.memories)
    program.waits = any(
        isinstance(s, ir.Barrier) or (isinstance(s, ir.Subgroup) and s.args)
        for s in ir.walk(module.kernel.body)
    )
    program.fences = any(isinstance(s, ir.Fence) for s in ir.walk(module.kernel.body))
    names = {f.name: f"_gc_f_{i}" for i, f in enumerate(functions)}
    for function in functions:
        writer = _Writer(module, function, program, names, races)
        program.codes.append((names[function.name], writer.compile()))
    return program


def identifier(name: str) -> str:
    """A Python identifier that looks like the name."""
    text = re.sub(r"\W", "_", name)
    if not text or text[0].isdigit() or keyword.iskeyword(text) or text.startswith("_gc_"):
        text = "_" + text
    return text if not text.startswith("_gc_") else "u" + text


def _literal(dtype: DType, value: ir.Number) -> str:
    if not dtype.is_float:
        return repr(bool(value)) if dtype.kind == "bool" else repr(int(value))
    number = float(value)
    if math.isnan(number):
        return "_gc_nan"
    if math.isinf(number):
        return "_gc_inf" if number > 0 else "(-_gc_inf)"
    return repr(number)


class _Writer:
    """Writes one function."""

    def __init__(
        self, module: ir.Module, function: ir.Function, program: Program, names: dict[str, str], races: bool
    ) -> None:
        self.module, self.function, self.program = module, function, program
        self.names, self.races = names, races
        self.is_kernel = function is module.kernel
        self.lines: list[str] = []
        self.numbers: list[int] = []  # the user's line of each generated line
        self.indent = 1
        places = [s.loc for s in ir.walk(function.body) if s.loc is not None]
        files = Counter(loc.file for loc in places)
        self.file = files.most_common(1)[0][0] if files else ""
        self.line = min((loc.line for loc in places if loc.file == self.file), default=1)
        self.slices: dict[str, tuple[str, str]] = {}  # by an index in a slice: the number in it, its extent
        self.read = {v.name for s in ir.walk(function.body) for v in ir.operands_of(s)}
        self.taken: set[str] = set()
        self.memory_names: dict[str, str] = {}
        self.var_names: dict[str, str] = {}
        self.values: dict[str, str] = {}  # by a value's name, a Python name or a literal

    def fresh(self, name: str) -> str:
        base = text = identifier(name)
        count = 1
        while text in self.taken:
            count += 1
            text = f"{base}_{count}"
        self.taken.add(text)
        return text

    # --- the whole ---
    def compile(self) -> CodeType:
        function = self.function
        params = []
        for p in function.params:
            text = self.fresh(p.name)
            params.append(text)
            if isinstance(p, ir.Value):
                self.values[p.name] = text
        for var in function.variables:
            self.var_names[var.name] = self.fresh(var.name)
        for memory in function.memories:
            self.memory_names[memory.name] = self.fresh(memory.name)
        if self.is_kernel:
            axes = range(self.module.ndim)
            params += [*(f"_gc_b{a}" for a in axes), *(f"_gc_t{a}" for a in axes), "_gc_l", "_gc_o"]
        name = identifier(function.name)
        self.lines.append(f"def {name}({', '.join(params)}):")
        self.numbers.append(self.first_line(name))
        for memory in function.memories:
            if memory.shape:
                self.enter_memory(memory)
        self.block(function.body)
        if not function.body and not function.memories:
            self.emit("pass")
        if self.is_kernel and self.program.waits:
            # a generator even where the first wait cannot be reached
            self.emit("return")
            self.emit("yield")
        text = "\n".join(self.lines) + "\n"
        self.program.sources.append(text)
        tree = ast.parse(text)
        if self.file:
            self.renumber(tree)
        code = compile(tree, self.file or f"<kernel {self.module.kernel.name}>", "exec")
        # the function's own code: running the definition would look like reaching its first line
        return next(c for c in code.co_consts if isinstance(c, CodeType))

    def first_line(self, name: str) -> int:
        """The line from which Python would number the function, where tools look for its text: of its first decorator."""
        last = max(
            (
                s.loc.line
                for s in ir.walk(self.function.body)
                if s.loc is not None and s.loc.file == self.file
            ),
            default=0,
        )
        lines = linecache.getlines(self.file)[:last]
        start = re.compile(rf"\s*def {re.escape(name)}\b")
        found = next(
            (number for number in range(len(lines), 0, -1) if start.match(lines[number - 1])), self.line
        )
        while 1 < found <= len(lines) and lines[found - 2].lstrip().startswith("@"):
            found -= 1
        return found

    def renumber(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            line = getattr(node, "lineno", None)
            if line is not None:
                node.lineno = node.end_lineno = self.numbers[line - 1]  # type: ignore[attr-defined]
                node.col_offset = node.end_col_offset = -1  # type: ignore[attr-defined] # no carets

    def enter_memory(self, memory: ir.Memory) -> None:
        local, number = self.memory_names[memory.name], self.program.memories[memory.name]
        if memory.space == "local":
            self.emit(f"{local} = [{zero(memory.dtype)}] * {math.prod(memory.shape)}")
        else:
            self.emit(f"{local} = _gc_m_{number}")
            if self.races and memory.space == "shared":
                self.emit(f"_gc_s_{number}_ = _gc_s_{number}")

    def emit(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)
        self.numbers.append(self.line)

    def site(
        self,
        statement: ir.Stmt,
        kind: str,
        memory: ir.Memory | None = None,
        message: str = "",
        dtype: DType | None = None,
    ) -> int:
        self.program.sites.append(Site(statement.loc, kind, memory, message, dtype))
        return len(self.program.sites) - 1

    def assign(self, result: ir.Value, text: str, pending: bool = False) -> None:
        name = self.values[result.name] = self.fresh(result.name)
        if pending and result.dtype is f32:
            self.emit(f"_gc_R[0] = {text}; {name} = _gc_R[0]")
        else:
            self.emit(f"{name} = {text}")

    def get(self, value: ir.Value) -> str:
        return self.values[value.name]

    def thread(self) -> str:
        """The expression for where the thread is: block id, thread id."""
        if not self.is_kernel:
            return "None, None"
        axes = range(self.module.ndim)
        block = "".join(f"_gc_b{a}, " for a in axes)
        thread = "".join(f"_gc_t{a}, " for a in axes)
        return f"({block}), ({thread})"

    # --- statements ---
    def block(self, block: ir.Block) -> None:
        for statement in block:
            loc = statement.loc
            if loc is not None and loc.file == self.file:
                self.line = loc.line
            getattr(self, "on_" + type(statement).__name__)(statement)
            if isinstance(statement, (ir.Break, ir.Continue, ir.Return)):
                break

    def nested(self, block: ir.Block) -> None:
        self.indent += 1
        before = len(self.lines)
        self.block(block)
        if len(self.lines) == before:
            self.emit("pass")
        self.indent -= 1

    def on_Const(self, s: ir.Const) -> None:
        literal = _literal(s.result.dtype, s.value)
        if s.result.name.isidentifier():
            self.assign(s.result, literal)  # a variable of the user's, for debuggers
        self.values[s.result.name] = literal

    def on_Op(self, s: ir.Op) -> None:
        own = s.op in MATH and self.module.math == "fast"
        if is_linked(s.op) and s.args[0].dtype.is_float and not own:
            raise unsupported_math(s.op)
        dtypes = tuple(a.dtype for a in s.args)
        if s.op == SLICE_INDEX:
            self.slices[s.result.name] = self.get(s.args[0]), self.get(s.args[2])
        self.assign(s.result, *operation(s.op, dtypes, s.result.dtype, tuple(map(self.get, s.args))))

    def on_Call(self, s: ir.Call) -> None:
        self.assign(s.result, f"{self.names[s.function]}({', '.join(map(self.get, s.args))})")

    def on_GetVar(self, s: ir.GetVar) -> None:
        self.assign(s.result, self.var_names[s.var.name])

    def on_SetVar(self, s: ir.SetVar) -> None:
        self.emit(f"{self.var_names[s.var.name]} = {self.get(s.value)}")

    def on_Extent(self, s: ir.Extent) -> None:
        self.assign(s.result, f"_gc_n_{self.program.memories[s.memory.name]}_{s.axis}")

    def on_ThreadIndex(self, s: ir.ThreadIndex) -> None:
        a = s.axis
        text = {
            "global_id": f"_gc_b{a} * _gc_bd{a} + _gc_t{a}",
            "thread_id": f"_gc_t{a}",
            "block_id": f"_gc_b{a}",
            "block_dim": f"_gc_bd{a}",
            "grid_dim": f"_gc_gd{a}",
        }[s.kind]
        self.assign(s.result, text)

    # --- memory ---
    def extent(self, memory: ir.Memory, axis: int) -> str:
        if not memory.shape:
            return f"_gc_n_{self.program.memories[memory.name]}_{axis}"
        return str(memory.shape[axis])

    def size(self, memory: ir.Memory) -> str:
        if not memory.shape:
            return f"_gc_n_{self.program.memories[memory.name]}"
        return str(math.prod(memory.shape))

    def element(self, s: ir.Load | ir.Store | ir.Atomic | ir.AtomicCas, kind: str) -> tuple[str, str, int]:
        """Emit the bounds check; the memory's name, the flat element's name, the site."""
        memory = s.memory
        site = self.site(s, kind, memory)
        indices = list(map(self.get, s.indices))
        flat = len(indices) == 1 and (self.program.flat or memory.layout == "contiguous")
        extents = [self.size(memory)] if flat else [self.extent(memory, a) for a in range(memory.rank)]
        offset = indices[0]
        if memory.layout == "contiguous" or flat:
            for axis in range(1, len(indices)):
                offset = f"({offset}) * {extents[axis]} + {indices[axis]}"
        else:
            steps = [f"({i}) * {self.extent(memory, memory.rank + axis)}" for axis, i in enumerate(indices)]
            offset = " + ".join([self.extent(memory, 2 * memory.rank), *steps])
        # of a slice the number in it counts, and its extent
        told = [self.slices.get(v.name, (i, n)) for v, i, n in zip(s.indices, indices, extents, strict=True)]
        inside = " and ".join(f"0 <= {i} < {n}" for i, n in told)
        shape = (
            f", ({', '.join(n for _, n in told)},)" if any(v.name in self.slices for v in s.indices) else ""
        )
        fail = f"_gc_fail({site}, ({', '.join(i for i, _ in told)},), {self.thread()}{shape})"
        if flat:
            self.emit(f"if not {inside}: {fail}")
            where = offset
        else:
            self.emit(f"_gc_i = {offset} if {inside} else {fail}")
            where = "_gc_i"
        return self.memory_text(memory), where, site

    def memory_text(self, memory: ir.Memory) -> str:
        local = self.memory_names.get(memory.name)
        return local if local is not None else f"_gc_m_{self.program.memories[memory.name]}"

    def shadow(self, action: str, memory: ir.Memory, where: str, site: int) -> None:
        if not self.races or not self.is_kernel:
            return
        if memory.space not in ("shared", "global"):
            return
        shadow = self.shadow_text(memory)
        call = f"{shadow}.{action}({where}, {site}, _gc_o)"
        if memory.space == "global" and action == "read" and memory.name not in self.program.written:
            # read-only under this name; another name may alias it, which the launch knows
            call = f"if {shadow} is not None: {call}"
        self.emit(call)

    def shadow_text(self, memory: ir.Memory) -> str:
        """The shadow's name; a block's own is kept in a local name, since blocks share the globals."""
        number = self.program.memories[memory.name]
        return f"_gc_s_{number}_" if memory.space == "shared" else f"_gc_s_{number}"

    def loaded(self, memory: ir.Memory, text: str) -> str:
        if memory.space == "global" and memory.dtype in _HALVES:
            return f"_gc_values_{memory.dtype.name}[{text}]"
        return text

    def stored(self, memory: ir.Memory, text: str) -> str:
        if memory.space == "global" and memory.dtype in _HALVES:
            return f"_gc_bits_{memory.dtype.name}({text})"
        return text

    def defined(self, memory: ir.Memory, name: str, site: int, indices: tuple[ir.Value, ...]) -> None:
        if self.races and memory.space == "shared":
            where = ", ".join(map(self.get, indices))
            call = f"_gc_undefined({site}, ({where},), {self.thread()})"
            self.emit(f"if {name} is None: {name} = {call}")

    def on_Load(self, s: ir.Load) -> None:
        memory, where, site = self.element(s, "load")
        self.shadow("read", s.memory, where, site)
        self.assign(s.result, self.loaded(s.memory, f"{memory}[{where}]"))
        self.defined(s.memory, self.get(s.result), site, s.indices)

    def on_Store(self, s: ir.Store) -> None:
        memory, where, site = self.element(s, "store")
        self.shadow("write", s.memory, where, site)
        self.emit(f"{memory}[{where}] = {self.stored(s.memory, self.get(s.value))}")

    def on_InitLocal(self, s: ir.InitLocal) -> None:
        memory = s.memory
        self.emit(f"{self.memory_names[memory.name]} = [{zero(memory.dtype)}] * {math.prod(memory.shape)}")

    def on_Allocate(self, s: ir.Allocate) -> None:
        number, extents = self.program.memories[s.memory.name], list(map(self.get, s.extents))
        for axis, extent in enumerate(extents):
            self.emit(f"_gc_n_{number}_{axis} = {extent}")
        self.emit(f"_gc_n_{number} = {' * '.join(extents)}")
        self.emit(f"_gc_allocate({number}, ({', '.join(extents)},))")
        self.enter_memory(s.memory)

    def read_old(self, s: ir.Atomic | ir.AtomicCas) -> tuple[str, str]:
        memory, where, site = self.element(s, "atomic")
        self.shadow("atomic", s.memory, where, site)
        bits = s.bits
        if bits is None:
            self.assign(s.result, self.loaded(s.memory, f"{memory}[{where}]"))
            if s.result.name in self.read or not isinstance(s, ir.Atomic) or s.op != "exchange":
                self.defined(s.memory, self.get(s.result), site, s.indices)  # else it is a store
        else:
            self.emit(f"_gc_e = {self.loaded(s.memory, f'{memory}[{where}]')}")
            self.defined(s.memory, "_gc_e", site, s.indices)
            self.assign(s.result, operation("bitcast.raw", (s.memory.dtype,), bits, ("_gc_e",))[0])
        return memory, where

    def write_new(
        self, s: ir.Atomic | ir.AtomicCas, memory: str, where: str, name: str, guard: str = ""
    ) -> None:
        if s.bits is not None:
            name = operation("bitcast.raw", (s.bits,), s.memory.dtype, (name,))[0]
        text = f"{guard}{memory}[{where}] = {self.stored(s.memory, name)}"
        if self.races and self.program.fences:
            text += f"; {self.shadow_text(s.memory)}.release({where}, _gc_o)"
        self.emit(text)

    def on_Atomic(self, s: ir.Atomic) -> None:
        memory, where = self.read_old(s)
        value = self.get(s.value)
        if s.op != "exchange":
            dtype = s.value.dtype
            text, pending = operation(s.op, (dtype, dtype), dtype, (self.get(s.result), value))
            if pending and dtype is f32:
                self.emit(f"_gc_R[0] = {text}; _gc_v = _gc_R[0]")
            else:
                self.emit(f"_gc_v = {text}")
            value = "_gc_v"
        self.write_new(s, memory, where, value)

    def on_AtomicCas(self, s: ir.AtomicCas) -> None:
        memory, where = self.read_old(s)
        old, expected, dtype = self.get(s.result), self.get(s.expected), s.result.dtype
        if dtype.is_float:
            old, expected = (f"_gc_bits_{dtype.name}({x})" for x in (old, expected))
        self.write_new(s, memory, where, self.get(s.desired), f"if {old} == {expected}: ")

    # --- the block and its subgroups ---
    def on_Subgroup(self, s: ir.Subgroup) -> None:
        if s.op == "size":
            self.assign(s.result, "_gc_width")
        elif s.op == "lane":
            self.assign(s.result, "_gc_l % _gc_width")
        else:
            site = self.site(s, "subgroup", message=s.op, dtype=s.args[0].dtype)
            lane = self.get(s.args[1]) if len(s.args) == 2 else "0"
            self.assign(s.result, f"yield ({site}, {self.get(s.args[0])}, {lane})")

    def on_Barrier(self, s: ir.Barrier) -> None:
        self.emit(f"yield {self.site(s, 'barrier')}")

    def on_Fence(self, s: ir.Fence) -> None:
        self.emit("_gc_fence(_gc_o)" if self.races else "pass")

    def on_Assert(self, s: ir.Assert) -> None:
        site = self.site(s, "assert", message=s.message)
        self.emit(f"if not {self.get(s.condition)}: _gc_fail({site}, None, {self.thread()})")

    # --- control flow ---
    def on_If(self, s: ir.If) -> None:
        self.emit(f"if {self.get(s.condition)}:")
        self.nested(s.then)
        if s.orelse:
            self.emit("else:")
            self.nested(s.orelse)

    def on_For(self, s: ir.For) -> None:
        start, stop, step = self.get(s.start), self.get(s.stop), self.get(s.step)
        name = self.values[s.variable.name] = self.fresh(s.variable.name)
        bounds = f"_gc_range({start}, {stop}, {step})"
        constant = step.lstrip("-").isdigit() and int(step) != 0
        self.emit(f"for {name} in {bounds if constant else f'{bounds} if {step} else ()'}:")
        self.nested(s.body)

    def on_While(self, s: ir.While) -> None:
        self.emit("while True:")
        line = self.line
        self.indent += 1
        self.block(s.header)
        self.line = line
        self.emit(f"if not {self.get(s.condition)}: break")
        self.block(s.body)
        self.indent -= 1

    def on_Break(self, s: ir.Break) -> None:
        self.emit("break")

    def on_Continue(self, s: ir.Continue) -> None:
        self.emit("continue")

    def on_Return(self, s: ir.Return) -> None:
        self.emit("return" if s.value is None else f"return {self.get(s.value)}")
