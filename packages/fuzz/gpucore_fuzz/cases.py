"""Random kernels that mean the same everywhere, and the comparison of any executor with the interpreter.

:func:`generate` makes a valid high-level module with inputs from a seed, the same for a seed on every
platform and Python.  Results are portable: threads write elements of their own, shared memory is exchanged
across barriers, atomics that threads share commute and nobody looks at the old value.
:func:`differential` runs one case on an executor and on the interpreter and compares every bit (any NaN
equals any other).  :func:`shrink` makes a failing case small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import GpucoreError, NotSupportedError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, index
from gpucore.ir.interpreter import interpret
from gpucore.ir.verify import verify
from gpucore_fuzz.blocks import ELEMENTS as BLOCK_ELEMENTS
from gpucore_fuzz.blocks import block_kernel
from gpucore_fuzz.kernels import Options, build_module
from gpucore_fuzz.ranges import range_kernel
from gpucore_fuzz.shrink import lost_order, smaller_modules, without_dead_code
from gpucore_fuzz.values import copies, random_array, random_scalar, source

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Case", "Mismatch", "cases", "differential", "expected", "generate", "generate_block", "shrink"]

ELEMENTS: tuple[DType, ...] = tuple(d for d in ALL if d is not index)
Run = Callable[[ir.Module, tuple[int, ...], tuple[int, ...], list[Any]], None]
"""An executor: module, grid, block, arguments; writes the ndarrays in place."""


@dataclass(frozen=True)
class Case:
    """A kernel and one launch of it.

    Attributes
    ----------
    module : Module
    grid, block : tuple[int, ...]
        A block of ``()`` stands for a range launch over the grid.
    args : tuple
        One an entry of ``module.kernel.params``; executors get copies of the arrays.
    seed : int
    """

    module: ir.Module
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...] = field(repr=False)
    seed: int = 0

    def arguments(self) -> list[Any]:
        """The arguments with fresh copies of the arrays; those that overlap do so again."""
        return copies(self.args)


@dataclass(frozen=True)
class Mismatch:
    """The first element in which an executor and the interpreter differ, or the executor's exception.

    Attributes
    ----------
    case : Case
    array : str
        Name of the array parameter; empty for an exception.
    index : tuple[int, ...]
    expected, found : Any
        The elements; for an exception ``found`` is it.
    """

    case: Case
    array: str
    index: tuple[int, ...]
    expected: Any
    found: Any

    def __str__(self) -> str:
        case = self.case
        head = f"seed {case.seed}, grid {case.grid}, block {case.block}: "
        if self.array:
            where = f"{self.array}{list(self.index)}"
            head += f"{where} is {self.found!r}, the interpreter says {self.expected!r}"
        else:
            head += f"the executor raised {self.found!r}"
        return f"{head}\n{case.module}"


def generate(
    seed: int,
    *,
    dtypes: Sequence[DType] = ELEMENTS,
    atomics: Sequence[DType] | None = None,
    math: bool = False,
    subgroup: int | None = None,
    size: int = 24,
) -> Case:
    """A random kernel with a launch.

    Parameters
    ----------
    seed : int
    dtypes : sequence of DType
        What values and arrays may be; ``bool`` and ``i32`` appear anyway.
    atomics : sequence of DType, optional
        Integer dtypes to use atomics on; i32 and u32 by default.
    math : bool
        Also use the operations of ``gpucore.ir.ops.MATH``; the module then wants to be linked before it is
        interpreted.
    subgroup : int, optional
        Fix the subgroup width, and use subgroup operations.
    size : int
        Roughly the number of statements.
    """
    rng = source(seed)
    options = Options.of(dtypes, atomics, math=math, subgroup=subgroup, size=size)
    ndim = rng.choice((1, 1, 1, 2, 2, 3))
    block = tuple(rng.choice((1, 2, 3, 4)) for _ in range(ndim - 1)) + (rng.choice((1, 4, 7, 8, 16)),)
    grid = tuple(rng.choice((1, 1, 2, 3)) for _ in range(ndim))
    module = build_module(rng, options, block)
    total = tuple(g * b for g, b in zip(grid, block, strict=True))
    args: list[Any] = []
    for parameter in module.kernel.params:
        if isinstance(parameter, ir.Value):
            args.append(random_scalar(rng, parameter.dtype))
        elif parameter.name.startswith("out"):
            args.append(random_array(rng, parameter.dtype, total))
        else:
            shape = tuple(rng.randint(1, 9) for _ in range(parameter.rank))
            args.append(random_array(rng, parameter.dtype, shape))
    return Case(module, grid, block, tuple(args), seed)


def generate_block(
    seed: int, *, dtypes: Sequence[DType] = BLOCK_ELEMENTS, subgroup: int | None = None, size: int = 16
) -> Case:
    """A random kernel whose threads work together, with a launch; every eighth is one for a range launch.

    Shared arrays are written and read again across barriers, which stand in uniform loops and branches too; the
    parameters are those of :func:`generate`.
    """
    kernel = range_kernel(seed, dtypes=dtypes, size=size) if seed % 8 == 7 else None
    kernel = kernel or block_kernel(seed, dtypes=dtypes, subgroup=subgroup, size=size)
    return Case(kernel.module, kernel.grid, kernel.block, kernel.args, seed)


def expected(case: Case, *, detect_races: bool = False) -> list[Any]:
    """The arguments after the interpreter ran the case."""
    args = case.arguments()
    block = case.block or (1,) * len(case.grid)
    interpret(case.module, case.grid, block, args, detect_races=detect_races)
    return args


def bits_of(array: npt.NDArray[Any], dtype: DType) -> npt.NDArray[Any]:
    """The elements as integers, NaNs canonical."""
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = flat.view(np.dtype(f"u{array.dtype.itemsize}"))
    if not dtype.is_float:
        return bits
    mantissa = {"f16": 10, "bf16": 7, "f32": 23, "f64": 52}[dtype.name]
    magnitude = bits & bits.dtype.type((1 << (dtype.bits - 1)) - 1)
    infinity = bits.dtype.type(((1 << (dtype.bits - 1 - mantissa)) - 1) << mantissa)
    return np.where(magnitude > infinity, infinity + bits.dtype.type(1), bits)


def compare(case: Case, wanted: Sequence[Any], found: Sequence[Any]) -> Mismatch | None:
    """The first difference between two sets of arguments."""
    for parameter, a, b in zip(case.module.kernel.params, wanted, found, strict=True):
        if isinstance(parameter, ir.Memory):
            differ = np.flatnonzero(bits_of(a, parameter.dtype) != bits_of(b, parameter.dtype))
            if len(differ):
                at = tuple(int(i) for i in np.unravel_index(int(differ[0]), a.shape))
                return Mismatch(case, parameter.name, at, a[at], b[at])
    return None


def check(case: Case, run: Run) -> Mismatch | None:
    """Run one case on an executor and on the interpreter; None when all bits agree."""
    wanted = expected(case)
    found = case.arguments()
    try:
        run(case.module, case.grid, case.block, found)
    except NotSupportedError:
        return None
    except Exception as error:  # noqa: BLE001 - whatever an executor raises is the finding
        return Mismatch(case, "", (), None, error)
    return compare(case, wanted, found)


def differential(seed: int, run: Run, **options: Any) -> Mismatch | None:
    """Compare an executor with the interpreter on the case of a seed.

    Parameters
    ----------
    seed : int
    run : callable
        ``run(module, grid, block, args)``, writing the ndarrays in place.  A ``NotSupportedError`` means
        the device cannot do the case, which is no mismatch.
    **options
        For :func:`generate`.
    """
    return check(generate(seed, **options), run)


def cases(**options: Any) -> SearchStrategy[Case]:
    """A Hypothesis strategy of cases, shrinking towards small kernels."""
    from hypothesis import strategies

    def make(seed: int, size: int) -> Case:
        return generate(seed, **{"size": size, **options})

    return strategies.builds(make, strategies.integers(0, 2**32 - 1), strategies.integers(1, 40))


def shrink(case: Case, fails: Callable[[Case], bool], limit: int = 2000, seconds: float = 60.0) -> Case:
    """A smaller case that still fails.

    Statements are left out or replaced by zeros as long as the module verifies, runs on the interpreter
    without an error and ``fails(case)`` holds.

    Parameters
    ----------
    case : Case
    fails : callable
        For instance ``lambda c: check(c, run) is not None``.
    limit : int
        Candidates to try at most.
    seconds : float
        For how long.
    """
    end = time.monotonic() + seconds
    tried = start = 0
    progress = False
    while tried < limit and time.monotonic() < end:
        # after a success go on from where it was: what failed before will mostly fail again
        for position, module in enumerate(smaller_modules(case.module)):
            if position < start:
                continue
            tried += 1
            smaller = replace(case, module=without_dead_code(module))
            if lost_order(case.module, smaller.module):
                continue
            if _runs(smaller) and fails(smaller):
                case, start, progress = smaller, position, True
                break
            if tried >= limit or time.monotonic() > end:
                return case
        else:
            if not progress:
                return case
            start, progress = 0, False
    return case


def _runs(case: Case) -> bool:
    """Whether a case is still valid and portable."""
    try:
        verify(case.module)
        expected(case, detect_races=True)
    except GpucoreError:
        return False
    return True
