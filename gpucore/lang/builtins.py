"""What may be called in a kernel: the names that ``gpucore`` exports, as the host sees them.

On the host each raises an error that says where it belongs; :data:`TABLE` maps each to the operation that the
front end emits.  ``cdiv`` alone works on the host too. Functions of the math library are in :mod:`gpucore.lang.math_builtins`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from gpucore.ir.dtypes import DType
from gpucore.lang.math_builtins import MATH_TABLE, outside
from gpucore.lang.tile import TILE_TABLE


def block_sum(x: T) -> T:
    """The sum over the block, in a fixed order: a balanced tree over the linear thread ids."""
    outside("block_sum")


def block_min(x: T) -> T:
    """The least over the block; NaN if any is, -0 below +0."""
    outside("block_min")


def block_max(x: T) -> T:
    """The greatest over the block; NaN if any is, -0 below +0."""
    outside("block_max")


def block_any(x: object) -> bool:
    """Whether the condition of any thread of the block holds."""
    outside("block_any")


def block_all(x: object) -> bool:
    """Whether the conditions of all threads of the block hold."""
    outside("block_all")


def block_broadcast(x: T, thread: int) -> T:
    """The value of the thread with that linear id in the block; the thread's own where there is none."""
    outside("block_broadcast")


def block_inclusive_sum(x: T) -> T:
    """The sum over the threads of the block up to this one, by linear id, in a fixed order."""
    outside("block_inclusive_sum")


def block_exclusive_sum(x: T) -> T:
    """The sum over the threads of the block before this one, by linear id, in a fixed order; 0 for the first."""
    outside("block_exclusive_sum")


def atomic_load(array: Any, index: int | tuple[int, ...]) -> Any:
    """The element, read as one step."""
    outside("atomic_load")


def atomic_store(array: Any, index: int | tuple[int, ...], value: Any) -> None:
    """Replace the element, as one step."""
    outside("atomic_store")


BLOCK_TABLE: dict[Callable[..., Any], str] = {
    function: function.__name__
    for function in (
        block_sum, block_min, block_max, block_any, block_all, block_broadcast, block_inclusive_sum,
        block_exclusive_sum, atomic_load, atomic_store,
    )
}  # fmt: skip


T_co = TypeVar("T_co", covariant=True)


class Vector(Protocol[T_co]):
    """A vector as type checkers see it here."""

    @property
    def x(self) -> T_co: ...


def dot(a: Vector[T], b: Vector[T]) -> T:
    """``a.x * b.x + a.y * b.y + ...``, added from the left."""
    outside("dot")


def cross(a: T, b: T) -> T:
    """The cross product of two vectors of three elements."""
    outside("cross")


def length(v: Vector[T]) -> T:
    """``sqrt(dot(v, v))``."""
    outside("length")


def conj(z: complex) -> complex:
    """The conjugate of a complex number."""
    outside("conj")


RECORD_TABLE: dict[Callable[..., Any], str] = {f: f.__name__ for f in (dot, cross, length, conj)}


T = TypeVar("T")


class constexpr(Generic[T]):
    """Annotation of a parameter whose value is known when the kernel is compiled."""


def global_id(axis: int) -> int:
    """The thread's coordinate in the launch along an axis; axis 0 is the slowest."""
    outside("global_id")


def thread_id(axis: int) -> int:
    """The thread's coordinate in its block."""
    outside("thread_id")


def block_id(axis: int) -> int:
    """The block's coordinate in the grid."""
    outside("block_id")


def block_dim(axis: int) -> int:
    """Threads of a block along an axis."""
    outside("block_dim")


def grid_dim(axis: int) -> int:
    """Blocks of the grid along an axis."""
    outside("grid_dim")


def global_ids(rank: int) -> tuple[int, ...]:
    """``global_id`` of every axis of a launch of that rank."""
    outside("global_ids")


def barrier() -> None:
    """Wait for all threads of the block; orders shared and global memory among them."""
    outside("barrier")


def memory_fence() -> None:
    """Order this thread's accesses to global and shared memory, device scope."""
    outside("memory_fence")


def shared(shape: int | tuple[int, ...], dtype: DType) -> Any:
    """An array shared by the block; contents undefined at first; the launch may decide extents."""
    outside("shared")


def local(shape: int | tuple[int, ...], dtype: DType) -> Any:
    """An array of this thread, zero at first."""
    outside("local")


def static_range(*bounds: int) -> Iterator[int]:
    """A range that is unrolled; bounds are known when the kernel is compiled."""
    outside("static_range")


def atomic_add(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by a + value, as one step; gives the old element."""
    outside("atomic_add")


def atomic_sub(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by a - value, as one step; gives the old element."""
    outside("atomic_sub")


def atomic_min(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by the smaller, as one step; gives the old element."""
    outside("atomic_min")


def atomic_max(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by the larger, as one step; gives the old element."""
    outside("atomic_max")


def atomic_and(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by a & value, as one step; gives the old element."""
    outside("atomic_and")


def atomic_or(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by a | value, as one step; gives the old element."""
    outside("atomic_or")


def atomic_xor(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by a ^ value, as one step; gives the old element."""
    outside("atomic_xor")


def atomic_exchange(array: Any, index: int | tuple[int, ...], value: T) -> T:
    """Replace ``a = array[index]`` by value, as one step; gives the old element."""
    outside("atomic_exchange")


def atomic_cas(array: Any, index: int | tuple[int, ...], expected: T, desired: T) -> T:
    """Store ``desired`` where the element is ``expected``, as one step; gives the old element."""
    outside("atomic_cas")


def subgroup_size() -> int:
    """Lanes of a subgroup."""
    outside("subgroup_size")


def subgroup_lane() -> int:
    """This thread's lane: its linear id in the block modulo the size."""
    outside("subgroup_lane")


def subgroup_sum(x: T) -> T:
    """The sum over the subgroup, by an xor butterfly."""
    outside("subgroup_sum")


def subgroup_min(x: T) -> T:
    """The least over the subgroup."""
    outside("subgroup_min")


def subgroup_max(x: T) -> T:
    """The greatest over the subgroup."""
    outside("subgroup_max")


def subgroup_inclusive_sum(x: T) -> T:
    """The sum over the lanes up to this one."""
    outside("subgroup_inclusive_sum")


def subgroup_exclusive_sum(x: T) -> T:
    """The sum over the lanes before this one."""
    outside("subgroup_exclusive_sum")


def subgroup_any(x: object) -> bool:
    """Whether any lane's condition holds."""
    outside("subgroup_any")


def subgroup_all(x: object) -> bool:
    """Whether every lane's condition holds."""
    outside("subgroup_all")


def subgroup_ballot(x: object) -> int:
    """A u64 with bit k set where lane k's condition holds."""
    outside("subgroup_ballot")


def subgroup_broadcast(x: T, lane: int) -> T:
    """The value of one lane."""
    outside("subgroup_broadcast")


def subgroup_shuffle(x: T, lane: int) -> T:
    """The value of the lane that each names."""
    outside("subgroup_shuffle")


def subgroup_shuffle_xor(x: T, mask: int) -> T:
    """The value of the lane whose number differs by the mask."""
    outside("subgroup_shuffle_xor")


def select(condition: object, a: T, b: T) -> T:
    """``a`` where the condition holds, else ``b``; both are evaluated."""
    outside("select")


def cast(x: float, dtype: type[T]) -> T:
    """Convert: floats to integers truncate and saturate, NaN gives 0."""
    outside("cast")


def bitcast(x: float, dtype: type[T]) -> T:
    """The same bits as another dtype of the width; NaN gives the canonical quiet NaN."""
    outside("bitcast")


def fma(a: float, b: float, c: float) -> float:
    """``a * b + c`` with one rounding."""
    outside("fma")


def min(a: T, b: T, *more: T) -> T:
    """The least; NaN if any is, -0 below +0."""
    outside("min")


def max(a: T, b: T, *more: T) -> T:
    """The greatest; NaN if any is, -0 below +0."""
    outside("max")


def abs(x: T) -> T:
    """The magnitude; integers wrap."""
    outside("abs")


def clamp(x: T, low: T, high: T) -> T:
    """``min(max(x, low), high)``."""
    outside("clamp")


def popcount(x: int) -> int:
    """Bits set, an i32."""
    outside("popcount")


def clz(x: int) -> int:
    """Leading zeros, an i32; the width for 0."""
    outside("clz")


def dot4(a: int, b: int, total: int) -> int:
    """``total`` plus the four products of the bytes of two words.

    The bytes of an i32 word are i8, those of a u32 word beside it u8. Of two u32 words the bytes are i8 where ``total`` is an
    i32, u8 where it is a u32, whose dtype the result has.
    """
    outside("dot4")


def isnan(x: float) -> bool:
    """Whether a float is NaN."""
    outside("isnan")


def isinf(x: float) -> bool:
    """Whether a float is infinite."""
    outside("isinf")


def floor(x: float) -> float:
    """Toward minus infinity, a float."""
    outside("floor")


def ceil(x: float) -> float:
    """Toward plus infinity, a float."""
    outside("ceil")


def trunc(x: float) -> float:
    """Toward zero, a float."""
    outside("trunc")


def round(x: float) -> float:
    """To the nearest, ties to even, a float."""
    outside("round")


def cdiv(a: int, b: int) -> int:
    """``a / b`` rounded up: the number of blocks of ``b`` that cover ``a``; on the host too.

    >>> cdiv(1000, 256)
    4
    """
    return -(-a // b)


TABLE: dict[Callable[..., Any], str] = (
    {
        function: function.__name__
        for function in (
            global_id,
            thread_id,
            block_id,
            block_dim,
            grid_dim,
            global_ids,
            barrier,
            memory_fence,
            shared,
            local,
            static_range,
            atomic_add,
            atomic_sub,
            atomic_min,
            atomic_max,
            atomic_and,
            atomic_or,
            atomic_xor,
            atomic_exchange,
            atomic_cas,
            subgroup_size,
            subgroup_lane,
            subgroup_sum,
            subgroup_min,
            subgroup_max,
            subgroup_inclusive_sum,
            subgroup_exclusive_sum,
            subgroup_any,
            subgroup_all,
            subgroup_ballot,
            subgroup_broadcast,
            subgroup_shuffle,
            subgroup_shuffle_xor,
            select,
            cast,
            bitcast,
            fma,
            min,
            max,
            abs,
            clamp,
            popcount,
            clz,
            dot4,
            isnan,
            isinf,
            floor,
            ceil,
            trunc,
            round,
            cdiv,
        )
    }
    | MATH_TABLE
    | BLOCK_TABLE
    | RECORD_TABLE
    | TILE_TABLE
)
"""Each placeholder's name, by which the front end knows what to emit."""
