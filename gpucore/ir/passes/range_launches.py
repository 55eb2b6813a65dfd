"""Range launches: threads past the extents do nothing, and a thread of a short kernel takes several elements.

``k.over(shape)`` launches whole blocks.  The extents come as hidden scalars ``$extent0``, ``$extent1``, ...
of dtype ``index``, and the kernel's body runs only where every global id is below its extent.

A kernel such as ``y[i] = a * x[i] + y[i]`` waits for memory most of its time.  With one element a thread a GPU has
too few bytes in flight to fill its memory's bandwidth; with four, done statement by statement side by side, it has
enough (on an H200 3.4 TB/s become 4.4).  Threads of a range launch are unordered and know nothing of their blocks, so
running four of them in step, or one after the other, is one of the orders that they may take anyway: results keep
their bits.

Blocks that lie inside the range take the copies side by side without a guard; those on its border take them one after
the other, each guarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from gpucore.ir.dtypes import index
from gpucore.ir.nodes import (
    Atomic,
    AtomicCas,
    Block,
    Call,
    Const,
    Extent,
    Function,
    GetVar,
    If,
    Load,
    Module,
    Op,
    Return,
    SetVar,
    Stmt,
    Store,
    ThreadIndex,
    Value,
    Var,
    walk,
)
from gpucore.ir.passes.emit import Emitter, Names, Rewriter, names_of


def range_guard(module: Module, kind: Literal["nd", "folded", "linear"] | None) -> Module:
    """Guard the kernel for a range launch.

    ``"nd"`` keeps the axes of the launch.  ``"folded"`` gives a module of three axes, the last two of the range and one whose
    global id is unravelled over the others: memory is walked through along the last axis, with no division in it.
    ``"linear"`` gives a module of one axis whose global id is unravelled over all extents; it serves shapes past the grid
    limits.
    """
    if kind is None:
        return module
    kernel = module.kernel
    names = Names(names_of(kernel))
    extents = tuple(Value(f"$extent{axis}", index) for axis in range(module.ndim))
    if kind == "nd":
        emitter = Emitter(names)
        ids = tuple(_global_id(emitter, axis) for axis in range(module.ndim))
        body = kernel.body
        ndim = module.ndim
    else:
        rewriter = _Unravel(names)
        kept = 2 if kind == "folded" else 0
        folded = extents[: len(extents) - kept]
        last = tuple(_global_id(rewriter, axis + 1) for axis in range(kept))
        ids = (*rewriter.coordinates(folded), *last)
        rewriter.ids = ids
        body = rewriter.block(kernel.body)
        emitter = rewriter
        ndim = 1 + kept
    inside = emitter.op("lt", ids[0], extents[0])
    for ident, extent in zip(ids[1:], extents[1:], strict=True):
        inside = emitter.op("and", inside, emitter.op("lt", ident, extent))
    emitter.out.append(If(inside, body))
    hidden = [p for p in kernel.params if p.name.startswith("$")]
    user = [p for p in kernel.params if not p.name.startswith("$")]
    guarded = Function(
        kernel.name, (*user, *extents, *hidden), None, kernel.variables, kernel.memories, tuple(emitter.out)
    )
    return Module(guarded, module.functions, ndim, module.math, module.subgroup, module.noalias)


def _global_id(emitter: Emitter, axis: int) -> Value:
    result = emitter.value(index)
    emitter.out.append(ThreadIndex(result, "global_id", axis))
    return result


class _Unravel(Rewriter):
    ids: tuple[Value, ...] = ()

    def coordinates(self, extents: tuple[Value, ...]) -> tuple[Value, ...]:
        """The global id of axis 0, taken apart in C order."""
        rest = _global_id(self, 0)
        one = self.const(1, index)
        found: list[Value] = []
        for extent in reversed(extents[1:]):
            # an empty axis leaves no thread inside, but must not leave a zero divisor either
            divisor = self.op("max", extent, one)
            found.append(self.op("mod", rest, divisor))
            rest = self.op("floordiv", rest, divisor)
        return (rest, *reversed(found))

    def on_thread_index(self, s: ThreadIndex) -> None:
        if s.kind == "global_id":
            self.replaced[s.result.name] = self.ids[s.axis]
        else:
            self.out.append(s)


LARGEST = 64
"""Weight past which a kernel computes enough to hide its loads, and copies of it would crowd the registers."""
_WEIGHTS: dict[type, int] = {Call: 12, Const: 0, Extent: 0, ThreadIndex: 0}
_STRAIGHT = (Const, Op, Call, GetVar, SetVar, Extent, Load, Store, Atomic, AtomicCas)


def can_coarsen(module: Module) -> bool:
    """Whether a kernel is short and straight: no loops, no memory of its own, and no branch but guards around all
    that follows.
    """
    kernel = module.kernel
    if kernel.memories or not any(type(s) is Load or type(s) is Store for s in walk(kernel.body)):
        return False
    body = _without_returns(kernel.body)
    return _is_straight(body) and sum(_WEIGHTS.get(type(s), 1) for s in walk(body)) <= LARGEST


def _is_straight(block: Block) -> bool:
    for s in block:
        if isinstance(s, If):
            if s.orelse or not _is_straight(s.then):
                return False
        elif isinstance(s, ThreadIndex):
            if s.kind != "global_id":
                return False
        elif not isinstance(s, _STRAIGHT):
            return False
    return True


def _without_returns(block: Block) -> Block:
    """The block with ``if c: return`` turned into ``if not c:`` around the rest."""
    for position, s in enumerate(block):
        match s:
            case If(condition=condition, then=(Return(),), orelse=()):
                rest = _without_returns(block[position + 1 :])
                negated = Value(f"{condition.name}$not", condition.dtype)
                inverse = Op(negated, "not", (condition,), s.loc)
                return (*block[:position], inverse, If(negated, rest, (), s.loc))
    return block


def coarsen(module: Module, items: int, block: tuple[int, ...]) -> Module:
    """Guard the kernel for a range launch whose threads take ``items`` elements each, along axis 0.

    Parameters
    ----------
    module : Module
        One that :func:`can_coarsen`, with the axes of the launch.
    items : int
        Elements a thread.  On one axis they lie a block apart, so that neighbouring threads touch neighbouring
        elements; on more they are neighbouring rows, whose loads may be shared.
    block : tuple[int, ...]
        Threads a block, in array order.
    """
    kernel = module.kernel
    extents = tuple(Value(f"$extent{axis}", index) for axis in range(module.ndim))
    copies = _Copies(kernel, items, _without_returns(kernel.body))
    copies.build(block, extents)
    hidden = [p for p in kernel.params if p.name.startswith("$")]
    user = [p for p in kernel.params if not p.name.startswith("$")]
    guarded = Function(
        kernel.name, (*user, *extents, *hidden), None, (*kernel.variables, *copies.new_variables), (), tuple(copies.out)
    )  # fmt: skip
    return Module(guarded, module.functions, module.ndim, module.math, module.subgroup, module.noalias)


class _Copies(Emitter):
    """The copies of a body; copy ``k`` has values and variables of its own."""

    def __init__(self, kernel: Function, items: int, body: Block) -> None:
        super().__init__(Names(names_of(kernel)))
        self.body = body
        self.items = items
        self.variables = [
            kernel.variables if k == 0 else tuple(self.variable(v.dtype) for v in kernel.variables)
            for k in range(items)
        ]
        self.own: list[dict[str, Var]] = [
            {old.name: new for old, new in zip(kernel.variables, mine, strict=True)}
            for mine in self.variables
        ]
        self.values: list[dict[str, Value]] = []
        self.ids: list[dict[int, Value]] = []

    def build(self, block: tuple[int, ...], extents: Sequence[Value]) -> None:
        """The whole body."""
        span = block[0] * self.items
        start = self.op("mul", self.thread("block_id", 0), self.const(span, index))
        offset = self.thread("thread_id", 0)
        others = {axis: self.thread("global_id", axis) for axis in range(1, len(extents))}
        inside = self.op("le", start, self.op("sub", extents[0], self.const(span, index)))
        for axis, ident in others.items():
            inside = self.op("and", inside, self.op("lt", ident, extents[axis]))
        if len(extents) == 1:
            first, step = self.op("add", start, offset), block[0]
        else:
            first, step = self.op("add", start, self.op("mul", offset, self.const(self.items, index))), 1

        def along() -> None:
            self.begin(first, step, others)
            self.together(self.body, range(self.items))

        def one_by_one() -> None:
            self.begin(first, step, others)
            for k in range(self.items):
                guard = self.op("lt", self.ids[k][0], extents[0])
                for axis, ident in others.items():
                    guard = self.op("and", guard, self.op("lt", ident, extents[axis]))
                self.out.append(If(guard, self.capture(lambda k=k: self.together(self.body, (k,)))))  # type: ignore[misc]

        self.out.append(If(inside, self.capture(along), self.capture(one_by_one)))

    def thread(self, kind: str, axis: int) -> Value:
        """A coordinate of the thread."""
        result = self.value(index)
        self.out.append(ThreadIndex(result, kind, axis))  # type: ignore[arg-type]
        return result

    def begin(self, first: Value, step: int, others: dict[int, Value]) -> None:
        """New copies: their ids."""
        ids = [first] + [self.op("add", first, self.const(k * step, index)) for k in range(1, self.items)]
        self.ids = [{0: ident, **others} for ident in ids]
        self.values = [{} for _ in range(self.items)]

    def together(self, block: Block, which: Sequence[int]) -> None:
        """A block, statement by statement for all these copies."""
        for s in block:
            self.loc = s.loc
            if isinstance(s, If):
                self.branch(s, which)
            else:
                for k in which:
                    self.copy(s, k)

    def branch(self, s: If, which: Sequence[int]) -> None:
        """A guard: side by side where it holds for all copies, else one by one."""
        conditions = {k: self.of(s.condition, k) for k in which}

        def alone() -> None:
            for k in which:
                inner = self.capture(lambda k=k: self.together(s.then, (k,)))  # type: ignore[misc]
                self.out.append(If(conditions[k], inner, (), s.loc))

        if len(which) == 1:
            alone()
            return
        every = conditions[which[0]]
        for k in which[1:]:
            every = self.op("and", every, conditions[k])
        self.out.append(
            If(every, self.capture(lambda: self.together(s.then, which)), self.capture(alone), s.loc)
        )

    def of(self, value: Value, k: int) -> Value:
        """A value as copy ``k`` has it."""
        return self.values[k].get(value.name, value)

    def copy(self, s: Stmt, k: int) -> None:
        """A statement of copy ``k``."""
        match s:
            case ThreadIndex(axis=axis, result=result):
                self.values[k][result.name] = self.ids[k][axis]
                return
            case SetVar():
                self.out.append(SetVar(self.own[k][s.var.name], self.of(s.value, k), s.loc))
                return
            case Store():
                self.out.append(Store(s.memory, self.over(s.indices, k), self.of(s.value, k), s.loc))
                return
        result = Value(self.names.fresh(), s.result.dtype)  # type: ignore[union-attr]
        match s:
            case GetVar():
                done: Stmt = GetVar(result, self.own[k][s.var.name], s.loc)
            case Op() | Call():
                done = replace(s, result=result, args=self.over(s.args, k))
            case Load():
                done = replace(s, result=result, indices=self.over(s.indices, k))
            case Atomic():
                done = replace(s, result=result, indices=self.over(s.indices, k), value=self.of(s.value, k))
            case AtomicCas():
                done = replace(
                    s, result=result, indices=self.over(s.indices, k), expected=self.of(s.expected, k),
                    desired=self.of(s.desired, k),
                )  # fmt: skip
            case Const() | Extent():
                done = replace(s, result=result)
            case _:
                raise TypeError(f"{type(s).__name__} in a kernel that does not suit")
        self.out.append(done)
        self.values[k][s.result.name] = result

    def over(self, values: Sequence[Value], k: int) -> tuple[Value, ...]:
        """Operands as copy ``k`` has them."""
        return tuple(self.of(v, k) for v in values)
