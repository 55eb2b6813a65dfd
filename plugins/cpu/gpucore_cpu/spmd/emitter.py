"""Writing LLVM IR: names, labels, scopes, masks, and values in their scalar and vector forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gpucore import ir
from gpucore.ir import DType
from gpucore_cpu.spmd.analysis import Analysis, Shape
from gpucore_cpu.spmd.types import literal, scalar_type, suffix, vector_type

__all__ = ["Emitter", "LoopScope", "ModuleText"]


@dataclass(slots=True)
class ModuleText:
    """What the functions of one LLVM module share: declarations, globals, finished functions."""

    features: frozenset[str]
    fast: bool
    width: int
    noalias: bool = False
    written: frozenset[str] = frozenset()
    streamed: frozenset[str] = frozenset()
    """Arrays that whole vectors may be written to past the caches; ``%cached`` is 0 in launches that do."""
    private: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Local memories too large for the stack, by function and name: where they lie in the scratch memory."""
    apart: str = ""
    """Metadata of accesses that are not to local memory: they touch none of it.  Empty where there is none."""
    declarations: dict[str, str] = field(default_factory=dict)
    globals: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    device_functions: dict[str, ir.Function] = field(default_factory=dict)
    compiled: dict[tuple[object, ...], tuple[str, Shape]] = field(default_factory=dict)

    @property
    def flags(self) -> str:
        """Flags of floating-point instructions: none in strict mode, where LLVM may change no bit."""
        # NaN and infinity keep their meaning in fast mode
        return "reassoc nsz arcp contract afn " if self.fast else ""


_DEEPEST = 32


@dataclass(slots=True)
class LoopScope:
    """A loop being emitted: where Break and Continue go, and the masks they clear."""

    break_label: str
    continue_label: str
    live: str | None = None
    """Address of the mask of lanes still in the loop."""
    cont: str | None = None
    """Address of the mask of lanes still in this iteration."""


class Emitter:
    """One function under construction.

    ``mask`` is the vector of active lanes, or None where all lanes are active.  Wherever code is emitted at
    least one lane is active, so scalar loads and divisions are safe.
    """

    def __init__(self, text: ModuleText, analysis: Analysis) -> None:
        self.text = text
        self.flags = text.flags
        """Flags of this function's floating-point instructions."""
        self.width = text.width
        self.analysis = analysis
        self.mask: str | None = None
        self.present: str | None = None
        """The mask of the lanes that have a thread and anything left to do; what others hold, nobody reads."""
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.scopes: list[dict[str, str]] = [{}]
        self.loops: list[LoopScope] = []
        self.live: str | None = None
        """Address of the mask of lanes that have not returned, where a Return may be masked."""
        self.exit_label = "exit"
        self.variables: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        """What scalars of 32 bits were narrowed from, without loss."""
        self.memories: dict[str, str] = {}
        self._counter = 0
        self.block_label = "entry"
        self.terminated = False

    # -- text
    def line(self, text: str) -> None:
        """One instruction without a result."""
        self.lines.append("  " + text)

    def tmp(self, text: str) -> str:
        """One instruction; its result's name."""
        self._counter += 1
        name = f"%t{self._counter}"
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, hint: str) -> str:
        """A fresh label, not yet placed."""
        self._counter += 1
        return f"{hint}.{self._counter}"

    def place(self, label: str) -> None:
        """Begin the block of that name; the one before falls through unless it has ended."""
        if not self.terminated:
            self.line(f"br label %{label}")
        self.lines.append(f"{label}:")
        self.block_label = label
        self.terminated = False

    def branch(self, label: str) -> None:
        """Jump."""
        if not self.terminated:
            self.line(f"br label %{label}")
        self.terminated = True

    def branch_if(self, condition: str, then: str, orelse: str, metadata: str = "") -> None:
        """Jump on a scalar i1."""
        self.line(f"br i1 {condition}, label %{then}, label %{orelse}{metadata}")
        self.terminated = True

    def alloca(self, kind: str, hint: str, align: int | None = None) -> str:
        """Stack memory of the function, reserved at its entry; promoted to registers where LLVM can."""
        self._counter += 1
        name = f"%{hint}.{self._counter}"
        self.allocas.append(f"  {name} = alloca {kind}" + (f", align {align}" if align else ""))
        return name

    def load(self, kind: str, address: str, extra: str = "") -> str:
        """A plain load."""
        return self.tmp(f"load {kind}, ptr {address}{extra}")

    def store(self, kind: str, value: str, address: str, extra: str = "") -> None:
        """A plain store."""
        self.line(f"store {kind} {value}, ptr {address}{extra}")

    def intrinsic(
        self, name: str, result: str, args: Sequence[tuple[str, str]], flags: str = "", extra: str = ""
    ) -> str:
        """Call an LLVM intrinsic that returns a value; declares it."""
        self.text.declarations.setdefault(name, f"declare {result} @{name}({', '.join(t for t, _ in args)})")
        operands = ", ".join(f"{t} {v}" for t, v in args)
        return self.tmp(f"call {flags}{result} @{name}({operands}){extra}")

    def intrinsic_void(self, name: str, args: Sequence[tuple[str, str]], extra: str = "") -> None:
        """Call an LLVM intrinsic without a result; declares it."""
        self.text.declarations.setdefault(name, f"declare void @{name}({', '.join(t for t, _ in args)})")
        self.line(f"call void @{name}({', '.join(f'{t} {v}' for t, v in args)}){extra}")

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Values made inside do not dominate what follows."""
        self.scopes.append({})
        yield
        self.scopes.pop()

    # -- types
    def vec(self, scalar: str) -> str:
        """The vector type of that element."""
        return vector_type(scalar, self.width)

    def suffix(self, scalar: str, vector: bool) -> str:
        """The mangling of an overloaded intrinsic."""
        return suffix(scalar, self.width if vector else None)

    @property
    def mask_type(self) -> str:
        """The type of a mask."""
        return f"<{self.width} x i1>"

    def iota(self, scalar: str) -> str:
        """The constant vector 0, 1, 2, ..."""
        return "<" + ", ".join(f"{scalar} {lane}" for lane in range(self.width)) + ">"

    def splat_constant(self, scalar: str, value: str) -> str:
        """A constant vector of equal elements."""
        return f"splat ({scalar} {value})"

    # -- values
    def shape(self, value: ir.Value) -> Shape:
        """The shape that the analysis found."""
        return self.analysis.shapes[value.name]

    def find(self, key: str) -> str | None:
        """The operand that a name stands for, from the innermost scope out."""
        for scope in reversed(self.scopes):
            found = scope.get(key)
            if found is not None:
                return found
        return None

    def define(self, value: ir.Value, operand: str) -> None:
        """Name a value: a scalar, for an affine one that of lane 0, for a varying one the vector."""
        self.scopes[-1][value.name] = operand

    def raw(self, value: ir.Value) -> str:
        """A value's operand as it was defined."""
        found = self.find(value.name)
        if found is None:
            raise KeyError(f"the value %{value.name} is used before it is defined")
        return found

    def scalar(self, value: ir.Value) -> str:
        """The scalar of a value that is alike in the gang (of an affine one, lane 0's)."""
        return self.raw(value)

    def wide(self, value: ir.Value, depth: int = 0) -> str:
        """The scalar of an i32 in 64 bits, put together there as far as nothing on its way can wrap.

        LLVM does not look through the extension of a sum; addresses made in 64 bits become displacements.
        """
        operand = self.scalar(value)
        if not operand.startswith("%"):
            return operand
        source = self.sources.get(operand)
        if source is not None:
            return source
        key = f"wide {operand}"
        found = self.find(key)
        if found is None:
            definition = self.analysis.definitions.get(value.name)
            match definition:
                case ir.Op(op="add.raw" | "mul.raw" as op, args=args) if depth < _DEEPEST and all(
                    self.find(a.name) is not None and self.shape(a) <= Shape.AFFINE for a in args
                ):
                    a, b = (self.wide(arg, depth + 1) for arg in args)
                    found = self.tmp(f"{op.removesuffix('.raw')} nsw i64 {a}, {b}")
                case _:
                    found = self.tmp(f"sext i32 {operand} to i64")
            self.scopes[-1][key] = found
        return found

    def vector(self, value: ir.Value) -> str:
        """All lanes of a value."""
        shape = self.shape(value)
        operand = self.raw(value)
        if shape == Shape.VARYING:
            return operand
        # the key names the operand as well: a value emitted twice (full and masked copy) has two of them
        key = f"vector {value.name} {operand}"
        found = self.find(key)
        if found is None:
            kind = scalar_type(value.dtype)
            found = self.splat(kind, operand)
            if shape == Shape.AFFINE:
                found = self.tmp(f"add {self.vec(kind)} {found}, {self.iota(kind)}")
            self.scopes[-1][key] = found
        return found

    def splat(self, kind: str, operand: str) -> str:
        """A scalar in all lanes."""
        if not operand.startswith("%"):
            return self.splat_constant(kind, operand)
        vector = self.vec(kind)
        one = self.tmp(f"insertelement {vector} poison, {kind} {operand}, i64 0")
        return self.tmp(
            f"shufflevector {vector} {one}, {vector} poison, <{self.width} x i32> zeroinitializer"
        )

    def operand(self, value: ir.Value, vector: bool) -> str:
        """A value in the wanted form."""
        return self.vector(value) if vector else self.scalar(value)

    def constant(self, dtype: DType, value: int | float | bool) -> str:
        """A literal."""
        return literal(dtype, value)

    # -- masks
    @property
    def all_ones(self) -> str:
        """The constant mask with every lane active."""
        return "splat (i1 true)"

    def mask_operand(self) -> str:
        """The current mask as an operand."""
        return self.mask if self.mask is not None else self.all_ones

    def mask_and(self, mask: str | None, other: str) -> str:
        """Lanes in both.  Written as a select so that garbage in lanes outside ``mask`` stays harmless."""
        if mask is None:
            return other
        kind = self.mask_type
        return self.tmp(f"select {kind} {mask}, {kind} {other}, {kind} zeroinitializer")

    def mask_and_not(self, mask: str | None, other: str) -> str:
        """Lanes in the first but not the second."""
        kind = self.mask_type
        inverse = self.tmp(f"xor {kind} {other}, {self.all_ones}")
        return self.mask_and(mask, inverse)

    def mask_bits(self, mask: str) -> str:
        """A mask as an integer, one bit a lane."""
        return self.tmp(f"bitcast {self.mask_type} {mask} to i{self.width}")

    def any_lane(self, mask: str) -> str:
        """Whether some lane is active."""
        return self.tmp(f"icmp ne i{self.width} {self.mask_bits(mask)}, 0")

    def all_lanes(self, mask: str) -> str:
        """Whether every lane is active."""
        return self.tmp(f"icmp eq i{self.width} {self.mask_bits(mask)}, -1")

    def finish(self, header: str) -> str:
        """The function's text."""
        return "\n".join([header + " {", "entry:", *self.allocas, *self.lines, "}"])
