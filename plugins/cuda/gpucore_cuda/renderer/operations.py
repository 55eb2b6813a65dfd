"""Operations that CUDA C++ writes its own way: intrinsics, and what ptxas must not combine in guarded programs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpucore.ir import DType, bf16, bool_, dtype, f16, f32, f64
from gpucore.ir.clike import (
    COMPARISONS,
    Arithmetic,
    Dialect,
    Expr,
    binary,
    call,
    conditional,
    held,
    is_narrow,
    literal,
    narrowed,
    unsigned,
    wrapped,
)
from gpucore.ir.nodes import Number
from gpucore_cuda.renderer.keys import FAST_NATIVE, WIDE_FLOATS

_HALVES = (f16, bf16)
_TRUE_OF_EQUALS = frozenset({"eq", "ne", "le", "ge"})
"""Comparisons whose result NaN changes where both operands are the same."""


def is_half(d: DType) -> bool:
    """Whether values of the dtype are held as 16 bits."""
    return d in _HALVES


def own_operation(
    dialect: Dialect, op: str, dtypes: Sequence[DType], result: DType, args: Sequence[Expr],
    constants: Sequence[Number | None], arithmetic: Arithmetic,
) -> Expr | None:  # fmt: skip
    """CUDA's form of an operation, None where C's serves."""
    d = dtypes[1] if op == "select" else dtypes[0]
    if d in WIDE_FLOATS and (op == "isnan" or (op in _TRUE_OF_EQUALS and all(c is None for c in constants))):
        return _comparison_with_nan(dialect, op, d, args)
    if op == "cast":
        return _cast(dialect, d, result, args[0])
    if op in ("bitcast", "bitcast.raw"):
        return _bitcast(dialect, d, result, args[0], raw=op == "bitcast.raw")
    if d.is_float and op not in COMPARISONS and op not in ("select", "f2i.raw"):
        return _float_op(dialect, op, d, args, constants, arithmetic)
    if op == "dot4_signed":
        return call("u32", call("__dp4a", *(call("i32", x) for x in args)))
    if op == "dot4_unsigned":
        return call("__dp4a", *args)
    if op == "dot4_mixed":
        return call(dialect.library.use("gc_dot4_mixed"), *args)
    if is_narrow(d) and op in ("min", "max"):
        return call(dialect.library.use(f"gc_narrow_{op}_{held(d)}"), *args)
    return None


def guarded_operation(
    dialect: Dialect,
    op: str,
    d: DType,
    result: DType,
    args: Sequence[Expr],
    constants: Sequence[Number | None],
) -> Expr | None:
    """The form of an operation that ptxas does not combine with others, None where there is no danger."""
    if op == "cast" and d is bool_ and result is f32:
        return conditional(args[0], Expr("1.0f"), hidden_zero(dialect, 0.0))
    if op == "abs" and d is f32:
        return call(dialect.library.use("gc_guarded_abs_f32"), args[0])
    if not d.is_integer:
        return None
    if op in COMPARISONS and d.bits <= 32:
        return _guarded_comparison(dialect, op, d, args)
    minus = _negates(op, d, constants)
    if minus is None:
        return None
    flip = dialect.library.use(f"gc_guarded_not_{unsigned(d)}")
    return wrapped(
        dialect, d, lambda a: binary("+", call(flip, a), Expr("1u")), [args[minus]], [constants[minus]]
    )


def _negates(op: str, d: DType, constants: Sequence[Number | None]) -> int | None:
    """Which operand of an operation the result is the negative of, if of any."""
    if op == "neg":
        return 0
    if op == "sub" and constants[0] == 0:
        return 1
    minus_one = -1 if d.is_signed else (1 << d.bits) - 1
    if op == "mul" and minus_one in constants:
        return 1 - constants.index(minus_one)
    return None


def _guarded_comparison(dialect: Dialect, op: str, d: DType, args: Sequence[Expr]) -> Expr:
    a, b = args
    if op in ("eq", "ne"):
        bits = [x if held(d) == "u32" else call("u32", x) for x in args]
        return binary(COMPARISONS[op], call(dialect.library.use("gc_guarded_xor"), *bits), Expr("0u"))
    return binary(COMPARISONS[op], call(dialect.library.use(f"gc_guarded_{held(d)}"), a), b)


def hidden_zero(dialect: Dialect, value: Number) -> Expr:
    """A zero of f32 that no compiler can know, with its sign; from constant memory, as an operand that costs nothing."""
    return Expr(f"{dialect.library.use('gc_zeros')}[{int(math.copysign(1.0, value) < 0)}]")


# --- conversions ---------------------------------------------------------------------------------------
def _cast(dialect: Dialect, source: DType, to: DType, x: Expr) -> Expr | None:
    """Conversions of floats to integers, and from and to halves; C does the others."""
    if source is to:
        return None
    if to is bool_:
        if not is_half(source):
            return None
        wide = Expr(f"{dialect.library.use(f'gc_{source.name}_to_f32')}({x.text})", reads=x.reads)
        return binary("!=", wide, literal(dialect, 0, f32))
    if x.origin is not None and x.origin[0] == to.name and is_half(to):
        return x.origin[1]
    text = _conversion(dialect, source, to, x.text)
    if text is None:
        return None
    return Expr(text, reads=x.reads, origin=(source.name, x) if is_half(source) and to is f32 else None)


def _conversion(dialect: Dialect, source: DType, to: DType, text: str) -> str | None:
    """The text of a cast from a float or to a half, or None where a functional cast is exact."""
    use = dialect.library.use
    if source is to:
        return text
    if is_half(source):
        wide = f"{use(f'gc_{source.name}_to_f32')}({text})"
        return _conversion(dialect, f32, to, wide) or f"{to.name}({wide})"
    if is_half(to):
        if source in WIDE_FLOATS or source.bits == 64:
            return f"{use(f'gc_{source.name}_to_{to.name}')}({text})"
        through = dtype("f32") if source.bits <= 16 else dtype("f64")
        return f"{use(f'gc_{through.name}_to_{to.name}')}({through.name}({text}))"
    if source in WIDE_FLOATS and to.is_integer:
        return f"{use(f'gc_{source.name}_to_{to.name}')}({text})"
    return None


def _bitcast(dialect: Dialect, source: DType, to: DType, x: Expr, *, raw: bool) -> Expr | None:
    if source is to and raw:
        return None
    if source in WIDE_FLOATS and to in WIDE_FLOATS:
        return x
    if source in WIDE_FLOATS:
        if not raw:
            bits = call(dialect.library.use(f"gc_bits_{source.name}"), x)
            return bits if to.name in ("u32", "u64") else call(to.name, bits)
        if source is f32:
            bits = call("__float_as_uint", x)
            return bits if to.name == "u32" else call(to.name, bits)
        bits = call("__double_as_longlong", x)
        return bits if to.name == "i64" else call(to.name, bits)
    if is_half(source):
        bits = x if raw else call(dialect.library.use(f"gc_bits_{source.name}"), x)
        return narrowed(dialect, to, call("u32", bits)) if to.is_integer else call(to.name, bits)
    if to is f32:
        return call("__uint_as_float", x if source.name == "u32" else call("u32", x))
    if to is f64:
        return call("__longlong_as_double", x if source.name == "i64" else call("i64", x))
    return call(to.name, x) if is_half(to) else None


# --- floats ----------------------------------------------------------------------------------------------
def _comparison_with_nan(dialect: Dialect, op: str, d: DType, args: Sequence[Expr]) -> Expr:
    """A comparison of two floats that NVVM may both know.

    It leaves a sum, difference, product or quotient of constants that is not finite for ptxas to compute, and takes its
    comparison with itself for that of a number.  A move that it does not see through costs no instruction.
    """
    apart = call(dialect.library.use(f"gc_apart_{d.name}"), args[0])
    return binary("!=" if op == "isnan" else COMPARISONS[op], apart, args[-1])


def _quotient(
    dialect: Dialect, d: DType, args: Sequence[Expr], divisor: Number | None, arithmetic: Arithmetic
) -> Expr | None:
    """A quotient of f32 or f64, None where C's serves.

    NVVM takes a quotient of numbers that are not below 0 for no less than 0 in comparisons, also one by a -0.0 that it
    knows, by itself or among others; of what went through a move it knows nothing.
    """
    if arithmetic == "fast":
        return None
    if not divisor:
        args = [args[0], call(dialect.library.use(f"gc_apart_{d.name}"), args[1])]
    if arithmetic == "pinned":
        return call("__fdiv_rn" if d is f32 else "__ddiv_rn", *args)
    return binary("/", *args) if not divisor else None


def _float_op(
    dialect: Dialect,
    op: str,
    d: DType,
    args: Sequence[Expr],
    constants: Sequence[Number | None],
    arithmetic: Arithmetic,
) -> Expr | None:
    single, fast = d is f32, arithmetic == "fast"
    if is_half(d):
        if op == "fma":
            return call(dialect.library.use(f"gc_fma_{d.name}"), *args)
        raise KeyError(f"{op}.{d.name}")
    if op in ("add", "sub", "mul"):
        return call(f"__{'f' if single else 'd'}{op}_rn", *args) if arithmetic == "pinned" else None
    if op == "div":
        return _quotient(dialect, d, args, constants[1], arithmetic)
    if op == "neg":
        return None
    if op == "isinf":
        size = call("fabsf" if single else "fabs", args[0])
        return binary("==", size, literal(dialect, float("inf"), d))
    if op in ("min", "max"):
        return call(dialect.library.use(f"gc_{op}_{d.name}"), *args)
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
