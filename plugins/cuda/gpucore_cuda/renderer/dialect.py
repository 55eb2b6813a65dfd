"""CUDA C++ as a dialect of C."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpucore.ir import Atomic, AtomicCas, DType, ThreadIndex, TileProduct, f32, f64
from gpucore.ir.clike import (
    UNARY,
    Arithmetic,
    Expr,
    Helper,
    Library,
    binary,
    call,
    held,
    joined,
    literal,
    widened,
)
from gpucore.ir.nodes import Number
from gpucore_cuda.renderer.helpers import helper
from gpucore_cuda.renderer.names import HALF_TYPEDEFS, RESERVED, TYPEDEFS
from gpucore_cuda.renderer.operations import guarded_operation, hidden_zero, own_operation
from gpucore_cuda.renderer.subgroups import subgroup_call
from gpucore_cuda.renderer.tiles import tile_product

_ATOMIC = {
    "add": "atomicAdd", "sub": "atomicAdd", "min": "atomicMin", "max": "atomicMax", "and": "atomicAnd",
    "or": "atomicOr", "xor": "atomicXor", "exchange": "atomicExch",
}  # fmt: skip


class CudaDialect:
    """See :class:`gpucore.ir.clike.Dialect`.

    Parameters
    ----------
    arch : str
        Such as ``"sm_90"``.
    capability : int
        ``90``.
    block : tuple[int, ...] | None
        The block in array order where it is known.
    guarded : bool
        Whether operations are written so that ptxas does not combine them, see :mod:`gpucore_cuda.assembler`.
    """

    reserved = RESERVED
    wide = "ll"
    function = "static __device__"
    function_once = "static __device__ __noinline__"
    loop_once = '_Pragma("unroll 1")'
    loop_unrolled = '_Pragma("unroll")'
    table = "static __device__ const"  # constant memory would serialise lanes that read different elements
    zeros = "{}"
    static_shared = 48 * 1024
    barrier = "__syncthreads();"
    fence = "__threadfence();"

    def __init__(self, arch: str, capability: int, block: tuple[int, ...] | None, *, guarded: bool) -> None:
        def find(name: str) -> Helper:
            return helper(name, capability)

        self.library = Library(find)
        self._arch, self._block, self._guarded = arch, block, guarded

    # text
    def header(self, kernel: str, math: str, *, halves: bool) -> str:
        return f"// {kernel}: {self._arch}, {math}\n{TYPEDEFS}{HALF_TYPEDEFS if halves else ''}"

    def cast(self, to: str, x: Expr) -> Expr:
        return call(to, x)

    def float_of_bits(self, bits: int, dtype: DType) -> str:
        if dtype is f32:
            return f"__uint_as_float({bits:#x}u)"
        return f"__longlong_as_double({f'{bits:#x}ll' if bits < 2**63 else f'i64({bits:#x}ull)'})"

    def constant(self, value: Number, dtype: DType) -> Expr:
        if self._guarded and dtype is f32 and value == 0:
            return hidden_zero(self, value)
        if dtype in (f32, f64) and value != value:
            # NVVM takes a quotient of constants for a number, and its comparison with itself for true
            return call(self.library.use(f"gc_nan_{dtype.name}"))
        return literal(self, value, dtype)

    # declarations
    def kernel(self, name: str, parameters: Sequence[str], threads: int | None) -> str:
        bounds = "" if threads is None else f" __launch_bounds__({threads})"
        return f'extern "C" __global__ void{bounds} {name}({joined(parameters)}) {{'

    def pointer(self, element: str, name: str, *, constant: bool, restrict: bool) -> str:
        return f"{'const ' if constant else ''}{element}*{' __restrict__' if restrict else ''} {name}"

    def shared(self, element: str, name: str, size: int) -> str:
        return f"__shared__ __align__(16) {element} {name}[{size}];"

    def shared_block(self) -> str:
        return "extern __shared__ __align__(16) u8 gc_shared[];"

    def shared_part(self, element: str, name: str, offset: int) -> str:
        return f"{element}* const {name} = reinterpret_cast<{element}*>(gc_shared + {offset});"

    # operations
    def operation(
        self, op: str, dtypes: Sequence[DType], result: DType, args: Sequence[Expr],
        constants: Sequence[Number | None], arithmetic: Arithmetic,
    ) -> Expr | None:  # fmt: skip
        if self._guarded:
            careful = guarded_operation(self, op, dtypes[0], result, args, constants)
            if careful is not None:
                return careful
        return own_operation(self, op, dtypes, result, args, constants, arithmetic)

    def count_bits(self, op: str, x: Expr, held: str) -> Expr:
        long = held in ("i64", "u64")
        if op == "popcount":
            unsigned = "u64" if long else "u32"
            return call("__popcll" if long else "__popc", x if held == "u32" else call(unsigned, x))
        return call("__clzll", call("i64", x)) if long else call("__clz", call("i32", x))

    def widened(self, dtype: DType, stored: Expr) -> Expr:
        if self._guarded:
            return call(self.library.use(f"gc_guarded_{held(dtype)}"), call(held(dtype), stored))
        return widened(self, dtype, stored)

    def from_bits(self, dtype: DType, x: Expr) -> Expr:
        return call("__uint_as_float" if dtype is f32 else "__longlong_as_double", x)

    # threads
    def thread_index(self, statement: ThreadIndex, axis: int, extent: int | None) -> Expr:
        letter, d = "xyz"[axis], statement.result.dtype
        size = f"blockDim.{letter}" if extent is None else f"{extent}u"
        match statement.kind:
            case "thread_id":
                text = f"threadIdx.{letter}"
            case "block_id":
                text = f"blockIdx.{letter}"
            case "block_dim":
                text = size
            case "grid_dim":
                text = f"gridDim.{letter}"
            case "global_id":
                block = f"blockIdx.{letter}" if d.bits == 32 else f"u64(blockIdx.{letter})"
                text = f"{block} * {size} + threadIdx.{letter}"
        return Expr(f"{d.name}({text})")

    def subgroup(self, op: str, dtype: DType, args: Sequence[str]) -> str:
        return subgroup_call(self, self._block, op, dtype, args)

    def tile_product(self, statement: TileProduct, names: Sequence[str]) -> str:
        total, left, right = names
        return tile_product(self, statement, (total, left, right))

    # memory
    def seen_as(self, address: str, element: str, space: str) -> str:
        return f"reinterpret_cast<{element}*>({address})"

    def atomic(
        self, statement: Atomic | AtomicCas, pointer: Callable[[str], str], operands: Sequence[Expr],
        arithmetic: Arithmetic, *, used: bool,
    ) -> str:  # fmt: skip
        """CUDA has 32 and 64 bits; 64-bit integers are seen as ``unsigned long long`` save in min and max."""
        memory, result = statement.memory, statement.result
        d = statement.bits or memory.dtype
        seen = d.name
        if isinstance(statement, AtomicCas):
            seen = f"u{d.bits}" if d.is_float or d.bits == 64 else seen
            if statement.only_loads:
                # PTX: a volatile load orders as a relaxed one of system scope, and is not split; C wants the element's own type
                kept = memory.dtype
                loaded = Expr(f"*(volatile {kept.name} *)({pointer(kept.name)})", UNARY)
                old = _bits(loaded, kept, seen)
            else:
                expected, desired = (_bits(x, d, seen) for x in operands)
                old = f"atomicCAS({pointer(seen)}, {expected}, {desired})"
        else:
            name, value = _ATOMIC[statement.op], operands[0]
            if self._guarded and statement.op == "sub" and d.name in ("i32", "u32"):
                flip = self.library.use("gc_guarded_not_u32")
                bits = call(flip, value if d.name == "u32" else call("u32", value))
                name, value, seen = "atomicAdd", binary("+", bits, Expr("1u")), "u32"
            elif statement.op == "sub":
                name = "atomicAdd"
                if d.is_float:
                    value = Expr(f"-({value.text})", UNARY, value.reads)
                else:  # CUDA's atomicSub negates as signed: of what can only be 0 or the least number, nvcc makes 0
                    seen = f"u{d.bits}"
                    value = binary("-", Expr("0u"), value if d.name == seen else call(seen, value))
            elif d.bits == 64 and d.is_integer and statement.op not in ("min", "max"):
                seen, value = "u64", value if d.name == "u64" else call("u64", value)
            elif d.is_float and d.bits == 64 and statement.op == "exchange":
                seen, value = "u64", Expr(_bits(value, d, "u64"))
            if name == "atomicAdd" and d is f32 and memory.space == "global" and arithmetic != "fast":
                name = self.library.use("gc_atomic_add_f32")
            old = f"{name}({pointer(seen)}, {value.text})"
        return _from_bits(old, seen, result.dtype) if used and seen != result.dtype.name else old


def _bits(value: Expr, d: DType, seen: str) -> str:
    if d.name == seen:
        return value.text
    if d.is_float:
        text = value.text
        return f"__float_as_uint({text})" if d.bits == 32 else f"u64(__double_as_longlong({text}))"
    return f"{seen}({value.text})"


def _from_bits(text: str, seen: str, d: DType) -> str:
    if d.is_float and seen.startswith("u"):
        return f"__uint_as_float({text})" if d.bits == 32 else f"__longlong_as_double(i64({text}))"
    return f"{d.name}({text})"
