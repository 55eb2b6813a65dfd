"""SPIR-V words as readable assembly, for the instructions that are emitted here."""

from __future__ import annotations

import struct
from typing import Final

from gpucore.errors import CompileError
from gpucore_vulkan.spirv.grammar import ENUMS, GLSL, GRAMMAR, MAGIC

__all__ = ["Instruction", "disassemble", "instructions"]

_BY_NUMBER: Final = {number: (name, layout) for name, (number, layout) in GRAMMAR.items()}
_GLSL: Final = {number: name for name, number in GLSL.items()}

Instruction = tuple[int, tuple[int, ...]]


def instructions(words: bytes) -> list[Instruction]:
    """The instructions of a module as opcode and operands.

    Raises
    ------
    CompileError
        When the bytes are not a SPIR-V module.
    """
    if len(words) < 20 or len(words) % 4:
        raise CompileError("SPIR-V wants a header and whole words", log=f"{len(words)} bytes were given")
    numbers = struct.unpack(f"<{len(words) // 4}I", words)
    if numbers[0] != MAGIC:
        raise CompileError(
            "this is not SPIR-V", log=f"the first word is {numbers[0]:#010x}, the magic number {MAGIC:#010x}"
        )
    found: list[Instruction] = []
    at = 5
    while at < len(numbers):
        count = numbers[at] >> 16
        if count == 0 or at + count > len(numbers):
            raise CompileError("the SPIR-V module is cut short", log=f"at word {at} of {len(numbers)}")
        found.append((numbers[at] & 0xFFFF, numbers[at + 1 : at + count]))
        at += count
    return found


def read_string(words: tuple[int, ...], at: int) -> tuple[str, int]:
    """A literal string that begins at a word, and the word after it."""
    raw = struct.pack(f"<{len(words) - at}I", *words[at:])
    end = raw.index(b"\0")
    return raw[:end].decode(errors="replace"), at + end // 4 + 1


class _Printer:
    def __init__(self, words: bytes) -> None:
        self.code = instructions(words)
        version, bound = struct.unpack_from("<4xI4xI", words)
        self.head = [
            "; SPIR-V",
            f"; Version: {version >> 16 & 255}.{version >> 8 & 255}",
            f"; Bound: {bound}",
            "; Schema: 0",
        ]
        self.names: dict[int, str] = {}
        self.floats: dict[int, int] = {}
        self.types: dict[int, int] = {}
        taken: set[str] = set()
        for opcode, operands in self.code:
            name = _BY_NUMBER.get(opcode, ("", ""))[0]
            if name == "OpName":
                wanted = "".join(c if c.isalnum() else "_" for c in read_string(operands, 1)[0]) or "_"
                unique, number = wanted, 0
                while unique in taken:
                    unique, number = f"{wanted}_{number}", number + 1
                taken.add(unique)
                self.names[operands[0]] = unique
            elif name == "OpTypeFloat":
                self.floats[operands[0]] = operands[1]
                self.names.setdefault(operands[0], {16: "half", 32: "float", 64: "double"}[operands[1]])
            elif name == "OpTypeInt":
                self.names.setdefault(operands[0], f"u{operands[1]}")
            elif name in ("OpTypeVoid", "OpTypeBool"):
                self.names.setdefault(operands[0], name[6:].lower())

    def identifier(self, number: int) -> str:
        return f"%{self.names.get(number, number)}"

    def literal(self, type_id: int, words: tuple[int, ...]) -> str:
        value = sum(word << (32 * n) for n, word in enumerate(words))
        bits = self.floats.get(type_id)
        if bits is None:
            return str(value)
        raw = value.to_bytes(4 if bits == 16 else bits // 8, "little")
        number = struct.unpack({16: "<exx", 32: "<f", 64: "<d"}[bits], raw)[0]
        return f"{number!r}" if number == number and abs(number) != float("inf") else f"{value:#x}"

    def line(self, opcode: int, operands: tuple[int, ...]) -> str:
        name, layout = _BY_NUMBER.get(opcode, (f"Op{opcode}", "N"))
        parts: list[str] = []
        result, type_id, at = "", 0, 0
        for kind in layout:
            if kind == "?" and at >= len(operands):
                break
            if kind == "?":
                continue
            if kind in "IN":
                rest = operands[at:]
                parts += [self.identifier(w) if kind == "I" else str(w) for w in rest]
                at = len(operands)
            elif kind == "s":
                text, at = read_string(operands, at)
                parts.append('"' + text.replace('"', '\\"') + '"')
            elif kind == "v":
                parts.append(self.literal(type_id, operands[at:]))
                at = len(operands)
            elif kind == "O":
                parts.append("Aligned" if operands[at] == 2 else str(operands[at]))
                parts += [str(w) for w in operands[at + 1 :]]
                at = len(operands)
            else:
                word, at = operands[at], at + 1
                if kind == "r":
                    result = self.identifier(word)
                elif kind == "t":
                    type_id = word
                    parts.append(self.identifier(word))
                elif kind == "i":
                    parts.append(self.identifier(word))
                elif kind == "G":
                    parts.append(_GLSL.get(word, str(word)))
                elif kind == "n":
                    parts.append(str(word))
                else:
                    parts.append(ENUMS[kind].get(word, str(word)))
                    if kind == "D":
                        rest = operands[at:]
                        parts += [ENUMS["B"].get(w, str(w)) if word == 11 else str(w) for w in rest]
                        at = len(operands)
        text = " ".join([name, *parts])
        return f"{result:>14} = {text}" if result else f"{'':17}{text}"


def disassemble(words: bytes) -> str:
    """The module as text, one instruction a line."""
    printer = _Printer(words)
    return "\n".join([*printer.head, *(printer.line(*one) for one in printer.code)]) + "\n"
