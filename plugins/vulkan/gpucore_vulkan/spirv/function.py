"""One function's body: statements and structured control flow."""

from __future__ import annotations

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
    While,
    bool_,
    u32,
    u64,
)  # fmt: skip
from gpucore_vulkan.spirv import accesses, guarded, local_memory, operations, quotients, roots, subgroups
from gpucore_vulkan.spirv.body import FunctionState
from gpucore_vulkan.spirv.grammar import (
    ACQUIRE_RELEASE,
    SCOPE_DEVICE,
    SCOPE_WORKGROUP,
    UNIFORM_MEMORY,
    WORKGROUP_MEMORY,
)  # fmt: skip
from gpucore_vulkan.spirv.loop_chains import LoopChains
from gpucore_vulkan.spirv.loop_ends import LoopEnds
from gpucore_vulkan.spirv.unit import ModuleUnit
from gpucore_vulkan.spirv.widths import register_bits

__all__ = ["FunctionEmitter"]


class FunctionEmitter:
    """Emits the statements of one function."""

    def __init__(self, unit: ModuleUnit, function: Function) -> None:
        self.f = f = FunctionState(unit, function)
        # its operands are never near the denormals
        self._guards_fma = unit.guards_fma and f.strict and function.name != roots.NAME
        self._header: list[int] = []
        self._loops: list[tuple[int, int]] = []
        self._ends = LoopEnds(f, self.block)
        self._chains = LoopChains(f)
        self._vars: dict[str, int] = {}
        result = function.result
        self._result_type = f.type(result) if result else f.asm.type("OpTypeVoid")

    # --- the whole -----------------------------------------------------------------------------------
    def emit(self, function_id: int) -> list[int]:
        """The words of the function."""
        parameters: list[int] = []
        if self.f.function is not self.f.unit.module.kernel:
            for parameter in self.f.function.params:
                kind = self.f.type(parameter.dtype)
                parameters.append(kind)
                self.f.values[parameter.name] = self.f.asm.result(self._header, "OpFunctionParameter", kind)
        for var in self.f.function.variables:
            self._vars[var.name] = self.f.variable(self.f.type(var.dtype))
            self.f.asm.name(self._vars[var.name], var.name)
        kernel = self.f.function is self.f.unit.module.kernel
        if kernel:
            self.f.unit.kernel_prologue(self.f)
        for memory in self.f.function.memories:
            if memory.space == "local" and local_memory.starts_unknown(self.f.function.body, memory):
                local_memory.clear(self.f, self._ends, memory)
        falls = self.block(self.f.function.body)
        if falls:
            self.f.put("OpReturn" if self.f.function.result is None else "OpUnreachable")
        words: list[int] = []
        kind = self.f.asm.type("OpTypeFunction", self._result_type, *parameters)
        control = 2 if self.f.function.name in self.f.unit.compiled_once else 0  # DontInline
        self.f.asm.put(words, "OpFunction", self._result_type, function_id, control, kind)
        words += self._header
        self.f.asm.put(words, "OpLabel", self.f.asm.id())
        words += self.f.variables + self.f.prologue + self.f.words
        self.f.asm.put(words, "OpFunctionEnd")
        return words

    def block(self, block: Block) -> bool:
        """Emit a block; whether control reaches its end."""
        if self._guards_fma and any(map(guarded.is_fused, block)):
            return guarded.GuardedBlock(self.f, self.statement).emit(block)
        return all(self.statement(statement) for statement in block)

    def _read(self, dtype: DType, value: int) -> int:
        """What was read; where a test is repeated behind its loop, as what no compiler knows from there."""
        if not self._ends.repeating:
            return value
        if dtype is bool_:
            word = self.f.asm.uint(32)
            number = self.f.result("OpSelect", word, value, self.f.asm.word(1), self.f.asm.word(0))
            return self.f.result(
                "OpINotEqual",
                self.f.type(dtype),
                self.f.joined(number, word, 32, "argument"),
                self.f.asm.word(0),
            )
        if dtype.is_float:
            return self.f.hidden_bits(dtype, value, "argument")
        return self.f.joined(value, self.f.type(dtype), register_bits(dtype), "argument")

    def statement(self, statement: Stmt) -> bool:
        """Emit a statement; whether control reaches its end."""
        self.f.unit.line(self.f.words, statement.loc)
        self.f.note(statement)
        match statement:
            case Const(result=result, value=value):
                self.f.values[result.name] = self.f.constant(result, value)
            case Op(result=result):
                self.f.values[result.name] = operations.emit_operation(self.f, statement)
            case Call(result=result, function=name, args=args):
                self.f.values[result.name] = self.f.result(
                    "OpFunctionCall", self.f.type(result.dtype), self.f.unit.function_id(name),
                    *(self.f.values[a.name] for a in args),
                )  # fmt: skip
            case GetVar(result=result, var=var):
                found = self.f.result("OpLoad", self.f.type(var.dtype), self._vars[var.name])
                self.f.values[result.name] = self._read(var.dtype, found)
            case SetVar(var=var, value=value):
                self.f.put("OpStore", self._vars[var.name], self.f.values[value.name])
            case Extent(result=result):
                self.f.values[result.name] = self.f.unit.extent(self.f, statement)
            case Load(result=result):
                self.f.values[result.name] = self._read(result.dtype, accesses.load(self.f, statement))
            case Store():
                accesses.store(self.f, statement)
            case InitLocal(memory=memory):
                local_memory.clear(self.f, self._ends, memory)
            case Atomic(result=result):
                self.f.values[result.name] = accesses.atomic(self.f, self._ends, statement)
            case AtomicCas(result=result):
                self.f.values[result.name] = accesses.compare_and_swap(self.f, statement)
            case ThreadIndex(result=result):
                self.f.values[result.name] = self.f.unit.thread_index(self.f, statement)
            case Subgroup(result=result):
                self.f.values[result.name] = subgroups.emit_subgroup(self.f, statement)
            case Barrier():
                semantics = ACQUIRE_RELEASE | UNIFORM_MEMORY | WORKGROUP_MEMORY
                scope = self.f.asm.word(SCOPE_WORKGROUP)
                self.f.put("OpControlBarrier", scope, scope, self.f.asm.word(semantics))
            case Fence():
                semantics = ACQUIRE_RELEASE | UNIFORM_MEMORY | WORKGROUP_MEMORY
                self.f.put("OpMemoryBarrier", self.f.asm.word(SCOPE_DEVICE), self.f.asm.word(semantics))
            case If():
                return self._if(statement)
            case For():
                with self._chains.around(statement):
                    self._for(statement)
            case While():
                with self._chains.around(statement):
                    self._while(statement)
            case Break():
                self._break()
                return False
            case Continue():
                self.f.put("OpBranch", self._loops[-1][1])
                return False
            case Return(value=value):
                if value is None:
                    self.f.put("OpReturn")
                else:
                    self.f.put("OpReturnValue", self.f.values[value.name])
                return False
            case _:
                raise CompileError(
                    f"the SPIR-V emitter does not know {type(statement).__name__}", log=repr(statement)
                )
        return True

    # --- control flow --------------------------------------------------------------------------------
    def _if(self, statement: If) -> bool:
        merge, then = self.f.asm.id(), self.f.asm.id()
        orelse = self.f.asm.id() if statement.orelse else merge
        self.f.put("OpSelectionMerge", merge, 0)
        self.f.put("OpBranchConditional", self.f.values[statement.condition.name], then, orelse)
        self.f.label(then)
        reaches = self.block(statement.then)
        if reaches:
            self.f.put("OpBranch", merge)
        if statement.orelse:
            self.f.label(orelse)
            if self.block(statement.orelse):
                self.f.put("OpBranch", merge)
                reaches = True
        else:
            reaches = True
        self.f.label(merge)
        if not reaches:
            self.f.put("OpUnreachable")
        return reaches

    def _while(self, statement: While) -> None:
        top, test, body, follow, merge = (self.f.asm.id() for _ in range(5))
        self._ends.enter(statement)
        out = self._ends.way_out(merge)
        self.f.put("OpBranch", top)
        self.f.label(top)
        self.f.put("OpLoopMerge", merge, follow, self.f.unit.loop_control)
        self.f.put("OpBranch", test)
        self.f.label(test)
        self.block(statement.header)
        go = self._ends.by_threads(statement, self.f.values[statement.condition.name])
        if out != merge:
            self.f.put("OpSelectionMerge", body, 0)
        self.f.put("OpBranchConditional", go, body, out)
        self._ends.leave_by(out, merge)
        self.f.label(body)
        self._loop_body(statement.body, merge, follow)
        self.f.label(follow)
        self.f.put("OpBranch", top)
        self.f.label(merge)
        self._ends.behind(self._ends.header_again(statement))

    def _loop_body(self, block: Block, merge: int, follow: int) -> None:
        self._loops.append((merge, follow))
        if self.block(block):
            self.f.put("OpBranch", follow)
        self._loops.pop()

    def _break(self) -> None:
        merge, follow = self._loops[-1]
        self._ends.leave()
        if not self.f.unit.hides_breaks:
            self.f.put("OpBranch", merge)
            return
        zero = self.f.unit.opaque_zero(self.f, 32)
        always = self.f.result("OpIEqual", self.f.asm.bool_type(), zero, self.f.asm.word(0))
        self.f.put("OpBranchConditional", always, merge, follow)

    def _for(self, statement: For) -> None:
        # the variable plus its step never overflows, lowering sees to it; the distance may, which some compilers
        # forget (NVIDIA 580), hence constant steps other than one are counted
        dtype = statement.variable.dtype
        kind, truth = self.f.type(dtype), self.f.asm.bool_type()
        start, stop, step = (self.f.values[v.name] for v in (statement.start, statement.stop, statement.step))
        known = self.f.known.get(statement.step.name)
        if known == 0:
            return
        zero, one = self.f.integer(0, dtype), self.f.integer(1, dtype)
        counted = known is not None and abs(known) != 1
        count = self._trip_count(dtype, start, stop, known or 0) if counted else 0
        rises = falls = 0
        if known is None:
            rises = self.f.result("OpSGreaterThan", truth, step, zero)
            falls = self.f.result("OpSLessThan", truth, step, zero)
        before, top, body, follow, merge = (self.f.asm.id() for _ in range(5))
        self._ends.enter(statement)
        out = self._ends.way_out(merge)
        variable, following, passes, more = (self.f.asm.id() for _ in range(4))
        self.f.put("OpBranch", before)
        self.f.label(before)
        self.f.put("OpBranch", top)
        self.f.label(top)
        self.f.put("OpPhi", kind, variable, start, before, following, follow)
        if counted:
            self.f.put("OpPhi", kind, passes, zero, before, more, follow)
        place, end = (passes, count) if counted else (variable, stop)

        def test(at: int) -> int:
            if counted:
                return self.f.result("OpULessThan", truth, at, end)
            if known is not None:
                return self.f.result("OpSLessThan" if known > 0 else "OpSGreaterThan", truth, at, end)
            below = self.f.result("OpSLessThan", truth, at, end)
            above = self.f.result("OpSGreaterThan", truth, at, end)
            down = self.f.result("OpLogicalAnd", truth, falls, above)
            return self.f.result("OpSelect", truth, rises, below, down)

        go = self._ends.by_threads(statement, test(place))
        self.f.put("OpLoopMerge", merge, follow, self.f.unit.loop_control)
        self.f.put("OpBranchConditional", go, body, out)
        self._ends.leave_by(out, merge)
        self.f.label(body)
        self.f.values[statement.variable.name] = variable
        self._loop_body(statement.body, merge, follow)
        self.f.label(follow)
        self.f.put("OpIAdd", kind, following, variable, step)
        if counted:
            self.f.put("OpIAdd", kind, more, passes, one)
        self.f.put("OpBranch", top)
        self.f.label(merge)
        # the device went on to the next value of its counter before it ended the loop
        unknown = self.f.unit.opaque_zero
        self._ends.behind(
            lambda: test(self.f.result("OpIAdd", kind, place, unknown(self.f, register_bits(dtype))))
        )

    def _trip_count(self, dtype: DType, start: int, stop: int, step: int) -> int:
        """The number of iterations, unsigned: differences of signed ends fit that."""
        kind, truth = self.f.type(dtype), self.f.asm.bool_type()
        one = self.f.integer(1, dtype)
        low, high = (start, stop) if step > 0 else (stop, start)
        runs = self.f.result("OpSLessThan", truth, low, high)
        distance = self.f.result("OpISub", kind, self.f.result("OpISub", kind, high, low), one)
        by = self.f.integer(abs(step), dtype)
        last = quotients.emit_quotient(self.f, u64 if dtype.bits == 64 else u32, distance, by, abs(step))
        none = self.f.integer(0, dtype)
        return self.f.result("OpSelect", kind, runs, self.f.result("OpIAdd", kind, last, one), none)
