"""What is known of each access of a launch, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpucore.errors import KernelBoundsError, LaunchError
from gpucore.ir.bounds.conditions import describe
from gpucore.ir.dtypes import as_dtype
from gpucore.ir.records import RecordType, array_name, is_of_records
from gpucore.lang.types import ConstValue
from gpucore.launch.bounds import LaunchBounds
from gpucore.launch.examples import example_type
from gpucore.launch.record_arguments import RecordConverter
from gpucore.launch.scalar_arguments import with_default_float
from gpucore.launch.specialization import LanguageSource
from gpucore.runtime.array import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpucore.ir.bounds.analysis import Access, Bounds
    from gpucore.ir.bounds.polynomials import HostTerm
    from gpucore.launch.configured import ConfiguredKernel
    from gpucore.launch.kernel import Parameter

__all__ = ["AccessCheck", "access_checks", "reads_of"]

_LIMIT = 2**31


@dataclass(frozen=True)
class AccessCheck:
    """Where one access of a kernel is checked.

    Attributes
    ----------
    array : str
        The array's name in the kernel.
    line : int or None
        In the file that the kernel is in.
    where : {"proven", "launch", "device"}
        ``proven``: it cannot leave its array, so that nothing is checked.  ``launch``: the host compares extents, scalar
        arguments and the launch shape before a launch; only where they do not suffice the device checks.  ``device``: each
        thread checks.
    reason : str
        Why, and for ``launch`` the condition and whether it holds.
    kind : {"load", "store", "atomic"}
    """

    array: str
    line: int | None
    where: Literal["proven", "launch", "device"]
    reason: str
    kind: Literal["load", "store", "atomic"]


def access_checks(configured: ConfiguredKernel[Any], args: tuple[Any, ...]) -> list[AccessCheck]:
    """The accesses of a launch with these arguments, in source order."""
    kernel = configured.kernel
    source = kernel.kernel_source
    if not isinstance(source, LanguageSource):
        raise LaunchError(f"{kernel.__name__} is native code, whose accesses nobody checks")
    examples = [
        example_type(p, v, who=f"{kernel.__name__}: the argument {p.name!r}")
        for p, v in zip(kernel.parameters, args, strict=True)
    ]
    types = with_default_float(kernel.parameters, args, examples)
    specialization = source.specialize(types, configured.kind.ndim, kernel.math or "strict", None)
    is_range = configured.kind.is_range
    if is_range:
        specialization.check_range(kernel.__name__, configured.shape or ())
    block = configured.block if specialization.needs_block and not is_range else None
    constants = {p.name for p, t in zip(kernel.parameters, types, strict=True) if isinstance(t, ConstValue)}
    bounds = specialization.bounds(is_range=is_range, small=_is_small(configured, args), block=block)
    launch = LaunchBounds(bounds, "auto", kernel.__name__)
    failure: KernelBoundsError | None = None
    if not configured.kind.is_empty:
        try:
            launch.level(configured, reads_of(launch.terms, kernel.parameters, args))
        except KernelBoundsError as error:
            failure = error
    assert not constants & {term.name for term in launch.terms}
    return [_check(bounds, access, failure) for access in bounds.accesses.values()]


def reads_of(
    terms: Sequence[HostTerm], parameters: Sequence[Parameter], args: Sequence[Any]
) -> tuple[int, ...]:
    """The extents and scalars among the arguments that conditions read."""
    by_name = {parameter.name: arg for parameter, arg in zip(parameters, args, strict=True)}
    record_of = {p.name: p.dtype for p in parameters if isinstance(p.dtype, RecordType)}
    for name, record in record_of.items():
        if isinstance(by_name[name], (Array, np.ndarray)):
            continue
        parts = RecordConverter(record, name)(by_name[name])
        by_name |= {".".join((name, *leaf.path)): x for leaf, x in zip(record.leaves, parts, strict=True)}
    found: list[int] = []
    for term in terms:
        if term.kind != "extent":
            found.append(int(by_name[term.name]))
            continue
        array = by_name[array_name(term.name)]
        shape = array.shape
        if is_of_records(term.name):
            kind = record_of.get(array_name(term.name)) or as_dtype(array.dtype)
            if isinstance(kind, RecordType) and kind.record == "vec" and isinstance(array, np.ndarray):
                shape = shape[:-1]
            shape = (*shape, kind.itemsize // as_dtype(term.name.rpartition(".")[2]).itemsize)
        found.append(int(shape[term.axis]))
    return tuple(found)


def _is_small(configured: ConfiguredKernel[Any], args: Sequence[Any]) -> bool:
    extents = (*configured.grid, *configured.block) if configured.shape is None else configured.shape
    sizes = [int(np.prod(arg.shape, dtype=object)) for arg in args if hasattr(arg, "shape")]
    return all(size < _LIMIT for size in (*sizes, int(np.prod(extents, dtype=object))))


def _check(bounds: Bounds, access: Access, failure: KernelBoundsError | None) -> AccessCheck:
    loc, array = access.loc, array_name(access.memory.name)
    line = loc.line if loc is not None else None
    where = access.where
    if where == "proven":
        reason = "guards, loop bounds and ids keep each index inside"
    elif where == "launch":
        reason = f"inside where {describe(bounds.atoms, access.needs)}"
        if failure is not None and (failure.array, failure.lineno) == (array, line):
            reason += f"; this launch leaves it at index {failure.index}"
    else:
        axes = sorted(
            {
                axis
                for axis in range(access.memory.rank - is_of_records(access.memory.name))
                for side in ("low", "high")
                if (axis, side) not in access.proven
            }
        )
        reason = (
            f"the index on {'axes' if len(axes) > 1 else 'axis'} {', '.join(map(str, axes))} depends on data"
        )
    return AccessCheck(array, line, where, reason, access.kind)
