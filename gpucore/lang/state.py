"""What the collaborators that lower one function share: its state, its local names, the writer of its IR."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.choices import asked
from gpucore.ir.dtypes import DType, bool_, i32
from gpucore.ir.nodes import Loc, Var
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.records import RecordType
from gpucore.ir.rounding import round_to
from gpucore.lang.capture import Captured
from gpucore.lang.diagnostics import Source
from gpucore.lang.operands import Operand, Slot
from gpucore.lang.syntax import Impure, Library, Names
from gpucore.lang.types import Type, Weak, join, strong

__all__ = ["FunctionState", "Inference", "Returns", "Scope", "ScopeStack", "Unrolled", "Writer", "meet"]


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

    def asked(self, feature: str) -> ir.Value:
        """Whether the target has a feature that chooses code."""
        self.emit(question := asked(self.value(bool_).name, feature, self.location))
        return question.result

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


class Unrolled(list["set[str] | None"]):
    """The breaks of one iteration of an unrolled loop, which is a block that is left early.

    Attributes
    ----------
    flag : Var
        Says that a break left the whole loop.
    left : list[set[str] | None]
        What was assigned at each such break.
    """

    def __init__(self, flag: Var) -> None:
        super().__init__()
        self.flag = flag
        self.left: list[set[str] | None] = []


@dataclass
class Returns:
    """How an inlined function gives its result.

    Attributes
    ----------
    direct : bool
        Its one return is its last statement; the operand is the result.
    flag : bool
        A variable says that a return was met, since one stands in a loop or an awkward branch.
    shape : int | None
        Items of the tuple that is returned, 0 for a plain value; None before the first return.
    """

    direct: bool = False
    flag: bool = False
    shape: int | None = None
    operand: Operand | None = None


@dataclass
class Scope:
    """The names of one function body: block-scoped bindings over variables.

    Attributes
    ----------
    key : tuple
        Tells this scope's variables from those of other inlined bodies.
    result : DType | None
        The dtype that the function's return annotation names.
    assigned : set[str] | None
        Variables that are set on every path to this point; None where no path leads here.
    location : Loc | None
        Where all statements of the body stand: the user's line, for functions of gpucore that a builtin is made of.
    outer : Scope | None
        Of the function that the function is defined in.
    """

    captured: Captured
    names: Names
    key: tuple[Any, ...] = ()
    result: DType | None = None
    returns: Returns | None = None
    bindings: list[dict[str, Operand]] = field(default_factory=lambda: [{}])
    slots: dict[str, Slot] = field(default_factory=dict)
    assigned: set[str] | None = field(default_factory=set)
    loops: list[list[set[str] | None]] = field(default_factory=list)
    location: Loc | None = None
    outer: Scope | None = None

    @property
    def source(self) -> Source:
        """The text that errors point into."""
        return self.captured.source

    def find(self, name: str) -> Operand | Slot | None:
        """What a local name denotes here, or None."""
        for block in reversed(self.bindings):
            if name in block:
                return block[name]
        slot = self.slots.get(name)
        if slot is not None and self.assigned is not None and name in self.assigned:
            return slot
        return None if self.outer is None or name in self.names.stored else self.outer.find(name)

    def stores(self, name: str) -> bool:
        """Whether a name is local, here or in a function around this one."""
        return name in self.names.stored or (self.outer is not None and self.outer.stores(name))

    def visible(self) -> set[str]:
        """Local names, for suggestions."""
        own = {name for block in self.bindings for name in block} | set(self.slots)
        return own if self.outer is None else own | self.outer.visible()


class ScopeStack:
    """The scope that is being lowered; one lies within another where a function is inlined."""

    def __init__(self, outermost: Scope) -> None:
        self.current = outermost

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Lower within a scope."""
        outer, self.current = self.current, scope
        try:
            yield
        finally:
            self.current = outer


def meet(*states: set[str] | None) -> set[str] | None:
    """What is assigned where several paths join."""
    reachable = [s for s in states if s is not None]
    return set.intersection(*reachable) if reachable else None


@dataclass(slots=True)
class Inference:
    """The types of the variables as known so far, and what the pass that is under way found.

    Attributes
    ----------
    types : dict[tuple, Type]
        By the key of the variable; kept from pass to pass.
    lengths : dict[tuple, int | RecordType]
        By the key of a variable that is a tuple or a record: its length or its type; each item is a variable of its own.
    weak_reads : bool
        Whether a variable that holds literals alone reads as a literal would.
    tentative : bool
        Whether a statement that does not fit the types yet is passed over.
    changed, grew : bool
        Whether a known type became another, and whether any type became known.
    loose : bool
        Whether a name of one assignment holds what literals alone gave.
    failures : int
        Statements and conditions passed over.
    float_lines : dict[tuple, int]
        By the key of a variable: the line of the first float that it gets.
    rounded : dict[tuple, str]
        By the key of a variable: a literal that f32 rounds, which some assignment carries.
    true_floats : set[tuple]
        Variables that get a float which does not come from literals alone.
    int_literals : dict[tuple, bool]
        Variables that get what comes from int literals alone, and whether nothing else gives them their type.
    """

    types: dict[tuple[Any, ...], Type] = field(default_factory=dict)
    lengths: dict[tuple[Any, ...], int | RecordType] = field(default_factory=dict)
    float_lines: dict[tuple[Any, ...], int] = field(default_factory=dict)
    rounded: dict[tuple[Any, ...], str] = field(default_factory=dict)
    true_floats: set[tuple[Any, ...]] = field(default_factory=set)
    int_literals: dict[tuple[Any, ...], bool] = field(default_factory=dict)
    weak_reads: bool = True
    tentative: bool = True
    changed: bool = False
    grew: bool = False
    loose: bool = False
    failures: int = 0

    def begin_pass(self) -> None:
        self.changed = self.grew = self.loose = False
        self.failures = 0

    def strengthen(self, default: DType) -> None:
        """Give what is weak still its dtype, from the next pass on."""
        self.weak_reads = False
        self.int_literals = {
            key: alone or self.types[key] is Weak.INT for key, alone in self.int_literals.items()
        }
        self.types = {key: strong(t, default) for key, t in self.types.items()}

    def rounded_in(self, key: tuple[Any, ...]) -> str | None:
        """A literal that f32 rounds, where a variable holds what comes from literals alone."""
        return None if key in self.true_floats else self.rounded.get(key)

    @property
    def holds_weak(self) -> bool:
        """Whether a variable's type is that of literals alone."""
        return self.loose or any(isinstance(t, Weak) for t in self.types.values())


@dataclass(frozen=True, slots=True)
class FunctionState:
    """One pass over one function: what it is compiled from, and what the pass has written.

    Attributes
    ----------
    captured : Captured
        The function; bodies inlined into it are in ``scopes``.
    library : Library
        The device functions of the module.
    ndim : int
        Axes of the launch.
    pure : bool
        Whether the function may only compute on scalars.
    name : str
        The IR function's name.
    """

    captured: Captured
    library: Library
    ndim: int
    pure: bool
    name: str
    inference: Inference
    scopes: ScopeStack
    writer: Writer = field(default_factory=Writer)

    @property
    def scope(self) -> Scope:
        """The scope of the body that is being lowered."""
        return self.scopes.current

    @property
    def source(self) -> Source:
        """The text of the body that is being lowered."""
        return self.scopes.current.source

    def strong(self, kind: Type) -> DType:
        """The dtype of a type; a literal's is that of a number that met nothing."""
        return strong(kind, self.library.floats.default)

    def join(self, a: Type, b: Type) -> Type | None:
        """The type that two meet in, or None."""
        return join(a, b, self.library.floats.default)

    def at(self, node: ast.AST) -> None:
        """Statements written from here on stand at this node."""
        if self.scope.location is not None:
            return
        source = self.source
        self.writer.location = ir.Loc(source.filename, source.line(node), source.column(node))

    def impure(self, what: str) -> None:
        """Give up a function that was to compute on scalars only."""
        if self.pure:
            raise Impure(what)
