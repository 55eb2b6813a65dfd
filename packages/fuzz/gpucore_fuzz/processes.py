"""Seeds over processes that may crash or hang: each program gets a verdict, whatever it does to its process.

The process that the user started opens no device and waits for nothing without a limit, so that it can always say what was
found until then.
"""

from __future__ import annotations

import gc
import itertools
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

from gpucore_fuzz.generators import open_runner
from gpucore_fuzz.model import Outcome, Verdict

__all__ = ["GRACE_SECONDS", "Job", "NotOpenedError", "verdicts"]

AHEAD = 2
"""Seeds that a process has: the one that it is at, and the next, so that it need not wait for the pipe."""
COLLECT_AFTER = 20_000
"""New objects after which a process looks for garbage. A program makes some ten thousand that live until it has run:
Python's 700 has it look a hundred times as often, and takes a tenth of the time."""
GRACE_SECONDS = 20.0
"""For how long a run that is out of time waits for the answer of a process; each has at most ``AHEAD`` programs."""
CLOSING_SECONDS = 10.0
"""For how long it waits for processes to close their devices."""


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes
    ----------
    generator, target : str
        A name of :data:`gpucore_fuzz.generators.NAMES`; a selector, ``interpreter``, or None for the default backend.
    checked, shrink : bool
    seconds : float
        After so long without a verdict a program counts as hung and its process is ended.
    opening : float
        For how long a process may open the target.
    """

    generator: str
    target: str | None
    checked: bool = False
    shrink: bool = True
    seconds: float = 120.0
    opening: float = 600.0


class NotOpenedError(RuntimeError):
    """A process could not open the target."""


@dataclass(frozen=True)
class _Opened:
    """A process has the target open; or not, with the reason."""

    where: tuple[str, str] = ("", "")
    failure: str = ""


@dataclass(frozen=True)
class _Found:
    """A program is wrong, and its process goes on to make it smaller."""

    verdict: Verdict


@dataclass(frozen=True)
class _Broken:
    """A program made the runner raise, and its process ends."""

    verdict: Verdict


_Message: TypeAlias = _Opened | _Found | _Broken | Verdict


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    waiting: list[int] = field(default_factory=list)
    """Seeds without a last verdict; the process is at the first."""
    since: float = 0.0
    """When it was last heard of, or given work while it had none."""
    opened: bool = False
    found: bool = False
    """Whether the first of the seeds has a verdict, which is being made smaller."""
    broken: bool = False
    """Whether it ends and begins no more."""


def _serve(pipe: Connection, job: Job) -> None:
    """The life of a process: seeds in, a verdict for each out."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the process that shows what was found
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        runner = open_runner(job.generator, job.target, checked=job.checked)
    except Exception as error:  # noqa: BLE001 - the reason goes to who asked
        pipe.send(_Opened(failure=f"{type(error).__name__}: {error}"))
        return
    pipe.send(_Opened(runner.where))
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    while (seed := pipe.recv()) is not None:
        try:
            verdict = runner.run(seed)
            if job.shrink and verdict.outcome == "wrong":
                pipe.send(_Found(verdict))
                verdict = runner.smaller(verdict)
        except Exception:
            pipe.send(_Broken(Verdict(seed, "wrong", "", traceback.format_exc())))
            raise  # a device that failed so is opened anew, in another process
        pipe.send(verdict)
    runner.close()


def _end_with_parent() -> None:
    """End this process where the one that it works for was killed; it would keep its output open."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def verdicts(
    job: Job,
    seeds: Sequence[int],
    processes: int,
    limit: float = math.inf,
    opened: Callable[[str, str], None] = lambda backend, device: None,
) -> Iterator[Verdict]:
    """Verdicts in the order in which they come; a program that is wrong may have a second, which tells it by a smaller one.

    Parameters
    ----------
    limit : float
        Seconds after which no more programs are begun; those that were are the first of the seeds.  ``GRACE_SECONDS``
        later, what has no verdict is hung.
    opened : callable
        Is told the name of the backend and of its device, once.

    Raises
    ------
    NotOpenedError
        Where the target cannot be opened.
    """
    yield from _Pool(job, seeds, limit, opened).run(processes)


class _Pool:
    """The seeds that are left, and the processes at work on the others."""

    def __init__(
        self, job: Job, seeds: Sequence[int], limit: float, opened: Callable[[str, str], None]
    ) -> None:
        self.job = job
        self.end = time.monotonic() + limit
        self.context = multiprocessing.get_context("spawn")  # drivers do not survive a fork
        self.seeds, self.count = iter(seeds), len(seeds)
        self.again: list[int] = []  # what processes left that died
        self.workers: list[_Worker] = []
        self.ending: list[BaseProcess] = []
        self.opened = opened
        self.told = False
        self.more = 0
        """Processes to start when the first has opened the device."""

    def run(self, processes: int) -> Iterator[Verdict]:
        try:
            # what a device is like is found out by the first process, and kept for the others
            self.more = min(processes, self.count) - 1
            self._start()
            while self.workers:
                ready = wait([w.pipe for w in self.workers], timeout=0.5)
                for worker in list(self.workers):
                    if worker.pipe in ready:
                        yield from self._hear(worker)
                    else:
                        yield from self._watch(worker)
        finally:
            _end([w.process for w in self.workers], 0.0)
            _end(self.ending, CLOSING_SECONDS)

    def _start(self) -> None:
        if (seed := self._next()) is None:
            return
        self.again.insert(0, seed)
        # to type checkers a pipe of Windows is a class of its own, with the same methods
        pipes: tuple[Any, Any] = self.context.Pipe()
        here, there = pipes
        process = self.context.Process(target=_serve, args=(there, self.job), daemon=True)
        process.start()
        there.close()
        self.workers.append(_Worker(process, here, since=time.monotonic()))

    def _next(self) -> int | None:
        if time.monotonic() > self.end:
            return None
        return self.again.pop(0) if self.again else next(self.seeds, None)

    def _feed(self, worker: _Worker) -> None:
        """Let a process have as many seeds as it should; one that has none and gets none closes."""
        try:
            while len(worker.waiting) < AHEAD and (seed := self._next()) is not None:
                if not worker.waiting:
                    worker.since = time.monotonic()
                worker.waiting.append(seed)
                worker.pipe.send(seed)
            if worker.waiting:
                return
            worker.pipe.send(None)
        except OSError:  # it is dead, and its pipe says so at the next look
            return
        self.workers.remove(worker)
        self.ending.append(worker.process)  # they close their devices side by side

    def _hear(self, worker: _Worker) -> Iterator[Verdict]:
        try:
            message: _Message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._died(worker)
            return
        worker.since = time.monotonic()
        if isinstance(message, _Opened):
            self._open(worker, message)
        elif isinstance(message, _Found):
            worker.found = True
            yield message.verdict
        else:
            worker.broken = isinstance(message, _Broken)
            verdict = message.verdict if isinstance(message, _Broken) else message
            worker.found = False
            worker.waiting.remove(verdict.seed)
            yield verdict
            if worker.broken:  # it may hang while it closes what failed
                yield from self._lose(worker, "wrong", "")
            else:
                self._feed(worker)

    def _open(self, worker: _Worker, message: _Opened) -> None:
        if message.failure:
            raise self._unopened(message.failure)
        worker.opened = True
        if not self.told:
            self.told = True
            self.opened(*message.where)
            for _ in range(self.more):
                self._start()
        self._feed(worker)

    def _unopened(self, reason: str) -> NotOpenedError:
        return NotOpenedError(f"{self.job.target or 'the default backend'} cannot be opened: {reason}")

    def _watch(self, worker: _Worker) -> Iterator[Verdict]:
        """End a process that was silent for too long."""
        now = time.monotonic()
        silent, late = now - worker.since, now - max(worker.since, self.end) > GRACE_SECONDS
        if silent <= (self.job.seconds if worker.opened else self.job.opening) and not late:
            return
        reason = f"no answer within {silent:.0f} s"
        if not worker.opened and not (late and self.told):
            raise self._unopened(reason)
        yield from self._lose(worker, "hung", reason)

    def _died(self, worker: _Worker) -> Iterator[Verdict]:
        _end([worker.process], CLOSING_SECONDS)
        status = worker.process.exitcode
        reason = "the process did not end" if status is None else f"the process ended with status {status}"
        if not worker.opened:
            raise self._unopened(reason)
        yield from self._lose(worker, "wrong", reason)

    def _lose(self, worker: _Worker, outcome: Outcome, reason: str) -> Iterator[Verdict]:
        """The program that a process was at has come to this; another process takes the rest."""
        worker.process.kill()
        self.workers.remove(worker)
        self.ending.append(worker.process)
        left = worker.waiting
        if left and worker.opened and not worker.broken:
            if not worker.found:
                yield Verdict(left[0], outcome, "", reason)
            left = left[1:]
        self.again += left
        self._start()


def _end(processes: Iterable[BaseProcess], seconds: float) -> None:
    """Wait for processes, and kill those that take longer; one that the system cannot end is left."""
    left = list(processes)
    deadline = time.monotonic() + seconds
    for kill, process in itertools.product((False, True), left):
        if kill:
            process.kill()
            deadline = time.monotonic() + 1.0
        process.join(max(deadline - time.monotonic(), 0.0))
