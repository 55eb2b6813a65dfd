"""Functions that the emitter brings itself, written as the text of the IR."""

from __future__ import annotations

from gpucore.ir import Function
from gpucore.ir.text import parse

__all__ = ["FunctionText"]


class FunctionText:
    """The body of a function, line by line; of one dtype where nothing is said."""

    def __init__(self, dtype: str = "u64") -> None:
        self._dtype = dtype
        self._lines: list[str] = []

    def op(self, name: str, *operands: str, dtype: str = "") -> str:
        """The name of an operation's value."""
        result = f"%v{len(self._lines)}"
        self._lines.append(f"  {result}: {dtype or self._dtype} = {name} {', '.join(operands)}")
        return result

    def const(self, value: float, dtype: str = "") -> str:
        """The name of a literal."""
        return self.op("const", repr(value), dtype=dtype)

    def halves(self, x: str) -> tuple[str, str]:
        """The low and the high word of a u64, as u64."""
        return self.op("and", x, self.const(2**32 - 1)), self.op("shr.raw", x, self.const(32))

    def words(self, x: str) -> tuple[str, str]:
        """The low and the high word of a u64, as u32."""
        high = self.op("shr.raw", x, self.const(32, "u64"), dtype="u64")
        return self.op("cast", x, dtype="u32"), self.op("cast", high, dtype="u32")

    def joined(self, low: str, high: str) -> str:
        """The u64 of two u32."""
        up = self.op("shl.raw", self.op("cast", high, dtype="u64"), self.const(32, "u64"), dtype="u64")
        return self.op("or", up, self.op("cast", low, dtype="u64"), dtype="u64")

    def magnitude(self, x: str) -> tuple[str, str]:
        """Whether an i64 is negative, and its magnitude as u64."""
        below = self.op("lt", x, self.const(0, "i64"), dtype="bool")
        size = self.op("select", below, self.op("neg", x, dtype="i64"), x, dtype="i64")
        return below, self.op("cast", size, dtype="u64")

    def whole(self, x: str, kind: str) -> str:
        """The u64 of a float below ``2**64``, truncated, in two conversions to 32 bits.

        Both products and the difference are exact.
        """
        high = self.op("f2i.raw", self.op("mul", x, self.const(2.0**-32, kind), dtype=kind), dtype="u32")
        taken = self.op("mul", self.op("cast", high, dtype=kind), self.const(2.0**32, kind), dtype=kind)
        low = self.op("f2i.raw", self.op("sub", x, taken, dtype=kind), dtype="u32")
        return self.joined(low, high)

    def function(self, name: str, parameters: str, dtype: str, result: str) -> Function:
        """The function that returns a value."""
        body = "\n".join([*self._lines, f"  return {result}"])
        text = f"module ir=1 ndim=1 math=strict\n\nfunc @{name}({parameters}) -> {dtype} {{\n{body}\n}}\n"
        return parse(f"{text}\nkernel @nothing() {{\n}}\n").functions[0]
