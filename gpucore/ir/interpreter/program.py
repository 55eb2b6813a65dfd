"""What the interpreter runs: a module as Python code, arrays as flat memory views, scalars as exact Python numbers; each
operation as a Python expression on the names of its operands.

The names beginning with ``_gc_`` are globals of the generated code; :data:`HELPERS` holds those that do
not depend on the launch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import CodeType
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bf16, bool_, f16, f32, f64, from_numpy
from gpucore.ir.interpreter import numerics as num
from gpucore.ir.ops import COMPARISONS, MATH, SLICE_INDEX

__all__ = [
    "HELPERS", "ArrayArgument", "Program", "Site", "axes", "operation", "overlap_groups", "prepare_array", "prepare_scalar",
    "rounded", "zero",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A statement that may fail or wait: where it stands and what it touches."""

    loc: ir.Loc | None
    kind: str
    memory: ir.Memory | None = None
    message: str = ""
    dtype: DType | None = None


@dataclass(slots=True)
class Program:
    """A module as Python code.

    Attributes
    ----------
    codes : list[tuple[str, CodeType]]
        For each function, callees first: the global it is kept in, and its code.
    sites : list[Site]
    memories : dict[str, int]
        The number K of each memory.
    waits : bool
        The kernel is a generator.
    fences : bool
        The kernel has fences, which order accesses.
    written : frozenset[str]
        Global arrays that the kernel writes.
    flat : bool
        Low level: one index an access.
    sources : list[str]
        The generated text, for people.
    """

    codes: list[tuple[str, CodeType]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    memories: dict[str, int] = field(default_factory=dict)
    waits: bool = False
    fences: bool = False
    written: frozenset[str] = frozenset()
    flat: bool = False
    sources: list[str] = field(default_factory=list)


_FORMATS = {
    "bool": "?", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I", "u64": "Q",
    "f16": "H", "bf16": "H", "f32": "f", "f64": "d", "index": "q",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArrayArgument:
    """An ndarray as the generated code sees it.

    Attributes
    ----------
    memory : Memory
    array : ndarray
        As given.
    flat : Any
        One element of the memory's dtype an index; f16 and bf16 as their 16 bits.
    size : int
        Of ``flat``.
    shape : tuple[int, ...]
    address : int
        Of the first byte of ``flat``.
    strides : tuple[int, ...]
        Of an array with strides: in elements; then the offset of the first element in ``flat``.
    """

    memory: ir.Memory
    array: npt.NDArray[Any]
    flat: Any
    size: int
    shape: tuple[int, ...]
    address: int
    strides: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """From the first byte of ``flat`` to its end."""
        return self.size * self.memory.dtype.itemsize

    def index_of(self, element: int) -> tuple[int, ...]:
        """The index of the element at a place in ``flat``."""
        if not self.strides:
            return tuple(int(i) for i in np.unravel_index(element, self.shape))
        *strides, first = self.strides
        places = np.full(self.shape, first)
        for axis, (extent, stride) in enumerate(zip(self.shape, strides, strict=True)):
            steps = np.arange(extent) * stride
            places += steps.reshape(-1, *(1,) * (len(self.shape) - axis - 1))
        return tuple(int(i) for i in np.argwhere(places == element)[0])


def axes(value: Any, ndim: int, what: str) -> tuple[int, ...]:
    """A grid or block as a tuple of ``ndim`` integers."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(found) != ndim:
        raise LaunchError(f"the {what} {value!r} has {len(found)} axes; the kernel was built for {ndim}")
    for n in found:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise LaunchError(f"the {what} {value!r} is not made of non-negative integers")
    return tuple(int(n) for n in found)


def _fits(memory: ir.Memory, array: npt.NDArray[Any], low: bool) -> bool:
    dtype = memory.dtype
    if array.dtype == np.dtype(np.uint16) and dtype in (f16, bf16):
        return dtype is bf16 or low
    found = from_numpy(array.dtype)
    if found is dtype or (dtype.name == "index" and found is not None and found.name == "i64"):
        return True
    # lowering stores bool as u8 and the half types as u16; runtimes hand over plain bytes
    return low and (array.dtype.itemsize == dtype.itemsize or array.dtype == np.dtype(np.uint8))


def prepare_array(kernel: str, memory: ir.Memory, value: Any, *, low: bool, written: bool) -> ArrayArgument:
    """Check an array argument and make it addressable.

    Raises
    ------
    LaunchError
        For what is no ndarray, of another dtype or rank, not C-contiguous, or read-only but written.
    """
    where = f"{kernel}: argument {memory.name}"
    if not isinstance(value, np.ndarray):
        raise LaunchError(f"{where} is an array; the interpreter takes ndarrays, not {type(value).__name__}")
    if not _fits(memory, value, low):
        raise LaunchError(f"{where} holds {memory.dtype.name}, the ndarray {value.dtype}")
    strided = memory.layout != "contiguous"
    rank = (memory.rank - 1) // 2 if low and strided else memory.rank
    if (strided or not low) and value.ndim != rank:
        raise LaunchError(f"{where} has rank {rank}, the ndarray {value.ndim}")
    if not strided and not value.flags.c_contiguous:
        raise LaunchError(f"{where} is not C-contiguous; pass np.ascontiguousarray(...) or a copy")
    if written and value.size and not value.flags.writeable:
        raise LaunchError(f"{where} is written by the kernel, but the ndarray is read-only")
    if strided:
        return _strided(where, memory, value)
    if value.nbytes % memory.dtype.itemsize:
        raise LaunchError(f"{where}: {value.nbytes} bytes are no whole number of {memory.dtype.name}")
    size = value.nbytes // memory.dtype.itemsize
    flat: Any = ()
    if size:
        octets: Any = value.reshape(-1).view(np.uint8)
        flat = memoryview(octets).cast(_FORMATS[memory.dtype.name])  # type: ignore[call-overload]
    address = value.__array_interface__["data"][0]
    return ArrayArgument(memory, value, flat, size, value.shape, address)


def _strided(where: str, memory: ir.Memory, value: npt.NDArray[Any]) -> ArrayArgument:
    """An ndarray with strides as the memory from its lowest element to its highest one."""
    itemsize = memory.dtype.itemsize
    if any(stride % itemsize for stride in value.strides):
        raise LaunchError(
            f"{where}: its strides {value.strides} are no whole numbers of elements; pass a copy"
        )
    lows = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in value.strides)
    upward = value[lows]
    address = upward.__array_interface__["data"][0]
    below = value.__array_interface__["data"][0] - address if value.size else 0
    span = 1 + sum((n - 1) * (s // itemsize) for n, s in zip(upward.shape, upward.strides, strict=True))
    size = span if value.size else 0
    flat: Any = ()
    if size:
        kept = np.lib.stride_tricks.as_strided(upward, (size,), (itemsize,), writeable=value.flags.writeable)
        octets: Any = kept.view(np.uint8)
        flat = memoryview(octets).cast(_FORMATS[memory.dtype.name])  # type: ignore[call-overload]
    strides = tuple(stride // itemsize for stride in value.strides)
    return ArrayArgument(memory, value, flat, size, value.shape, address, (*strides, below // itemsize))


def prepare_scalar(kernel: str, parameter: ir.Value, value: Any) -> Any:
    """A scalar argument as an exact Python number of the parameter's dtype.

    Raises
    ------
    LaunchError
        For a value of another kind, or out of range.
    """
    dtype: DType = parameter.dtype
    where = f"{kernel}: argument {parameter.name}"
    if isinstance(value, (bool, np.bool_)):
        value = bool(value)
    elif isinstance(value, (int, np.integer)):
        value = int(value)
    elif isinstance(value, (float, np.floating)) or str(getattr(value, "dtype", "")) == "bfloat16":
        value = float(value)
    else:
        raise LaunchError(f"{where} is a scalar of dtype {dtype.name}, not {type(value).__name__}")
    if dtype.is_float:
        if isinstance(value, bool):
            raise LaunchError(f"{where} is {dtype.name}, not bool")
        return num.int_to_float(value, dtype) if isinstance(value, int) else num.rounder(dtype)(value)
    if dtype.kind == "bool":
        if not isinstance(value, bool):
            raise LaunchError(f"{where} is bool, not {type(value).__name__}")
        return value
    if not isinstance(value, int):
        raise LaunchError(f"{where} is {dtype.name}, not {type(value).__name__}")
    low, high = int_range(dtype)
    if not low <= value <= high:
        raise LaunchError(f"{where}: {value} does not fit {dtype.name} ({low} to {high})")
    return int(value)


def overlap_groups(arguments: Sequence[ArrayArgument]) -> list[list[ArrayArgument]]:
    """The arrays, together where their bytes overlap."""
    groups: list[list[ArrayArgument]] = []
    end = -math.inf
    for argument in sorted((a for a in arguments if a.size), key=lambda a: a.address):
        if groups and argument.address < end:
            groups[-1].append(argument)
        else:
            groups.append([argument])
            end = -math.inf
        end = max(end, argument.address + argument.nbytes)
    return groups


# --- operations
_SYMBOLS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}
_BITWISE = {"and": "&", "or": "|", "xor": "^"}


def int_range(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest value of an integer dtype; bool counts as 0 and 1."""
    if dtype.kind == "bool":
        return 0, 1
    if dtype.is_signed:
        return -(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1
    return 0, (1 << dtype.bits) - 1


def zero(dtype: DType) -> str:
    """The literal that memory of the dtype is cleared with."""
    return "0.0" if dtype.is_float else "False" if dtype.kind == "bool" else "0"


def wrapped(text: str, dtype: DType) -> str:
    """An integer expression brought back into the range of its dtype."""
    low, high = int_range(dtype)
    if not dtype.is_signed:
        return f"({text}) & {high}"
    # the common case costs two comparisons
    return f"(_gc_t if {low} <= (_gc_t := {text}) <= {high} else _gc_wrap_{dtype.name}(_gc_t))"


def rounded(text: str, dtype: DType) -> str:
    """A float expression brought from f64 to its dtype; f32 is the caller's part."""
    return text if dtype in (f32, f64) else f"_gc_round_{dtype.name}({text})"


def operation(op: str, dtypes: tuple[DType, ...], result: DType, args: tuple[str, ...]) -> tuple[str, bool]:
    """The expression for an operation.

    Parameters
    ----------
    op : str
    dtypes : tuple[DType, ...]
        Of the operands.
    result : DType
    args : tuple[str, ...]
        The operands, each a name or a literal.

    Returns
    -------
    tuple[str, bool]
        The expression, and whether an f32 result is still to be rounded.
    """
    if op == SLICE_INDEX:
        k, start, extent, step = args
        return f"{start} + {k} * {step} if 0 <= {k} < {extent} else -1", False
    if op == "select":
        return f"{args[1]} if {args[0]} else {args[2]}", False
    if op in COMPARISONS:
        return f"{args[0]} {_SYMBOLS[op]} {args[1]}", False
    if op == "cast":
        return _cast(dtypes[0], result, args[0])
    if op in ("bitcast", "bitcast.raw"):
        return _bitcast(dtypes[0], result, args[0], raw=op == "bitcast.raw"), False
    if op == "f2i.raw":
        low, high = int_range(result)
        return f"_gc_f2i_raw({args[0]}, {low}, {high})", False
    subject = dtypes[0]
    if subject.is_float:
        return _float(op, subject, args)
    if subject.kind == "bool":
        return (f"not {args[0]}" if op == "not" else f"{args[0]} {_BITWISE[op]} {args[1]}"), False
    return _integer(op, subject, args), False


def _integer(op: str, dtype: DType, args: tuple[str, ...]) -> str:
    a, b = args[0], args[-1]
    bits, mask = dtype.bits, (1 << dtype.bits) - 1
    negative = f"-1 if {a} < 0 else 0" if dtype.is_signed else "0"
    pattern = f"({a} & {mask})" if dtype.is_signed else f"({a})"
    if op in _ARITHMETIC:
        return wrapped(f"{a} {_ARITHMETIC[op]} {b}", dtype)
    if op in _BITWISE:
        return f"{a} {_BITWISE[op]} {b}"
    table = {
        "neg": wrapped(f"-{a}", dtype),
        "floordiv": wrapped(f"{a} // {b} if {b} else 0", dtype),
        "mod": f"{a} % {b} if {b} else 0",
        "pow": f"_gc_pow_{dtype.name}({a}, {b})",
        "min": f"{a} if {a} < {b} else {b}",
        "max": f"{a} if {a} > {b} else {b}",
        "abs": wrapped(f"_gc_abs({a})", dtype),
        "not": f"~{a}" if dtype.is_signed else f"{a} ^ {mask}",
        "shl": f"_gc_shl_{dtype.name}({a}, {b})",
        "shr": f"{a} >> {b} if 0 <= {b} < {bits} else ({negative})",
        "dot4_signed": f"_gc_dot4_signed({', '.join(args)})",
        "dot4_unsigned": f"_gc_dot4_unsigned({', '.join(args)})",
        "dot4_mixed": f"_gc_dot4_mixed({', '.join(args)})",
        "popcount": f"{pattern}.bit_count()",
        "clz": f"{bits} - {pattern}.bit_length()",
        "add.raw": wrapped(f"{a} + {b}", dtype),
        "mul.raw": wrapped(f"{a} * {b}", dtype),
        "shl.raw": f"_gc_shl_raw_{dtype.name}({a}, {b})",
        "shr.raw": f"_gc_shr_raw_{dtype.name}({a}, {b})",
        "quot.raw": f"_gc_quot_{dtype.name}({a}, {b})",
        "rem.raw": f"_gc_rem_{dtype.name}({a}, {b})",
    }
    return table[op]


def _float(op: str, dtype: DType, args: tuple[str, ...]) -> tuple[str, bool]:
    a, b = args[0], args[-1]
    if op in _ARITHMETIC:
        return rounded(f"{a} {_ARITHMETIC[op]} {b}", dtype), True
    if op == "div":
        return rounded(f"{a} / {b} if {b} else _gc_div0({a}, {b})", dtype), True
    if op in MATH:
        return rounded(f"_gc_math_{op}({', '.join(args)})", dtype), True
    if op in ("fma", "floordiv", "mod"):
        return f"_gc_{op}_{dtype.name}({', '.join(args)})", False
    if op == "sqrt":
        return rounded(f"_gc_sqrt({a})", dtype), True
    table = {
        "neg": f"-{a}",
        "min": f"_gc_min({a}, {b})",
        "max": f"_gc_max({a}, {b})",
        "abs": f"_gc_abs({a})",
        "isnan": f"{a} != {a}",
        "isinf": f"_gc_abs({a}) == _gc_inf",
        "floor": f"_gc_floor({a})",
        "ceil": f"_gc_ceil({a})",
        "trunc": f"_gc_trunc({a})",
        "round": f"_gc_rint({a})",
    }
    return table[op], False


def _cast(source: DType, to: DType, a: str) -> tuple[str, bool]:
    if source is to:
        return a, False
    if to is bool_:
        return f"{a} != 0", False
    if source is bool_:
        return (f"1.0 if {a} else 0.0" if to.is_float else f"1 if {a} else 0"), False
    low, high = int_range(to) if not to.is_float else (0, 0)
    if source.is_float:
        if not to.is_float:
            return f"_gc_f2i({a}, {low}, {high})", False
        wide = to is f64 or (to is f32 and source is not f64)
        return (a, False) if wide else (rounded(a, to), True)
    if to.is_float:
        exact = source.bits <= 32 or to is f64
        return (rounded(f"_gc_float({a})", to), True) if exact else (f"_gc_i2f_{to.name}({a})", False)
    from_low, from_high = int_range(source)
    return (a if low <= from_low and from_high <= high else wrapped(a, to)), False


def _bitcast(source: DType, to: DType, a: str, *, raw: bool) -> str:
    text = a
    if source.is_float:
        text = f"_gc_bits{'_raw' if raw else ''}_{source.name}({a})"
    elif source.is_signed and (to.is_float or not to.is_signed):
        text = f"{a} & {(1 << source.bits) - 1}"
    if to.is_float:
        return f"_gc_from_bits_{to.name}({text})"
    if to.is_signed and (source.is_float or not source.is_signed):
        return f"_gc_wrap_{to.name}({text})"
    return text


def _divmod_part(part: int, dtype: DType) -> Callable[[float, float], float]:
    steps = num.rounder(dtype if dtype is f64 else f32)
    last = num.rounder(dtype)

    def run(a: float, b: float) -> float:
        return last(num.divmod_float(a, b, steps)[part])

    return run


_OF_INT: dict[str, Callable[..., int]] = {
    "wrap": num.wrap, "pow": num.pow_int, "shl": num.shift_left, "shl_raw": num.shift_left_raw,
    "shr_raw": num.shift_right_raw, "quot": num.quotient, "rem": num.remainder,
}  # fmt: skip
_OF_FLOAT: dict[str, Callable[..., Any]] = {
    "fma": num.fma, "i2f": num.int_to_float, "bits": num.float_to_bits, "bits_raw": num.float_to_bits_raw,
    "from_bits": num.bits_to_float,
}  # fmt: skip


def _helpers() -> dict[str, Any]:
    found: dict[str, Any] = {
        "_gc_abs": abs, "_gc_float": float, "_gc_inf": num.INF, "_gc_nan": num.NAN, "_gc_range": range,
        "_gc_div0": num.divide_by_zero, "_gc_sqrt": num.sqrt, "_gc_min": num.minimum, "_gc_max": num.maximum,
        "_gc_floor": num.floor, "_gc_ceil": num.ceil, "_gc_trunc": num.trunc, "_gc_rint": num.round_even,
        "_gc_f2i": num.float_to_int, "_gc_f2i_raw": num.float_to_int_raw,
        "_gc_dot4_signed": partial(num.dot4, signed=(True, True)),
        "_gc_dot4_unsigned": partial(num.dot4, signed=(False, False)),
        "_gc_dot4_mixed": partial(num.dot4, signed=(False, True)),
    }  # fmt: skip
    for name, function in num.FAST_MATH.items():
        found[f"_gc_math_{name}"] = function
    for d in ALL:
        if d.is_integer:
            for name, of_int in _OF_INT.items():
                found[f"_gc_{name}_{d.name}"] = partial(of_int, dtype=d)
        elif d.is_float:
            found[f"_gc_round_{d.name}"] = num.rounder(d)
            found[f"_gc_floordiv_{d.name}"] = _divmod_part(0, d)
            found[f"_gc_mod_{d.name}"] = _divmod_part(1, d)
            for name, of_float in _OF_FLOAT.items():
                found[f"_gc_{name}_{d.name}"] = partial(of_float, dtype=d)
    return found


HELPERS: dict[str, Any] = _helpers()


def binary(op: str, dtype: DType) -> Callable[[Any, Any], Any]:
    """A two-operand operation as a function, for subgroups and tests."""
    text, pending = operation(op, (dtype, dtype), dtype, ("a", "b"))
    if pending and dtype is f32:
        text = f"_gc_round_f32({text})"
    function: Callable[[Any, Any], Any] = eval(f"lambda a, b: {text}", dict(HELPERS))
    return function


def unsupported_math(op: str) -> NotSupportedError:
    """The error for a math operation in strict mode, whose meaning is the linked library's."""
    return NotSupportedError(
        f"{op} belongs to gpucore.math: link the module (gpucore.ir.passes.lower) before interpreting it",
        capability="link",
    )
