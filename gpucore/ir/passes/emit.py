"""What all passes share: fresh names, building statements, and rebuilding a function with some of them
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gpucore.ir import nodes
from gpucore.ir.dtypes import DType, bool_, i32, index

_RESULT_OF_OP: dict[str, DType] = {
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf"), bool_),
    "popcount": i32,
    "clz": i32,
}


def names_of(function: nodes.Function) -> set[str]:
    """Every name of a value or variable in a function."""
    used = {p.name for p in function.params}
    used.update(v.name for v in function.variables)
    used.update(m.name for m in function.memories)
    for statement in nodes.walk(function.body):
        if type(statement) is nodes.For:
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
        self.out: list[nodes.Stmt] = []
        self.loc: nodes.Loc | None = None
        self.new_variables: list[nodes.Var] = []
        self.constants: dict[str, nodes.Number] = {}
        """Values known to be constants, by name; for choosing shorter expansions."""

    # --- values
    def value(self, dtype: DType) -> nodes.Value:
        """A fresh value."""
        return nodes.Value(self.names.fresh(), dtype)

    def const(self, number: nodes.Number, dtype: DType) -> nodes.Value:
        """A literal."""
        result = nodes.Value(self.names.fresh(), dtype)
        self.out.append(nodes.Const(result, number, self.loc))
        self.constants[result.name] = number
        return result

    def op(self, op: str, *args: nodes.Value) -> nodes.Value:
        """An operation whose result dtype follows from its operands."""
        dtype = _RESULT_OF_OP.get(op)
        if dtype is None:
            dtype = args[1].dtype if op == "select" else args[0].dtype
        result = nodes.Value(self.names.fresh(), dtype)
        self.out.append(nodes.Op(result, op, args, self.loc))
        return result

    def convert(self, op: str, arg: nodes.Value, to: DType) -> nodes.Value:
        """A cast, bitcast or ``f2i.raw`` to a dtype."""
        result = nodes.Value(self.names.fresh(), to)
        self.out.append(nodes.Op(result, op, (arg,), self.loc))
        return result

    def cast(self, arg: nodes.Value, to: DType) -> nodes.Value:
        """A cast; nothing when the dtype is already that."""
        return arg if arg.dtype is to else self.convert("cast", arg, to)

    def call(self, function: str, result: DType, *args: nodes.Value) -> nodes.Value:
        """A call of a function of the module."""
        value = nodes.Value(self.names.fresh(), result)
        self.out.append(nodes.Call(value, function, args, self.loc))
        return value

    # --- variables
    def variable(self, dtype: DType) -> nodes.Var:
        """A fresh variable of the function."""
        var = nodes.Var(self.names.fresh("v"), dtype)
        self.new_variables.append(var)
        return var

    def get(self, var: nodes.Var) -> nodes.Value:
        """Read a variable."""
        result = nodes.Value(self.names.fresh(), var.dtype)
        self.out.append(nodes.GetVar(result, var, self.loc))
        return result

    def set(self, var: nodes.Var, value: nodes.Value) -> None:
        """Write a variable."""
        self.out.append(nodes.SetVar(var, value, self.loc))

    # --- structure
    def capture(self, build: Callable[[], None]) -> nodes.Block:
        """The statements that ``build`` emits, as a block of their own."""
        outer, self.out = self.out, []
        try:
            build()
            return tuple(self.out)
        finally:
            self.out = outer

    def load(self, memory: nodes.Memory, *indices: nodes.Value) -> nodes.Value:
        """A load."""
        result = nodes.Value(self.names.fresh(), memory.dtype)
        self.out.append(nodes.Load(result, memory, indices, self.loc))
        return result

    def store(self, memory: nodes.Memory, value: nodes.Value, *indices: nodes.Value) -> None:
        """A store."""
        self.out.append(nodes.Store(memory, indices, value, self.loc))

    def extent(self, memory: nodes.Memory, axis: int) -> nodes.Value:
        """The extent of an array along an axis as an ``index``: a constant where the shape is static."""
        if memory.shape:
            return self.const(memory.shape[axis], index)
        result = nodes.Value(self.names.fresh(), index)
        self.out.append(nodes.Extent(result, memory, axis, self.loc))
        return result


class Rewriter(Emitter):
    """Rebuilds blocks statement by statement.

    The method for a statement's type (``on_load`` and so on) emits what takes its place.  Operands are
    replaced through ``replaced``: a pass that gives a value another name records it there.
    """

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self.replaced: dict[str, nodes.Value] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            kind: getattr(self, f"on_{name}") for kind, name in _HANDLERS.items()
        }

    def block(self, block: nodes.Block) -> nodes.Block:
        """The block with every statement rebuilt."""
        outer, self.out = self.out, []
        handlers = self._handlers
        for statement in block:
            self.loc = statement.loc
            handlers[type(statement)](statement)
        result = tuple(self.out)
        self.out = outer
        return result

    def v(self, value: nodes.Value) -> nodes.Value:
        """The value that takes another's place."""
        return self.replaced.get(value.name, value)

    def vs(self, values: Iterable[nodes.Value]) -> tuple[nodes.Value, ...]:
        """The same for several."""
        get = self.replaced.get
        return tuple([get(v.name, v) for v in values])

    def on_other(self, s: nodes.Stmt) -> None:
        """Statements without operands or results."""
        self.out.append(s)

    # --- defaults: the same statement over replaced operands
    def on_const(self, s: nodes.Const) -> None:
        """Literals; their numbers are remembered in ``constants``."""
        self.constants[s.result.name] = s.value
        self.out.append(s)

    def on_op(self, s: nodes.Op) -> None:
        """Elementwise operations."""
        args = self.vs(s.args)
        self.out.append(s if args == s.args else nodes.Op(s.result, s.op, args, s.loc))

    def on_call(self, s: nodes.Call) -> None:
        """Calls."""
        self.out.append(nodes.Call(s.result, s.function, self.vs(s.args), s.loc))

    def on_get_var(self, s: nodes.GetVar) -> None:
        """Reads of variables."""
        self.out.append(s)

    def on_set_var(self, s: nodes.SetVar) -> None:
        """Writes of variables."""
        self.out.append(nodes.SetVar(s.var, self.v(s.value), s.loc))

    def on_extent(self, s: nodes.Extent) -> None:
        """Extents."""
        self.out.append(s)

    def on_load(self, s: nodes.Load) -> None:
        """Loads."""
        self.out.append(nodes.Load(s.result, s.memory, self.vs(s.indices), s.loc))

    def on_store(self, s: nodes.Store) -> None:
        """Stores."""
        self.out.append(nodes.Store(s.memory, self.vs(s.indices), self.v(s.value), s.loc))

    def on_init_local(self, s: nodes.InitLocal) -> None:
        """Fresh local memories."""
        self.out.append(s)

    def on_allocate(self, s: nodes.Allocate) -> None:
        """Extents of shared memories."""
        self.out.append(nodes.Allocate(s.memory, self.vs(s.extents), s.loc))

    def on_atomic(self, s: nodes.Atomic) -> None:
        """Atomic updates."""
        self.out.append(
            nodes.Atomic(s.result, s.op, s.memory, self.vs(s.indices), self.v(s.value), s.bits, s.loc)
        )

    def on_atomic_cas(self, s: nodes.AtomicCas) -> None:
        """Compare and swap."""
        self.out.append(
            nodes.AtomicCas(
                s.result, s.memory, self.vs(s.indices), self.v(s.expected), self.v(s.desired), s.bits, s.loc
            )
        )

    def on_thread_index(self, s: nodes.ThreadIndex) -> None:
        """Thread coordinates."""
        self.out.append(s)

    def on_subgroup(self, s: nodes.Subgroup) -> None:
        """Subgroup operations."""
        self.out.append(nodes.Subgroup(s.result, s.op, self.vs(s.args), s.loc))

    def on_assert(self, s: nodes.Assert) -> None:
        """Assertions."""
        self.out.append(nodes.Assert(self.v(s.condition), s.message, s.loc))

    def on_print(self, s: nodes.Print) -> None:
        """Prints."""
        self.out.append(nodes.Print(s.text, self.vs(s.values), s.loc))

    def on_tile_product(self, s: nodes.TileProduct) -> None:
        """Products of tiles."""
        self.out.append(nodes.TileProduct(s.total, s.left, s.right, s.factor, s.shape, s.loc))

    def on_if(self, s: nodes.If) -> None:
        """Branches."""
        condition = self.v(s.condition)
        then = self.block(s.then)
        orelse = self.block(s.orelse)
        self.out.append(nodes.If(condition, then, orelse, s.loc))

    def on_for(self, s: nodes.For) -> None:
        """Counted loops."""
        start, stop, step = self.v(s.start), self.v(s.stop), self.v(s.step)
        self.out.append(nodes.For(s.variable, start, stop, step, self.block(s.body), s.loc))

    def on_while(self, s: nodes.While) -> None:
        """Loops."""
        header = self.block(s.header)
        condition = self.v(s.condition)
        self.out.append(nodes.While(header, condition, self.block(s.body), s.loc))

    def on_return(self, s: nodes.Return) -> None:
        """Returns."""
        self.out.append(s if s.value is None else nodes.Return(self.v(s.value), s.loc))


_HANDLERS: dict[type, str] = {
    nodes.Const: "const", nodes.Op: "op", nodes.Call: "call", nodes.GetVar: "get_var",
    nodes.SetVar: "set_var", nodes.Extent: "extent", nodes.Load: "load", nodes.Store: "store",
    nodes.InitLocal: "init_local", nodes.Allocate: "allocate", nodes.Atomic: "atomic", nodes.AtomicCas: "atomic_cas",
    nodes.ThreadIndex: "thread_index", nodes.Subgroup: "subgroup", nodes.Assert: "assert",
    nodes.Print: "print", nodes.TileProduct: "tile_product", nodes.If: "if", nodes.For: "for",
    nodes.While: "while", nodes.Return: "return", nodes.Barrier: "other", nodes.Fence: "other",
    nodes.Break: "other", nodes.Continue: "other",
}  # fmt: skip
