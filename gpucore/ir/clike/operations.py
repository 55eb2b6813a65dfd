"""Elementwise operations as expressions of C, with the meaning that :mod:`gpucore.ir.ops` gives them for every operand.

C's integers promote to ``int`` and overflow without a meaning; so whatever can overflow is computed unsigned, and
narrow integers, held as 32 bits, are wrapped after every operation that may leave their range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gpucore.ir.clike.dialect import Arithmetic, Dialect
from gpucore.ir.clike.expressions import Expr, binary, conditional, unary
from gpucore.ir.clike.literals import literal
from gpucore.ir.clike.names import held, is_narrow, unsigned
from gpucore.ir.dtypes import DType, bool_, i32, u32, u64
from gpucore.ir.nodes import Number

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}
_BITWISE = {"and": "&", "or": "|", "xor": "^"}


def render_op(
    dialect: Dialect, op: str, dtypes: Sequence[DType], result: DType, args: Sequence[Expr],
    constants: Sequence[Number | None], arithmetic: Arithmetic,
) -> Expr:  # fmt: skip
    """The expression of one operation; the parameters are those of :meth:`Dialect.operation`, which is asked first.

    Raises
    ------
    KeyError
        For an operation that neither C nor the dialect has.
    """
    own = dialect.operation(op, dtypes, result, args, constants, arithmetic)
    if own is not None:
        return own
    d = dtypes[1] if op == "select" else dtypes[0]
    if op in _ARITHMETIC:
        if d.is_float:
            return binary(_ARITHMETIC[op], args[0], args[1])
        return wrapped(dialect, d, lambda a, b: binary(_ARITHMETIC[op], a, b), args, constants)
    if op in COMPARISONS:
        return binary(COMPARISONS[op], args[0], args[1])
    if op == "select":
        return conditional(*args)
    if op == "cast":
        return _cast(dialect, d, result, args[0])
    if op in ("bitcast", "bitcast.raw"):
        return _bitcast(dialect, d, result, args[0], raw=op == "bitcast.raw")
    if op == "f2i.raw":
        return dialect.cast(held(result), args[0])
    if d.is_float:
        return _float_op(op, d, args)
    if d is bool_:
        return _bool_op(op, args)
    return _integer_op(dialect, op, d, args, constants)


def wrapped(
    dialect: Dialect, d: DType, make: Callable[..., Expr], args: Sequence[Expr],
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
            operands.append(Expr(f"{int(value)}{f'u{dialect.wide}' if u == 'u64' else 'u'}"))
        elif a.origin is not None and a.origin[0] == u:
            operands.append(a.origin[1])
        else:
            operands.append(a if held(d) == u else dialect.cast(u, a))
    computed = make(*operands)
    if is_narrow(d):
        return narrowed(dialect, d, computed)
    return replace(dialect.cast(d.name, computed), origin=(u, computed))


def narrowed(dialect: Dialect, d: DType, bits: Expr) -> Expr:
    """The value of a narrow dtype whose low bits are those of ``bits``, an expression of type u32."""
    text = f"{dialect.library.use(f'gc_wrap_{d.name}')}({bits.text})"
    return Expr(text, reads=bits.reads, origin=("u32", bits))


def widened(dialect: Dialect, d: DType, stored: Expr) -> Expr:
    """A narrow integer that is stored as such, as it is held."""
    return replace(dialect.cast(held(d), stored), origin=("u32", dialect.cast("u32", stored)))


def _to_u32(dialect: Dialect, x: Expr, d: DType) -> Expr:
    """32 bits that end in those of a value of an integer dtype or bool."""
    if x.origin is not None and x.origin[0] == "u32":
        return x.origin[1]
    return x if held(d) == "u32" else dialect.cast("u32", x)


def _holds(to: DType, source: DType) -> bool:
    """Whether a narrow dtype has every value of another dtype."""
    if source is bool_:
        return True
    if not source.is_integer or (source.is_signed and not to.is_signed):
        return False
    return source.bits - source.is_signed <= to.bits - to.is_signed


def _cast(dialect: Dialect, source: DType, to: DType, x: Expr) -> Expr:
    if source is to:
        return x
    if to is bool_:
        return binary("!=", x, literal(dialect, 0, source))
    if is_narrow(to) and not _holds(to, source):
        if not (source.is_integer or source is bool_):
            raise KeyError(f"cast.{source.name}.{to.name}")
        if is_narrow(source) and to.bits > source.bits:
            x = replace(x, origin=None)  # before its wrap x had fewer right bits than are wanted
        return narrowed(dialect, to, _to_u32(dialect, x, source))
    if source.is_float and to.is_integer:
        raise KeyError(f"cast.{source.name}.{to.name}")  # C leaves it undefined out of range
    # what x was before it was wrapped has other bits beyond the width that it had
    return replace(x, origin=None) if held(source) == held(to) else dialect.cast(held(to), x)


def _bitcast(dialect: Dialect, source: DType, to: DType, x: Expr, *, raw: bool) -> Expr:
    if source is to and raw:
        return x
    if source.is_float or to.is_float:
        raise KeyError(f"bitcast.{source.name}.{to.name}")
    if is_narrow(to):
        return narrowed(dialect, to, _to_u32(dialect, x, source))
    return dialect.cast(to.name, x)


def _bool_op(op: str, args: Sequence[Expr]) -> Expr:
    if op == "not":
        return unary("!", args[0])
    return binary({"and": "&&", "or": "||", "xor": "!="}[op], args[0], args[1])


def _float_op(op: str, d: DType, args: Sequence[Expr]) -> Expr:
    if d.bits >= 32 and op == "neg":
        return unary("-", args[0])
    if d.bits >= 32 and op == "div":
        return binary("/", args[0], args[1])
    if d.bits >= 32 and op == "isnan":
        return binary("!=", args[0], args[0])
    raise KeyError(f"{op}.{d.name}")


def _integer_op(
    dialect: Dialect, op: str, d: DType, args: Sequence[Expr], constants: Sequence[Number | None]
) -> Expr:
    narrow, use = is_narrow(d), dialect.library.use
    if op == "neg":
        return wrapped(dialect, d, lambda a: binary("-", Expr("0u"), a), args, constants)
    if op == "abs":
        if not d.is_signed:
            return args[0]
        size = _called(use(f"gc_abs_{held(d)}"), args)
        return narrowed(dialect, d, dialect.cast("u32", size)) if narrow else size
    if op == "not":
        if narrow:
            return unary("~", args[0]) if d.is_signed else binary("^", args[0], _ones(d))
        return dialect.cast(d.name, unary("~", args[0]))
    if op in _BITWISE:
        return binary(_BITWISE[op], args[0], args[1])
    if op in ("min", "max"):
        return conditional(binary("<" if op == "min" else ">", args[0], args[1]), args[0], args[1])
    if op in ("shl.raw", "shr.raw", "shl", "shr"):
        return _shift(dialect, op, d, args, constants)
    if op in ("add.raw", "mul.raw"):
        # plain, so that the compiler may widen offsets and step pointers along a loop
        operator = "+" if op == "add.raw" else "*"
        if narrow:
            return wrapped(dialect, d, lambda a, b: binary(operator, a, b), args, constants)
        return binary(operator, args[0], args[1])
    if op in ("quot.raw", "rem.raw"):
        return binary("/" if op == "quot.raw" else "%", args[0], args[1])
    if op in ("floordiv", "mod"):
        divided = _called(use(f"gc_{op}_{held(d)}"), args)
        overflows = narrow and d.is_signed and op == "floordiv"
        return narrowed(dialect, d, dialect.cast("u32", divided)) if overflows else divided
    if op in ("popcount", "clz"):
        return _count_bits(dialect, op, d, args[0])
    raise KeyError(f"{op}.{d.name}")


def _called(name: str, args: Sequence[Expr]) -> Expr:
    return Expr(f"{name}({', '.join(a.text for a in args)})", reads=any(a.reads for a in args))


def _ones(d: DType) -> Expr:
    return Expr(f"{hex((1 << d.bits) - 1)}u")


def _count_bits(dialect: Dialect, op: str, d: DType, x: Expr) -> Expr:
    if not is_narrow(d):
        return dialect.count_bits(op, x, d.name)
    bits = binary("&", dialect.cast("u32", x), _ones(d)) if d.is_signed else x
    counted = dialect.count_bits(op, bits, "u32")
    return counted if op == "popcount" else binary("-", counted, Expr(str(32 - d.bits)))


def _shift(
    dialect: Dialect, op: str, d: DType, args: Sequence[Expr], constants: Sequence[Number | None]
) -> Expr:
    """Shifts; the total ones compare the amount unless it is a literal within the width."""
    value, amount = args
    left = op.startswith("shl")
    if left:
        shifted = wrapped(dialect, d, lambda a: binary("<<", a, amount), [value], constants[:1])
    else:
        shifted = binary(">>", value, amount)
    known = constants[1]
    if op.endswith(".raw") or (known is not None and 0 <= int(known) < d.bits):
        return shifted
    limit = literal(dialect, d.bits, u64 if d.bits == 64 else u32)
    inside = binary("<", dialect.cast(unsigned(d), amount), limit)
    if left or not d.is_signed:
        beyond = literal(dialect, 0, d)
    else:
        beyond = binary(">>", value, literal(dialect, d.bits - 1, i32))
    return conditional(inside, shifted, beyond)
