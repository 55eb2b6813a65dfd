"""Simplifying: literals folded, repeated pure operations done once, variables followed, dead code left out.

Nothing here changes a bit of any result, in strict mode or fast.  One forward pass over the function and
one backward; both are linear in its size.
"""

from __future__ import annotations

import numpy as np

from gpucore.ir.dtypes import DType, bool_
from gpucore.ir.nodes import (
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
    Number,
    Op,
    Return,
    SetVar,
    Stmt,
    Store,
    ThreadIndex,
    TileProduct,
    Value,
    Var,
    While,
    blocks_of,
    memories_of,
    operands_of,
)
from gpucore.ir.passes.emit import Names, Rewriter
from gpucore.ir.passes.simplify.fold import fold

_EFFECTS = (Store, TileProduct, Atomic, AtomicCas, Barrier, Fence, Return)


def eliminate(function: Function, overwritten: set[int]) -> Function:
    """The function without statements, variables and memories that nothing needs.

    ``overwritten`` holds the ``id`` of assignments that another follows before anything reads the variable.
    """
    marker = _Marker(overwritten)
    marker.scan(function.body, None, None)
    marker.run()
    body = _sweep(function.body, marker.live)
    memories = tuple(m for m in function.memories if m.name in marker.memories)
    variables = tuple(v for v in function.variables if v.name in marker.variables)
    return Function(function.name, function.params, function.result, variables, memories, body)


class _Marker:
    """Marks what is live, from effects to what they need."""

    def __init__(self, overwritten: set[int]) -> None:
        self.live: set[int] = set()
        self.overwritten = overwritten
        self.memories: set[str] = set()
        self.variables: set[str] = set()
        self._pending: list[Stmt] = []
        self._definitions: dict[str, Stmt] = {}
        self._parents: dict[int, Stmt] = {}
        self._sets: dict[str, list[Stmt]] = {}
        self._exits: dict[int, list[Stmt]] = {}
        self._fills: dict[str, list[Stmt]] = {}

    def scan(self, block: Block, parent: Stmt | None, loop: Stmt | None) -> None:
        """Note who defines and encloses what; statements with effects are the roots."""
        for s in block:
            if parent is not None:
                self._parents[id(s)] = parent
            result: Value | None = getattr(s, "result", None)
            if result is not None:
                self._definitions[result.name] = s
            if isinstance(s, _EFFECTS):
                self._pending.append(s)
            elif isinstance(s, SetVar):
                if id(s) not in self.overwritten:
                    self._sets.setdefault(s.var.name, []).append(s)
            elif isinstance(s, InitLocal):
                self._fills.setdefault(s.memory.name, []).append(s)
            elif isinstance(s, If):
                self.scan(s.then, s, loop)
                self.scan(s.orelse, s, loop)
            elif isinstance(s, For):
                self._definitions[s.variable.name] = s
                self.scan(s.body, s, s)
            elif isinstance(s, While):
                self.scan(s.header, s, None)
                self.scan(s.body, s, s)
            elif isinstance(s, (Break, Continue)) and loop is not None:
                self._exits.setdefault(id(loop), []).append(s)

    def run(self) -> None:
        """Follow what live statements need until nothing is new."""
        live, pending = self.live, self._pending
        while pending:
            s = pending.pop()
            if id(s) in live:
                continue
            live.add(id(s))
            parent = self._parents.get(id(s))
            if parent is not None and id(parent) not in live:
                pending.append(parent)
            for value in operands_of(s):
                definition = self._definitions.get(value.name)
                if definition is not None and id(definition) not in live:
                    pending.append(definition)
            if isinstance(s, GetVar):
                self._need(s.var)
            elif isinstance(s, (For, While)):
                pending.extend(self._exits.get(id(s), ()))
            for memory in memories_of(s):
                if memory.name not in self.memories:
                    self.memories.add(memory.name)
                    pending.extend(self._fills.get(memory.name, ()))

    def _need(self, var: Var) -> None:
        if var.name not in self.variables:
            self.variables.add(var.name)
            self._pending.extend(self._sets.get(var.name, ()))


def _sweep(block: Block, live: set[int]) -> Block:
    kept: list[Stmt] = []
    for s in block:
        if id(s) not in live:
            continue
        if isinstance(s, If):
            then, orelse = _sweep(s.then, live), _sweep(s.orelse, live)
            kept.append(s if then == s.then and orelse == s.orelse else If(s.condition, then, orelse, s.loc))
        elif isinstance(s, For):
            kept.append(For(s.variable, s.start, s.stop, s.step, _sweep(s.body, live), s.loc))
        elif isinstance(s, While):
            kept.append(While(_sweep(s.header, live), s.condition, _sweep(s.body, live), s.loc))
        else:
            kept.append(s)
    return tuple(kept)


_COMMUTE = frozenset({"add", "add.raw", "mul", "mul.raw", "and", "or", "xor", "eq", "ne"})
_EXITS = (Return, Break, Continue)
_Key = tuple[object, ...]


def simplify(function: Function) -> Function:
    """The function, simplified; parameters stay as they are."""
    with np.errstate(all="ignore"):
        forward = _Forward()
        body = forward.block(function.body)
    params, variables, memories = function.params, function.variables, function.memories
    rebuilt = Function(function.name, params, function.result, variables, memories, body)
    return eliminate(rebuilt, forward.overwritten)


class _Forward(Rewriter):
    """Folds and reuses, remembering what dominates the current place."""

    def __init__(self) -> None:
        super().__init__(Names(set()))
        self.known: dict[_Key, Value] = {}
        self.scope: list[_Key] = []
        self.held: dict[str, Value] = {}
        self.unread: dict[str, SetVar] = {}
        self.overwritten: set[int] = set()
        self._assigned: dict[int, frozenset[str]] = {}

    # --- blocks and scopes
    def block(self, block: Block) -> Block:
        outer, self.out = self.out, []
        outer_scope, self.scope = self.scope, []
        self.unread = {}
        self.emit_block(block)
        # whatever follows the block may read any variable
        self.unread = {}
        for key in self.scope:
            del self.known[key]
        result = tuple(self.out)
        self.out, self.scope = outer, outer_scope
        return result

    def emit_block(self, block: Block) -> None:
        """The statements of a block into the current one, up to the first that leaves it."""
        handlers = self._handlers
        for s in block:
            handlers[type(s)](s)
            if self.out and isinstance(self.out[-1], _EXITS):
                return

    def assigned(self, s: Stmt) -> frozenset[str]:
        """The variables that a statement sets, the blocks within included."""
        if type(s) is SetVar:
            return frozenset((s.var.name,))
        blocks = blocks_of(s)
        if not blocks:
            return frozenset()
        names = self._assigned.get(id(s))
        if names is None:
            names = frozenset().union(*(self.assigned(inner) for block in blocks for inner in block))
            self._assigned[id(s)] = names
        return names

    # --- values
    def reuse(self, key: _Key, s: Stmt, result: Value) -> None:
        """Emit a pure statement unless its value is at hand."""
        found = self.known.get(key)
        if found is not None:
            self.replaced[result.name] = found
            return
        self.known[key] = result
        self.scope.append(key)
        self.out.append(s)

    def literal(self, result: Value, number: Number, s: Stmt) -> None:
        """The result is a literal."""
        if result.dtype is bool_:
            number = bool(number)
        if number != number:
            self.out.append(Const(result, number, s.loc))
            return
        found = self.known.get(("const", result.dtype, repr(number)))
        if found is None:
            self.constants[result.name] = number
        self.reuse(("const", result.dtype, repr(number)), Const(result, number, s.loc), result)

    def on_const(self, s: Const) -> None:
        self.literal(s.result, s.value, s)

    def on_op(self, s: Op) -> None:
        args = self.vs(s.args)
        op, result = s.op, s.result
        constants = self.constants
        numbers = [constants.get(a.name) for a in args]
        if op == "select":
            if numbers[0] is not None:
                self.replaced[result.name] = args[1] if numbers[0] else args[2]
                return
            if args[1].name == args[2].name:
                self.replaced[result.name] = args[1]
                return
        elif None not in numbers:
            folded = fold(op, args[0].dtype, numbers, result.dtype)  # type: ignore[arg-type]
            if folded is not None:
                self.literal(result, folded, s)
                return
        same = self.identity(op, args, numbers, result.dtype)
        if same is not None:
            self.replaced[result.name] = same
            return
        names = [a.name for a in args]
        if op in _COMMUTE and names[0] > names[1]:
            names.reverse()
        self.reuse((op, result.dtype, *names), s if args == s.args else Op(result, op, args, s.loc), result)

    def identity(
        self, op: str, args: tuple[Value, ...], numbers: list[Number | None], to: DType
    ) -> Value | None:
        """The operand that an operation gives back unchanged."""
        a = args[0]
        if op == "cast" or op == "bitcast.raw":
            return a if a.dtype is to else None
        if len(args) != 2 or a.dtype.is_float:
            return None
        b = args[1]
        first, second = numbers
        if a.dtype is bool_:
            if op in ("and", "or"):
                if a.name == b.name:
                    return a
                if first is not None:
                    return b if bool(first) == (op == "and") else a
                if second is not None:
                    return a if bool(second) == (op == "and") else b
            return None
        if second == 0 and op in ("add", "add.raw", "sub", "or", "xor", "shl.raw", "shr.raw"):
            return a
        if second == 1 and op in ("mul", "mul.raw", "quot.raw"):
            return a
        if first == 0 and op in ("add", "add.raw", "or", "xor"):
            return b
        if first == 1 and op in ("mul", "mul.raw"):
            return b
        if (second == 0 and op in ("mul", "mul.raw", "and")) or (op in ("and", "or") and a.name == b.name):
            return b
        if first == 0 and op in ("mul", "mul.raw", "and"):
            return a
        return None

    def on_call(self, s: Call) -> None:
        args = self.vs(s.args)
        # functions take and give scalars only: they are pure
        self.reuse(
            ("call", s.function, *(a.name for a in args)), Call(s.result, s.function, args, s.loc), s.result
        )

    def on_extent(self, s: Extent) -> None:
        self.reuse(("extent", s.memory.name, s.axis, s.result.dtype), s, s.result)

    def on_thread_index(self, s: ThreadIndex) -> None:
        self.reuse((s.kind, s.axis, s.result.dtype), s, s.result)

    def on_load(self, s: Load) -> None:
        indices = self.vs(s.indices)
        load = s if indices == s.indices else Load(s.result, s.memory, indices, s.loc)
        if s.memory.space == "const":
            self.reuse(("load", s.memory.name, *(i.name for i in indices)), load, s.result)
        else:
            self.out.append(load)

    # --- variables
    def on_get_var(self, s: GetVar) -> None:
        held = self.held.get(s.var.name)
        if held is not None:
            self.replaced[s.result.name] = held
            return
        self.held[s.var.name] = s.result
        self.out.append(s)

    def on_set_var(self, s: SetVar) -> None:
        name = s.var.name
        assignment = SetVar(s.var, self.v(s.value), s.loc)
        self.held[name] = assignment.value
        earlier = self.unread.get(name)
        if earlier is not None:
            self.overwritten.add(id(earlier))
        self.unread[name] = assignment
        self.out.append(assignment)

    # --- control flow
    def on_other(self, s: Stmt) -> None:
        # dead code elimination tells statements apart by identity: each place gets its own
        self.out.append(type(s)(loc=s.loc))  # type: ignore[call-arg]

    def on_return(self, s: Return) -> None:
        self.out.append(Return(None if s.value is None else self.v(s.value), s.loc))

    def on_init_local(self, s: InitLocal) -> None:
        self.out.append(InitLocal(s.memory, s.loc))

    def on_if(self, s: If) -> None:
        condition = self.v(s.condition)
        known = self.constants.get(condition.name)
        if known is not None:
            self.emit_block(s.then if known else s.orelse)
            return
        held = self.held
        self.held = dict(held)
        self.constants[condition.name] = True
        then = self.block(s.then)
        self.held = dict(held)
        self.constants[condition.name] = False
        orelse = self.block(s.orelse)
        del self.constants[condition.name]
        self.held = self._without(held, s)
        if then or orelse:
            self.out.append(If(condition, then, orelse, s.loc))

    def _without(self, held: dict[str, Value], s: Stmt) -> dict[str, Value]:
        assigned = self.assigned(s)
        return {name: v for name, v in held.items() if name not in assigned} if assigned else held

    def on_for(self, s: For) -> None:
        start, stop, step = self.v(s.start), self.v(s.stop), self.v(s.step)
        first, last, stride = (self.constants.get(v.name) for v in (start, stop, step))
        if stride == 0 or (
            stride is not None and first is not None and last is not None
            and (first >= last if stride > 0 else first <= last)
        ):  # fmt: skip
            return
        after = self._without(self.held, s)
        self.held = dict(after)
        body = self.block(s.body)
        self.held = after
        self.out.append(For(s.variable, start, stop, step, body, s.loc))

    def on_while(self, s: While) -> None:
        after = self._without(self.held, s)
        self.held = dict(after)
        outer, self.out = self.out, []
        outer_scope, self.scope = self.scope, []
        self.unread = {}
        self.emit_block(s.header)
        header, self.out = tuple(self.out), outer
        condition = self.v(s.condition)
        # the body sees what the header computed
        body = self.block(s.body)
        for key in self.scope:
            del self.known[key]
        self.scope = outer_scope
        self.held = after
        self.out.append(While(header, condition, body, s.loc))
