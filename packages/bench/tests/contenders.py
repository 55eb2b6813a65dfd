"""Contenders that take a stated time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpucore_bench.model import Simple, Work


@dataclass
class Clock:
    """A contender that takes a stated time and gives a stated result."""

    seconds: float
    answer: Any
    ran: int = 0
    closed: list[bool] = field(default_factory=list)

    def maker(self, work: Work, inputs: Any, context: Any) -> Simple:
        def once() -> None:
            self.ran += 1

        return Simple(
            once=once, fetch=lambda: np.asarray(self.answer, np.float32), timed=lambda repeats: repeats * self.seconds,
            release=lambda: self.closed.append(True),
        )  # fmt: skip


def work(**makers: Any) -> Work:
    return Work("w", "stream", 3, dict, lambda i: np.array([1.0, 2.0, 3.0]), makers, bytes_moved=24)


def everyone(contender: str) -> bool:
    return True
