"""A builder of SPIR-V modules: words in the order that the specification wants, types and constants
unique."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable

from gpucore_vulkan.spirv.grammar import (
    BUILTINS,
    CAPABILITIES,
    DECORATIONS,
    GENERATOR,
    GRAMMAR,
    MAGIC,
    MODES,
    STORAGE,
    VERSION_1_5,
)  # fmt: skip

__all__ = ["Assembler", "string_words"]

_OPCODES = {name: number for name, (number, _) in GRAMMAR.items()}


def string_words(text: str) -> tuple[int, ...]:
    """A literal string: UTF-8, little-endian, ended by at least one zero byte."""
    raw = text.encode() + b"\0"
    raw += b"\0" * (-len(raw) % 4)
    return struct.unpack(f"<{len(raw) // 4}I", raw)


class Assembler:
    """Collects the sections of one module and joins them.

    Instructions of function bodies go to a list of words that the caller keeps (:meth:`put`), since
    variables must stand first in a function's first block; everything before the functions is kept here.
    """

    def __init__(self) -> None:
        self._bound = 1
        self._capabilities: set[int] = set()
        self._extensions: list[str] = []
        self._imports: list[int] = []
        self._entry: list[int] = []
        self._modes: list[int] = []
        self._strings: list[int] = []
        self._names: list[int] = []
        self._decorations: list[int] = []
        self._globals: list[int] = []
        self._unique: dict[tuple[object, ...], int] = {}
        self.functions: list[int] = []

    # --- instructions --------------------------------------------------------------------------------
    def id(self) -> int:
        """A fresh result id."""
        bound = self._bound
        self._bound += 1
        return bound

    @staticmethod
    def put(words: list[int], op: str, *operands: int) -> None:
        """Append an instruction."""
        words.append(((len(operands) + 1) << 16) | _OPCODES[op])
        words.extend(operands)

    def result(self, words: list[int], op: str, type_id: int, *operands: int) -> int:
        """Append an instruction with a result type; the result's id."""
        new = self._bound
        self._bound += 1
        words.append(((len(operands) + 3) << 16) | _OPCODES[op])
        words.append(type_id)
        words.append(new)
        words.extend(operands)
        return new

    # --- header --------------------------------------------------------------------------------------
    def capability(self, name: str) -> None:
        """Declare a capability."""
        self._capabilities.add(CAPABILITIES[name])

    def has_capability(self, name: str) -> bool:
        """Whether the capability was declared."""
        return CAPABILITIES[name] in self._capabilities

    def extension(self, name: str) -> None:
        """Declare an extension."""
        if name not in self._extensions:
            self._extensions.append(name)

    def glsl(self) -> int:
        """The id of the imported set GLSL.std.450."""
        key = ("import", "GLSL.std.450")
        if key not in self._unique:
            self._unique[key] = new = self.id()
            self.put(self._imports, "OpExtInstImport", new, *string_words("GLSL.std.450"))
        return self._unique[key]

    def entry_point(self, function: int, name: str, interface: Iterable[int]) -> None:
        """Declare the compute entry point."""
        self.put(self._entry, "OpEntryPoint", 5, function, *string_words(name), *interface)

    def mode(self, function: int, mode: str, *operands: int) -> None:
        """Declare an execution mode of the entry point."""
        self.put(self._modes, "OpExecutionMode", function, MODES[mode], *operands)

    def string(self, text: str) -> int:
        """A debug string, as OpLine names files."""
        key = ("string", text)
        if key not in self._unique:
            self._unique[key] = new = self.id()
            self.put(self._strings, "OpString", new, *string_words(text))
        return self._unique[key]

    def name(self, target: int, text: str) -> None:
        """Name an id for readers."""
        self.put(self._names, "OpName", target, *string_words(text))

    def member_name(self, target: int, member: int, text: str) -> None:
        """Name a member of a struct for readers."""
        self.put(self._names, "OpMemberName", target, member, *string_words(text))

    def decorate(self, target: int, decoration: str, *operands: int) -> None:
        """Decorate an id."""
        self.put(self._decorations, "OpDecorate", target, DECORATIONS[decoration], *operands)

    def decorate_builtin(self, target: int, builtin: str) -> None:
        """Decorate an id as a built-in."""
        self.decorate(target, "BuiltIn", BUILTINS[builtin])

    def decorate_member(self, target: int, member: int, decoration: str, *operands: int) -> None:
        """Decorate a member of a struct."""
        self.put(self._decorations, "OpMemberDecorate", target, member, DECORATIONS[decoration], *operands)

    # --- types and constants -------------------------------------------------------------------------
    def type(self, op: str, *operands: int) -> int:
        """The id of a type; equal types share one."""
        key = (op, *operands)
        if key not in self._unique:
            self._unique[key] = new = self.id()
            self.put(self._globals, op, new, *operands)
        return self._unique[key]

    def struct(self, *members: int) -> int:
        """A fresh struct type; structs carry decorations, hence no sharing."""
        new = self.id()
        self.put(self._globals, "OpTypeStruct", new, *members)
        return new

    def array_type(self, element: int, length: int, stride: int | None = None) -> int:
        """An array type; one with a stride for laid-out memory is distinct from one without."""
        key = ("array", element, length, stride)
        if key not in self._unique:
            count = self.word(length)
            self._unique[key] = new = self.id()
            self.put(self._globals, "OpTypeArray", new, element, count)
            if stride is not None:
                self.decorate(new, "ArrayStride", stride)
        return self._unique[key]

    def runtime_array(self, element: int, stride: int) -> int:
        """A runtime array of the given stride."""
        key = ("runtime", element, stride)
        if key not in self._unique:
            self._unique[key] = new = self.id()
            self.put(self._globals, "OpTypeRuntimeArray", new, element)
            self.decorate(new, "ArrayStride", stride)
        return self._unique[key]

    def pointer(self, storage: str, pointee: int) -> int:
        """A pointer type."""
        return self.type("OpTypePointer", STORAGE[storage], pointee)

    def uint(self, bits: int) -> int:
        """The integer type of a width.  Signedness lives in the instructions, so one type serves both."""
        if bits != 32:
            self.capability(f"Int{bits}")
        return self.type("OpTypeInt", bits, 0)

    def float_type(self, bits: int) -> int:
        """The float type of a width."""
        if bits != 32:
            self.capability(f"Float{bits}")
        return self.type("OpTypeFloat", bits)

    def bool_type(self) -> int:
        """The type of truth values."""
        return self.type("OpTypeBool")

    def constant(self, op: str, type_id: int, *operands: int) -> int:
        """A constant; equal ones share an id."""
        key = (op, type_id, *operands)
        if key not in self._unique:
            self._unique[key] = self.result(self._globals, op, type_id, *operands)
        return self._unique[key]

    def integer(self, value: int, bits: int) -> int:
        """An integer constant, taken modulo two to the width."""
        value &= (1 << bits) - 1
        words = (value & 0xFFFFFFFF, value >> 32) if bits == 64 else (value,)
        return self.constant("OpConstant", self.uint(bits), *words)

    def word(self, value: int) -> int:
        """A 32-bit integer constant."""
        return self.integer(value, 32)

    def truth(self, value: bool) -> int:
        """A constant truth value."""
        return self.constant("OpConstantTrue" if value else "OpConstantFalse", self.bool_type())

    def floating(self, value: float, bits: int) -> int:
        """A float constant; NaN is the canonical quiet one."""
        if value != value:
            word = {16: 0x7E00, 32: 0x7FC00000, 64: 0x7FF8000000000000}[bits]
        else:
            code = {16: "<e", 32: "<f", 64: "<d"}[bits]
            word = int.from_bytes(struct.pack(code, value), "little")
        words = (word & 0xFFFFFFFF, word >> 32) if bits == 64 else (word,)
        return self.constant("OpConstant", self.float_type(bits), *words)

    def spec_word(self, spec_id: int, default: int) -> int:
        """A 32-bit specialisation constant."""
        key = ("spec", spec_id)
        if key not in self._unique:
            new = self.result(self._globals, "OpSpecConstant", self.uint(32), default)
            self.decorate(new, "SpecId", spec_id)
            self._unique[key] = new
        return self._unique[key]

    def spec_bool(self, spec_id: int) -> int:
        """A specialisation constant that is false by default."""
        key = ("spec", spec_id)
        if key not in self._unique:
            new = self.result(self._globals, "OpSpecConstantFalse", self.bool_type())
            self.decorate(new, "SpecId", spec_id)
            self._unique[key] = new
        return self._unique[key]

    def spec_composite(self, type_id: int, *members: int) -> int:
        """A composite of specialisation constants."""
        return self.result(self._globals, "OpSpecConstantComposite", type_id, *members)

    def variable(self, storage: str, type_id: int, initializer: int | None = None) -> int:
        """A module-scope variable."""
        pointer = self.pointer(storage, type_id)
        extra = () if initializer is None else (initializer,)
        return self.result(self._globals, "OpVariable", pointer, STORAGE[storage], *extra)

    # --- the whole -----------------------------------------------------------------------------------
    def assemble(self) -> bytes:
        """The module as little-endian words."""
        words = array("I", [MAGIC, VERSION_1_5, GENERATOR, self._bound, 0])
        head: list[int] = []
        for capability in sorted(self._capabilities):
            self.put(head, "OpCapability", capability)
        for extension in self._extensions:
            self.put(head, "OpExtension", *string_words(extension))
        head += self._imports
        self.put(head, "OpMemoryModel", 5348, 1)
        for section in (
            head, self._entry, self._modes, self._strings, self._names, self._decorations, self._globals,
            self.functions,
        ):  # fmt: skip
            words.extend(section)
        if words.itemsize != 4 or struct.pack("=I", 1) != struct.pack("<I", 1):
            return struct.pack(f"<{len(words)}I", *words)
        return words.tobytes()
