"""Legalising: total operations into what the target does, exactly as the language defines them.

In: flat offsets, no ``index``.  Out: operations of ``BASELINE`` and of the target, and calls of the library's
``soft.*`` routines.
"""

from __future__ import annotations

from dataclasses import replace

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import DType, bool_, f32, i32, u8, u32
from gpucore.ir.nodes import (
    Atomic,
    AtomicCas,
    Call,
    Const,
    Extent,
    Function,
    GetVar,
    InitLocal,
    Load,
    Memory,
    Number,
    Op,
    SetVar,
    Store,
    Subgroup,
    TileProduct,
    Value,
    Var,
)  # fmt: skip
from gpucore.ir.ops import is_routine
from gpucore.ir.passes.emit import Names, names_of
from gpucore.ir.passes.legalise import floats, integers
from gpucore.ir.passes.legalise.expander import Expander, Expansion, Routines, is_half

__all__ = ["Routines", "legalise"]


def legalise(
    function: Function,
    allowed: frozenset[str],
    atomic_keys: frozenset[str],
    routines: Routines,
    *,
    double: bool,
) -> Function:
    """One function in operations that the target can do.

    Parameters
    ----------
    allowed : frozenset[str]
        Operation keys that may stay: the baseline and what the target has.
    atomic_keys : frozenset[str]
        Atomics that the device has, besides those on i32 and u32.
    routines : Routines
        Gives the library's functions.
    double : bool
        Whether the device computes in f64.

    Raises
    ------
    NotSupportedError
        For an atomic that cannot be built.
    """
    rewriter = _Legalise(function, allowed, atomic_keys | integers.ALWAYS, routines, double=double)
    return rewriter.function(function)


def _dispatch(op: str, integer: Expansion | None, real: Expansion | None) -> Expansion:
    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        chosen = real if args[-1].dtype.is_float else integer
        assert chosen is not None, op
        return chosen(x, args, to)

    return expand


def _library(op: str) -> Expansion:
    """A mathematical function that was not linked: the library has it under its own key."""

    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        return x.routine(f"{op}.{to.name}", to, *args)

    return expand


class _Expansions(dict[str, Expansion]):
    def __missing__(self, op: str) -> Expansion:
        self[op] = _library(op)
        return self[op]


_EXPANSIONS = _Expansions(
    {
        "floordiv": _dispatch("floordiv", integers.floordiv, floats.routine("floordiv")),
        "mod": _dispatch("mod", integers.mod, floats.routine("mod")),
        "pow": _dispatch("pow", integers.power, _library("pow")),
        "min": _dispatch("min", integers.minimum, floats.minimum),
        "max": _dispatch("max", integers.maximum, floats.maximum),
        "abs": _dispatch("abs", integers.absolute, floats.absolute),
        "shl": integers.shl,
        "shr": integers.shr,
        "popcount": integers.popcount,
        "clz": integers.clz,
        "dot4_signed": integers.dot4(signed=(True, True)),
        "dot4_unsigned": integers.dot4(signed=(False, False)),
        "dot4_mixed": integers.dot4(signed=(False, True)),
        **{op: integers.compare_bool(op) for op in ("lt", "le", "gt", "ge")},
        "div": floats.routine("div"),
        "sqrt": floats.routine("sqrt"),
        "fma": floats.routine("fma"),
        "isnan": floats.isnan,
        "isinf": floats.isinf,
        "floor": floats.floor,
        "ceil": floats.ceil,
        "trunc": floats.trunc,
        "round": floats.round_even,
        "cast": floats.cast,
        "bitcast": floats.bitcast,
    }
)

_SHUFFLES = frozenset({"broadcast", "shuffle", "shuffle_xor"})


class _Legalise(Expander):
    expansions = _EXPANSIONS

    def __init__(
        self,
        function: Function,
        allowed: frozenset[str],
        atomic_keys: frozenset[str],
        routines: Routines,
        *,
        double: bool,
    ) -> None:
        super().__init__(
            Names(names_of(function)), allowed, routines, double=double, library=is_routine(function.name)
        )
        self.atomic_keys = atomic_keys
        self.memories: dict[str, Memory] = {}
        self.variables: dict[str, Var] = {}
        self._radicands: dict[str, Value] = {}

    def function(self, f: Function) -> Function:
        params: list[Memory | Value] = []
        for p in f.params:
            if isinstance(p, Memory):
                params.append(self.memory(p))
            elif is_half(p.dtype):
                # the host passes one number; rounding here leaves only numbers of the format
                params.append(Value(p.name, f32))
                rounded = floats.round_to(self, p.dtype, Value(p.name, f32)) if f.result is None else None
                self.replaced[p.name] = rounded or Value(p.name, f32)
            else:
                params.append(p)
        memories = tuple(map(self.memory, f.memories))
        for v in f.variables:
            if is_half(v.dtype):
                self.variables[v.name] = Var(v.name, f32)
        start, self.out = self.out, []
        body = (*start, *self.block(f.body))
        variables = (*(self.variables.get(v.name, v) for v in f.variables), *self.new_variables)
        result = f32 if f.result is not None and is_half(f.result) else f.result
        return Function(f.name, tuple(params), result, variables, memories, body)

    def memory(self, m: Memory) -> Memory:
        values: tuple[Number, ...] = m.values
        if m.dtype is bool_:
            dtype: DType = u8
            values = tuple(int(v) for v in m.values)
        elif is_half(m.dtype):
            dtype = f32 if m.space == "const" else floats.storage(self, m.dtype)
        else:
            return m
        changed = self.memories[m.name] = replace(m, dtype=dtype, values=values)
        return changed

    # --- values
    def on_const(self, s: Const) -> None:
        if is_half(s.result.dtype):
            self.replaced[s.result.name] = self.const(s.value, f32)
        else:
            super().on_const(s)

    def on_op(self, s: Op) -> None:
        subject = s.args[1].dtype if s.op == "select" else s.args[0].dtype
        args = self.vs(s.args)
        to = s.result.dtype
        if is_half(subject) or is_half(to):
            self.replaced[s.result.name] = floats.expand(self, s, args)
            return
        if s.op == "cast" or s.op == "bitcast" or s.op == "f2i.raw" or s.op == "bitcast.raw":
            key = f"{s.op}.{subject.name}.{to.name}"
        else:
            key = f"{s.op}.{subject.name}"
        if key == "sqrt.f32":
            self._radicands[s.result.name] = args[0]
        elif key == "div.f32" and (reciprocal := self._reciprocal_root(args)) is not None:
            self.replaced[s.result.name] = reciprocal
            return
        if key in self.allowed:
            self.out.append(s if args == s.args else Op(s.result, s.op, args, s.loc))
        else:
            self.replaced[s.result.name] = _EXPANSIONS[s.op](self, args, to)

    def _reciprocal_root(self, args: tuple[Value, ...]) -> Value | None:
        """One over a square root, which is what ``rsqrt`` means, where the device has that."""
        radicand = self._radicands.get(args[1].name)
        if radicand is None or "rsqrt.f32" not in self.allowed or self.number(args[0]) != 1.0:
            return None
        return self.op("rsqrt", radicand)

    def on_call(self, s: Call) -> None:
        result = Value(s.result.name, f32) if is_half(s.result.dtype) else s.result
        self.out.append(Call(result, s.function, self.vs(s.args), s.loc))
        if result is not s.result:
            self.replaced[s.result.name] = result

    def on_get_var(self, s: GetVar) -> None:
        var = self.variables.get(s.var.name)
        if var is None:
            self.out.append(s)
        else:
            result = self.replaced[s.result.name] = Value(s.result.name, f32)
            self.out.append(GetVar(result, var, s.loc))

    def on_set_var(self, s: SetVar) -> None:
        self.out.append(SetVar(self.variables.get(s.var.name, s.var), self.v(s.value), s.loc))

    # --- memory
    def on_extent(self, s: Extent) -> None:
        memory = self.memories.get(s.memory.name)
        self.out.append(s if memory is None else Extent(s.result, memory, s.axis, s.loc))

    def on_init_local(self, s: InitLocal) -> None:
        self.out.append(InitLocal(self.memories.get(s.memory.name, s.memory), s.loc))

    def on_tile_product(self, s: TileProduct) -> None:
        total, left, right = (self.memories.get(m.name, m) for m in (s.total, s.left, s.right))
        self.out.append(TileProduct(total, left, right, s.factor, s.shape, loc=s.loc))

    def on_load(self, s: Load) -> None:
        memory = self.memories.get(s.memory.name)
        offsets = self.vs(s.indices)
        if memory is None:
            self.out.append(Load(s.result, s.memory, offsets, s.loc))
            return
        loaded = self.load(memory, *offsets)
        dtype = s.memory.dtype
        if dtype is bool_:
            loaded = self.op("ne", loaded, self.const(0, u8))
        elif memory.dtype is not f32:
            loaded = floats.from_memory(self, dtype, loaded)
        self.replaced[s.result.name] = loaded

    def on_store(self, s: Store) -> None:
        memory = self.memories.get(s.memory.name, s.memory)
        value = self.v(s.value)
        dtype = s.memory.dtype
        if dtype is bool_:
            value = self.convert("cast", value, u8)
        elif is_half(dtype):
            value = floats.to_memory(self, dtype, value)
        self.out.append(Store(memory, self.vs(s.indices), value, s.loc))

    def on_atomic(self, s: Atomic) -> None:
        self._refuse(s.op, s.memory)
        offsets, value = self.vs(s.indices), self.v(s.value)
        if s.bits is None and f"{s.op}.{s.memory.dtype.name}" in self.atomic_keys:
            self.out.append(Atomic(s.result, s.op, s.memory, offsets, value, None, s.loc))
            return
        self.replaced[s.result.name] = integers.atomic(self, self.atomic_keys, s, s.memory, offsets, value)

    def on_atomic_cas(self, s: AtomicCas) -> None:
        self._refuse("cas", s.memory)
        offsets, expected, desired = self.vs(s.indices), self.v(s.expected), self.v(s.desired)
        self.replaced[s.result.name] = integers.compare_and_swap(
            self, self.atomic_keys, s, s.memory, offsets, expected, desired
        )

    def _refuse(self, op: str, memory: Memory) -> None:
        if memory.dtype.bits < 32:
            key = f"{op}.{memory.dtype.name}"
            if key not in self.atomic_keys or memory.name in self.memories:
                raise NotSupportedError(
                    f"this device has no atomic {op} on {memory.dtype.name}", capability=key
                )

    # --- subgroups: 32 and 64 bits only
    def on_subgroup(self, s: Subgroup) -> None:
        if not s.args or s.op in ("any", "all", "ballot"):
            super().on_subgroup(s)
            return
        dtype = s.args[0].dtype
        args = self.vs(s.args)
        if is_half(dtype):
            if s.op in _SHUFFLES or s.op in ("min", "max"):
                self.replaced[s.result.name] = self._subgroup(s, f32, args)
            else:
                self.replaced[s.result.name] = floats.subgroup_sum(self, dtype, s.op, args[0])
        elif dtype is bool_:
            wide = self._subgroup(s, u32, (self.convert("cast", args[0], u32), *args[1:]))
            self.replaced[s.result.name] = self.op("ne", wide, self.const(0, u32))
        elif dtype.bits < 32:
            # sums wrap, so their low bits are those of the wider sum
            whole = i32 if dtype.is_signed else u32
            wide = self._subgroup(s, whole, (self.convert("cast", args[0], whole), *args[1:]))
            self.replaced[s.result.name] = self.convert("cast", wide, dtype)
        else:
            self.out.append(Subgroup(s.result, s.op, args, s.loc))

    def _subgroup(self, s: Subgroup, dtype: DType, args: tuple[Value, ...]) -> Value:
        result = self.value(dtype)
        self.out.append(Subgroup(result, s.op, args, s.loc))
        return result
