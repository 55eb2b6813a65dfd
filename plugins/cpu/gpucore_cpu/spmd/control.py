"""Statements and structured control flow: branches where a gang agrees, masks where it does not."""

from __future__ import annotations

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.emitter import Emitter, LoopScope
from gpucore_cpu.spmd.memory import emit_atomic, emit_cas, emit_init, emit_load, emit_store
from gpucore_cpu.spmd.ops import emit_op
from gpucore_cpu.spmd.subgroups import emit_subgroup
from gpucore_cpu.spmd.types import literal, scalar_type

__all__ = ["Lowerer", "before_stop", "constant_value", "steps_on"]

FLATTEN_LIMIT = 12
"""A divergent branch of at most that many pure statements is computed in all lanes, without a jump."""


class Lowerer(Emitter):
    """An emitter that knows every statement of the low-level IR save barriers."""

    used: frozenset[str] = frozenset()
    """Names of values that some statement reads."""
    result: tuple[str, str] | None = None
    """Address and LLVM type of a device function's result."""

    # -- blocks
    def block(self, block: ir.Block) -> None:
        """Emit statements in order; when no lane is left, jump over the rest."""
        for number, statement in enumerate(block):
            before = self.mask
            self.statement(statement)
            if self.terminated or isinstance(statement, (ir.Break, ir.Continue, ir.Return)):
                return
            if self.ends_lanes(statement):
                self.refresh(before)
                rest = block[number + 1 :]
                if not rest or self.mask is None:
                    continue
                going, done = self.label("going"), self.label("done")
                self.branch_if(self.any_lane(self.mask), going, done)
                self.place(going)
                self.block(rest)
                self.place(done)
                return

    def nested(self, block: ir.Block, mask: str | None) -> None:
        """Emit a block in a scope of its own under a mask, and restore the mask."""
        before = self.mask
        self.mask = mask
        with self.scope():
            self.block(block)
        self.mask = before

    def ends_lanes(self, statement: ir.Stmt) -> bool:
        """Whether some lanes may end, or leave the loop around, inside the statement."""
        if isinstance(statement, (ir.Break, ir.Continue, ir.Return)):
            return id(statement) in self.analysis.masked
        if isinstance(statement, ir.If):
            return any(map(self.ends_lanes, (*statement.then, *statement.orelse)))
        if isinstance(statement, (ir.For, ir.While)):
            return self.analysis.loops[id(statement)].masked_return
        return False

    def refresh(self, before: str | None) -> None:
        """The mask after a statement in which lanes may have ended."""
        slot = self.live
        for loop in self.loops:
            slot = loop.cont or loop.live or slot
        if slot is not None:
            self.mask = self.mask_and(before, self.load(self.mask_type, slot))

    def end_lanes(self, statement: ir.Stmt) -> None:
        """Take the active lanes out of the masks that a Break, Continue or Return ends."""
        slots: list[str | None] = []
        if isinstance(statement, ir.Return):
            slots.append(self.live)
            for loop in self.loops:
                slots += [loop.live, loop.cont]
        elif isinstance(statement, ir.Break):
            slots += [self.loops[-1].live, self.loops[-1].cont]
        else:
            slots.append(self.loops[-1].cont)
        for slot in slots:
            if slot is not None:
                old = self.load(self.mask_type, slot)
                self.store(self.mask_type, self.mask_and_not(old, self.mask_operand()), slot)

    # -- statements
    def statement(self, statement: ir.Stmt) -> None:
        """Emit one statement."""
        match statement:
            case ir.Const(result=result, value=value):
                self.define(result, literal(result.dtype, value))
            case ir.Op(result=result):
                self.define(result, emit_op(self, statement))
            case ir.GetVar(result=result, var=var):
                self.define(result, self.get(result, var))
            case ir.SetVar():
                self.set(statement)
            case ir.Load(result=result):
                self.define(result, emit_load(self, statement))
            case ir.Store():
                emit_store(self, statement)
            case ir.If():
                self.branching(statement)
            case ir.For():
                self.counted(statement)
            case ir.While():
                self.repeated(statement)
            case ir.Call(result=result):
                self.define(result, self.call(statement))
            case ir.ThreadIndex(result=result):
                self.define(result, self.thread_index(statement))
            case ir.Extent(result=result):
                self.define(result, self.extent(statement))
            case ir.Subgroup(result=result):
                self.define(result, emit_subgroup(self, statement))
            case ir.Atomic(result=result):
                self.define(result, emit_atomic(self, statement, result.name in self.used))
            case ir.AtomicCas(result=result):
                self.define(result, emit_cas(self, statement, result.name in self.used))
            case ir.InitLocal():
                emit_init(self, statement)
            case ir.Break() | ir.Continue() | ir.Return():
                self.leave(statement)
            case ir.Fence():
                self.line("fence seq_cst")
            case ir.Barrier() | ir.Assert():
                pass  # barriers split regions before code is emitted; asserts do not reach this level

    def thread_index(self, statement: ir.ThreadIndex) -> str:
        """A thread coordinate; only kernels have them."""
        raise NotImplementedError("a device function asks for a thread coordinate")

    def extent(self, statement: ir.Extent) -> str:
        """An array extent; only kernels have arrays."""
        raise NotImplementedError("a device function asks for an extent")

    def call(self, statement: ir.Call) -> str:
        """A call of a device function."""
        from gpucore_cpu.spmd.functions import emit_call

        return emit_call(self, statement)

    # -- variables
    def variable(self, var: ir.Var) -> tuple[str, str]:
        """Address and LLVM type of a variable's slot."""
        kind = scalar_type(var.dtype)
        if self.analysis.variables[var.name] == Shape.VARYING:
            kind = self.vec(kind)
        address = self.variables.get(var.name)
        if address is None:
            address = self.variables[var.name] = self.alloca(kind, "var")
        return address, kind

    def get(self, result: ir.Value, var: ir.Var) -> str:
        """Read a variable in the form that its reader expects."""
        address, kind = self.variable(var)
        loaded = self.load(kind, address)
        shape, stored = self.shape(result), self.analysis.variables[var.name]
        if shape == Shape.VARYING and stored != Shape.VARYING:
            scalar = scalar_type(var.dtype)
            loaded = self.splat(scalar, loaded)
            if stored == Shape.AFFINE:
                loaded = self.tmp(f"add {self.vec(scalar)} {loaded}, {self.iota(scalar)}")
        return loaded

    def set(self, statement: ir.SetVar) -> None:
        """Write a variable, in the active lanes only where others may still read it."""
        address, kind = self.variable(statement.var)
        varying = self.analysis.variables[statement.var.name] == Shape.VARYING
        value = self.operand(statement.value, varying)
        if varying and self.mask is not None and id(statement) in self.analysis.divergent_sets:
            old = self.load(kind, address)
            value = self.tmp(f"select {self.mask_type} {self.mask}, {kind} {value}, {kind} {old}")
        self.store(kind, value, address)

    # -- leaving
    def leave(self, statement: ir.Break | ir.Continue | ir.Return) -> None:
        """Break, Continue or Return: a jump where all lanes go, else their bits are cleared."""
        masked = id(statement) in self.analysis.masked
        if isinstance(statement, ir.Return) and statement.value is not None and self.result is not None:
            address, kind = self.result
            value = self.operand(statement.value, kind.startswith("<"))
            if self.analysis.returns and self.mask is not None:
                # lanes that returned before keep what they gave
                old = self.load(kind, address)
                value = self.tmp(f"select {self.mask_type} {self.mask}, {kind} {value}, {kind} {old}")
            self.store(kind, value, address)
        if masked:
            self.end_lanes(statement)
        elif isinstance(statement, ir.Return):
            if self.live is not None:
                self.end_lanes(statement)
            self.branch(self.exit_label)
        elif isinstance(statement, ir.Break):
            self.branch(self.loops[-1].break_label)
        else:
            self.branch(self.loops[-1].continue_label)

    # -- branches
    def branching(self, statement: ir.If) -> None:
        """An If: a jump on a uniform condition, masks on a varying one."""
        before = self.mask
        join = self.label("join")
        orelse = self.label("else") if statement.orelse else join
        then = self.label("then")
        if self.shape(statement.condition) <= Shape.GANG:
            self.branch_if(self.scalar(statement.condition), then, orelse)
            self.place(then)
            self.nested(statement.then, before)
            self.branch(join)
            if statement.orelse:
                self.place(orelse)
                self.nested(statement.orelse, before)
            self.place(join)
            return
        condition = self.vector(statement.condition)
        taken = self.mask_and(before, condition)
        if self._flattens(statement):
            self.nested(statement.then, taken)
            if statement.orelse:
                self.nested(statement.orelse, self.mask_and_not(before, condition))
            return
        if statement.then:
            self.branch_if(self.any_lane(taken), then, orelse)
            self.place(then)
            self.nested(statement.then, taken)
            self.branch(orelse)
        if statement.orelse:
            self.place(orelse)
            otherwise = self.label("otherwise")
            remaining = self.mask_and_not(before, condition)
            self.branch_if(self.any_lane(remaining), otherwise, join)
            self.place(otherwise)
            self.nested(statement.orelse, remaining)
        self.place(join)

    def _flattens(self, statement: ir.If) -> bool:
        count = 0
        for inner in (*statement.then, *statement.orelse):
            if not isinstance(inner, (ir.Const, ir.Op, ir.GetVar, ir.SetVar)):
                return False
            if isinstance(inner, ir.Op) and inner.op in ("quot.raw", "rem.raw"):
                return False
            count += not isinstance(inner, ir.Const)
        return count <= FLATTEN_LIMIT

    # -- loops
    def counted(self, loop: ir.For) -> None:
        """``for variable in range(start, stop, step)``; counts without overflow."""
        info = self.analysis.loops[id(loop)]
        shape = self.shape(loop.variable)
        varying = info.varying_exit
        scalar = scalar_type(loop.variable.dtype)
        kind = self.vec(scalar) if shape == Shape.VARYING else scalar
        counter = self.alloca(kind, "counter")
        self.store(kind, self.operand(loop.start, shape == Shape.VARYING), counter)
        before = self.mask
        scope = LoopScope(self.label("break"), self.label("continue"))
        body = self.label("loop")

        # bounds in the form of the comparison; the vectors are made here, where they dominate the loop
        test = self.vec(scalar) if varying else scalar
        stop, step = self.operand(loop.stop, varying), self.operand(loop.step, varying)
        sign = constant_value(self, loop.step)

        def current(value: str) -> str:
            if not varying or shape == Shape.VARYING:
                return value
            vector = self.splat(scalar, value)
            return self.tmp(f"add {test} {vector}, {self.iota(scalar)}") if shape == Shape.AFFINE else vector

        entered = before_stop(
            self, test, varying, current(self.operand(loop.start, shape == Shape.VARYING)), stop, step, sign
        )
        if info.needs_mask:
            scope.live = self.alloca(self.mask_type, "live")
            live = self.mask_and(before, entered) if varying else self.mask_operand()
            self.store(self.mask_type, live, scope.live)
            if varying:
                entered = self.any_lane(live)
        self.branch_if(entered, body, scope.break_label)

        self.place(body)
        mask = self.load(self.mask_type, scope.live) if scope.live is not None else before
        self._iteration(loop.body, scope, info.masked_continue, mask, loop.variable, self.load(kind, counter))

        self.place(scope.continue_label)
        with self.scope():
            value = self.load(kind, counter)
            going = steps_on(self, test, varying, current(value), stop, step, sign)
            self.store(
                kind,
                self.tmp(f"add {kind} {value}, {self.operand(loop.step, shape == Shape.VARYING)}"),
                counter,
            )
            if scope.live is not None:
                live = self.load(self.mask_type, scope.live)
                if varying:
                    live = self.mask_and(live, going)
                    self.store(self.mask_type, live, scope.live)
                    going = self.any_lane(live)
                else:
                    going = self.tmp(f"and i1 {going}, {self.any_lane(live)}")
            self.branch_if(going, body, scope.break_label)
        self.place(scope.break_label)
        self.mask = before

    def repeated(self, loop: ir.While) -> None:
        """A While loop; a varying condition takes lanes out until none is left."""
        info = self.analysis.loops[id(loop)]
        before = self.mask
        scope = LoopScope(self.label("break"), self.label("continue"))
        head, body = self.label("head"), self.label("loop")
        if info.needs_mask:
            scope.live = self.alloca(self.mask_type, "live")
            self.store(self.mask_type, self.mask_operand(), scope.live)
        self.place(head)
        with self.scope():
            mask = self.load(self.mask_type, scope.live) if scope.live is not None else before
            self.mask = mask
            self.block(loop.header)
            if self.shape(loop.condition) <= Shape.GANG:
                self.branch_if(self.scalar(loop.condition), body, scope.break_label)
            else:
                assert scope.live is not None
                mask = self.mask_and(mask, self.vector(loop.condition))
                self.store(self.mask_type, mask, scope.live)
                self.branch_if(self.any_lane(mask), body, scope.break_label)
            self.place(body)
            self._iteration(loop.body, scope, info.masked_continue, mask, None, "")
        self.place(scope.continue_label)
        if scope.live is not None and (info.masked_break or info.masked_return):
            live = self.load(self.mask_type, scope.live)
            self.branch_if(self.any_lane(live), head, scope.break_label)
        else:
            self.branch(head)
        self.place(scope.break_label)
        self.mask = before

    def _iteration(
        self,
        block: ir.Block,
        scope: LoopScope,
        continues: bool,
        mask: str | None,
        variable: ir.Value | None,
        value: str,
    ) -> None:
        if continues:
            scope.cont = self.alloca(self.mask_type, "iteration")
            self.store(self.mask_type, mask if mask is not None else self.all_ones, scope.cont)
        self.loops.append(scope)
        with self.scope():
            if variable is not None:
                self.define(variable, value)
            self.nested(block, mask)
        self.loops.pop()


def constant_value(e: Emitter, value: ir.Value) -> int | None:
    """The number that a value always is, where it is a literal."""
    defined = e.analysis.definitions.get(value.name)
    return int(defined.value) if isinstance(defined, ir.Const) else None


def _boolean(e: Emitter, vector: bool) -> str:
    return e.mask_type if vector else "i1"


def before_stop(
    e: Emitter, kind: str, vector: bool, value: str, stop: str, step: str, sign: int | None
) -> str:
    """Whether an iteration with this value runs."""
    boolean = _boolean(e, vector)
    if sign is not None:
        if sign == 0:
            return "zeroinitializer" if vector else "false"
        return e.tmp(f"icmp {'slt' if sign > 0 else 'sgt'} {kind} {value}, {stop}")
    up, down = (
        e.tmp(f"icmp sgt {kind} {step}, zeroinitializer"),
        e.tmp(f"icmp slt {kind} {step}, zeroinitializer"),
    )
    below, above = e.tmp(f"icmp slt {kind} {value}, {stop}"), e.tmp(f"icmp sgt {kind} {value}, {stop}")
    return e.tmp(
        f"or {boolean} {e.tmp(f'and {boolean} {up}, {below}')}, {e.tmp(f'and {boolean} {down}, {above}')}"
    )


def steps_on(e: Emitter, kind: str, vector: bool, value: str, stop: str, step: str, sign: int | None) -> str:
    """Whether another iteration follows this one: the distance left, as unsigned, exceeds the step."""
    if sign is not None:
        if sign in (1, -1):
            following = e.tmp(f"add {kind} {value}, {step}")
            return e.tmp(f"icmp {'slt' if sign > 0 else 'sgt'} {kind} {following}, {stop}")
        a, b = (stop, value) if sign > 0 else (value, stop)
        left = e.tmp(f"sub {kind} {a}, {b}")
        size = step if sign > 0 else e.tmp(f"sub {kind} zeroinitializer, {step}")
        return e.tmp(f"icmp ugt {kind} {left}, {size}")
    boolean = _boolean(e, vector)
    up = e.tmp(f"icmp sgt {kind} {step}, zeroinitializer")
    ascending, descending = e.tmp(f"sub {kind} {stop}, {value}"), e.tmp(f"sub {kind} {value}, {stop}")
    left = e.tmp(f"select {boolean} {up}, {kind} {ascending}, {kind} {descending}")
    size = e.tmp(
        f"select {boolean} {up}, {kind} {step}, {kind} {e.tmp(f'sub {kind} zeroinitializer, {step}')}"
    )
    return e.tmp(f"icmp ugt {kind} {left}, {size}")
