"""Run the table on a context or on the interpreter, and say what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy.typing as npt

from gpucore.errors import NotSupportedError
from gpucore.testing.semantics.kernels import Launch, launch, observed
from gpucore.testing.semantics.reference import FORMATS
from gpucore.testing.semantics.table import groups as first_part
from gpucore.testing.semantics.table import parts as later_parts
from gpucore.testing.semantics.values import Group, Row

__all__ = ["Failure", "GroupResult", "Report", "agrees", "digest", "evaluate", "run", "run_interpreter"]

Evaluator = Callable[[Launch], Sequence[npt.NDArray[Any]]]
"""Runs a launch; the arguments afterwards."""

MOST_SHARED = 20
"""Groups that one kernel evaluates at most: devices bound the number of arrays a kernel may take."""
_KEPT_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A row whose bits came out wrong."""

    row: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What became of one group.

    Attributes
    ----------
    passed, refused, failed : int
        Numbers of rows.  A group is refused where the device says it lacks a capability.
    reason : str
        Why it was refused, or the exception that failed it.
    failures : tuple[Failure, ...]
        The first few.
    digest : str
        SHA-256 over the observed bits; empty where there are none.
    """

    key: str
    passed: int = 0
    refused: int = 0
    failed: int = 0
    reason: str = ""
    failures: tuple[Failure, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class Report:
    """The table on one device.

    Attributes
    ----------
    results : Mapping[str, GroupResult]
        The first part, by group.
    parts : Mapping[str, Report]
        What came to the table later, part by part.  Counts and digests of the first part stay what they were.
    """

    backend: str
    device: str
    results: Mapping[str, GroupResult] = field(default_factory=dict)
    parts: Mapping[str, Report] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results.values())

    @property
    def refused(self) -> int:
        return sum(result.refused for result in self.results.values())

    @property
    def failed(self) -> int:
        return sum(result.failed for result in self.results.values())

    def everything(self) -> dict[str, GroupResult]:
        """The results of every part."""
        found = dict(self.results)
        for part in self.parts.values():
            found |= part.results
        return found

    @property
    def digest(self) -> str:
        """One hash of all observed bits; equal where two devices gave the same bits for the same groups."""
        return digest(self.results.values())

    @property
    def portable_digest(self) -> str:
        """The hash over what is promised on every device: all but the subgroup operations, whose width differs."""
        return digest(r for key, r in self.results.items() if not key.startswith("subgroup_"))

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "backend": self.backend,
            "device": self.device,
            "passed": self.passed,
            "refused": self.refused,
            "failed": self.failed,
            "digest": self.digest,
            "portable_digest": self.portable_digest,
            **({"parts": {name: _part(part) for name, part in self.parts.items()}} if self.parts else {}),
            "groups": {
                key: {
                    "passed": result.passed,
                    "refused": result.refused,
                    "failed": result.failed,
                    **({"reason": result.reason} if result.reason else {}),
                    **({"digest": result.digest} if result.digest else {}),
                    **({"failures": [_as_dict(f) for f in result.failures]} if result.failures else {}),
                }
                for key, result in self.results.items()
            },
        }


def _part(report: Report) -> dict[str, Any]:
    """The counts and digests of a later part, and the groups that did not pass whole."""
    body = report.to_dict()
    groups = {key: group for key, group in body["groups"].items() if group["failed"] or group["refused"]}
    return {k: body[k] for k in ("passed", "refused", "failed", "digest", "portable_digest")} | {
        "groups": groups
    }


def _as_dict(failure: Failure) -> dict[str, str]:
    return {"row": failure.row, "expected": failure.expected, "got": failure.got}


def digest(results: Iterable[GroupResult], keys: Iterable[str] | None = None) -> str:
    """SHA-256 over the observed bits of groups, in the order of their keys.

    Every group of the table is portable: no result depends on the order of threads, and subgroup
    operations ask for a width.  NaN is canonical.

    Parameters
    ----------
    results : iterable of GroupResult
    keys : iterable of str, optional
        Only these, to compare devices of which one refused some.
    """
    chosen_keys = None if keys is None else set(keys)
    state = hashlib.sha256()
    for result in sorted(results, key=lambda r: r.key):
        if result.digest and (chosen_keys is None or result.key in chosen_keys):
            state.update(f"{result.key} {result.digest}\n".encode())
    return state.hexdigest()


# --- judging -----------------------------------------------------------------------------------------------
def agrees(group: Group, expected: int, got: int) -> bool:
    """Whether a result's bits will do: the same, or within the group's tolerance and finite, of one sign."""
    if got == expected:
        return True
    if group.ulp == 0:
        return False
    form = FORMATS[group.results[0].name]
    body = form.sign - 1
    if (expected & body) == 0 or (expected & body) >= form.inf or (got & body) >= form.inf:
        return False
    return (got ^ expected) & form.sign == 0 and abs(got - expected) <= group.ulp


def _judge(group: Group, got: Sequence[tuple[int, ...]]) -> GroupResult:
    wrong: list[Failure] = []
    failed = 0
    state = hashlib.sha256()
    for row, bits in zip(group.rows, got, strict=True):
        state.update(repr(bits).encode())
        if not all(agrees(group, e, g) for e, g in zip(row.expected, bits, strict=True)):
            failed += 1
            if len(wrong) < _KEPT_FAILURES:
                wrong.append(Failure(row.id, _digits(row.expected), _digits(bits)))
    return GroupResult(
        group.key, len(group.rows) - failed, 0, failed, failures=tuple(wrong), digest=state.hexdigest()
    )


def _digits(bits: Sequence[int]) -> str:
    return ",".join(f"{b:x}" for b in bits)


# --- running ---------------------------------------------------------------------------------------------
def _signature(group: Group) -> tuple[Any, ...]:
    if group.shape != "elementwise":
        return (group.key,)
    return (group.operands, tuple(row.inputs for row in group.rows))


def batches(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """Groups that one kernel can evaluate together: elementwise ones with the same operands."""
    for _, members in groupby(groups, key=_signature):
        batch = list(members)
        for start in range(0, len(batch), MOST_SHARED):
            yield batch[start : start + MOST_SHARED]


def evaluate(batch: Sequence[Group], evaluator: Evaluator) -> list[GroupResult]:
    """Run a batch; where it does not run as a whole, its groups one by one, each for its own verdict."""
    try:
        work = launch(batch)
        arrays = evaluator(work)
        return [
            _judge(group, observed(group, [arrays[n] for n in positions]))
            for group, positions in zip(batch, work.results, strict=True)
        ]
    except NotSupportedError as error:
        refused, reason = True, str(error)
    except Exception as error:  # noqa: BLE001 - whatever a backend raises is the verdict on these rows
        refused, reason = False, f"{type(error).__name__}: {error}"
    if len(batch) > 1:
        return [result for group in batch for result in evaluate([group], evaluator)]
    (group,) = batch
    count = len(group.rows)
    return [GroupResult(group.key, 0, count if refused else 0, 0 if refused else count, reason=reason)]


def context_evaluator(context: Any) -> Evaluator:
    """Runs launches on a context's device."""

    def evaluator(work: Launch) -> Sequence[npt.NDArray[Any]]:
        arrays = [context.array(array) for array in work.arrays]
        try:
            given = [a[v] for a, v in zip(arrays, work.views, strict=True)] if work.views else arrays
            work.kernel()[work.grid, work.block](*given)
            written = {n for positions in work.results for n in positions}
            return [array.numpy() if n in written else work.arrays[n] for n, array in enumerate(arrays)]
        finally:
            for array in arrays:
                array.free()

    return evaluator


def interpreter_evaluator(work: Launch) -> Sequence[npt.NDArray[Any]]:
    """Runs a launch on the interpreter."""
    arrays = [array.copy() for array in work.arrays]
    size = work.subgroup or 32
    given = [a[v] for a, v in zip(arrays, work.views, strict=True)] if work.views else arrays
    work.kernel().interpret(work.grid, work.block, *given, subgroup_size=size, detect_races=False)
    return arrays


def _chosen(keys: Iterable[str] | None) -> dict[str, list[Group]]:
    """Groups by part; the first is called ``""``."""
    tables = {"": first_part(), **later_parts()}
    if keys is None:
        return {name: list(table.values()) for name, table in tables.items()}
    chosen_keys = list(keys)
    unknown = [key for key in chosen_keys if not any(key in table for table in tables.values())]
    if unknown:
        raise KeyError(f"the table has no group {unknown[0]!r}")
    chosen = {name: [table[key] for key in chosen_keys if key in table] for name, table in tables.items()}
    return {name: groups for name, groups in chosen.items() if groups or not name}


def _run(
    evaluator: Evaluator,
    keys: Iterable[str] | None,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, dict[str, GroupResult]]:
    chosen = _chosen(keys)
    total, done = sum(map(len, chosen.values())), 0
    found: dict[str, dict[str, GroupResult]] = {}
    for name, groups in chosen.items():
        results = found[name] = {}
        for batch in batches(groups):
            for result in evaluate(batch, evaluator):
                results[result.key] = result
            done += len(batch)
            if progress is not None:
                progress(batch[-1].key, done, total)
    return found


def _report(backend: str, device: str, found: dict[str, dict[str, GroupResult]]) -> Report:
    parts = {name: Report(backend, device, results) for name, results in found.items() if name}
    return Report(backend, device, found[""], parts)


def run(
    context: Any, keys: Iterable[str] | None = None, progress: Callable[[str, int, int], None] | None = None
) -> Report:
    """Run the table on a context.

    Parameters
    ----------
    context : gpucore.Context
        With ``math="strict"``.
    keys : iterable of str, optional
        Groups to run instead of all.
    progress : callable, optional
        Called with the last group's key, the groups done and the groups in all.
    """
    return _report(context.backend, context.device.name, _run(context_evaluator(context), keys, progress))


def run_interpreter(
    keys: Iterable[str] | None = None, progress: Callable[[str, int, int], None] | None = None
) -> Report:
    """Run the table on the interpreter."""
    return _report("interpreter", "", _run(interpreter_evaluator, keys, progress))


def rows(keys: Iterable[str] | None = None) -> Iterator[Row]:
    """The rows of the table, of all its parts, or of some groups."""
    for groups in _chosen(keys).values():
        for group in groups:
            yield from group.rows
