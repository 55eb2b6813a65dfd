"""Seeds over several processes that may crash or hang: each seed gets a verdict, whatever it does to its process."""

from __future__ import annotations

import gc
import math
import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from gpucore_fuzz.generators import open_runner
from gpucore_fuzz.model import Verdict

__all__ = ["Job", "verdicts"]

CHUNK = 8
"""Seeds that a process is given at a time; few, for at the end of a run the others wait for the last."""
COLLECT_AFTER = 20_000
"""New objects after which a process looks for garbage. A program makes some ten thousand that live until it has run:
Python's 700 has it look a hundred times as often, and takes a tenth of the time."""
CLOSING_SECONDS = 20.0


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
    """

    generator: str
    target: str | None
    checked: bool = False
    shrink: bool = True
    seconds: float = 120.0


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    waiting: list[int] = field(default_factory=list)
    since: float = 0.0
    opened: bool = False


def _serve(pipe: Connection, job: Job) -> None:
    """The life of a process: chunks of seeds in, a verdict for each out."""
    try:
        runner = open_runner(job.generator, job.target, checked=job.checked, shrink=job.shrink)
    except BaseException as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise
    pipe.send(None)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    while (seeds := pipe.recv()) is not None:
        for seed in seeds:
            try:
                verdict = runner.run(seed)
            except Exception:
                pipe.send(Verdict(seed, "wrong", "", traceback.format_exc()))
                raise  # a device that failed so is opened anew, in another process
            pipe.send(verdict)
    runner.close()


def verdicts(job: Job, seeds: Sequence[int], processes: int, limit: float = math.inf) -> Iterator[Verdict]:
    """Verdicts in the order in which they come; with one process in this one.

    Parameters
    ----------
    limit : float
        Seconds after which no more programs are begun; those that were are the first of the seeds.

    Raises
    ------
    RuntimeError
        Where the target cannot be opened.
    """
    if processes <= 1:
        runner = open_runner(job.generator, job.target, checked=job.checked, shrink=job.shrink)
        end = time.monotonic() + limit
        try:
            for seed in seeds:
                if time.monotonic() > end:
                    break
                yield runner.run(seed)
        finally:
            runner.close()
        return
    yield from _Pool(job, seeds, limit).run(processes)


class _Pool:
    """The seeds that are left, and the processes at work on the others."""

    def __init__(self, job: Job, seeds: Sequence[int], limit: float) -> None:
        self.job = job
        self.end = time.monotonic() + limit
        self.context = multiprocessing.get_context("spawn")  # drivers do not survive a fork
        self.left = [list(seeds[i : i + CHUNK]) for i in range(0, len(seeds), CHUNK)][::-1]
        self.again: list[list[int]] = []  # what processes left that died
        self.workers: list[_Worker] = []
        self.ending: list[BaseProcess] = []

    def run(self, processes: int) -> Iterator[Verdict]:
        try:
            for _ in range(min(processes, len(self.left))):
                self._start()
            while self.workers:
                ready = wait([w.pipe for w in self.workers], timeout=1.0)
                for worker in list(self.workers):
                    if worker.pipe in ready:
                        if worker.opened:
                            yield from self._hear(worker)
                        else:
                            self._open(worker)
                    elif not worker.opened and time.monotonic() - worker.since > self.job.seconds:
                        raise self._unopened(f"no answer within {self.job.seconds:g} s")
                    elif worker.waiting and time.monotonic() - worker.since > self.job.seconds:
                        worker.process.kill()
                        yield from self._lost(worker, f"no answer within {self.job.seconds:g} s")
        finally:
            for worker in self.workers:
                worker.process.kill()
            deadline = time.monotonic() + CLOSING_SECONDS
            for process in self.ending:
                process.join(max(deadline - time.monotonic(), 0.0))
                process.kill()

    def _start(self) -> None:
        # to type checkers a pipe of Windows is a class of its own, with the same methods
        pipes: tuple[Any, Any] = self.context.Pipe()
        here, there = pipes
        process = self.context.Process(target=_serve, args=(there, self.job), daemon=True)
        process.start()
        there.close()
        self.workers.append(_Worker(process, here, since=time.monotonic()))

    def _open(self, worker: _Worker) -> None:
        """Hear whether a process has the target open; to wait for it at its start would open them one after the other."""
        try:
            failure = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            failure = f"the process ended with status {worker.process.exitcode}"
        if failure is not None:
            raise self._unopened(failure)
        worker.opened = True
        self._feed(worker)

    def _unopened(self, reason: str) -> RuntimeError:
        return RuntimeError(f"{self.job.target or 'the default backend'} cannot be opened: {reason}")

    def _feed(self, worker: _Worker) -> None:
        worker.since = time.monotonic()
        if time.monotonic() > self.end:
            self.left.clear()
        seeds = self.again or self.left
        if seeds:
            worker.waiting = seeds.pop()
            worker.pipe.send(worker.waiting)
            return
        self.workers.remove(worker)
        worker.pipe.send(None)
        self.ending.append(worker.process)  # they close their devices side by side

    def _hear(self, worker: _Worker) -> Iterator[Verdict]:
        try:
            verdict: Verdict = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            yield from self._lost(worker, f"the process ended with status {worker.process.exitcode}")
            return
        worker.since = time.monotonic()
        worker.waiting.remove(verdict.seed)
        yield verdict
        if not worker.waiting:
            self._feed(worker)

    def _lost(self, worker: _Worker, reason: str) -> Iterator[Verdict]:
        """The seed that a process was at is wrong; another process takes the rest."""
        self.workers.remove(worker)
        if worker.waiting:
            # where the last verdict was an exception, that seed has its verdict and the next was never begun
            begun = worker.process.exitcode != 1
            if begun:
                yield Verdict(worker.waiting.pop(0), "wrong", "", reason)
            if worker.waiting:
                self.again.append(worker.waiting)
        if self.again or self.left:
            self._start()
