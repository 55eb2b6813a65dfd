"""What the functions of a module share: arguments, built-ins, shared and constant memories, capabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from gpucore.errors import CompileError
from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import (
    Atomic,
    AtomicCas,
    DType,
    Extent,
    Fence,
    Function,
    Loc,
    Memory,
    Module,
    Subgroup,
    ThreadIndex,
    Value,
    walk,
)  # fmt: skip
from gpucore.ir.choices import compiled_once, has_many_loops
from gpucore.ir.passes.checks import ERROR_ARRAY
from gpucore_vulkan.spirv.assembler import Assembler
from gpucore_vulkan.spirv.emitted import feature_number
from gpucore_vulkan.spirv.function_body import FunctionBody
from gpucore_vulkan.spirv.grammar import ALIGNED, VOLATILE
from gpucore_vulkan.spirv.layout import SPEC_LOCAL, Field, argument_layout
from gpucore_vulkan.spirv.widths import register_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ModuleUnit", "Role"]

Role = Literal["result", "operand", "argument"]
"""What hides a value: the operation that gives it, one that takes it, or a call."""
MULTIPLES: Final[dict[Role, int]] = {"operand": 3, "argument": 5}

SPEC_BLOCK: Final = (3, 4, 5)
"""The block's extents where they differ from the local size: kernels with subgroups run on one axis."""
SPEC_FOLDED: Final = 6
"""Whether the grid's x was folded."""


class ModuleUnit:
    """What the functions of one module share: types, arguments, built-ins, memories, capabilities, faults to work around.

    Attributes
    ----------
    interface : list[int]
        Variables of the entry point.
    helpers : list[tuple[int, Function]]
        Functions that the emitter brings itself, with their ids; grows while they are emitted.
    """

    def __init__(self, target: Target, module: Module, options: CompileOptions) -> None:
        self.target = target
        self.module = module
        self.options = options
        self.strict = module.math == "strict"
        self.asm = Assembler()
        self.layout = argument_layout(module)
        self.linear = any(isinstance(s, Subgroup) for s in self._statements())
        self.subgroup_width = module.subgroup or feature_number(target, "SubgroupSize", 32)
        limit = feature_number(target, "PushConstants", 128)
        self.indirect = self.layout.size + 12 > limit
        self.zero_offset = 8 if self.indirect else self.layout.size
        self.fold_offset = self.zero_offset + 4
        # what one block wrote before its fence another may read after its own
        fenced = any(isinstance(s, Fence) for s in self._statements())
        self.access = ALIGNED | VOLATILE if fenced else ALIGNED
        self.reports_loops = target.loop_limit is not None and any(
            parameter.name == ERROR_ARRAY.name for parameter in module.kernel.params
        )
        self._record = 0
        self._functions = {f.name: self.asm.id() for f in module.functions}
        self.interface: list[int] = []
        self._builtins: dict[str, int] = {}
        self._builtin_variables: dict[str, int] = {}
        self._zeros: dict[FunctionBody, dict[tuple[Role, int], int]] = {}
        self._zero_member = 0
        self.hides_rounding = "OpaqueRounding" in target.features
        self.hides_widening = "OpaqueWidening" in target.features
        self.hides_narrowing = "OpaqueNarrowing" in target.features
        self.hides_conversions = "OpaqueConversions" in target.features
        self.splits_conversions = "SplitConversions" in target.features
        self.plain_fma = frozenset(bits for bits in (32, 64) if f"PlainFma{bits}" in target.features)
        self.guards_fma = "GuardedFma32" in target.features
        self.refines_sqrt = "RefinedSqrt32" in target.features
        self.own_division = "OwnDivision64" in target.features
        self.helpers: list[tuple[int, Function]] = []
        # hints: drivers that inline and unroll all the same only take longer
        self.compiled_once = compiled_once(module)
        many_loops = any(has_many_loops(f) for f in (module.kernel, *module.functions))
        self.loop_control = 2 if many_loops or "DontUnroll" in target.features else 0
        self.ends_chains = "ShortLoopChains" in target.features
        self.hides_breaks = "OpaqueBreaks" in target.features
        self.hides_constants = "OpaqueConstants" in target.features
        self.hides_ones = "OpaqueOnes" in target.features
        self.hides_comparisons = "OpaqueComparisons64" in target.features
        self.hides_negatives = "OpaqueNegatives" in target.features
        self.hides_literals = "OpaqueLiterals" in target.features
        self.hides_bits = "OpaqueBits" in target.features
        self.hides_rotations = "OpaqueRotations" in target.features
        self.hides_equalities = "OpaqueEqualities" in target.features
        self.hides_places = "OpaquePlaces" in target.features
        self.hides_atomics = "OpaqueAtomics" in target.features
        self._addresses: dict[str, int] = {}
        self._extents: dict[tuple[str, str, int], int] = {}
        self._shared: dict[str, int] = {}
        self._consts: dict[str, int] = {}
        self._seen: dict[str, DType] = {}
        self._coordinates: dict[tuple[str, int, int], int] = {}
        self._lanes: tuple[int, int] | None = None
        self._fields: dict[tuple[str, str, int], tuple[int, Field]] = {
            (f.kind, *f.key): (i, f) for i, f in enumerate(self.layout.fields)
        }
        self._arguments = 0
        self._constants = 0
        self._argument_types: list[int] = []
        self.shared_bytes = 0
        for memory in module.kernel.memories:
            if memory.space == "shared":
                self._seen[memory.name] = memory.dtype
        for statement in self._statements():
            if (
                isinstance(statement, (Atomic, AtomicCas))
                and statement.bits
                and statement.memory.name in self._seen
            ):
                self._seen[statement.memory.name] = statement.bits

    def _statements(self) -> Iterator[object]:
        for function in (self.module.kernel, *self.module.functions):
            yield from walk(function.body)

    # --- types, capabilities -------------------------------------------------------------------------
    def type(self, kind: DType) -> int:
        """The type of values of a dtype.

        Raises
        ------
        CompileError
            For bf16, which no instruction knows; core converts it by integers.
        """
        if kind.kind == "bool":
            return self.asm.bool_type()
        if kind.name == "bf16":
            raise CompileError("the SPIR-V emitter got a bf16 value; it is to be expanded before")
        return self.asm.float_type(kind.bits) if kind.is_float else self.asm.uint(register_bits(kind))

    def element_type(self, kind: DType) -> int:
        """The type of a dtype's elements in memory."""
        return self.asm.uint(kind.bits) if kind.is_integer else self.type(kind)

    def use_atomic(self, kind: DType) -> None:
        """Declare what atomics on a dtype need."""
        if kind.bits == 64 and kind.is_integer:
            self.asm.capability("Int64Atomics")

    def use_float_atomic(self, kind: DType) -> None:
        """Declare what a float atomic addition needs."""
        self.asm.extension("SPV_EXT_shader_atomic_float_add")
        self.asm.capability(f"AtomicFloat{kind.bits}AddEXT")

    def use_dot_product(self) -> None:
        """Declare what dot products of packed bytes need."""
        self.asm.extension("SPV_KHR_integer_dot_product")
        self.asm.capability("DotProduct")
        self.asm.capability("DotProductInput4x8BitPacked")

    def use_subgroup(self, capability: str) -> None:
        """Declare what a subgroup operation needs."""
        self.asm.capability("GroupNonUniform")
        self.asm.capability(capability)

    def line(self, words: list[int], loc: Loc | None) -> None:
        """A line of debug information, where asked for."""
        if self.options.debug and loc is not None:
            self.asm.put(words, "OpLine", self.asm.string(loc.file), loc.line, loc.column)

    def function_id(self, name: str) -> int:
        """The id of a device function."""
        return self._functions[name]

    def helper(self, function: Function) -> int:
        """The id of a function that the emitter brings itself, emitted when first wanted."""
        number = next((number for number, known in self.helpers if known.name == function.name), 0)
        if not number:
            number = self.asm.id()
            self.asm.name(number, function.name)
            self.helpers.append((number, function))
        return number

    # --- built-ins -----------------------------------------------------------------------------------
    def _builtin(self, f: FunctionBody, name: str, vector: bool) -> int:
        """The value of an input built-in, loaded in the first block."""
        if name not in self._builtins:
            word = self.asm.uint(32)
            kind = self.asm.type("OpTypeVector", word, 3) if vector else word
            self._builtins[name] = f.in_prologue("OpLoad", kind, self.builtin_variable(name, vector))
        return self._builtins[name]

    def builtin_variable(self, name: str, vector: bool) -> int:
        """The variable of an input built-in: a word, or a vector of three."""
        if name not in self._builtin_variables:
            word = self.asm.uint(32)
            kind = self.asm.type("OpTypeVector", word, 3) if vector else word
            variable = self.asm.variable("Input", kind)
            self.asm.decorate_builtin(variable, name)
            self.interface.append(variable)
            self._builtin_variables[name] = variable
        return self._builtin_variables[name]

    def _component(self, f: FunctionBody, name: str, component: int) -> int:
        word = self.asm.uint(32)
        return f.in_prologue("OpCompositeExtract", word, self._builtin(f, name, True), component)

    def _block_extent(self, component: int) -> int:
        spec = SPEC_BLOCK if self.linear else SPEC_LOCAL
        return self.asm.spec_word(spec[component], 1)

    def _coordinate(self, f: FunctionBody, kind: str, component: int) -> int:
        """A 32-bit coordinate along x, y or z."""
        key = (kind, component, 32)
        if key not in self._coordinates:
            self._coordinates[key] = self._make_coordinate(f, kind, component)
        return self._coordinates[key]

    def _make_coordinate(self, f: FunctionBody, kind: str, component: int) -> int:
        word = self.asm.uint(32)
        if kind == "block_dim":
            return self._block_extent(component)
        if kind == "grid_dim":
            return self._component(f, "NumWorkgroups", component)
        if kind == "block_id":
            return self._component(f, "WorkgroupId", component)
        if not self.linear:
            return self._component(f, "LocalInvocationId", component)
        value = self._builtin(f, "LocalInvocationIndex", False)
        for axis in range(component):
            value = f.in_prologue("OpUDiv", word, value, self._block_extent(axis))
        if component < self.module.ndim - 1:
            value = f.in_prologue("OpUMod", word, value, self._block_extent(component))
        return value

    def thread_index(self, f: FunctionBody, statement: ThreadIndex) -> int:
        """A coordinate of the thread; axis 0 is the slowest, which is the device's last."""
        component = self.module.ndim - 1 - statement.axis
        kind, bits = statement.kind, statement.result.dtype.bits
        key = (kind, component, bits)
        if key in self._coordinates:
            return self._coordinates[key]
        wide = self.asm.uint(bits)

        def widened(name: str) -> int:
            value = self._coordinate(f, name, component)
            if bits == 32:
                return value
            value = f.in_prologue("OpUConvert", wide, value)
            if self.hides_widening:
                value = f.in_prologue("OpBitwiseXor", wide, value, self.opaque_zero(f, bits))
            return value

        if kind == "global_id":
            base = f.in_prologue("OpIMul", wide, widened("block_id"), widened("block_dim"))
            value = f.in_prologue("OpIAdd", wide, base, widened("thread_id"))
        else:
            value = widened(kind)
        self._coordinates[key] = value
        return value

    def opaque_zero(self, f: FunctionBody, bits: int, role: Role = "result") -> int:
        """A zero that no compiler can know: every launch pushes it.  One for each role is a multiple of its own."""
        zeros = self._zeros.setdefault(f, {})
        if ("result", 32) not in zeros:
            word = self.asm.uint(32)
            pointer = self.asm.pointer("PushConstant", word)
            constants = self._pushed_constants()
            chain = f.in_prologue("OpAccessChain", pointer, constants, self.asm.word(self._zero_member))
            zeros["result", 32] = f.in_prologue("OpLoad", word, chain)
        if (role, 32) not in zeros:
            factor = self.asm.word(MULTIPLES[role])
            zeros[role, 32] = f.in_prologue("OpIMul", self.asm.uint(32), zeros["result", 32], factor)
        if (role, bits) not in zeros:
            zeros[role, bits] = self._resized_zero(f, zeros[role, 32], bits)
        return zeros[role, bits]

    def _resized_zero(self, f: FunctionBody, zero: int, bits: int) -> int:
        if bits < 32:
            return f.in_prologue("OpUConvert", self.asm.uint(bits), zero)
        # both halves are the word: joined with a sign extension of it, what was extended would still be known to be
        pair = self.asm.type("OpTypeVector", self.asm.uint(32), 2)
        return f.in_prologue(
            "OpBitcast", self.asm.uint(bits), f.in_prologue("OpCompositeConstruct", pair, zero, zero)
        )

    def subgroup_lanes(self, f: FunctionBody) -> tuple[int, int]:
        """The thread's lane and the number of lanes that exist in its subgroup."""
        if self._lanes is None:
            word = self.asm.uint(32)
            self.asm.capability("GroupNonUniform")
            lane = self._builtin(f, "SubgroupLocalInvocationId", False)
            linear = self._builtin(f, "LocalInvocationIndex", False)
            first = f.in_prologue("OpISub", word, linear, lane)
            left = f.in_prologue("OpISub", word, self.asm.spec_word(SPEC_LOCAL[0], 1), first)
            width = self.asm.word(self.subgroup_width)
            fewer = f.in_prologue("OpULessThan", self.asm.bool_type(), left, width)
            self._lanes = (lane, f.in_prologue("OpSelect", word, fewer, left, width))
        return self._lanes

    # --- arguments -----------------------------------------------------------------------------------
    def _argument_struct(self, pushed: bool) -> int:
        types: list[int] = []
        for field in self.layout.fields:
            types.append({
                "Q": self.asm.uint(64), "q": self.asm.uint(64), "f": self.asm.float_type(32),
            }.get(field.code) or (
                self.asm.float_type(64) if field.code == "d" else self.asm.uint(32)
            ))  # fmt: skip
        self._argument_types = types
        members = [*types]
        if pushed:
            members += [self.asm.uint(32)] * 3
        struct = self.asm.struct(*members)
        self.asm.decorate(struct, "Block")
        self.asm.name(struct, "Arguments")
        for number, field in enumerate(self.layout.fields):
            self.asm.decorate_member(struct, number, "Offset", field.offset)
            self.asm.member_name(struct, number, field.name)
        if pushed:
            self._name_pushed(struct, len(types))
        return struct

    def _name_pushed(self, struct: int, first: int) -> None:
        self._zero_member = first
        for number, name in enumerate(("zero", "grid_x", "base_x")):
            self.asm.decorate_member(struct, first + number, "Offset", self.zero_offset + 4 * number)
            self.asm.member_name(struct, first + number, name)

    def _pushed_constants(self) -> int:
        """The variable of the pushed constants, made when first wanted."""
        if not self._constants:
            asm = self.asm
            if self.indirect:
                pushed = asm.struct(asm.uint(64), *[asm.uint(32)] * 3)
                asm.decorate(pushed, "Block")
                asm.name(pushed, "Pushed")
                asm.decorate_member(pushed, 0, "Offset", 0)
                asm.member_name(pushed, 0, "arguments")
                self._name_pushed(pushed, 1)
            else:
                pushed = self._argument_struct(pushed=True)
            self._constants = asm.variable("PushConstant", pushed)
            asm.name(self._constants, "constants")
            self.interface.append(self._constants)
        return self._constants

    def kernel_prologue(self, f: FunctionBody) -> None:
        """Bring in the arguments and set the folded grid right."""
        asm = self.asm
        constants = self._pushed_constants()
        self._arguments = constants
        if self.indirect:
            pointer = asm.pointer("PushConstant", asm.uint(64))
            member = f.in_prologue("OpAccessChain", pointer, constants, asm.word(0))
            address = f.in_prologue("OpLoad", asm.uint(64), member)
            kind = asm.pointer("PhysicalStorageBuffer", self._argument_struct(pushed=False))
            self._arguments = f.in_prologue("OpConvertUToPtr", kind, address)
        for parameter in self.module.kernel.params:
            if isinstance(parameter, Value):
                f.values[parameter.name] = self._scalar(f, parameter)
        if self._record:
            asm.put(f.prologue, "OpStore", self._record, self.array_address(f, ERROR_ARRAY))
        self._fold(f, self._zero_member + 1)

    def _field(self, f: FunctionBody, key: tuple[str, str, int]) -> int:
        number, field = self._fields[key]
        storage = "PhysicalStorageBuffer" if self.indirect else "PushConstant"
        kind = self._argument_types[number]
        member = f.in_prologue(
            "OpAccessChain", self.asm.pointer(storage, kind), self._arguments, self.asm.word(number)
        )
        if self.indirect:
            return f.in_prologue("OpLoad", kind, member, 2, field.size)
        return f.in_prologue("OpLoad", kind, member)

    def _scalar(self, f: FunctionBody, parameter: Value) -> int:
        raw = self._field(f, ("scalar", parameter.name, -1))
        kind = parameter.dtype
        if kind.kind == "bool":
            return f.in_prologue("OpINotEqual", self.asm.bool_type(), raw, self.asm.word(0))
        if kind.bits >= 32 or kind.is_integer:
            # narrow integers are pushed as words that hold the same number
            return raw
        half = f.in_prologue("OpUConvert", self.asm.uint(kind.bits), raw)
        return f.in_prologue("OpBitcast", self.type(kind), half)

    def extent(self, f: FunctionBody, statement: Extent) -> int:
        """An array's extent, narrowed where this statement reads it so."""
        key = ("extent", statement.memory.name, statement.axis)
        if key not in self._extents:
            self._extents[key] = self._field(f, key)
        raw = self._extents[key]
        stored = self._fields[key][1].size * 8
        bits = statement.result.dtype.bits
        return raw if stored == bits else f.result("OpUConvert", self.asm.uint(bits), raw)

    def array_address(self, f: FunctionBody, memory: Memory) -> int:
        """The device address of an array parameter."""
        if memory.name not in self._addresses:
            self._addresses[memory.name] = self._field(f, ("pointer", memory.name, -1))
            self.asm.name(self._addresses[memory.name], memory.name)
        return self._addresses[memory.name]

    def record_variable(self) -> int:
        """The variable through which functions find the error record."""
        if not self._record:
            self._record = self.asm.variable("Private", self.asm.uint(64))
            self.asm.name(self._record, "record")
            self.interface.append(self._record)
        return self._record

    def use_storage(self, seen: DType) -> None:
        """Declare what elements of the dtype in buffers need."""
        if seen.bits in (8, 16):
            self.asm.capability(f"StorageBuffer{seen.bits}BitAccess")

    def _fold(self, f: FunctionBody, member: int) -> None:
        """Undo the folding of the grid's x, where this pipeline folds: its rest lies on the next free axis.

        Extra blocks end at once; as a whole, so no barrier misses a thread.
        """
        asm, ndim = self.asm, self.module.ndim
        word, truth = asm.uint(32), asm.bool_type()
        folded = asm.spec_bool(SPEC_FOLDED)
        pointer = asm.pointer("PushConstant", word)

        def pushed(number: int) -> int:
            chain = f.in_prologue("OpAccessChain", pointer, self._constants, asm.word(number))
            return f.in_prologue("OpLoad", word, chain)

        x = self._component(f, "WorkgroupId", 0)
        wide = f.in_prologue("OpIAdd", word, x, pushed(member + 1))
        if ndim < 3:
            rest = f.in_prologue(
                "OpIMul",
                word,
                self._component(f, "WorkgroupId", ndim),
                self._component(f, "NumWorkgroups", 0),
            )
            wide = f.in_prologue("OpIAdd", word, wide, rest)
        extent = pushed(member)
        self._coordinates["block_id", 0, 32] = f.in_prologue("OpSelect", word, folded, wide, x)
        groups = self._component(f, "NumWorkgroups", 0)
        self._coordinates["grid_dim", 0, 32] = f.in_prologue("OpSelect", word, folded, extent, groups)
        beyond = f.in_prologue("OpUGreaterThanEqual", truth, wide, extent)
        extra = f.in_prologue("OpLogicalAnd", truth, folded, beyond)
        leave, stay = asm.id(), asm.id()
        f.put("OpSelectionMerge", stay, 0)
        f.put("OpBranchConditional", extra, leave, stay)
        f.label(leave)
        f.put("OpReturn")
        f.label(stay)

    # --- memories ------------------------------------------------------------------------------------
    def seen_as(self, memory: Memory) -> DType:
        """The dtype a memory's variable is declared with: shared ones take that of their atomics."""
        return self._seen.get(memory.name, memory.dtype)

    def shared_memory(self, memory: Memory) -> int:
        """The variable of a shared memory."""
        if memory.name not in self._shared:
            seen, count = self.seen_as(memory), max(math.prod(memory.shape), 1)
            variable = self.asm.variable("Workgroup", self.asm.array_type(self.element_type(seen), count))
            self.asm.name(variable, memory.name)
            self.interface.append(variable)
            self._shared[memory.name] = variable
            self.shared_bytes += -self.shared_bytes % 8 + count * seen.itemsize
        return self._shared[memory.name]

    def const_memory(self, memory: Memory) -> int:
        """The variable of a table of constants."""
        if memory.name not in self._consts:
            asm, kind = self.asm, memory.dtype
            if kind.kind == "bool":
                values = [asm.truth(bool(v)) for v in memory.values]
            elif kind.is_float:
                values = [asm.floating(float(v), kind.bits) for v in memory.values]
            else:
                values = [asm.integer(int(v), kind.bits) for v in memory.values]
            array = asm.array_type(self.element_type(kind), len(values))
            initial = asm.constant("OpConstantComposite", array, *values)
            self._consts[memory.name] = variable = asm.variable("Private", array, initial)
            asm.name(variable, memory.name)
            self.interface.append(variable)
        return self._consts[memory.name]
