"""From ``index``, 64 bits in meaning, to i32 where nothing is lost and i64 elsewhere.

Two reasons allow 32 bits.  A value whose interval lies in i32 is the same number there.  And a value that
is only used, through ring operations, to form an in-bounds offset is determined by its low 32 bits: arrays
are known to be small, so the offset itself fits.  A value may be wanted both ways; then its 64-bit form is
computed and its low bits are taken from it.
"""

from __future__ import annotations

from dataclasses import replace

from gpucore.ir.dtypes import DType, i32, i64, index, u32, u64
from gpucore.ir.nodes import (
    Atomic,
    AtomicCas,
    Block,
    Call,
    Const,
    Extent,
    For,
    Function,
    GetVar,
    If,
    InitLocal,
    Load,
    Memory,
    Module,
    Number,
    Op,
    Return,
    SetVar,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    Var,
    While,
    operands_of,
)  # fmt: skip
from gpucore.ir.passes.emit import Names, Rewriter, names_of
from gpucore.ir.passes.ranges import Ranges


def narrow(module: Module, *, small: bool, block: tuple[int, ...] | None = None) -> Module:
    """Replace the dtype ``index``.

    Parameters
    ----------
    module : Module
        With flat offsets.
    small : bool
        Every array has fewer than 2**31 elements and no extent of 2**31 or more, and every axis of the
        launch has fewer than 2**31 threads.
    block : tuple[int, ...] | None
        The block in array order, where it is known; it bounds thread and block ids further.
    """
    kernel = narrow_function(module.kernel, small=small, block=block)
    # device functions see no launch and no array of unknown size: what holds for small launches holds for
    # them
    functions = tuple(narrow_function(f, small=True) for f in module.functions)
    return Module(kernel, functions, module.ndim, module.math, module.subgroup, module.noalias)


def narrow_function(
    function: Function, *, small: bool, block: tuple[int, ...] | None = None, items: int = 1
) -> Function:
    """The same for one function; ``items`` is the number of elements that a thread takes along axis 0."""
    ranges = Ranges(function, small=small, block=block, items=items)
    demands = _Demands(function, ranges)
    rewriter = _Narrow(Names(names_of(function)), function, ranges, demands)
    return rewriter.function(function)


class _Demands:
    """Backward over a function: which values are wanted in full, which by their low bits only."""

    def __init__(self, function: Function, ranges: Ranges) -> None:
        self.ranges = ranges
        self.wide_variables = {
            v.name
            for v in function.variables
            if v.dtype is index and not ranges.small
        }  # fmt: skip
        while True:
            self.low: set[str] = set()
            self.wide: set[str] = set()
            self.computed_wide: set[str] = set()
            found = len(self.wide_variables)
            self.visit(function.body)
            if len(self.wide_variables) == found:
                break

    def variable_is_wide(self, var: Var) -> bool:
        """Whether a variable is kept in 64 bits."""
        return var.name in self.wide_variables

    def want(self, values: tuple[Value, ...], low: bool) -> None:
        wanted = self.low if low else self.wide
        for v in values:
            if v.dtype is index:
                wanted.add(v.name)

    def visit(self, block: Block) -> None:
        for s in reversed(block):
            match s:
                case Op():
                    self.op(s)
                case SetVar():
                    self.want((s.value,), low=s.var.name not in self.wide_variables)
                case GetVar() if s.result.dtype is index:
                    name = s.result.name
                    if name in self.wide and not self.fits_variable(s.var):
                        self.wide_variables.add(s.var.name)
                case Load():
                    self.want(s.indices, self.ranges.small)
                case Store() | Atomic():
                    self.want(s.indices, self.ranges.small)
                    self.want((s.value,), low=False)
                case AtomicCas():
                    self.want(s.indices, self.ranges.small)
                    self.want((s.expected, s.desired), low=False)
                case If():
                    self.visit(s.orelse)
                    self.visit(s.then)
                case For():
                    self.visit(s.body)
                    self.want((s.start, s.stop, s.step), low=self.ranges.modes[id(s)] == "low")
                case While():
                    self.visit(s.body)
                    self.visit(s.header)
                case Call() | Subgroup() | Return():
                    self.want(operands_of(s), low=False)
                case _:
                    pass

    def fits_variable(self, var: Var) -> bool:
        interval = self.ranges.variables.get(var.name)
        return self.ranges.small and interval is not None and interval[0] >= -(2**31) and interval[1] < 2**31

    def op(self, s: Op) -> None:
        mode = self.ranges.modes.get(id(s))
        if mode is None or id(s) in self.ranges.decided:
            return
        if s.result.dtype is not index:
            self.want(s.args, low=mode != "wide")
            return
        name = s.result.name
        wide = name in self.wide
        if not wide and name not in self.low:
            return
        if mode == "wide" or (wide and not self.ranges.fits(name)):
            self.computed_wide.add(name)
            self.want(s.args, low=False)
        else:
            self.want(s.args, low=True)


class _Narrow(Rewriter):
    def __init__(self, names: Names, function: Function, ranges: Ranges, demands: _Demands) -> None:
        super().__init__(names)
        self.ranges = ranges
        self.demands = demands
        self.lows: dict[str, Value] = {}
        self.wides: dict[str, Value] = {}
        self.memories: dict[str, Memory] = {
            m.name: replace(m, dtype=i64)
            for m in (*function.params, *function.memories)
            if isinstance(m, Memory) and m.dtype is index
        }
        self.variables: dict[str, Var] = {
            v.name: Var(v.name, i64 if demands.variable_is_wide(v) else i32)
            for v in function.variables
            if v.dtype is index
        }

    def function(self, f: Function) -> Function:
        params: list[Memory | Value] = []
        for p in f.params:
            if isinstance(p, Memory):
                params.append(self.memories.get(p.name, p))
            elif p.dtype is index:
                small = self.ranges.fits(p.name)
                params.append(Value(p.name, i32 if small else i64))
                self.define(p, params[-1])  # type: ignore[arg-type]
            else:
                params.append(p)
        start, self.out = self.out, []
        body = (*start, *self.block(f.body))
        return Function(
            f.name,
            tuple(params),
            i64 if f.result is index else f.result,
            (*(self.variables.get(v.name, v) for v in f.variables), *self.new_variables),
            tuple(self.memories.get(m.name, m) for m in f.memories),
            body,
        )

    # --- the two forms of a value
    def define(self, old: Value, new: Value) -> None:
        """Record what an index value has become, and derive its other form where that is wanted."""
        name = old.name
        if new.dtype is i32:
            self.lows[name] = new
            if name in self.demands.wide:
                self.wides[name] = self.cast(new, i64)
        else:
            self.wides[name] = new
            if name in self.demands.low:
                self.lows[name] = self.cast(new, i32)

    def pick(self, value: Value, low: bool) -> Value:
        """A value in one of its forms; a value of another dtype is itself."""
        if value.dtype is not index:
            return self.v(value)
        return (self.lows if low else self.wides)[value.name]

    def demanded(self, value: Value) -> bool:
        return value.name in self.demands.low or value.name in self.demands.wide

    def produce(self, s: Stmt, result: Value, dtype: DType) -> Value:
        """The result of a statement under its own name, with its new dtype."""
        return Value(result.name, dtype) if result.dtype is index else result

    # --- statements
    def on_const(self, s: Const) -> None:
        if s.result.dtype is not index:
            super().on_const(s)
            return
        name, number = s.result.name, int(s.value)
        # the second of two forms needs a name of its own
        if name in self.demands.low:
            low, low_bits = Value(name, i32), _wrap32(number)
            self.out.append(Const(low, low_bits, s.loc))
            self.lows[name] = low
            self.constants[name] = low_bits
        if name in self.demands.wide:
            wide = Value(name, i64) if name not in self.lows else self.value(i64)
            self.out.append(Const(wide, number, s.loc))
            self.wides[name] = wide
            self.constants[wide.name] = number

    def on_op(self, s: Op) -> None:
        mode = self.ranges.modes.get(id(s))
        if mode is None:
            super().on_op(s)
            return
        if id(s) in self.ranges.decided:
            self.out.append(Const(s.result, self.ranges.decided[id(s)], s.loc))
            return
        if s.result.dtype is not index:
            args = tuple(self.pick(a, mode != "wide") for a in s.args)
            if mode == "unsigned":
                args = tuple(self.cast(a, u32) for a in args)
            self.out.append(Op(s.result, s.op, args, s.loc))
            return
        if not self.demanded(s.result):
            return
        wide = s.result.name in self.demands.computed_wide
        dtype = i64 if wide else i32
        args = tuple(self.pick(a, not wide) for a in s.args)
        result = Value(s.result.name, dtype)
        op = s.op
        if op == "cast" and args[0].dtype is dtype:
            self.define(s.result, args[0])
            return
        if id(s) in self.ranges.positive:
            op = "quot.raw" if op == "floordiv" else "rem.raw"
        elif (
            op in ("add", "mul") and not wide
            and all(self.ranges.fits(v.name) for v in (s.result, *s.args))
        ):  # fmt: skip
            op += ".raw"
        self.out.append(Op(result, op, args, s.loc))
        self.define(s.result, result)

    def on_call(self, s: Call) -> None:
        result = self.produce(s, s.result, i64)
        args = tuple(self.pick(a, False) for a in s.args)
        self.out.append(Call(result, s.function, args, s.loc))
        if result is not s.result:
            self.define(s.result, result)

    def on_get_var(self, s: GetVar) -> None:
        if s.result.dtype is not index:
            self.out.append(s)
            return
        var = self.variables[s.var.name]
        result = Value(s.result.name, var.dtype)
        self.out.append(GetVar(result, var, s.loc))
        self.define(s.result, result)

    def on_set_var(self, s: SetVar) -> None:
        var = self.variables.get(s.var.name)
        if var is None:
            super().on_set_var(s)
        else:
            self.out.append(SetVar(var, self.pick(s.value, var.dtype is i32), s.loc))

    def on_extent(self, s: Extent) -> None:
        result = Value(s.result.name, i32 if self.ranges.small else i64)
        self.out.append(Extent(result, self.memories.get(s.memory.name, s.memory), s.axis, s.loc))
        self.define(s.result, result)

    def on_thread_index(self, s: ThreadIndex) -> None:
        result = Value(s.result.name, i32 if self.ranges.small else i64)
        self.out.append(ThreadIndex(result, s.kind, s.axis, s.loc))
        self.define(s.result, result)

    def offsets(self, indices: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(self.pick(i, self.ranges.small) for i in indices)

    def on_load(self, s: Load) -> None:
        memory = self.memories.get(s.memory.name, s.memory)
        result = self.produce(s, s.result, i64)
        self.out.append(Load(result, memory, self.offsets(s.indices), s.loc))
        if result is not s.result:
            self.define(s.result, result)

    def on_store(self, s: Store) -> None:
        memory = self.memories.get(s.memory.name, s.memory)
        self.out.append(Store(memory, self.offsets(s.indices), self.pick(s.value, False), s.loc))

    def on_init_local(self, s: InitLocal) -> None:
        self.out.append(InitLocal(self.memories.get(s.memory.name, s.memory), s.loc))

    def on_atomic(self, s: Atomic) -> None:
        memory = self.memories.get(s.memory.name, s.memory)
        result = self.produce(s, s.result, i64)
        offsets, value = self.offsets(s.indices), self.pick(s.value, False)
        self.out.append(Atomic(result, s.op, memory, offsets, value, s.bits, s.loc))
        if result is not s.result:
            self.define(s.result, result)

    def on_atomic_cas(self, s: AtomicCas) -> None:
        memory = self.memories.get(s.memory.name, s.memory)
        result = self.produce(s, s.result, i64)
        expected, desired = self.pick(s.expected, False), self.pick(s.desired, False)
        self.out.append(AtomicCas(result, memory, self.offsets(s.indices), expected, desired, s.bits, s.loc))
        if result is not s.result:
            self.define(s.result, result)

    def on_subgroup(self, s: Subgroup) -> None:
        result = self.produce(s, s.result, i64)
        self.out.append(Subgroup(result, s.op, tuple(self.pick(a, False) for a in s.args), s.loc))
        if result is not s.result:
            self.define(s.result, result)

    def on_return(self, s: Return) -> None:
        self.out.append(s if s.value is None else Return(self.pick(s.value, False), s.loc))

    # --- loops
    def on_for(self, s: For) -> None:
        if s.variable.dtype is not index:
            super().on_for(s)
            return
        low = self.ranges.modes[id(s)] == "low"
        dtype = i32 if low else i64
        start, stop, step = (self.pick(v, low) for v in (s.start, s.stop, s.step))
        variable = Value(s.variable.name, dtype)
        counter = variable
        direct = id(s) in self.ranges.direct
        if not direct:
            counter = self.value(dtype)
            bounds = (self.const(0, dtype), self._iterations(start, stop, step, dtype), self.const(1, dtype))
        else:
            bounds = (start, stop, step)

        def body() -> None:
            if not direct:
                product = self.op("mul", counter, step)
                self.out.append(Op(variable, "add", (start, product), s.loc))
            self.define(s.variable, variable)
            self.out.extend(self.block(s.body))

        self.out.append(For(counter, *bounds, self.capture(body), s.loc))

    def _iterations(self, start: Value, stop: Value, step: Value, dtype: DType) -> Value:
        """How often a loop runs, where its variable might overflow past the last iteration.

        Differences are taken unsigned: they are exact even where the signed one would overflow.
        """
        unsigned = u32 if dtype is i32 else u64
        zero, one, none = self.const(0, dtype), self.const(1, unsigned), self.const(0, unsigned)
        known = self.constants.get(step.name)
        if known:
            first, last = (start, stop) if known > 0 else (stop, start)
            span = self.op("sub", self.cast(last, unsigned), self.cast(first, unsigned))
            if abs(known) > 1:
                stride = self.const(abs(known), unsigned)
                span = self.op("add", self.op("floordiv", self.op("sub", span, one), stride), one)
            return self.cast(self.op("select", self.op("lt", first, last), span, none), dtype)
        up = self.op("gt", step, zero)
        first, last = self.op("select", up, start, stop), self.op("select", up, stop, start)
        stride = self.cast(self.op("select", up, step, self.op("neg", step)), unsigned)
        runs = self.op("and", self.op("lt", first, last), self.op("ne", step, zero))
        span = self.op("sub", self.cast(last, unsigned), self.cast(first, unsigned))
        count = self.op("add", self.op("floordiv", self.op("sub", span, one), stride), one)
        count = self.op("select", runs, count, none)
        most = self.const((1 << (dtype.bits - 1)) - 1, unsigned)
        return self.cast(self.op("min", count, most), dtype)


def _wrap32(number: int) -> Number:
    return (number + 2**31) % 2**32 - 2**31
