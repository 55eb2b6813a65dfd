"""Checked mode: bounds, integer division by zero and asserts, reported by records of :mod:`gpucore.ir.passes.sites`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from gpucore.ir.dtypes import DType, bool_, index, u32, u64
from gpucore.ir.nodes import (
    Assert,
    Atomic,
    AtomicCas,
    Barrier,
    Block,
    Break,
    For,
    Function,
    If,
    Load,
    Loc,
    Memory,
    Module,
    Op,
    SetVar,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    Var,
    While,
    walk,
)  # fmt: skip
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.passes.checked_loops import (
    OUTSIDE,
    Counted,
    Trial,
    affine_accesses,
    counted,
    ends_inside,
    is_bounded,
    is_short,
    renamed,
    trial_of,
)  # fmt: skip
from gpucore.ir.passes.emit import Names, Rewriter, names_of
from gpucore.ir.passes.sites import ANY_LOOP, ERROR_ARRAY, EXTENT, INDEX, RECORD_WORDS, THREAD, Site, decode

if TYPE_CHECKING:
    from gpucore.ir.bounds.analysis import Bounds

Check: TypeAlias = Literal[False, True, "device", "all", "known"]
"""What a kernel checks.

False
    Nothing.
``"device"``
    Accesses that data alone decides: the host found that all others stay inside.
``"all"``
    Every access that is not proven to stay inside.
``"known"``
    Asserts, divisions, and accesses as with ``"device"``.
True
    Asserts, divisions, and accesses as with ``"all"``.
"""


def checks(
    module: Module,
    *,
    check: Check,
    bounds: Bounds | None = None,
    repeats: bool = True,
    speculates: bool = False,
) -> tuple[Module, tuple[Site, ...]]:
    """Guard accesses of the kernel and report what fails.

    Without ``check`` only the asserts are dropped.  A load that is not done gives 0.  From the first access that is not done, the
    thread's loops end at their next test, those left out in which the threads of a block or a subgroup meet.

    Parameters
    ----------
    bounds : Bounds, optional
        Of this very module; without it every access is guarded.
    repeats : bool
        Whether loops may be tried and run again; not on devices that count a thread's iterations.
    speculates : bool
        As in :class:`gpucore.hookspecs.Target`: what it says of the loads of loops that are tried.
    """
    if not check:
        return _drop_asserts(module), ()
    kernel = module.kernel
    rewriter = _Checks(Names(names_of(kernel)), module, check, bounds, repeats, speculates)
    body = rewriter.block(kernel.body)
    if rewriter.failed is not None:
        body = tuple(rewriter.prologue) + body
    checked = Function(
        kernel.name,
        (*kernel.params, ERROR_ARRAY),
        kernel.result,
        (*kernel.variables, *rewriter.new_variables),
        kernel.memories,
        body,
    )
    functions = tuple(map(_without_asserts, module.functions))
    return _with(module, checked, functions), tuple(rewriter.sites)


def _with(module: Module, kernel: Function, functions: tuple[Function, ...]) -> Module:
    return Module(kernel, functions, module.ndim, module.math, module.subgroup, module.noalias)


def _has_asserts(function: Function) -> bool:
    return any(type(s) is Assert for s in walk(function.body))


class _DropAsserts(Rewriter):
    def on_assert(self, s: Assert) -> None:
        """Nothing."""


def _without_asserts(function: Function) -> Function:
    if not _has_asserts(function):
        return function
    body = _DropAsserts(Names(set())).block(function.body)
    return Function(
        function.name, function.params, function.result, function.variables, function.memories, body
    )


def _drop_asserts(module: Module) -> Module:
    kernel = _without_asserts(module.kernel)
    functions = tuple(map(_without_asserts, module.functions))
    if kernel is module.kernel and all(a is b for a, b in zip(functions, module.functions, strict=True)):
        return module
    return _with(module, kernel, functions)


_ACCESSES = (Load, Store, Atomic, AtomicCas)


class _Checks(Rewriter):
    def __init__(
        self,
        names: Names,
        module: Module,
        check: Check,
        bounds: Bounds | None,
        repeats: bool,
        speculates: bool,
    ) -> None:
        super().__init__(names)
        self.ndim = module.ndim
        self.others = check is True or check == "known"  # asserts and divisions
        self.tries = repeats and not self.others
        self.speculates = speculates
        self.sites: list[Site] = []
        self.from_u64: set[str] = set()
        # by an index in a slice: the number in it, its extent
        self.slices: dict[str, tuple[Value, Value]] = {}
        self.unsigned: tuple[bool, ...] = ()
        self.guarded = _guarded(module, check, bounds)
        self.failed: Var | None = None  # whether the thread left an array before
        self.prologue: list[Stmt] = []
        self.reached = False  # whether a guarded access may have come before
        self.body = module.kernel.body
        self.assigned: set[str] = set()  # variables that were set on each way to here
        self.wrong: Var | None = None  # in a loop that is tried: whether a load left its array
        if self.guarded and any(type(s) is For or type(s) is While for s in walk(module.kernel.body)):
            self.failed = self.variable(bool_)
            block = self.capture(lambda: self.set(self._failed(), self.const(False, bool_)))
            self.prologue = list(block)

    def _failed(self) -> Var:
        assert self.failed is not None
        return self.failed

    def block(self, block: Block) -> Block:
        """The block with every statement rebuilt."""
        outer, self.assigned = self.assigned, set(self.assigned)
        done = super().block(block)
        self.assigned = outer
        return done

    def on_set_var(self, s: SetVar) -> None:
        super().on_set_var(s)
        self.assigned.add(s.var.name)

    def on_if(self, s: If) -> None:
        super().on_if(s)
        then, orelse = ({x.var.name for x in block if type(x) is SetVar} for block in (s.then, s.orelse))
        self.assigned |= then & orelse

    # --- reports
    def site(self, kind: Literal["bounds", "division", "assert"], loc: Loc | None, **more: object) -> int:
        file, line = (loc.file, loc.line) if loc is not None else (None, None)
        self.sites.append(Site(kind, file, line, ndim=self.ndim, **more))  # type: ignore[arg-type]
        return len(self.sites)

    def report(self, number: int, indices: tuple[Value, ...] = (), extents: tuple[Value, ...] = ()) -> None:
        """Claim the record and fill it."""
        zero, mine = self.const(0, u32), self.const(number, u32)
        old = self.value(u32)
        self.out.append(AtomicCas(old, ERROR_ARRAY, (self.const(0, index),), zero, mine, None, self.loc))

        def fill() -> None:
            for axis in range(self.ndim):
                ident = self.value(index)
                self.out.append(ThreadIndex(ident, "global_id", axis, self.loc))
                self.write(THREAD + 2 * axis, ident)
            for axis, value in enumerate(indices):
                self.write(INDEX + 2 * axis, value)
            for axis, value in enumerate(extents):
                self.write(EXTENT + 2 * axis, value)

        first = self.op("eq", old, zero)
        self.out.append(If(first, self.capture(fill), (), self.loc))

    def write(self, word: int, value: Value) -> None:
        low = self.cast(value, u32)
        high = self.cast(self.op("shr", value, self.const(32, index)), u32)
        self.store(ERROR_ARRAY, low, self.const(word, index))
        self.store(ERROR_ARRAY, high, self.const(word + 1, index))

    # --- accesses
    def guard(self, memory: Memory, indices: tuple[Value, ...], access: Callable[[], None]) -> None:
        """Do the access where the indices are in bounds, else report."""
        self.reached = True
        extents = tuple(self.extent(memory, axis) for axis in range(memory.rank))
        sliced = any(value.name in self.slices for value in indices)
        told = [self.slices.get(value.name, (value, n)) for value, n in zip(indices, extents, strict=True)]
        indices, extents = tuple(i for i, _ in told), tuple(n for _, n in told)
        inside = self.inside(indices, extents)
        number = self.site(
            "bounds", self.loc, array=memory.name, rank=memory.rank, unsigned=self.unsigned, sliced=sliced
        )

        def fail() -> None:
            if self.failed is not None:
                self.set(self.failed, self.const(True, bool_))
            self.report(number, indices, extents)

        then = self.capture(access)
        orelse = self.capture(fail)
        self.out.append(If(inside, then, orelse, self.loc))

    def inside(self, indices: tuple[Value, ...], extents: tuple[Value, ...]) -> Value:
        """Whether each index is below its extent and not below 0."""
        zero = self.const(0, index)
        tests = [
            t
            for i, n in zip(indices, extents, strict=True)
            for t in (self.op("ge", i, zero), self.op("lt", i, n))
        ]
        return functools.reduce(functools.partial(self.op, "and"), tests)

    def as_index(self, indices: tuple[Value, ...]) -> tuple[Value, ...]:
        self.unsigned = tuple(i.dtype is u64 or i.name in self.from_u64 for i in indices)
        return tuple(self.cast(self.v(i), index) for i in indices)

    def guarded_result(
        self, s: Load | Atomic | AtomicCas, indices: tuple[Value, ...], access: Callable[[], Value]
    ) -> None:
        """The same for an access with a result, which is 0 where the access is skipped."""
        result, memory = s.result, s.memory
        if id(s) not in self.guarded:
            self.replaced[result.name] = access()
            return
        var = self.variable(result.dtype)
        self.set(var, self.const(_zero(result.dtype), result.dtype))
        self.guard(memory, indices, lambda: self.set(var, access()))
        self.replaced[result.name] = self.get(var)

    def on_load(self, s: Load) -> None:
        indices = self.as_index(s.indices)
        if self.wrong is not None and id(s) in self.guarded:
            self.try_load(s, indices, self.wrong)
        else:
            self.guarded_result(s, indices, lambda: self.load(s.memory, *indices))

    def try_load(self, s: Load, indices: tuple[Value, ...], wrong: Var) -> None:
        """The load in a loop that is tried."""
        inside = self.inside(indices, tuple(self.extent(s.memory, axis) for axis in range(s.memory.rank)))
        if self.speculates:
            var = self.variable(s.result.dtype)
            self.set(var, self.const(_zero(s.result.dtype), s.result.dtype))
            then = self.capture(lambda: self.set(var, self.load(s.memory, *indices)))
            orelse = self.capture(lambda: self.set(wrong, self.const(True, bool_)))
            self.out.append(If(inside, then, orelse, self.loc))
            self.replaced[s.result.name] = self.get(var)
            return
        zero = self.const(0, index)
        self.replaced[s.result.name] = self.load(
            s.memory, *(self.op("select", inside, i, zero) for i in indices)
        )
        self.set(wrong, self.op("or", self.get(wrong), self.op("not", inside)))

    def on_store(self, s: Store) -> None:
        indices, value = self.as_index(s.indices), self.v(s.value)
        if id(s) not in self.guarded:
            self.store(s.memory, value, *indices)
        else:
            self.guard(s.memory, indices, lambda: self.store(s.memory, value, *indices))

    def on_atomic(self, s: Atomic) -> None:
        indices, value = self.as_index(s.indices), self.v(s.value)

        def access() -> Value:
            result = self.value(s.result.dtype)
            self.out.append(Atomic(result, s.op, s.memory, indices, value, s.bits, s.loc))
            return result

        self.guarded_result(s, indices, access)

    def on_atomic_cas(self, s: AtomicCas) -> None:
        indices, expected, desired = self.as_index(s.indices), self.v(s.expected), self.v(s.desired)

        def access() -> Value:
            result = self.value(s.result.dtype)
            self.out.append(AtomicCas(result, s.memory, indices, expected, desired, s.bits, s.loc))
            return result

        self.guarded_result(s, indices, access)

    # --- division and asserts
    def on_op(self, s: Op) -> None:
        if self.others and s.op in ("floordiv", "mod") and s.args[1].dtype.is_integer:
            divisor = self.v(s.args[1])
            if not self.constants.get(divisor.name):
                name = "division" if s.op == "floordiv" else "remainder"
                number = self.site("division", s.loc, message=name)
                zero = self.op("eq", divisor, self.const(0, divisor.dtype))
                self.out.append(If(zero, self.capture(lambda: self.report(number)), (), s.loc))
        if s.op == SLICE_INDEX:
            self.slices[s.result.name] = self.v(s.args[0]), self.v(s.args[2])
        if s.op == "cast" and s.args[0].dtype is u64 and s.result.dtype is index:
            self.from_u64.add(s.result.name)
        super().on_op(s)

    def on_assert(self, s: Assert) -> None:
        if not self.others:
            return
        number = self.site("assert", s.loc, message=s.message)
        orelse = self.capture(lambda: self.report(number))
        self.out.append(If(self.v(s.condition), (), orelse, s.loc))

    # --- loops
    def on_for(self, s: For) -> None:
        if not self._ends(s.body):
            super().on_for(s)
            return
        start, stop, step = self.v(s.start), self.v(s.stop), self.v(s.step)

        def loop() -> None:
            leave = self.capture(self._break_if_failed) if self._has_guarded(s.body) else ()
            self.out.append(For(s.variable, start, stop, step, leave + self.block(s.body), s.loc))

        number = self.constants.get(step.name)
        affine = affine_accesses(s, self.guarded) if number else []
        every = self.guarded
        rest = every - {id(access.statement) for access in affine}
        bounded = is_bounded(s, affine)
        tries = self.tries and number and (bounded or self.speculates)
        trial = trial_of(s, rest, self.body, self.assigned) if tries else None
        if not number or not (affine or trial):
            self._unless_failed(loop, s)
            return

        def loops() -> None:
            inside = ends_inside(self, s, affine, int(number))
            if not bounded and trial is not None:
                inside = self.op("and", inside, is_short(self, start, stop, int(number)))
            checked = renamed(self.names, self.capture(loop))
            self.guarded = rest
            if trial is None:
                self.out.append(If(inside, self.capture(loop), checked, s.loc))
            else:
                plain = functools.partial(self._try, trial, inside, s, (start, stop, step))
                self.out.append(If(self._is_to_do(plain), checked, (), s.loc))
            self.guarded = every

        self._unless_failed(loops, s)

    def _is_to_do(self, attempt: Callable[[Var], None]) -> Value:
        """Make an attempt at something; whether it is still to be done."""
        to_do = Var(self.names.fresh(OUTSIDE), bool_)
        self.new_variables.append(to_do)
        self.set(to_do, self.const(True, bool_))
        attempt(to_do)
        return self.get(to_do)

    def _try(
        self, trial: Trial, inside: Value, s: For, bounds: tuple[Value, Value, Value], wrong: Var
    ) -> None:
        """Run the loop where the ends of its affine indices are inside; in the end ``wrong`` says whether it is to run again."""
        for memory in () if self.speculates else trial.memories:
            for axis in range(memory.rank):
                some = self.op("gt", self.extent(memory, axis), self.const(0, index))
                inside = self.op("and", inside, some)

        def loop() -> None:
            before = [(var, self.get(var)) for var in trial.kept]
            self.set(wrong, self.const(False, bool_))
            self.wrong = wrong
            self.out.append(For(s.variable, *bounds, self.block(s.body), s.loc))
            self.wrong = None

            def undo() -> None:
                for var, value in before:
                    self.set(var, value)

            self.out.append(If(self.get(wrong), self.capture(undo), (), s.loc))

        self.out.append(If(inside, self.capture(loop), (), s.loc))

    def on_while(self, s: While) -> None:
        if not self._ends((*s.header, *s.body)):
            super().on_while(s)
            return
        loop_of = counted(s)
        if loop_of is not None and self._is_worth_counting(loop_of):
            self._count(loop_of, s.loc)
            return

        def loop() -> None:
            header = self.block(s.header)
            condition = self.v(s.condition)
            if self._has_guarded((*s.header, *s.body)):

                def test() -> None:
                    nonlocal condition
                    going = self.op("not", self.get(self._failed()))
                    condition = self.op("and", condition, going)

                header += self.capture(test)
            self.out.append(While(header, condition, self.block(s.body), s.loc))

        self._unless_failed(loop, s)

    def _is_worth_counting(self, s: Counted) -> bool:
        """Whether checks of the loop can be made before it."""
        some = Value("$counter", index)
        return bool(affine_accesses(For(some, some, some, some, s.body_with(some, some)), self.guarded))

    def _count(self, s: Counted, loc: Loc | None) -> None:
        """The loop as one that counts."""
        self.loc = loc
        for statement in s.before:
            self._handlers[type(statement)](statement)
        self.loc = loc
        start, stop = self.cast(self.get(s.variable), index), self.cast(self.v(s.limit), index)
        counter, zero = self.value(index), self.const(0, index)
        self.on_for(For(counter, start, stop, self.const(1, index), s.body_with(counter, zero), loc))

    def _break_if_failed(self) -> None:
        self.out.append(If(self.get(self._failed()), (Break(self.loc),), (), self.loc))

    def _unless_failed(self, loop: Callable[[], None], s: Stmt) -> None:
        """The loop; where the thread may have left an array before it, only if it did not."""
        self.loc = s.loc
        if self.reached:
            going = self.op("not", self.get(self._failed()))
            self.out.append(If(going, self.capture(loop), (), s.loc))
        else:
            loop()

    def _ends(self, block: Block) -> bool:
        """Whether a loop ends early: it is reached by guarded accesses, and threads do not meet in it."""
        if self.failed is None or not (self.reached or self._has_guarded(block)):
            return False
        return not any(type(s) is Barrier or type(s) is Subgroup for s in walk(block))

    def _has_guarded(self, block: Block) -> bool:
        return any(id(s) in self.guarded for s in walk(block))


def _guarded(module: Module, check: Check, bounds: Bounds | None) -> frozenset[int]:
    """The accesses that are guarded, by ``id``."""
    accesses = [s for s in walk(module.kernel.body) if isinstance(s, _ACCESSES)]
    if bounds is None:
        return frozenset(map(id, accesses))
    left = ("device",) if check in ("device", "known") else ("launch", "device")
    known = bounds.accesses
    return frozenset(id(s) for s in accesses if id(s) not in known or known[id(s)].where in left)


def _zero(dtype: DType) -> int | float | bool:
    if dtype is bool_:
        return False
    return 0.0 if dtype.is_float else 0


__all__ = ["ANY_LOOP", "ERROR_ARRAY", "RECORD_WORDS", "Check", "Site", "checks", "decode"]
