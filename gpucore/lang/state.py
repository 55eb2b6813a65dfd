"""What the collaborators that lower one function share."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.ir.records import RecordType
from gpucore.lang.capture import Captured
from gpucore.lang.diagnostics import Source
from gpucore.lang.library import Impure, Library
from gpucore.lang.scopes import Scope, ScopeStack
from gpucore.lang.types import Type, Weak, join, strong
from gpucore.lang.writer import Writer

__all__ = ["FunctionState", "Inference"]


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
