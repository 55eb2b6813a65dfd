"""The writer of one IR function: its open blocks, fresh values, unique names."""

from __future__ import annotations

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.rounding import round_to

__all__ = ["Writer"]


class Writer:
    """Writes statements into the innermost open block.

    Attributes
    ----------
    blocks : list[list[ir.Stmt]]
        The open blocks, the function's body first.
    hints : dict[str, str]
        The user's name of a value, by the value's name.
    location : ir.Loc | None
        Where in the user's file the next statements stand.
    """

    def __init__(self) -> None:
        self.blocks: list[list[ir.Stmt]] = [[]]
        self.hints: dict[str, str] = {}
        self.location: ir.Loc | None = None
        self._values = 0
        self._names: dict[str, int] = {}

    # --- blocks
    def emit(self, statement: ir.Stmt) -> None:
        self.blocks[-1].append(statement)

    def emit_all(self, statements: ir.Block) -> None:
        self.blocks[-1] += statements

    def open(self, statements: ir.Block = ()) -> None:
        """Open a block, one that begins with these statements."""
        self.blocks.append(list(statements))

    def close(self) -> ir.Block:
        return tuple(self.blocks.pop())

    @property
    def depth(self) -> int:
        """How many blocks are open; 1 at the top level of the function."""
        return len(self.blocks)

    def drop_to(self, depth: int) -> None:
        """Forget the blocks opened since the depth was that."""
        del self.blocks[depth:]

    # --- names
    def reserve(self, name: str) -> None:
        """Keep a name from being given again."""
        self._names[name] = 1

    def unique(self, hint: str) -> str:
        count = self._names.get(hint, 0)
        self._names[hint] = count + 1
        return hint if count == 0 else f"{hint}.{count}"

    # --- values
    def value(self, dtype: DType) -> ir.Value:
        """A fresh value."""
        self._values += 1
        return ir.Value(str(self._values), dtype)

    def constant(self, value: int | float | bool, dtype: DType) -> ir.Value:
        if dtype.is_float:
            number: int | float | bool = round_to(value, dtype)
        elif dtype is bool_:
            number = bool(value)
        else:
            number = int(value)
        result = self.value(dtype)
        self.emit(ir.Const(result, number, self.location))
        return result

    def op(self, name: str, *args: ir.Value, dtype: DType | None = None) -> ir.Value:
        if dtype is None:
            if name in COMPARISONS or name in ("isnan", "isinf"):
                dtype = bool_
            elif name in ("popcount", "clz"):
                dtype = i32
            elif name == "select":
                dtype = args[1].dtype
            else:
                dtype = args[0].dtype
        result = self.value(dtype)
        self.emit(ir.Op(result, name, args, self.location))
        return result

    def cast(self, value: ir.Value, dtype: DType) -> ir.Value:
        return value if value.dtype is dtype else self.op("cast", value, dtype=dtype)

    def load(self, memory: ir.Memory, indices: tuple[ir.Value, ...]) -> ir.Value:
        result = self.value(memory.dtype)
        self.emit(ir.Load(result, memory, indices, self.location))
        return result

    def read(self, var: ir.Var) -> ir.Value:
        result = self.value(var.dtype)
        self.emit(ir.GetVar(result, var, self.location))
        return result

    def set(self, var: ir.Var, value: ir.Value) -> None:
        self.emit(ir.SetVar(var, value, self.location))
