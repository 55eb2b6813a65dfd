"""The verifier: whether a module is what its level promises, so that passes and renderers need not ask.

Types come from the tables of :mod:`gpucore.ir.ops`; everything else is a method per statement below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Literal, NoReturn

from gpucore.errors import VerificationError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bf16, bool_, f16, f32, i8, i32, i64, index, u32, u64
from gpucore.ir.nodes import MOST_AXES
from gpucore.ir.ops import ATOMIC_OPS, BASELINE, LIBRARY, OPS, SLICE_INDEX, SUBGROUP_OPS, op_key
from gpucore.ir.rounding import representable

__all__ = ["Level", "VerificationError", "representable", "verify"]

Level = Literal["high", "low"]

_MEMBERS = {
    "bool": frozenset({bool_}),
    "int": frozenset(d for d in ALL if d.is_integer),
    "signed": frozenset(d for d in ALL if d.is_signed),
    "float": frozenset(d for d in ALL if d.is_float),
    "number": frozenset(d for d in ALL if d is not bool_),
    "any": frozenset(ALL),
    "bits": frozenset(d for d in ALL if not d.is_float),
    "word": frozenset({u32}),
}
_KIND_NAMES = {
    "bool": "bool", "int": "an integer", "signed": "a signed integer", "float": "a float",
    "number": "a number", "any": "any dtype", "bits": "an integer or bool", "word": "u32",
}  # fmt: skip
_LAST = (ir.Break, ir.Continue, ir.Return)


def verify(
    module: ir.Module,
    level: Level = "high",
    native: frozenset[str] = frozenset(),
    known: frozenset[str] = frozenset(),
) -> None:
    """Check a module.

    Parameters
    ----------
    module : Module
    level : {"high", "low"}
    native : frozenset[str]
        At the low level: operation keys that the target adds to :data:`gpucore.ir.ops.BASELINE`.
    known : frozenset[str]
        Names of functions that were verified before, whose bodies need no second look.

    Raises
    ------
    VerificationError
        At the first broken rule, naming the statement and the rule.
    """
    _Verifier(module, level, native).run(known)


class _Verifier:
    def __init__(self, module: ir.Module, level: Level, native: frozenset[str]) -> None:
        self.module = module
        self.low = level == "low"
        self.halves = {d for d in (f16, bf16) if {f"cast.{d.name}.f32", f"cast.f32.{d.name}"} <= native}
        self.allowed = BASELINE | native
        for d in self.halves:
            bits = ("i16", "u16")
            self.allowed |= {f"select.{d.name}", *(f"bitcast.raw.{d.name}.{b}" for b in bits)}
            self.allowed |= {f"bitcast.raw.{b}.{d.name}" for b in bits}
        self.index_types = (i32, i64) if self.low else (index,)
        self.index_names = _names(self.index_types, " or ")
        self.callable: dict[str, ir.Function] = {}
        self.memory_names: set[str] = set()
        self.function = module.kernel
        self.statement: ir.Stmt | None = None

    def fail(self, rule: str) -> NoReturn:
        from gpucore.ir.text import print_statement

        text = print_statement(self.statement) if self.statement is not None else None
        raise VerificationError(rule, function=self.function.name, statement=text)

    def need(self, condition: bool, rule: str) -> None:
        if not condition:
            self.fail(rule)

    # --- containers ---
    def run(self, known: frozenset[str]) -> None:
        module = self.module
        top = 3 if self.low else MOST_AXES
        self.need(1 <= module.ndim <= top, f"a launch has 1 to {top} axes, not {module.ndim}")
        self.need(module.math in ("strict", "fast"), f"math is strict or fast, not {module.math!r}")
        self.need(module.subgroup is None or module.subgroup > 0, "a subgroup width is positive")
        for function in module.functions:
            if function.name in known:
                self.need(function.name not in self.callable, "two functions have this name")
                for memory in function.memories:
                    self.check_memory(memory, False)
            else:
                self.check_function(function, kernel=False)
            self.callable[function.name] = function
        self.check_function(module.kernel, kernel=True)

    def check_dtype(self, dtype: DType, what: str) -> None:
        if not self.low:
            return
        self.need(dtype is not index, f"{what} has the dtype index, which the low level does not have")
        if dtype in (f16, bf16):
            rule = f"{what} is {dtype.name}, but the target does not cast it to and from f32"
            self.need(dtype in self.halves, rule)

    def check_memory(self, memory: ir.Memory, kernel: bool) -> None:
        name = f"memory &{memory.name}"
        self.need(memory.name not in self.memory_names, f"{name} is declared twice in the module")
        self.memory_names.add(memory.name)
        self.check_dtype(memory.dtype, name)
        self.need(not self.low or memory.dtype is not bool_, f"{name}: bool is u8 at the low level")
        # a memory of records has an axis more; at the low level strides are extents of a memory
        most = MOST_AXES + 1 if memory.layout == "contiguous" or not self.low else 2 * MOST_AXES + 3
        self.need(1 <= memory.rank <= most, f"{name} has rank {memory.rank}; 1 to {most} are allowed")
        strided = memory.layout != "contiguous"
        self.need(not strided or memory.space == "global", f"{name} has strides, but is no array parameter")
        if memory.space == "global":
            self.need(memory.shape == (), f"{name} is global, its shape comes with the launch")
        else:
            sized = memory.space == "shared" and not self.low and not memory.shape
            fits = sized or len(memory.shape) == memory.rank
            self.need(fits, f"{name} of rank {memory.rank} has shape {memory.shape}")
            self.need(all(n > 0 for n in memory.shape), f"{name} has an empty axis: {memory.shape}")
        self.need(kernel or memory.space != "shared", f"{name} is shared; only a kernel has shared memory")
        expected = prod(memory.shape) if memory.space == "const" else 0
        self.need(len(memory.values) == expected, f"{name} wants {expected} values, not {len(memory.values)}")
        for value in memory.values:
            fits = representable(memory.dtype, value)
            self.need(fits, f"{name}: {value!r} is not a value of {memory.dtype.name}")

    def check_function(self, function: ir.Function, kernel: bool) -> None:
        self.function, self.statement = function, None
        self.need(bool(function.name), "a function has a name")
        self.need(function.name not in self.callable, "two functions have this name")
        self.kernel = kernel
        self.defined: set[str] = set()
        self.scope: dict[str, ir.Value] = {}
        self.memories: dict[str, ir.Memory] = {}
        hidden = False
        for p in function.params:
            here = p.name.startswith("$")
            self.need(self.low or not here, f"hidden parameter {p.name} at the high level")
            self.need(here or not hidden, f"parameter {p.name} follows a hidden one")
            hidden = hidden or here
            if isinstance(p, ir.Memory):
                self.need(kernel, f"parameter &{p.name}: device functions take scalars")
                self.need(p.space == "global", f"parameter &{p.name} is {p.space}, not global")
                self.check_memory(p, kernel)
                self.memories[p.name] = p
            else:
                self.define(p)
        if kernel:
            self.need(function.result is None, "a kernel has no result")
        elif function.result is None:
            self.fail("a device function has a result")
        else:
            self.check_dtype(function.result, "the result")
        for memory in function.memories:
            self.need(memory.space != "global", f"memory &{memory.name} is global but no parameter")
            self.check_memory(memory, kernel)
            self.memories[memory.name] = memory
        self.variables: dict[str, ir.Var] = {}
        for var in function.variables:
            self.need(var.name not in self.variables, f"variable !{var.name} is declared twice")
            self.check_dtype(var.dtype, f"variable !{var.name}")
            self.variables[var.name] = var
        self.loops = 0  # loops around the statement, as far as Break and Continue may see
        self.in_header = False
        self.set: frozenset[str] | None = frozenset()  # variables set on every path; None is unreachable
        self.break_states: list[list[frozenset[str] | None]] = []
        self.true_values: set[str] = set()
        self.block(function.body)
        self.statement = None
        if not kernel:
            self.need(self.set is None, "a device function ends without a return on some path")

    # --- names ---
    def define(self, value: ir.Value) -> None:
        self.need(value.name not in self.defined, f"%{value.name} is defined twice")
        self.check_dtype(value.dtype, f"%{value.name}")
        self.defined.add(value.name)
        self.scope[value.name] = value

    def use(self, value: ir.Value) -> None:
        known = self.scope.get(value.name)
        if known is None:
            self.fail(f"%{value.name} is used where its definition does not reach")
        self.need(known == value, f"%{value.name} is {known.dtype.name}, used as {value.dtype.name}")

    def known_memory(self, memory: ir.Memory) -> None:
        self.need(self.memories.get(memory.name) == memory, f"memory &{memory.name} is not declared so")

    def known_var(self, var: ir.Var, dtype: DType) -> None:
        self.need(self.variables.get(var.name) == var, f"variable !{var.name} is not declared so")
        self.same(var.dtype, dtype, f"variable !{var.name}")

    def same(self, expected: DType, found: DType, what: str) -> None:
        self.need(expected is found, f"{what} is {expected.name}, not {found.name}")

    @contextmanager
    def nested(self) -> Iterator[None]:
        saved = dict(self.scope)
        yield
        self.scope = saved

    # --- statements ---
    def block(self, block: ir.Block) -> None:
        for position, statement in enumerate(block):
            self.statement = statement
            if self.low and position and isinstance(block[position - 1], _LAST):
                self.fail("the statement follows a break, continue or return and is never reached")
            for operand in ir.operands_of(statement):
                if not isinstance(statement, ir.While):
                    self.use(operand)
            getattr(self, "on_" + type(statement).__name__)(statement)
            self.statement = statement
            result = ir.result_of(statement)
            if result is not None and not isinstance(statement, ir.For):
                self.define(result)

    def on_Const(self, s: ir.Const) -> None:
        fits = representable(s.result.dtype, s.value)
        self.need(fits, f"{s.value!r} is not a value of {s.result.dtype.name}")
        if s.result.dtype is bool_ and s.value:
            self.true_values.add(s.result.name)

    def on_Op(self, s: ir.Op) -> None:
        if s.op in LIBRARY:
            self.library_op(s)
            return
        if s.op == SLICE_INDEX:
            self.need(not self.low, f"{s.op} belongs to the high level")
            self.need(len(s.args) == 4, f"{s.op} takes 4 operands, not {len(s.args)}")
            fits = all(v.dtype is index for v in (*s.args, s.result))
            self.need(fits, f"{s.op} takes and gives values of index")
            return
        spec = OPS.get(s.op)
        if spec is None:
            self.fail(f"{s.op} is no operation")
        self.need(self.low or spec.level != "low", f"{s.op} belongs to the low level")
        self.need(len(s.args) == spec.arity, f"{s.op} takes {spec.arity} operands, not {len(s.args)}")
        dtypes = tuple(a.dtype for a in s.args)
        subjects = dtypes
        if s.op == "select":
            self.same(bool_, dtypes[0], "the condition of select")
            subjects = dtypes[1:]
        self.need(len(set(subjects)) == 1, f"the operands of {s.op} have one dtype, not {_names(subjects)}")
        subject = subjects[0]
        kind = spec.types
        self.need(subject in _MEMBERS[kind], f"{s.op} takes {_KIND_NAMES[kind]}, not {subject.name}")
        result = s.result.dtype
        if spec.result == "free":
            if "bitcast" in s.op:
                rule = f"{s.op} from {subject.name} to {result.name}: widths differ"
                self.need(subject.bits == result.bits, rule)
                self.need(bool_ not in (subject, result), f"{s.op} does not take bool")
            elif s.op == "f2i.raw":
                self.need(result.is_integer, f"f2i.raw gives an integer, not {result.name}")
        else:
            expected = {"same": subject, "bool": bool_, "i32": i32}[spec.result]
            self.same(expected, result, f"the result of {s.op} on {subject.name}")
        if self.low:
            key = op_key(s.op, dtypes, result)
            self.need(key in self.allowed, f"{key} is neither baseline nor native to the target")

    def library_op(self, s: ir.Op) -> None:
        spec = LIBRARY[s.op]
        self.need(not self.low, f"{s.op} belongs to the high level: link the module")
        count = len(spec.operands)
        self.need(len(s.args) == count, f"{s.op} takes {count} operands, not {len(s.args)}")
        subject = s.args[0].dtype
        allowed = subject.is_float and (spec.halves or subject.bits > 16)
        self.need(allowed, f"{s.op} takes {'floats' if spec.halves else 'f32 or f64'}, not {subject.name}")
        for position, (expected, argument) in enumerate(zip(spec.operands, s.args, strict=True)):
            dtype = subject if expected == "float" else i32
            self.same(dtype, argument.dtype, f"operand {position} of {s.op}")
        self.same(subject if spec.result == "float" else i32, s.result.dtype, f"the result of {s.op}")

    def on_Call(self, s: ir.Call) -> None:
        callee = self.callable.get(s.function)
        if callee is None:
            self.fail(f"@{s.function} is no function that stands before its caller")
        expected = tuple(p.dtype for p in callee.params)
        found = tuple(a.dtype for a in s.args)
        self.need(expected == found, f"@{s.function} takes ({_names(expected)}), not ({_names(found)})")
        self.need(callee.result is s.result.dtype, f"@{s.function} does not give {s.result.dtype.name}")

    def on_GetVar(self, s: ir.GetVar) -> None:
        self.known_var(s.var, s.result.dtype)
        is_set = self.set is None or s.var.name in self.set
        self.need(is_set, f"variable !{s.var.name} is not set on every path")

    def on_SetVar(self, s: ir.SetVar) -> None:
        self.known_var(s.var, s.value.dtype)
        if self.set is not None:
            self.set |= {s.var.name}

    def on_Extent(self, s: ir.Extent) -> None:
        self.known_memory(s.memory)
        self.need(not s.memory.shape, "extent is for shapes that come with the launch; others are constants")
        self.need(0 <= s.axis < s.memory.rank, f"axis {s.axis} of an array of rank {s.memory.rank}")
        self.need(s.result.dtype in self.index_types, f"an extent is {self.index_names}")

    def access(self, memory: ir.Memory, indices: tuple[ir.Value, ...]) -> None:
        self.known_memory(memory)
        expected = 1 if self.low else memory.rank
        count = len(indices)
        self.need(count == expected, f"an access to &{memory.name} takes {expected} indices, not {count}")
        for i in indices:
            self.need(i.dtype in self.index_types, f"an index is {self.index_names}, not {i.dtype.name}")

    def on_Load(self, s: ir.Load) -> None:
        self.access(s.memory, s.indices)
        self.same(s.memory.dtype, s.result.dtype, f"an element of &{s.memory.name}")

    def on_Store(self, s: ir.Store) -> None:
        self.access(s.memory, s.indices)
        self.need(s.memory.space != "const", f"&{s.memory.name} is constant")
        self.same(s.memory.dtype, s.value.dtype, f"an element of &{s.memory.name}")

    def on_Allocate(self, s: ir.Allocate) -> None:
        self.known_memory(s.memory)
        sized = s.memory.space == "shared" and len(s.extents) == s.memory.rank and not s.memory.shape
        self.need(sized, f"&{s.memory.name} does not take {len(s.extents)} extents")

    def on_InitLocal(self, s: ir.InitLocal) -> None:
        self.known_memory(s.memory)
        self.need(s.memory.space == "local", f"&{s.memory.name} is {s.memory.space}, not local")

    def atomic(self, s: ir.Atomic | ir.AtomicCas, values: Iterable[ir.Value]) -> None:
        self.access(s.memory, s.indices)
        self.need(s.memory.space in ("global", "shared"), "atomics are for global and shared memory")
        dtype = s.memory.dtype
        self.need(dtype is not bool_, "there are no atomics on bool")
        if s.bits is not None:
            self.need(self.low, "bits belong to the low level")
            fits = s.bits.is_integer and s.bits.bits == dtype.bits
            self.need(fits, f"{s.bits.name} does not fit {dtype.name}")
            dtype = s.bits
        for value in (s.result, *values):
            self.same(dtype, value.dtype, f"a value of an atomic on &{s.memory.name}")

    def on_Atomic(self, s: ir.Atomic) -> None:
        self.need(s.op in ATOMIC_OPS, f"{s.op} is no atomic operation")
        self.atomic(s, (s.value,))
        if s.op in ("and", "or", "xor"):
            self.need(s.value.dtype.is_integer, f"atomic {s.op} takes an integer, not {s.value.dtype.name}")

    def on_AtomicCas(self, s: ir.AtomicCas) -> None:
        self.atomic(s, (s.expected, s.desired))

    def on_ThreadIndex(self, s: ir.ThreadIndex) -> None:
        self.need(self.kernel, "thread ids are known to the kernel only")
        self.need(0 <= s.axis < self.module.ndim, f"axis {s.axis} of a launch with {self.module.ndim} axes")
        self.need(s.result.dtype in self.index_types, f"a thread id is {self.index_names}")

    def on_Subgroup(self, s: ir.Subgroup) -> None:
        self.need(self.kernel, "subgroup operations stand in the kernel only")
        arity = SUBGROUP_OPS.get(s.op)
        if arity is None:
            self.fail(f"{s.op} is no subgroup operation")
        self.need(len(s.args) == arity, f"subgroup {s.op} takes {arity} operands, not {len(s.args)}")
        result = s.result.dtype
        if arity == 0:
            self.same(i32, result, f"subgroup {s.op}")
            return
        operand = s.args[0].dtype
        if s.op in ("any", "all", "ballot"):
            self.same(bool_, operand, f"the operand of subgroup {s.op}")
            self.same(u64 if s.op == "ballot" else bool_, result, f"subgroup {s.op}")
            return
        self.same(operand, result, f"the result of subgroup {s.op} on {operand.name}")
        if arity == 2:
            self.same(i32, s.args[1].dtype, f"the lane of subgroup {s.op}")
        else:
            self.need(operand is not bool_, f"subgroup {s.op} takes a number, not bool")

    def on_Barrier(self, s: ir.Barrier) -> None:
        self.need(self.kernel, "a barrier stands in the kernel only")

    def on_Fence(self, s: ir.Fence) -> None:
        self.need(self.kernel, "a fence stands in the kernel only")

    def on_TileProduct(self, s: ir.TileProduct) -> None:
        self.need(self.kernel, "products of tiles stand in the kernel only")
        m, n, k = s.shape
        self.need(min(s.shape) > 0 and m % 16 == n % 8 == k % 16 == 0, f"no product has the shape {s.shape}")
        factor = s.factor
        self.need(
            factor in (f16, bf16, i8), f"products of tiles are of f16, bf16 or i8, not of {factor.name}"
        )
        self.same(i32 if factor is i8 else f32, s.total.dtype, "the sum")
        for memory, size in ((s.total, m * n), (s.left, m * k), (s.right, k * n)):
            self.known_memory(memory)
            if memory is not s.total:
                self.need(memory.dtype in (factor, u32), f"&{memory.name} is neither {factor.name} nor u32")
                size //= 1 if memory.dtype is factor else 32 // factor.bits
            fits = memory.space == "local" and memory.shape == (size // 32,)
            self.need(fits, f"&{memory.name} is not local with {size // 32} elements")

    def on_Assert(self, s: ir.Assert) -> None:
        self.need(not self.low, "asserts are gone at the low level")
        self.same(bool_, s.condition.dtype, "a condition")

    def on_Print(self, s: ir.Print) -> None:
        self.need(not self.low, "prints are gone at the low level")
        self.need(self.kernel, "a print stands in the kernel only")

    # --- control flow ---
    def on_If(self, s: ir.If) -> None:
        self.same(bool_, s.condition.dtype, "a condition")
        before = self.set
        with self.nested():
            self.block(s.then)
        after_then, self.set = self.set, before
        with self.nested():
            self.block(s.orelse)
        self.set = _meet([after_then, self.set])

    def on_For(self, s: ir.For) -> None:
        for bound in (s.start, s.stop, s.step):
            self.same(s.variable.dtype, bound.dtype, "the loop variable")
        self.need(s.variable.dtype in self.index_types, f"a loop variable is {self.index_names}")
        before = self.set
        with self.nested():
            self.define(s.variable)
            self.body(s.body)
        self.set = before

    def on_While(self, s: ir.While) -> None:
        with self.nested():
            header, loops, self.in_header, self.loops = self.in_header, self.loops, True, 0
            self.block(s.header)
            self.statement = s
            self.in_header, self.loops = header, loops
            self.use(s.condition)
            self.same(bool_, s.condition.dtype, "a condition")
            after_header = self.set
            breaks = self.body(s.body)
        endless = s.condition.name in self.true_values
        self.set = _meet(breaks if endless else [after_header, *breaks])

    def body(self, block: ir.Block) -> list[frozenset[str] | None]:
        """Check a loop's body; the variables set at each break."""
        self.loops += 1
        self.break_states.append([])
        self.block(block)
        self.loops -= 1
        return self.break_states.pop()

    def jump(self, word: str) -> None:
        self.need(self.loops > 0, f"a {word} stands in a loop, and not in the header of one")

    def on_Break(self, s: ir.Break) -> None:
        self.jump("break")
        self.break_states[-1].append(self.set)
        self.set = None

    def on_Continue(self, s: ir.Continue) -> None:
        self.jump("continue")
        self.set = None

    def on_Return(self, s: ir.Return) -> None:
        self.need(not self.in_header, "a return does not stand in the header of a loop")
        expected = self.function.result
        found = s.value.dtype if s.value is not None else None
        names = [d.name if d else "nothing" for d in (expected, found)]
        self.need(expected is found, f"the function returns {names[0]}, not {names[1]}")
        self.set = None


def _names(dtypes: Iterable[DType], joint: str = ", ") -> str:
    return joint.join(d.name for d in dtypes)


def _meet(states: list[frozenset[str] | None]) -> frozenset[str] | None:
    reached = [s for s in states if s is not None]
    return frozenset.intersection(*reached) if reached else None
