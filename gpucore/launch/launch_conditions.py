"""What the host does for accesses of a kernel: conditions of its launches, and launches that cannot succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gpucore._messages import shown_file
from gpucore.compile.capabilities import shared_elements
from gpucore.errors import KernelBoundsError
from gpucore.ir.bounds.polynomials import (
    Frozen,
    HostTerm,
    HostText,
    Poly,
    host_function,
    host_operation,
    thaw,
)
from gpucore.ir.records import array_name, is_of_records

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Toolchain
    from gpucore.ir.bounds.analysis import Access, Bounds
    from gpucore.ir.nodes import Module
    from gpucore.ir.passes.checks import Check
    from gpucore.launch.configured import ConfiguredKernel

__all__ = ["BoundsSummary", "CheckOption", "Choice", "LaunchBounds", "strictest"]


CheckOption: TypeAlias = Literal[False, True, "auto"]
"""The option ``check`` of a context."""

_STRICTNESS: tuple[CheckOption, ...] = (False, "auto", True)


def strictest(options: Iterable[CheckOption]) -> CheckOption:
    """The strictest of the options of several arrays."""
    return max(options, key=_STRICTNESS.index, default=False)


class Choice:
    """What was compiled for the last launch of a shape, and why.

    Attributes
    ----------
    reads : tuple[int, ...] | None
        The extents and scalars of that launch; None before the first one.
    level : Check
    shared : tuple[int, ...]
        Elements of the shared arrays that the launch sizes.
    bounds : LaunchBounds | None
        The conditions; None where the shape is none of those that they are for.
    """

    __slots__ = ("bounds", "level", "reads", "shared")

    def __init__(
        self,
        reads: tuple[int, ...] | None,
        level: Check,
        bounds: LaunchBounds | None,
        shared: tuple[int, ...] = (),
    ) -> None:
        self.reads = reads
        self.level = level
        self.bounds = bounds
        self.shared = shared


@dataclass(frozen=True, slots=True)
class BoundsSummary:
    """What launches need to know of an analysis: kept with the compiled code, so that a later process does not repeat it.

    Attributes
    ----------
    is_open : bool
        Whether an access depends on data.
    is_proven : bool
        Whether no access can leave its array, however the kernel is launched.
    terms : tuple[HostTerm, ...]
        The extents and scalars that the conditions read.
    holds : str
        The conditions, as :class:`HostText` writes them.
    sizes : str
        The shapes of the shared arrays that the launch decides; None where numbers wrap around.
    """

    is_open: bool
    is_proven: bool
    terms: tuple[HostTerm, ...]
    holds: str
    sizes: str

    @classmethod
    def of(cls, bounds: Bounds) -> BoundsSummary:
        """The summary of an analysis."""
        accesses = bounds.accesses.values()
        text = HostText(bounds.atoms)
        wanted = {access.needs for access in accesses if access.where == "launch"}
        conditions = sorted({text.holds(needs) for needs in wanted})
        for access in accesses:
            for form in access.always or () if access.where == "launch" else ():
                text.poly({m: c for m, c in form.poly.items() if bounds.atoms.is_host({m: c})})
        memories = [memory for memory in bounds.module.kernel.memories if not memory.shape]
        forms = [bounds.sizes[memory.name] for memory in memories]
        shapes = "".join(f"({''.join(f'{text.poly(form.poly)}, ' for form in shape)}), " for shape in forms)
        needs = frozenset[Frozen]().union(*(form.needs for shape in forms for form in shape))
        sizes = f"({shapes}) if {text.holds((needs,))} else None"
        return cls(
            any(access.where == "device" for access in accesses),
            all(access.where == "proven" for access in accesses),
            tuple(text.terms),
            " and ".join(f"({c})" for c in conditions) or "True",
            sizes,
        )

    def to_json(self) -> dict[str, object]:
        """As the cache keeps it."""
        terms = [[term.kind, term.name, term.axis] for term in self.terms]
        return {
            "open": self.is_open, "proven": self.is_proven, "terms": terms, "holds": self.holds, "sizes": self.sizes,
        }  # fmt: skip

    @classmethod
    def from_json(cls, kept: object) -> BoundsSummary | None:
        """What the cache kept; None where it is nothing of the kind."""
        match kept:
            case {
                "open": bool(is_open),
                "proven": bool(is_proven),
                "terms": list(terms),
                "holds": str(holds),
                "sizes": str(sizes),
            }:
                found = []
                for term in terms:
                    match term:
                        case [("extent" | "scalar") as kind, str(name), int(axis)]:
                            found.append(HostTerm(kind, name, axis))
                        case _:
                            return None
                return cls(is_open, is_proven, tuple(found), holds, sizes)
            case _:
                return None


class LaunchBounds:
    """What the host knows of the accesses of a kernel, for launches whose compiled code is alike.

    Parameters
    ----------
    bounds : Bounds or BoundsSummary
    check : {True, "auto"}
    kernel : str
    terms : Sequence[HostTerm], optional
        The extents and scalars that a launch function gives, as :attr:`terms` of an earlier one.
    analyse : Callable, optional
        With a summary: gives the analysis itself, for launches that may fail.

    Attributes
    ----------
    terms : tuple[HostTerm, ...]
        The extents and scalars that the conditions read, in the order in which they are given.
    """

    def __init__(
        self,
        bounds: Bounds | BoundsSummary,
        check: CheckOption,
        kernel: str,
        terms: Sequence[HostTerm] | None = None,
        analyse: Callable[[], Bounds] | None = None,
    ) -> None:
        summary = bounds if isinstance(bounds, BoundsSummary) else BoundsSummary.of(bounds)
        self.summary = summary
        self.check = check
        self.kernel = kernel
        self._bounds = None if isinstance(bounds, BoundsSummary) else bounds
        self._analyse = analyse
        self.terms = summary.terms if terms is None else tuple(terms)
        # what reads more than the launch function gives is left to the device
        self._can_fail = set(summary.terms) <= set(self.terms)
        self._holds: Callable[..., bool] = self._function(summary.holds if self._can_fail else "False")

    def _function(self, text: str) -> Callable[..., Any]:
        found, terms = host_function(text), self.summary.terms
        if not self._can_fail or terms == self.terms:
            return found
        return _with_reads(found, [self.terms.index(term) for term in terms])

    def shared(
        self, configured: ConfiguredKernel[Any], reads: tuple[int, ...], module: Module, toolchain: Toolchain
    ) -> tuple[int, ...]:
        """As :func:`shared_elements`, for a launch."""
        sizes = self._function(self.summary.sizes)(reads, configured.shape, configured.grid, configured.block)
        return shared_elements(module, sizes, toolchain.capabilities, toolchain.where, self.kernel)

    @property
    def is_open(self) -> bool:
        """Whether an access depends on data."""
        return self.summary.is_open

    @property
    def is_proven(self) -> bool:
        """Whether no access can leave its array, however the kernel is launched."""
        return self.summary.is_proven

    @property
    def bounds(self) -> Bounds:
        """The analysis."""
        if self._bounds is None:
            assert self._analyse is not None
            self._bounds = self._analyse()
        return self._bounds

    @property
    def safe(self) -> Check:
        """What is compiled where the conditions hold."""
        if self.check is True:
            return "known"
        return "device" if self.is_open and self.check else False

    @property
    def unsafe(self) -> Check:
        """What is compiled where they do not."""
        return True if self.check is True else "all"

    def level(self, configured: ConfiguredKernel[Any], reads: tuple[int, ...]) -> Check:
        """What is compiled for a launch.

        Raises
        ------
        KernelBoundsError
            Where the launch leaves an array for certain, unless the device is asked to report everything.
        """
        if not self.check or self._holds(reads, configured.shape, configured.grid, configured.block):
            return self.safe
        if self.check == "auto" and self._can_fail:
            Certainty(self, configured, reads).check()
        return self.unsafe


def _with_reads(holds: Callable[..., bool], places: list[int]) -> Callable[..., bool]:
    """Conditions that find what they read at other places."""

    def found(reads: tuple[int, ...], *shape: Any) -> bool:
        return holds(tuple(reads[place] for place in places), *shape)

    return found


class Certainty:
    """Whether a launch leaves an array for certain: by an access that each thread makes, at an index that the host knows."""

    def __init__(
        self, launch: LaunchBounds, configured: ConfiguredKernel[Any], reads: tuple[int, ...]
    ) -> None:
        self.kernel = launch.kernel
        self.bounds = launch.bounds
        self.configured = configured
        self._reads = dict(zip(launch.terms, reads, strict=True))

    def check(self) -> None:
        """Raise for the first access that leaves its array."""
        for access in self.bounds.accesses.values():
            if access.where != "launch" or access.always is None:
                continue
            if all(self._number(thaw(need), {}) >= 0 for form in access.always for need in form.needs):
                self._check(access)

    def _check(self, access: Access) -> None:
        assert access.always is not None
        shape = tuple(self._extent(access, axis) for axis in range(access.memory.rank))
        for axis, (form, extent) in enumerate(zip(access.always, shape, strict=True)):
            for largest in (True, False):
                thread = self._extreme(form.poly, largest=largest)
                found = self._number(form.poly, thread)
                if not 0 <= found < extent:
                    index = tuple(self._number(f.poly, thread) for f in access.always)
                    raise self._error(access, index, shape, thread, axis)

    def _extent(self, access: Access, axis: int) -> int:
        if access.memory.shape:
            return access.memory.shape[axis]
        if access.memory.space == "shared":
            return self._number(self.bounds.sizes[access.memory.name][axis].poly, {})
        return self._reads[HostTerm("extent", access.memory.name, axis)]

    def _extreme(self, poly: Poly, *, largest: bool) -> dict[int, int]:
        """The thread at which a polynomial is the largest, or the smallest, as the numbers of its coordinates."""
        atoms = self.bounds.atoms
        thread: dict[int, int] = {}
        for number in sorted({n for m in poly for n in m if atoms[n].span is not None}):
            slope = self._number(
                {tuple(n for n in m if n != number): c for m, c in poly.items() if number in m}, {}
            )
            span = atoms[number].span
            assert span is not None
            thread[number] = self._number(span, {}) - 1 if (slope > 0) == largest and slope else 0
        return thread

    def _number(self, poly: Poly, thread: dict[int, int]) -> int:
        total = 0
        for monomial, coefficient in poly.items():
            for number in monomial:
                coefficient *= self._atom(number, thread)
            total += coefficient
        return total

    def _atom(self, number: int, thread: dict[int, int]) -> int:
        term = self.bounds.atoms[number].host
        if term is None:
            return thread.get(number, 0)
        if term.kind in ("range", "grid", "block"):
            axes = {
                "range": self.configured.shape,
                "grid": self.configured.grid,
                "block": self.configured.block,
            }
            return (axes[term.kind] or ())[term.axis]
        if term.operands:
            a, b = (self._number(thaw(operand), thread) for operand in term.operands)
            return host_operation(term.kind, a, b)
        return self._reads[term]

    def _error(
        self,
        access: Access,
        index: tuple[int, ...],
        shape: tuple[int, ...],
        thread: dict[int, int],
        axis: int,
    ) -> KernelBoundsError:
        configured, loc, array = self.configured, access.loc, array_name(access.memory.name)
        if is_of_records(access.memory.name):
            index, shape = index[:-1], shape[:-1]
        where = f" at {shown_file(loc.file)}, line {loc.line}," if loc is not None else ""
        ids = self._global_id(thread)
        launch = (
            f"over {_plain(configured.shape)}"
            if configured.shape is not None
            else f"with grid {_plain(configured.grid)} and block {_plain(configured.block)}"
        )
        by_thread = any(slope for slope in thread.values())
        fix = (
            f"guard it, as in `if i < {array}.shape[{axis}]:`, or launch no more threads than {array!r} has elements there"
            if by_thread
            else f"guard it, or give an array that is longer on axis {axis}"
        )
        return KernelBoundsError(
            f"kernel {self.kernel!r}: index {_plain(index)} is out of bounds for array {array!r} of shape {shape}{where} in "
            f"thread {_plain(ids)}; nothing was launched: each thread makes this access, and {launch} it leaves the array; {fix}",
            kernel=self.kernel,
            filename=loc.file if loc is not None else None,
            lineno=loc.line if loc is not None else None,
            array=array,
            index=index,
            shape=shape,
            thread=ids,
        )

    def _global_id(self, thread: dict[int, int]) -> tuple[int, ...]:
        coordinates = self.bounds.coordinates
        extents = self.configured.shape if self.configured.shape is not None else self.configured.grid
        found = []
        for axis in range(len(extents)):
            form = coordinates.get(("global_id", axis))
            if form is not None:
                found.append(self._number(form.poly, thread))
                continue
            block, item = (coordinates.get((kind, axis)) for kind in ("block_id", "thread_id"))
            size = self.configured.block[axis] if self.configured.shape is None else 1
            first = self._number(block.poly, thread) * size if block is not None else 0
            found.append(first + (self._number(item.poly, thread) if item is not None else 0))
        return tuple(found)


def _plain(numbers: tuple[int, ...] | None) -> str:
    assert numbers is not None
    return str(numbers[0]) if len(numbers) == 1 else str(numbers)
