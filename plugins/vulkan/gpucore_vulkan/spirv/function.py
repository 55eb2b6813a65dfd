"""One function's body: statements and structured control flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpucore.errors import CompileError
from gpucore.ir import (
    Atomic,
    AtomicCas,
    Barrier,
    Block,
    Break,
    Call,
    Const,
    Continue,
    DType,
    Extent,
    Fence,
    For,
    Function,
    GetVar,
    If,
    InitLocal,
    Load,
    Op,
    Return,
    SetVar,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    While,
    bool_,
    result_of,
    u32,
    u64,
)  # fmt: skip
from gpucore.ir.ops import is_routine
from gpucore_vulkan.spirv import accesses, guarded, local_memory, operations, quotients, roots, subgroups
from gpucore_vulkan.spirv.ended import LoopEnds
from gpucore_vulkan.spirv.grammar import (
    ACQUIRE_RELEASE,
    GLSL,
    SCOPE_DEVICE,
    SCOPE_WORKGROUP,
    STORAGE,
    UNIFORM_MEMORY,
    WORKGROUP_MEMORY,
)  # fmt: skip
from gpucore_vulkan.spirv.narrow import NarrowIntegers, register_bits

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.module import ModuleEmitter

__all__ = ["FunctionEmitter"]

ONES: Final = {32: (0x3F800000, 0xBF800000), 64: (0x3FF0000000000000, 0xBFF0000000000000)}
"""The bits of 1.0 and -1.0.

NIR (seen in Mesa 22.3.6) takes a choice between the bits of 1.0 or -1.0 and those of a zero for a converted truth
value, or the negative of one, whatever the sign of the zero.  It finds the constants by their bits, so integers are
concerned as well; choices are made by branches, too, and constants go a long way until they meet.  Hence none is
known.
"""


class FunctionEmitter:
    """Emits one function.

    Attributes
    ----------
    values : dict[str, int]
        The ids of the values defined so far.
    words : list[int]
        Instructions of the body.
    prologue : list[int]
        Instructions of the first block, between its variables and the body: what dominates everything.
    """

    def __init__(self, unit: ModuleEmitter, function: Function) -> None:
        self.unit = unit
        self.asm = unit.asm
        self.function = function
        # routines of the library are written for strict arithmetic, whatever the module's
        self.strict = unit.strict or is_routine(function.name)
        # its operands are never near the denormals
        self.guards_fma = unit.guards_fma and self.strict and function.name != roots.NAME
        self.values: dict[str, int] = {}
        self.known: dict[str, int] = {}
        self.narrow = NarrowIntegers(self)
        self.prologue: list[int] = []
        self._header: list[int] = []
        self._variables: list[int] = []
        self._body: list[int] = []
        self.words = self._body
        self._loops: list[tuple[int, int]] = []
        self.ends = LoopEnds(self)
        self.repeating = False
        self._vars: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._hidden_constants: dict[int, int] = {}
        if function is unit.module.kernel:
            self._unknown.update(p.name for p in function.params)
        self._locals: dict[str, int] = {}
        self.result_type = self.type(function.result) if function.result else self.asm.type("OpTypeVoid")

    # --- small tools ---------------------------------------------------------------------------------
    def type(self, dtype: DType) -> int:
        """The type of values of a dtype."""
        return self.unit.type(dtype)

    def integer(self, value: int, dtype: DType) -> int:
        """An integer constant of a dtype, as values of it are held."""
        return self.asm.integer(value, register_bits(dtype))

    def result(self, op: str, type_id: int, *operands: int) -> int:
        """Emit an instruction with a result."""
        return self.asm.result(self.words, op, type_id, *operands)

    def put(self, op: str, *operands: int) -> None:
        """Emit an instruction without a result."""
        self.asm.put(self.words, op, *operands)

    def label(self, name: int) -> None:
        """Begin a block."""
        self.put("OpLabel", name)

    def rounded(self, op: str, type_id: int, *operands: int) -> int:
        """A float operation that may not be contracted or reordered in strict modules."""
        new = self.result(op, type_id, *operands)
        if self.strict:
            self.asm.decorate(new, "NoContraction")
        return new

    def opaque(self, value: Value) -> int:
        """A float operand that the driver cannot know.

        Some drivers fold ``x * 0``, ``0 / x`` or ``x + 0`` whatever ``x`` is (llvmpipe, seen in Mesa 22.3.6),
        also with zeros that they find themselves, in unrolled loops for one.  Where probing has shown that,
        operands that do not come from memory or arguments have a zero joined to their bits that no compiler
        knows to be one.
        """
        operand = self.values[value.name]
        return operand if value.name in self._unknown else self.hidden(value.dtype, operand)

    def hidden(self, dtype: DType, operand: int) -> int:
        """A float with a zero joined to its bits, where the target wants constants hidden."""
        if not self.strict or not self.unit.hides_constants:
            return operand
        return self.hidden_bits(dtype, operand)

    def hidden_bits(self, dtype: DType, operand: int) -> int:
        """A float whose bits went through an integer that no compiler can know."""
        word = self.asm.uint(dtype.bits)
        raw = self.joined(self.result("OpBitcast", word, operand), word, dtype.bits)
        return self.result("OpBitcast", self.type(dtype), raw)

    def joined(self, value: int, type_id: int, bits: int) -> int:
        """An integer joined with a zero that no compiler can know."""
        return self.result("OpBitwiseOr", type_id, value, self.unit.opaque_zero(self, bits))

    def _read(self, dtype: DType, value: int) -> int:
        """What was read; where a test is repeated behind its loop, as what no compiler knows from there."""
        if not self.repeating:
            return value
        if dtype is bool_:
            word = self.asm.uint(32)
            number = self.result("OpSelect", word, value, self.asm.word(1), self.asm.word(0))
            return self.result(
                "OpINotEqual", self.type(dtype), self.joined(number, word, 32), self.asm.word(0)
            )
        if dtype.is_float:
            return self.hidden_bits(dtype, value)
        return self.joined(value, self.type(dtype), register_bits(dtype))

    def _hard_to_know(self, statement: Stmt) -> bool:
        """Whether a value comes from memory, or from operands that were hidden."""
        match statement:
            case Load(memory=memory):
                return memory.space in ("global", "shared")
            case Atomic() | AtomicCas() | ThreadIndex():
                return True
            case Op(op="add" | "sub" | "mul" | "div" | "fma", result=result) if result.dtype.is_float:
                return True
            case Op(
                op="cast" | "bitcast.raw" | "neg" | "sqrt" | "floor" | "ceil" | "trunc" | "round" | "abs"
            ):
                return all(a.name in self._unknown for a in statement.args)
            case Op(op="select", args=(_, first, second)):
                return first.name in self._unknown and second.name in self._unknown
            case _:
                return False

    def extended(self, name: str, type_id: int, *operands: int, rounded: bool = False) -> int:
        """An instruction of GLSL.std.450."""
        new = self.result("OpExtInst", type_id, self.asm.glsl(), GLSL[name], *operands)
        if rounded and self.strict:
            self.asm.decorate(new, "NoContraction")
        return new

    def in_prologue(self, op: str, type_id: int, *operands: int) -> int:
        """An instruction of the first block."""
        return self.asm.result(self.prologue, op, type_id, *operands)

    def variable(self, type_id: int, *initial: int) -> int:
        """A variable of this function; all stand first in its first block."""
        pointer = self.asm.pointer("Function", type_id)
        return self.asm.result(self._variables, "OpVariable", pointer, STORAGE["Function"], *initial)

    def local_memory(self, name: str) -> int:
        """The variable of a local memory."""
        if name not in self._locals:
            memory = next(m for m in self.function.memories if m.name == name)
            self._locals[name] = local_memory.declare(self, memory)
            self.asm.name(self._locals[name], name)
        return self._locals[name]

    # --- the whole -----------------------------------------------------------------------------------
    def emit(self, function_id: int) -> list[int]:
        """The words of the function."""
        parameters: list[int] = []
        if self.function is not self.unit.module.kernel:
            for parameter in self.function.params:
                kind = self.type(parameter.dtype)
                parameters.append(kind)
                self.values[parameter.name] = self.asm.result(self._header, "OpFunctionParameter", kind)
        for var in self.function.variables:
            self._vars[var.name] = self.variable(self.type(var.dtype))
            self.asm.name(self._vars[var.name], var.name)
        kernel = self.function is self.unit.module.kernel
        if kernel:
            self.unit.kernel_prologue(self)
        for memory in self.function.memories:
            if memory.space == "local" and local_memory.starts_unknown(self.function.body, memory):
                local_memory.clear(self, memory)
        falls = self.block(self.function.body)
        if falls:
            self.put("OpReturn" if self.function.result is None else "OpUnreachable")
        words: list[int] = []
        kind = self.asm.type("OpTypeFunction", self.result_type, *parameters)
        self.asm.put(words, "OpFunction", self.result_type, function_id, 0, kind)
        words += self._header
        self.asm.put(words, "OpLabel", self.asm.id())
        words += self._variables + self.prologue + self._body
        self.asm.put(words, "OpFunctionEnd")
        return words

    def block(self, block: Block) -> bool:
        """Emit a block; whether control reaches its end."""
        if self.guards_fma and any(map(guarded.is_fused, block)):
            return guarded.GuardedBlock(self).emit(block)
        return all(self.statement(statement) for statement in block)

    def note(self, statement: Stmt) -> None:
        """Remember a result that no compiler can know."""
        if self.unit.hides_constants and self._hard_to_know(statement):
            result = result_of(statement)
            if result is not None:
                self._unknown.add(result.name)

    def note_alike(self, result: Value, source: Value) -> None:
        """Remember that a result is the value of another, known as little."""
        if source.name in self._unknown:
            self._unknown.add(result.name)

    def statement(self, statement: Stmt) -> bool:
        """Emit a statement; whether control reaches its end."""
        self.unit.line(self.words, statement.loc)
        self.note(statement)
        match statement:
            case Const(result=result, value=value):
                self.values[result.name] = self.constant(result, value)
            case Op(result=result):
                self.values[result.name] = operations.emit_operation(self, statement)
            case Call(result=result, function=name, args=args):
                self.values[result.name] = self.result(
                    "OpFunctionCall", self.type(result.dtype), self.unit.function_id(name),
                    *(self.values[a.name] for a in args),
                )  # fmt: skip
            case GetVar(result=result, var=var):
                found = self.result("OpLoad", self.type(var.dtype), self._vars[var.name])
                self.values[result.name] = self._read(var.dtype, found)
            case SetVar(var=var, value=value):
                self.put("OpStore", self._vars[var.name], self.values[value.name])
            case Extent(result=result):
                self.values[result.name] = self.unit.extent(self, statement)
            case Load(result=result):
                self.values[result.name] = self._read(result.dtype, accesses.load(self, statement))
            case Store():
                accesses.store(self, statement)
            case InitLocal(memory=memory):
                local_memory.clear(self, memory)
            case Atomic(result=result):
                self.values[result.name] = accesses.atomic(self, statement)
            case AtomicCas(result=result):
                self.values[result.name] = accesses.compare_and_swap(self, statement)
            case ThreadIndex(result=result):
                self.values[result.name] = self.unit.thread_index(self, statement)
            case Subgroup(result=result):
                self.values[result.name] = subgroups.emit_subgroup(self, statement)
            case Barrier():
                semantics = ACQUIRE_RELEASE | UNIFORM_MEMORY | WORKGROUP_MEMORY
                scope = self.asm.word(SCOPE_WORKGROUP)
                self.put("OpControlBarrier", scope, scope, self.asm.word(semantics))
            case Fence():
                semantics = ACQUIRE_RELEASE | UNIFORM_MEMORY | WORKGROUP_MEMORY
                self.put("OpMemoryBarrier", self.asm.word(SCOPE_DEVICE), self.asm.word(semantics))
            case If():
                return self._if(statement)
            case For():
                self._for(statement)
            case While():
                self._while(statement)
            case Break():
                self._break()
                return False
            case Continue():
                self.put("OpBranch", self._loops[-1][1])
                return False
            case Return(value=value):
                if value is None:
                    self.put("OpReturn")
                else:
                    self.put("OpReturnValue", self.values[value.name])
                return False
            case _:
                raise CompileError(
                    f"the SPIR-V emitter does not know {type(statement).__name__}", log=repr(statement)
                )
        return True

    def constant(self, result: Value, value: int | float | bool) -> int:
        """The id of a literal."""
        dtype = result.dtype
        if dtype.kind == "bool":
            return self.asm.truth(bool(value))
        if dtype.is_float:
            constant = self.asm.floating(float(value), dtype.bits)
            hide = abs(value) == 1.0
        else:
            self.known[result.name] = int(value)
            constant = self.integer(int(value), dtype)
            hide = int(value) & (1 << dtype.bits) - 1 in ONES.get(dtype.bits, ())
        if not hide or not self.unit.hides_ones:
            return constant
        if dtype.is_float:
            self._unknown.add(result.name)
        return self._hidden_constant(dtype, constant)

    def _hidden_constant(self, dtype: DType, constant: int) -> int:
        """A literal that no compiler can know, made once in the first block."""
        if constant not in self._hidden_constants:
            word = self.asm.uint(dtype.bits)
            raw = self.in_prologue("OpBitcast", word, constant) if dtype.is_float else constant
            zero = self.unit.opaque_zero(self, dtype.bits)
            hidden = self.in_prologue("OpBitwiseOr", word, raw, zero)
            if dtype.is_float:
                hidden = self.in_prologue("OpBitcast", self.type(dtype), hidden)
            self._hidden_constants[constant] = hidden
        return self._hidden_constants[constant]

    # --- control flow --------------------------------------------------------------------------------
    def _if(self, statement: If) -> bool:
        merge, then = self.asm.id(), self.asm.id()
        orelse = self.asm.id() if statement.orelse else merge
        self.put("OpSelectionMerge", merge, 0)
        self.put("OpBranchConditional", self.values[statement.condition.name], then, orelse)
        self.label(then)
        reaches = self.block(statement.then)
        if reaches:
            self.put("OpBranch", merge)
        if statement.orelse:
            self.label(orelse)
            if self.block(statement.orelse):
                self.put("OpBranch", merge)
                reaches = True
        else:
            reaches = True
        self.label(merge)
        if not reaches:
            self.put("OpUnreachable")
        return reaches

    def _while(self, statement: While) -> None:
        top, test, body, follow, merge = (self.asm.id() for _ in range(5))
        self.ends.enter(statement)
        out = self.ends.way_out(merge)
        self.put("OpBranch", top)
        self.label(top)
        self.put("OpLoopMerge", merge, follow, self.unit.loop_control)
        self.put("OpBranch", test)
        self.label(test)
        self.block(statement.header)
        go = self.ends.by_threads(statement, self.values[statement.condition.name])
        if out != merge:
            self.put("OpSelectionMerge", body, 0)
        self.put("OpBranchConditional", go, body, out)
        self.ends.leave_by(out, merge)
        self.label(body)
        self._loop_body(statement.body, merge, follow)
        self.label(follow)
        self.put("OpBranch", top)
        self.label(merge)
        self.ends.behind(self.ends.header_again(statement))

    def _loop_body(self, block: Block, merge: int, follow: int) -> None:
        self._loops.append((merge, follow))
        if self.block(block):
            self.put("OpBranch", follow)
        self._loops.pop()

    def _break(self) -> None:
        merge, follow = self._loops[-1]
        self.ends.leave()
        if not self.unit.hides_breaks:
            self.put("OpBranch", merge)
            return
        zero = self.unit.opaque_zero(self, 32)
        always = self.result("OpIEqual", self.asm.bool_type(), zero, self.asm.word(0))
        self.put("OpBranchConditional", always, merge, follow)

    def _for(self, statement: For) -> None:
        # the variable plus its step never overflows, lowering sees to it; the distance may, which some compilers
        # forget (NVIDIA 580), hence constant steps other than one are counted
        dtype = statement.variable.dtype
        kind, truth = self.type(dtype), self.asm.bool_type()
        start, stop, step = (self.values[v.name] for v in (statement.start, statement.stop, statement.step))
        known = self.known.get(statement.step.name)
        if known == 0:
            return
        zero, one = self.integer(0, dtype), self.integer(1, dtype)
        counted = known is not None and abs(known) != 1
        count = self._trip_count(dtype, start, stop, known or 0) if counted else 0
        rises = falls = 0
        if known is None:
            rises = self.result("OpSGreaterThan", truth, step, zero)
            falls = self.result("OpSLessThan", truth, step, zero)
        before, top, body, follow, merge = (self.asm.id() for _ in range(5))
        self.ends.enter(statement)
        out = self.ends.way_out(merge)
        variable, following, passes, more = (self.asm.id() for _ in range(4))
        self.put("OpBranch", before)
        self.label(before)
        self.put("OpBranch", top)
        self.label(top)
        self.put("OpPhi", kind, variable, start, before, following, follow)
        if counted:
            self.put("OpPhi", kind, passes, zero, before, more, follow)
        place, end = (passes, count) if counted else (variable, stop)

        def test(at: int) -> int:
            if counted:
                return self.result("OpULessThan", truth, at, end)
            if known is not None:
                return self.result("OpSLessThan" if known > 0 else "OpSGreaterThan", truth, at, end)
            below = self.result("OpSLessThan", truth, at, end)
            above = self.result("OpSGreaterThan", truth, at, end)
            down = self.result("OpLogicalAnd", truth, falls, above)
            return self.result("OpSelect", truth, rises, below, down)

        go = self.ends.by_threads(statement, test(place))
        self.put("OpLoopMerge", merge, follow, self.unit.loop_control)
        self.put("OpBranchConditional", go, body, out)
        self.ends.leave_by(out, merge)
        self.label(body)
        self.values[statement.variable.name] = variable
        self._loop_body(statement.body, merge, follow)
        self.label(follow)
        self.put("OpIAdd", kind, following, variable, step)
        if counted:
            self.put("OpIAdd", kind, more, passes, one)
        self.put("OpBranch", top)
        self.label(merge)
        # the device went on to the next value of its counter before it ended the loop
        unknown = self.unit.opaque_zero
        self.ends.behind(
            lambda: test(self.result("OpIAdd", kind, place, unknown(self, register_bits(dtype))))
        )

    def _trip_count(self, dtype: DType, start: int, stop: int, step: int) -> int:
        """The number of iterations, unsigned: differences of signed ends fit that."""
        kind, truth = self.type(dtype), self.asm.bool_type()
        one = self.integer(1, dtype)
        low, high = (start, stop) if step > 0 else (stop, start)
        runs = self.result("OpSLessThan", truth, low, high)
        distance = self.result("OpISub", kind, self.result("OpISub", kind, high, low), one)
        by = self.integer(abs(step), dtype)
        last = quotients.emit_quotient(self, u64 if dtype.bits == 64 else u32, distance, by, abs(step))
        none = self.integer(0, dtype)
        return self.result("OpSelect", kind, runs, self.result("OpIAdd", kind, last, one), none)
