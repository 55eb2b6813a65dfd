"""What all passes share: fresh names, building statements, and rebuilding a function with some of them
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gpucore.ir.dtypes import DType, bool_, i32, index
from gpucore.ir.nodes import (
    Assert,
    Atomic,
    AtomicCas,
    Barrier,
    Block,
    Break,
    Call,
    Const,
    Continue,
    Extent,
    Fence,
    For,
    Function,
    GetVar,
    If,
    InitLocal,
    Load,
    Loc,
    Memory,
    Number,
    Op,
    Print,
    Return,
    SetVar,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    TileProduct,
    Value,
    Var,
    While,
    walk,
)  # fmt: skip

_RESULT_OF_OP: dict[str, DType] = {
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf"), bool_),
    "popcount": i32,
    "clz": i32,
}


def names_of(function: Function) -> set[str]:
    """Every name of a value or variable in a function."""
    used = {p.name for p in function.params}
    used.update(v.name for v in function.variables)
    used.update(m.name for m in function.memories)
    for statement in walk(function.body):
        if type(statement) is For:
            used.add(statement.variable.name)
        else:
            result = getattr(statement, "result", None)
            if result is not None:
                used.add(result.name)
    return used


class Names:
    """Gives names that a function does not use yet."""

    __slots__ = ("_next", "_used")

    def __init__(self, used: set[str]) -> None:
        self._used = used
        self._next = 0

    def fresh(self, prefix: str = "t") -> str:
        """A new name, never given before."""
        while True:
            name = f"{prefix}{self._next}"
            self._next += 1
            if name not in self._used:
                return name


class Emitter:
    """Appends statements to the current block; values get fresh names and the current location."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.out: list[Stmt] = []
        self.loc: Loc | None = None
        self.new_variables: list[Var] = []
        self.constants: dict[str, Number] = {}
        """Values known to be constants, by name; for choosing shorter expansions."""

    # --- values
    def value(self, dtype: DType) -> Value:
        """A fresh value."""
        return Value(self.names.fresh(), dtype)

    def const(self, number: Number, dtype: DType) -> Value:
        """A literal."""
        result = Value(self.names.fresh(), dtype)
        self.out.append(Const(result, number, self.loc))
        self.constants[result.name] = number
        return result

    def op(self, op: str, *args: Value) -> Value:
        """An operation whose result dtype follows from its operands."""
        dtype = _RESULT_OF_OP.get(op)
        if dtype is None:
            dtype = args[1].dtype if op == "select" else args[0].dtype
        result = Value(self.names.fresh(), dtype)
        self.out.append(Op(result, op, args, self.loc))
        return result

    def convert(self, op: str, arg: Value, to: DType) -> Value:
        """A cast, bitcast or ``f2i.raw`` to a dtype."""
        result = Value(self.names.fresh(), to)
        self.out.append(Op(result, op, (arg,), self.loc))
        return result

    def cast(self, arg: Value, to: DType) -> Value:
        """A cast; nothing when the dtype is already that."""
        return arg if arg.dtype is to else self.convert("cast", arg, to)

    def call(self, function: str, result: DType, *args: Value) -> Value:
        """A call of a function of the module."""
        value = Value(self.names.fresh(), result)
        self.out.append(Call(value, function, args, self.loc))
        return value

    # --- variables
    def variable(self, dtype: DType) -> Var:
        """A fresh variable of the function."""
        var = Var(self.names.fresh("v"), dtype)
        self.new_variables.append(var)
        return var

    def get(self, var: Var) -> Value:
        """Read a variable."""
        result = Value(self.names.fresh(), var.dtype)
        self.out.append(GetVar(result, var, self.loc))
        return result

    def set(self, var: Var, value: Value) -> None:
        """Write a variable."""
        self.out.append(SetVar(var, value, self.loc))

    # --- structure
    def capture(self, build: Callable[[], None]) -> Block:
        """The statements that ``build`` emits, as a block of their own."""
        outer, self.out = self.out, []
        try:
            build()
            return tuple(self.out)
        finally:
            self.out = outer

    def load(self, memory: Memory, *indices: Value) -> Value:
        """A load."""
        result = Value(self.names.fresh(), memory.dtype)
        self.out.append(Load(result, memory, indices, self.loc))
        return result

    def store(self, memory: Memory, value: Value, *indices: Value) -> None:
        """A store."""
        self.out.append(Store(memory, indices, value, self.loc))

    def extent(self, memory: Memory, axis: int) -> Value:
        """The extent of an array along an axis as an ``index``: a constant where the shape is static."""
        if memory.shape:
            return self.const(memory.shape[axis], index)
        result = Value(self.names.fresh(), index)
        self.out.append(Extent(result, memory, axis, self.loc))
        return result


class Rewriter(Emitter):
    """Rebuilds blocks statement by statement.

    The method for a statement's type (``on_load`` and so on) emits what takes its place.  Operands are
    replaced through ``replaced``: a pass that gives a value another name records it there.
    """

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self.replaced: dict[str, Value] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            kind: getattr(self, f"on_{name}") for kind, name in _HANDLERS.items()
        }

    def block(self, block: Block) -> Block:
        """The block with every statement rebuilt."""
        outer, self.out = self.out, []
        handlers = self._handlers
        for statement in block:
            self.loc = statement.loc
            handlers[type(statement)](statement)
        result = tuple(self.out)
        self.out = outer
        return result

    def v(self, value: Value) -> Value:
        """The value that takes another's place."""
        return self.replaced.get(value.name, value)

    def vs(self, values: Iterable[Value]) -> tuple[Value, ...]:
        """The same for several."""
        get = self.replaced.get
        return tuple([get(v.name, v) for v in values])

    def on_other(self, s: Stmt) -> None:
        """Statements without operands or results."""
        self.out.append(s)

    # --- defaults: the same statement over replaced operands
    def on_const(self, s: Const) -> None:
        """Literals; their numbers are remembered in ``constants``."""
        self.constants[s.result.name] = s.value
        self.out.append(s)

    def on_op(self, s: Op) -> None:
        """Elementwise operations."""
        args = self.vs(s.args)
        self.out.append(s if args == s.args else Op(s.result, s.op, args, s.loc))

    def on_call(self, s: Call) -> None:
        """Calls."""
        self.out.append(Call(s.result, s.function, self.vs(s.args), s.loc))

    def on_get_var(self, s: GetVar) -> None:
        """Reads of variables."""
        self.out.append(s)

    def on_set_var(self, s: SetVar) -> None:
        """Writes of variables."""
        self.out.append(SetVar(s.var, self.v(s.value), s.loc))

    def on_extent(self, s: Extent) -> None:
        """Extents."""
        self.out.append(s)

    def on_load(self, s: Load) -> None:
        """Loads."""
        self.out.append(Load(s.result, s.memory, self.vs(s.indices), s.loc))

    def on_store(self, s: Store) -> None:
        """Stores."""
        self.out.append(Store(s.memory, self.vs(s.indices), self.v(s.value), s.loc))

    def on_init_local(self, s: InitLocal) -> None:
        """Fresh local memories."""
        self.out.append(s)

    def on_atomic(self, s: Atomic) -> None:
        """Atomic updates."""
        self.out.append(Atomic(s.result, s.op, s.memory, self.vs(s.indices), self.v(s.value), s.bits, s.loc))

    def on_atomic_cas(self, s: AtomicCas) -> None:
        """Compare and swap."""
        self.out.append(
            AtomicCas(
                s.result, s.memory, self.vs(s.indices), self.v(s.expected), self.v(s.desired), s.bits, s.loc
            )
        )

    def on_thread_index(self, s: ThreadIndex) -> None:
        """Thread coordinates."""
        self.out.append(s)

    def on_subgroup(self, s: Subgroup) -> None:
        """Subgroup operations."""
        self.out.append(Subgroup(s.result, s.op, self.vs(s.args), s.loc))

    def on_assert(self, s: Assert) -> None:
        """Assertions."""
        self.out.append(Assert(self.v(s.condition), s.message, s.loc))

    def on_print(self, s: Print) -> None:
        """Prints."""
        self.out.append(Print(s.text, self.vs(s.values), s.loc))

    def on_tile_product(self, s: TileProduct) -> None:
        """Products of tiles."""
        memories = s.total, s.left, s.right
        self.out.append(TileProduct(*memories, s.factor, s.shape, self.block(s.plain), s.loc))

    def on_if(self, s: If) -> None:
        """Branches."""
        condition = self.v(s.condition)
        then = self.block(s.then)
        orelse = self.block(s.orelse)
        self.out.append(If(condition, then, orelse, s.loc))

    def on_for(self, s: For) -> None:
        """Counted loops."""
        start, stop, step = self.v(s.start), self.v(s.stop), self.v(s.step)
        self.out.append(For(s.variable, start, stop, step, self.block(s.body), s.loc))

    def on_while(self, s: While) -> None:
        """Loops."""
        header = self.block(s.header)
        condition = self.v(s.condition)
        self.out.append(While(header, condition, self.block(s.body), s.loc))

    def on_return(self, s: Return) -> None:
        """Returns."""
        self.out.append(s if s.value is None else Return(self.v(s.value), s.loc))


_HANDLERS: dict[type, str] = {
    Const: "const", Op: "op", Call: "call", GetVar: "get_var", SetVar: "set_var", Extent: "extent", Load:
    "load", Store: "store", InitLocal: "init_local", Atomic: "atomic", AtomicCas: "atomic_cas", ThreadIndex:
    "thread_index", Subgroup: "subgroup", Assert: "assert", Print: "print", TileProduct:
    "tile_product", If: "if", For: "for", While: "while", Return:
    "return", Barrier: "other", Fence: "other", Break: "other", Continue: "other",
}  # fmt: skip
