"""What a run found: a table for people, JSON for records."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

import gpucore
from gpucore_fuzz.model import Verdict

__all__ = ["Result", "source_hash", "table"]

SCHEMA = 1
SHOWN = 20
"""Wrong programs whose text a report keeps."""


@functools.cache
def source_hash() -> str:
    """SHA-256 of gpucore's sources and of the generators', so that a count says what it counts for."""
    sha = hashlib.sha256()
    for root in (Path(gpucore.__file__).parent, Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            sha.update(path.relative_to(root.parent).as_posix().encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()


@dataclass
class Result:
    """The verdicts of one generator on one target.

    Attributes
    ----------
    target, device, generator : str
    first, stop : int
        The seeds, as a range.
    seconds : float
    """

    target: str
    device: str
    generator: str
    first: int
    stop: int
    seconds: float = 0.0
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict."""
        self.verdicts[verdict.seed] = verdict

    def seeds(self, outcome: str) -> list[int]:
        """The seeds that came out so, in order."""
        return sorted(v.seed for v in self.verdicts.values() if v.outcome == outcome)

    @property
    def failed(self) -> list[Verdict]:
        """The wrong ones and those that hung, by seed."""
        return [self.verdicts[s] for s in sorted(self.seeds("wrong") + self.seeds("hung"))]

    def line(self) -> str:
        """How far it is."""
        counts = f"{len(self.verdicts):,} programs, {len(self.wrong)} wrong, {len(self.seeds('hung'))} hung"
        return f"{self.target}, {self.generator}: {counts}, {self.seconds:.0f} s"

    @property
    def wrong(self) -> list[Verdict]:
        """The wrong ones, by seed."""
        return [self.verdicts[s] for s in self.seeds("wrong")]

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the right programs in the order of seeds: equal on all devices that refuse the same."""
        sha = hashlib.sha256()
        for seed in self.seeds("right"):
            sha.update(f"{seed} {self.verdicts[seed].digest}\n".encode())
        return sha.hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The report."""
        versions = {}
        for name in ("gpucore", f"gpucore-{self.target.split(':')[0]}", "gpucore-fuzz", "numpy"):
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {
            "schema": SCHEMA,
            "backend": self.target,
            "device": self.device,
            "generator": self.generator,
            "seeds": [self.first, self.stop],
            "programs": len(self.verdicts),
            "right": len(self.seeds("right")),
            "refused": len(self.seeds("refused")),
            "wrong": len(self.wrong),
            "wrong_seeds": self.seeds("wrong"),
            "hung_seeds": self.seeds("hung"),
            "digest": self.digest,
            "seconds": round(self.seconds, 1),
            "found": [{"seed": v.seed, "text": v.text} for v in self.failed[:SHOWN]],
            "platform": platform.platform(),
            "python": platform.python_version(),
            "versions": versions,
            "source_hash": source_hash(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }


def write(path: Path, results: Sequence[Result]) -> None:
    """Write the reports of a run, or of a part of it: a reader finds a whole report at any time."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps([r.as_json() for r in results], indent=1) + "\n", "utf-8")
    os.replace(unfinished, path)


def table(results: Iterable[Result]) -> Table:
    """One row a target and generator."""
    grid = Table(title="random programs")
    for heading in (
        "backend",
        "generator",
        "programs",
        "wrong",
        "hung",
        "refused",
        "seeds",
        "seconds",
        "digest",
    ):
        grid.add_column(
            heading,
            justify="right" if heading in ("programs", "wrong", "hung", "refused", "seconds") else "left",
            no_wrap=heading == "seeds",
        )
    for r in results:
        grid.add_row(
            f"{r.target} {r.device}".strip(), r.generator, f"{len(r.verdicts):,}", f"{len(r.wrong):,}",
            f"{len(r.seeds('hung')):,}", f"{len(r.seeds('refused')):,}", f"{r.first}:{r.stop}", f"{r.seconds:.1f}", r.digest[:16],
            style="red" if r.failed else None,
        )  # fmt: skip
    return grid
