"""Dead code: what no store, atomic, barrier or return depends on is left out."""

from __future__ import annotations

from gpucore.ir.nodes import (
    Atomic,
    AtomicCas,
    Barrier,
    Block,
    Break,
    Continue,
    Fence,
    For,
    Function,
    GetVar,
    If,
    InitLocal,
    Return,
    SetVar,
    Stmt,
    Store,
    TileProduct,
    Value,
    Var,
    While,
    memories_of,
    operands_of,
)  # fmt: skip

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
