"""Elementwise operations as C++ expressions, and the keys that CUDA does exactly as ``gpucore.ir.ops``
says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from gpucore.ir import DType, bool_, f32, f64, i32, u64
from gpucore.ir.dtypes import ALL
from gpucore.ir.nodes import Number
from gpucore.ir.ops import BASELINE, COMPARISONS, MATH_UNARY
from gpucore_cuda.renderer.expr import Expr, binary, call, conditional, unary
from gpucore_cuda.renderer.helpers import Library, cast_expression, is_half
from gpucore_cuda.renderer.names import held, is_narrow, literal, unsigned

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}
_BITWISE = {"and": "&", "or": "|", "xor": "^"}

Arithmetic = Literal["strict", "fast", "pinned"]
"""How floats are rounded.  ``pinned`` is for functions of the portable library inside a fast module: they
are written for
strict arithmetic, and intrinsics keep the compiler from contracting what it may contract around them."""

VALUE_DTYPES = tuple(d for d in ALL if d.name != "index")
INTEGERS = tuple(d for d in VALUE_DTYPES if d.is_integer)
WIDE_FLOATS: tuple[DType, ...] = (f32, f64)


def _native() -> frozenset[str]:
    keys: set[str] = set()
    for d in WIDE_FLOATS:
        for op in (
            "div",
            "sqrt",
            "fma",
            "floor",
            "ceil",
            "trunc",
            "round",
            "abs",
            "min",
            "max",
            "isnan",
            "isinf",
        ):
            keys.add(f"{op}.{d.name}")
    for d in INTEGERS:
        for op in ("abs", "min", "max", "shl", "shr", "popcount", "clz", "floordiv", "mod"):
            keys.add(f"{op}.{d.name}")
    for op in COMPARISONS:
        keys.add(f"{op}.bool")
    keys |= {"select.f16", "select.bf16", "fma.f16"}
    for a in VALUE_DTYPES:
        for b in VALUE_DTYPES:
            keys.add(f"cast.{a.name}.{b.name}")
            if a.bits == b.bits and bool_ not in (a, b):
                keys |= {f"bitcast.{a.name}.{b.name}", f"bitcast.raw.{a.name}.{b.name}"}
    return frozenset(keys) - BASELINE


NATIVE: frozenset[str] = _native()
"""Keys beyond ``BASELINE`` that every CUDA device from sm_75 on does exactly."""

FAST_NATIVE: frozenset[str] = frozenset(
    f"{op}.{d.name}" for op in (*MATH_UNARY, "atan2", "pow") for d in WIDE_FLOATS
)
"""Keys that may stay in fast kernels: CUDA's own math functions, within a few ulp."""


def render_op(
    library: Library, op: str, dtypes: Sequence[DType], result: DType, args: Sequence[Expr],
    constants: Sequence[Number | None], arithmetic: Arithmetic,
) -> Expr:  # fmt: skip
    """The expression of one operation.

    Parameters
    ----------
    library : Library
        Takes the helpers that the expression calls.
    op, dtypes, result :
        The operation, its operands' dtypes and its result's.
    args : Sequence[Expr]
    constants : Sequence
        The value of each operand that is a literal, else None.
    arithmetic : {"strict", "fast", "pinned"}
        Of the function that holds it, see :data:`Arithmetic`.

    Raises
    ------
    KeyError
        For an operation that is neither in ``BASELINE`` nor in :data:`NATIVE` nor, in fast mode, in
        :data:`FAST_NATIVE`.
    """
    d = dtypes[1] if op == "select" else dtypes[0]
    if op in _ARITHMETIC:
        if d.is_float and arithmetic == "pinned":
            return call(f"__{'f' if d is f32 else 'd'}{op}_rn", *args)
        if d.is_float:
            return binary(_ARITHMETIC[op], args[0], args[1])
        if library.guarded and (minus := _negates(op, d, constants)) is not None:
            return _negated(library, d, [args[minus]], [constants[minus]])
        return _wrapped(library, d, lambda a, b: binary(_ARITHMETIC[op], a, b), args, constants)
    if op in _COMPARE:
        if library.guarded and d.is_integer and d.bits <= 32:
            return _guarded_comparison(library, op, d, args)
        return binary(_COMPARE[op], args[0], args[1])
    if op == "select":
        return conditional(*args)
    if op == "cast":
        return _cast(library, d, result, args[0])
    if op in ("bitcast", "bitcast.raw"):
        return _bitcast(library, d, result, args[0], raw=op == "bitcast.raw")
    if op == "f2i.raw":
        return call(held(result), args[0])
    if d.is_float:
        return _float_op(library, op, d, args, arithmetic)
    if d is bool_:
        return _bool_op(op, args)
    return _integer_op(library, op, d, args, constants)


def _wrapped(
    library: Library, d: DType, make: Callable[..., Expr], args: Sequence[Expr],
    known: Sequence[Number | None],
) -> Expr:  # fmt: skip
    """Compute on the unsigned type, where overflow is defined, and cast back.

    The low bits of a sum, difference, product or left shift depend on the low bits of the operands alone, so
    an operand that was computed so itself is taken as it was before its cast.
    """
    u = unsigned(d)
    if d.name == u:
        return make(*args)
    operands = []
    for a, value in zip(args, known, strict=True):
        if value is not None and value >= 0:
            operands.append(Expr(f"{int(value)}{'ull' if u == 'u64' else 'u'}"))
        elif a.origin is not None and a.origin[0] == u:
            operands.append(a.origin[1])
        else:
            operands.append(a if held(d) == u else call(u, a))
    computed = make(*operands)
    if is_narrow(d):
        return _narrowed(library, d, computed)
    return replace(call(d.name, computed), origin=(u, computed))


def _narrowed(library: Library, d: DType, bits: Expr) -> Expr:
    """The value of a narrow dtype whose low bits are those of ``bits``, an expression of type u32."""
    return replace(call(library.use(f"gc_wrap_{d.name}"), bits), origin=("u32", bits))


def _negates(op: str, d: DType, constants: Sequence[Number | None]) -> int | None:
    """Which operand of a subtraction or product the result is the negative of, if of any."""
    if op == "sub" and constants[0] == 0:
        return 1
    minus_one = -1 if d.is_signed else (1 << d.bits) - 1
    if op == "mul" and minus_one in constants:
        return 1 - constants.index(minus_one)
    return None


def _negated(library: Library, d: DType, args: Sequence[Expr], known: Sequence[Number | None]) -> Expr:
    if not library.guarded:
        return _wrapped(library, d, lambda a: binary("-", Expr("0u"), a), args, known)
    flip = library.use(f"gc_guarded_not_{unsigned(d)}")
    return _wrapped(library, d, lambda a: binary("+", call(flip, a), Expr("1u")), args, known)


def _guarded_comparison(library: Library, op: str, d: DType, args: Sequence[Expr]) -> Expr:
    a, b = args
    if op in ("eq", "ne"):
        bits = [x if held(d) == "u32" else call("u32", x) for x in args]
        return binary(_COMPARE[op], call(library.use("gc_guarded_xor"), *bits), Expr("0u"))
    return binary(_COMPARE[op], call(library.use(f"gc_guarded_{held(d)}"), a), b)


def _to_u32(x: Expr, d: DType) -> Expr:
    """32 bits that end in those of a value of an integer dtype or bool."""
    if x.origin is not None and x.origin[0] == "u32":
        return x.origin[1]
    return x if held(d) == "u32" else call("u32", x)


def _holds(to: DType, source: DType) -> bool:
    """Whether a narrow dtype has every value of another dtype."""
    if source is bool_:
        return True
    if not source.is_integer or (source.is_signed and not to.is_signed):
        return False
    return source.bits - source.is_signed <= to.bits - to.is_signed


def hidden_zero(library: Library, value: Number) -> Expr:
    """A zero of f32 that no compiler can know, with its sign; from constant memory, as an operand that costs nothing."""
    return Expr(f"{library.use('gc_zeros')}[{int(math.copysign(1.0, value) < 0)}]")


def _cast(library: Library, source: DType, to: DType, x: Expr) -> Expr:
    if source is to:
        return x
    if to is bool_:
        if is_half(source):
            x = Expr(f"{library.use(f'gc_{source.name}_to_f32')}({x.text})", reads=x.reads)
            source = f32
        return binary("!=", x, Expr(literal(0, source)))
    if x.origin is not None and x.origin[0] == to.name and is_half(to):
        return x.origin[1]
    if library.guarded and source is bool_ and to is f32:
        return conditional(x, Expr("1.0f"), hidden_zero(library, 0.0))
    text = cast_expression(library, source, to, x.text)
    if text is None:
        if is_narrow(to) and not _holds(to, source):
            if is_narrow(source) and to.bits > source.bits:
                x = replace(x, origin=None)  # before its wrap x had fewer right bits than are wanted
            return _narrowed(library, to, _to_u32(x, source))
        # what x was before it was wrapped has other bits beyond the width that it had
        return replace(x, origin=None) if held(source) == held(to) else call(held(to), x)
    return Expr(text, reads=x.reads, origin=(source.name, x) if is_half(source) and to is f32 else None)


def _bitcast(library: Library, source: DType, to: DType, x: Expr, *, raw: bool) -> Expr:
    if source is to and raw:
        return x
    if source in WIDE_FLOATS and to in WIDE_FLOATS:
        return x
    if source in WIDE_FLOATS:
        if not raw:
            bits = call(library.use(f"gc_bits_{source.name}"), x)
            return bits if to.name in ("u32", "u64") else call(to.name, bits)
        if source is f32:
            bits = call("__float_as_uint", x)
            return bits if to.name == "u32" else call(to.name, bits)
        bits = call("__double_as_longlong", x)
        return bits if to.name == "i64" else call(to.name, bits)
    if is_half(source):
        bits = x if raw else call(library.use(f"gc_bits_{source.name}"), x)
        return _narrowed(library, to, call("u32", bits)) if to.is_integer else call(to.name, bits)
    if is_narrow(to):
        return _narrowed(library, to, _to_u32(x, source))
    if to is f32:
        return call("__uint_as_float", x if source.name == "u32" else call("u32", x))
    if to is f64:
        return call("__longlong_as_double", x if source.name == "i64" else call("i64", x))
    return call(to.name, x)


def _bool_op(op: str, args: Sequence[Expr]) -> Expr:
    if op == "not":
        return unary("!", args[0])
    return binary({"and": "&&", "or": "||", "xor": "!="}[op], args[0], args[1])


def _float_op(library: Library, op: str, d: DType, args: Sequence[Expr], arithmetic: Arithmetic) -> Expr:
    single, fast = d is f32, arithmetic == "fast"
    if is_half(d):
        if op == "fma":
            return call(library.use(f"gc_fma_{d.name}"), *args)
        raise KeyError(f"{op}.{d.name}")
    if op == "neg":
        return unary("-", args[0])
    if op == "div" and arithmetic == "pinned":
        return call("__fdiv_rn" if single else "__ddiv_rn", *args)
    if op == "div":
        return binary("/", args[0], args[1])
    if op == "isnan":
        return binary("!=", args[0], args[0])
    if op == "isinf":
        return binary("==", call("fabsf" if single else "fabs", args[0]), Expr(literal(float("inf"), d)))
    if op in ("min", "max"):
        return call(library.use(f"gc_{op}_{d.name}"), *args)
    if op == "sqrt":
        strict_name = "__fsqrt_rn" if single else "__dsqrt_rn"
        return call(("sqrtf" if single else "sqrt") if fast else strict_name, *args)
    if op == "fma":
        return call("__fmaf_rn" if single else "__fma_rn", *args)
    if op in ("floor", "ceil", "trunc", "round", "abs"):
        name = {"round": "rint", "abs": "fabs"}.get(op, op)
        return call(f"{name}f" if single else name, *args)
    if fast and f"{op}.{d.name}" in FAST_NATIVE:
        return call(f"{op}f" if single else op, *args)
    raise KeyError(f"{op}.{d.name}")


def _integer_op(
    library: Library, op: str, d: DType, args: Sequence[Expr], constants: Sequence[Number | None]
) -> Expr:
    narrow, ones = is_narrow(d), Expr(f"{hex((1 << d.bits) - 1)}u")
    if op == "neg":
        return _negated(library, d, args, constants)
    if op == "abs":
        if not d.is_signed:
            return args[0]
        size = call(library.use(f"gc_abs_{held(d)}"), args[0])
        return _narrowed(library, d, call("u32", size)) if narrow else size
    if op == "not":
        if narrow:
            return unary("~", args[0]) if d.is_signed else binary("^", args[0], ones)
        return call(d.name, unary("~", args[0]))
    if op in _BITWISE:
        return binary(_BITWISE[op], args[0], args[1])
    if op in ("min", "max"):
        if narrow:
            return call(library.use(f"gc_narrow_{op}_{held(d)}"), *args)
        return conditional(binary("<" if op == "min" else ">", args[0], args[1]), args[0], args[1])
    if op in ("shl.raw", "shr.raw", "shl", "shr"):
        return _shift(library, op, d, args, constants)
    if op in ("add.raw", "mul.raw"):
        # plain, so that the compiler may widen offsets and step pointers along a loop
        operator = "+" if op == "add.raw" else "*"
        if narrow:
            return _wrapped(library, d, lambda a, b: binary(operator, a, b), args, constants)
        return binary(operator, args[0], args[1])
    if op in ("quot.raw", "rem.raw"):
        return binary("/" if op == "quot.raw" else "%", args[0], args[1])
    if op in ("floordiv", "mod"):
        divided = call(library.use(f"gc_{op}_{held(d)}"), *args)
        overflows = narrow and d.is_signed and op == "floordiv"
        return _narrowed(library, d, call("u32", divided)) if overflows else divided
    if op in ("popcount", "clz"):
        return _count_bits(op, d, args[0])
    raise KeyError(f"{op}.{d.name}")


def _count_bits(op: str, d: DType, x: Expr) -> Expr:
    if d.bits == 64:
        return call("__popcll", call("u64", x)) if op == "popcount" else call("__clzll", call("i64", x))
    bits = x if held(d) == "u32" else call("u32", x)
    if is_narrow(d) and d.is_signed:
        bits = binary("&", bits, Expr(f"{hex((1 << d.bits) - 1)}u"))
    if op == "popcount":
        return call("__popc", bits)
    counted = call("__clz", call("i32", bits if is_narrow(d) else x))
    return counted if d.bits == 32 else binary("-", counted, Expr(str(32 - d.bits)))


def _shift(
    library: Library, op: str, d: DType, args: Sequence[Expr], constants: Sequence[Number | None]
) -> Expr:
    """Shifts; the total ones compare the amount unless it is a literal within the width."""
    value, amount = args
    left = op.startswith("shl")
    if left:
        shifted = _wrapped(library, d, lambda a: binary("<<", a, amount), [value], constants[:1])
    else:
        shifted = binary(">>", value, amount)
    known = constants[1]
    if op.endswith(".raw") or (known is not None and 0 <= int(known) < d.bits):
        return shifted
    inside = binary("<", call(unsigned(d), amount), Expr(literal(d.bits, u64 if d.bits == 64 else _U32)))
    if left or not d.is_signed:
        beyond = Expr(literal(0, d))
    else:
        beyond = binary(">>", value, Expr(literal(d.bits - 1, i32)))
    return conditional(inside, shifted, beyond)


_U32 = next(d for d in ALL if d.name == "u32")
