"""Small integers: products of bytes, and numbers of four bits as floats, by instructions that LLVM does not find by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpucore import ir
from gpucore.ir import f32
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.state import FunctionState

__all__ = ["SmallIntegers"]

_NIBBLE = 15
_DOT_LANES = {16: "512", 8: "256", 4: "128"}
_SIGN_BITS = "splat (i32 -2139062144)"
"""The highest bit of each byte."""
_BYTE_ONES = "splat (i32 16843009)"


@dataclass(frozen=True, slots=True)
class SmallIntegers:
    """Writes what integers of a few bits have instructions for."""

    state: FunctionState

    # -- four bits
    def nibble_to_float(self, statement: ir.Op) -> str | None:
        """An integer that is masked to its lowest four bits, as f32: looked up in a register of 16 floats.

        The lookup takes the place of the mask and of the conversion, for it reads these bits alone. None where that cannot be
        had.
        """
        types = self.state.types
        if (
            types.width != 16
            or "avx512f" not in self.state.text.features
            or statement.result.dtype is not f32
        ):
            return None
        masked = self._masked(statement.args[0])
        if masked is None:
            return None
        table = ", ".join(f"float {float(number)}" for number in range(_NIBBLE + 1))
        floats, words = types.vec("float"), types.vec("i32")
        return self.state.writer.intrinsic(
            "llvm.x86.avx512.permvar.sf.512", floats, [(floats, f"<{table}>"), (words, masked)]
        )

    def _masked(self, value: ir.Value) -> str | None:
        """What is masked to four bits, as a vector at hand."""
        definitions, values = self.state.analysis.definitions, self.state.values
        definition = definitions.get(value.name)
        while isinstance(definition, ir.Op) and definition.op in ("cast", "bitcast", "bitcast.raw"):
            if not definition.args[0].dtype.is_integer or definition.result.dtype.bits != 32:
                return None
            definition = definitions.get(definition.args[0].name)
        if not isinstance(definition, ir.Op) or definition.op != "and" or definition.result.dtype.bits != 32:
            return None
        a, b = definition.args
        if values.constant(a) == _NIBBLE:
            a, b = b, a
        if values.constant(b) != _NIBBLE or values.shape(a) != Shape.VARYING:
            return None
        return values.find(a.name)

    # -- products of four bytes
    def dot4(self, op: str, operands: Sequence[str], vector: bool) -> str:
        """The dot product of four bytes with four bytes, added to a number."""
        if vector and self._has_byte_dots():
            return self._byte_dots(op, operands)
        return self._pairs(op, operands, vector)

    def _has_byte_dots(self) -> bool:
        features, width = self.state.text.features, self.state.types.width
        return "avx512vnni" in features and (width == 16 or ("avx512vl" in features and width in _DOT_LANES))

    def _byte_dots(self, op: str, operands: Sequence[str]) -> str:
        """By the instruction that multiplies unsigned bytes with signed ones.

        Another sign is had by an offset of 128, whose products are taken off again; modulo 2**32 all of it is exact.
        """
        tmp, kind = self.state.writer.tmp, self.state.types.vec("i32")
        a, b, total = operands
        if op == "dot4_mixed":
            return self._dot(total, a, b)
        if op == "dot4_signed":
            shifted = tmp(f"xor {kind} {a}, {_SIGN_BITS}")
            excess = self._dot("zeroinitializer", _SIGN_BITS, b)
            return self._dot(tmp(f"sub {kind} {total}, {excess}"), shifted, b)
        shifted = tmp(f"xor {kind} {b}, {_SIGN_BITS}")
        missing = self._dot("zeroinitializer", a, _BYTE_ONES)
        return self._dot(
            tmp(f"add {kind} {total}, {tmp(f'shl {kind} {missing}, splat (i32 7)')}"), a, shifted
        )

    def _dot(self, total: str, a: str, b: str) -> str:
        kind = self.state.types.vec("i32")
        name = f"llvm.x86.avx512.vpdpbusd.{_DOT_LANES[self.state.types.width]}"
        return self.state.writer.intrinsic(name, kind, [(kind, total), (kind, a), (kind, b)])

    def _pairs(self, op: str, operands: Sequence[str], vector: bool) -> str:
        """Products of 16 bits, of the even bytes and of the odd ones: what multiply-and-add instructions take."""
        writer = self.state.writer
        lanes = self.state.types.width if vector else 1
        words, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
        wide = f"<{2 * lanes} x i32>"
        plain = words if vector else "i32"

        def bytes_of(word: str, signed: bool) -> tuple[str, str]:
            pairs = writer.tmp(f"bitcast {plain} {word} to {halves}")
            if signed:
                low = writer.tmp(f"shl {halves} {pairs}, splat (i16 8)")
                even = writer.tmp(f"ashr {halves} {low}, splat (i16 8)")
                return even, writer.tmp(f"ashr {halves} {pairs}, splat (i16 8)")
            low = writer.tmp(f"and {halves} {pairs}, splat (i16 255)")
            return low, writer.tmp(f"lshr {halves} {pairs}, splat (i16 8)")

        first = bytes_of(operands[0], op == "dot4_signed")
        second = bytes_of(operands[1], op != "dot4_unsigned")
        total = operands[2]
        for a, b in zip(first, second, strict=True):
            x, y = (writer.tmp(f"sext {halves} {half} to {wide}") for half in (a, b))
            products = writer.tmp(f"mul {wide} {x}, {y}")
            picked = []
            for start in (0, 1):
                mask = ", ".join(f"i32 {2 * lane + start}" for lane in range(lanes))
                picked.append(
                    writer.tmp(f"shufflevector {wide} {products}, {wide} poison, <{lanes} x i32> <{mask}>")
                )
            part = writer.tmp(f"add {words} {picked[0]}, {picked[1]}")
            if not vector:
                part = writer.tmp(f"extractelement {words} {part}, i32 0")
            total = writer.tmp(f"add {plain} {total}, {part}")
        return total
