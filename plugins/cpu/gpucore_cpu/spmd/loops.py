"""Loops: counted ones, which count without overflow, and those that a condition ends."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.exits import Exits, LoopExits
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements
from gpucore_cpu.spmd.types import ALL_ONES, scalar_type
from gpucore_cpu.spmd.writer import Writer

__all__ = ["Counting", "Loops"]


@dataclass(frozen=True, slots=True)
class Counting:
    """The tests of a counted loop.

    Attributes
    ----------
    kind, boolean : str
        The LLVM types of the counter and of a test's result, vectors both or none.
    sign : int | None
        The step where it is a literal.
    """

    writer: Writer
    kind: str
    boolean: str
    stop: str
    step: str
    sign: int | None

    def before_stop(self, value: str) -> str:
        """Whether an iteration with this value runs."""
        tmp, kind, stop = self.writer.tmp, self.kind, self.stop
        if self.sign is not None:
            if self.sign == 0:
                return "false" if self.boolean == "i1" else "zeroinitializer"
            return tmp(f"icmp {'slt' if self.sign > 0 else 'sgt'} {kind} {value}, {stop}")
        up = tmp(f"icmp sgt {kind} {self.step}, zeroinitializer")
        down = tmp(f"icmp slt {kind} {self.step}, zeroinitializer")
        below, above = tmp(f"icmp slt {kind} {value}, {stop}"), tmp(f"icmp sgt {kind} {value}, {stop}")
        rising = tmp(f"and {self.boolean} {up}, {below}")
        falling = tmp(f"and {self.boolean} {down}, {above}")
        return tmp(f"or {self.boolean} {rising}, {falling}")

    def steps_on(self, value: str) -> str:
        """Whether another iteration follows this one: the distance left, as unsigned, exceeds the step."""
        tmp, kind, stop, step, sign = self.writer.tmp, self.kind, self.stop, self.step, self.sign
        if sign is not None:
            if sign in (1, -1):
                following = tmp(f"add {kind} {value}, {step}")
                return tmp(f"icmp {'slt' if sign > 0 else 'sgt'} {kind} {following}, {stop}")
            a, b = (stop, value) if sign > 0 else (value, stop)
            left = tmp(f"sub {kind} {a}, {b}")
            size = step if sign > 0 else tmp(f"sub {kind} zeroinitializer, {step}")
            return tmp(f"icmp ugt {kind} {left}, {size}")
        up = tmp(f"icmp sgt {kind} {step}, zeroinitializer")
        rising, falling = tmp(f"sub {kind} {stop}, {value}"), tmp(f"sub {kind} {value}, {stop}")
        left = tmp(f"select {self.boolean} {up}, {kind} {rising}, {kind} {falling}")
        opposite = tmp(f"sub {kind} zeroinitializer, {step}")
        size = tmp(f"select {self.boolean} {up}, {kind} {step}, {kind} {opposite}")
        return tmp(f"icmp ugt {kind} {left}, {size}")


@dataclass(frozen=True, slots=True)
class Loops:
    """Writes For and While statements."""

    state: FunctionState
    exits: Exits
    statements: Statements

    def emit_for(self, loop: ir.For) -> None:
        """``for variable in range(start, stop, step)``; counts without overflow."""
        writer, types, values, masks = (
            self.state.writer, self.state.types, self.state.values, self.state.masks,
        )  # fmt: skip
        info = self.state.analysis.loops[id(loop)]
        shape = values.shape(loop.variable)
        vector, varying = shape == Shape.VARYING, info.varying_exit
        scalar = scalar_type(loop.variable.dtype)
        kind = types.vec(scalar) if vector else scalar
        counter = writer.alloca(kind, "counter")
        writer.store(kind, values.operand(loop.start, vector), counter)
        before = masks.current
        scope = LoopExits(writer.label("break"), writer.label("continue"))
        body = writer.label("loop")

        # bounds in the form of the comparison; the vectors are made here, where they dominate the loop
        test = types.vec(scalar) if varying else scalar
        stop, step = values.operand(loop.stop, varying), values.operand(loop.step, varying)
        counting = Counting(writer, test, types.boolean(varying), stop, step, values.constant(loop.step))

        def current(value: str) -> str:
            if not varying or vector:
                return value
            spread = values.splat(scalar, value)
            return values.per_lane(scalar, spread) if shape == Shape.AFFINE else spread

        entered = counting.before_stop(current(values.operand(loop.start, vector)))
        if info.needs_mask:
            scope.live = writer.alloca(types.mask, "live")
            live = masks.both(before, entered) if varying else masks.operand()
            writer.store(types.mask, live, scope.live)
            if varying:
                entered = masks.any_lane(live)
        writer.branch_if(entered, body, scope.break_label)

        writer.begin(body)
        mask = writer.load(types.mask, scope.live) if scope.live is not None else before
        number = writer.load(kind, counter)
        self._begin_iteration(scope, info.masked_continue, mask)
        with values.scope():
            values.define(loop.variable, number)
            self.statements.nested(loop.body, mask)
        self.exits.loops.pop()

        writer.begin(scope.continue_label)
        with values.scope():
            value = writer.load(kind, counter)
            going = counting.steps_on(current(value))
            following = writer.tmp(f"add {kind} {value}, {values.operand(loop.step, vector)}")
            writer.store(kind, following, counter)
            if scope.live is not None:
                live = writer.load(types.mask, scope.live)
                if varying:
                    live = masks.both(live, going)
                    writer.store(types.mask, live, scope.live)
                    going = masks.any_lane(live)
                else:
                    going = writer.tmp(f"and i1 {going}, {masks.any_lane(live)}")
            writer.branch_if(going, body, scope.break_label)
        writer.begin(scope.break_label)
        masks.current = before

    def emit_while(self, loop: ir.While) -> None:
        """A While loop; a varying condition takes lanes out until none is left."""
        writer, types, values, masks = (
            self.state.writer, self.state.types, self.state.values, self.state.masks,
        )  # fmt: skip
        info = self.state.analysis.loops[id(loop)]
        before = masks.current
        scope = LoopExits(writer.label("break"), writer.label("continue"))
        head, body = writer.label("head"), writer.label("loop")
        if info.needs_mask:
            scope.live = writer.alloca(types.mask, "live")
            writer.store(types.mask, masks.operand(), scope.live)
        writer.begin(head)
        with values.scope():
            mask = writer.load(types.mask, scope.live) if scope.live is not None else before
            masks.current = mask
            self.statements.block(loop.header)
            if values.shape(loop.condition) <= Shape.GANG:
                writer.branch_if(values.scalar(loop.condition), body, scope.break_label)
            else:
                assert scope.live is not None
                mask = masks.both(mask, values.vector(loop.condition))
                writer.store(types.mask, mask, scope.live)
                writer.branch_if(masks.any_lane(mask), body, scope.break_label)
            writer.begin(body)
            self._begin_iteration(scope, info.masked_continue, mask)
            with values.scope():
                self.statements.nested(loop.body, mask)
            self.exits.loops.pop()
        writer.begin(scope.continue_label)
        if scope.live is not None and (info.masked_break or info.masked_return):
            live = writer.load(types.mask, scope.live)
            writer.branch_if(masks.any_lane(live), head, scope.break_label)
        else:
            writer.branch(head)
        writer.begin(scope.break_label)
        masks.current = before

    def _begin_iteration(self, scope: LoopExits, continues: bool, mask: str | None) -> None:
        """Enter the loop, whose lanes ``continue`` may end for this iteration alone."""
        if continues:
            writer, kind = self.state.writer, self.state.types.mask
            scope.cont = writer.alloca(kind, "iteration")
            writer.store(kind, mask if mask is not None else ALL_ONES, scope.cont)
        self.exits.loops.append(scope)
