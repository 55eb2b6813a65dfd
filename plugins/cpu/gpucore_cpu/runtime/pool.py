"""Spreading a launch over the cores, without the GIL.

Where the C library has POSIX threads the workers are native: see :mod:`gpucore_cpu.runtime.pool_ir`.
Elsewhere they are Python threads that take chunks in turn.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol

from gpucore.errors import OutOfMemoryError
from gpucore_cpu.host import host_target
from gpucore_cpu.runtime.gate import native
from gpucore_cpu.runtime.gate_ir import TASK_WORDS
from gpucore_cpu.runtime.jit import load_kept
from gpucore_cpu.runtime.pool_ir import FIRST_SLOT, SLOT_WORDS, SLOTS, WORDS, WORKER_WORDS, pool_ir
from gpucore_cpu.uninterrupted import uninterrupted

__all__ = ["SCRATCH_BYTES", "Job", "Pool", "Task", "core_count"]

CHUNKS_PER_CORE = 8
"""Chunks are a core's share of a launch over this: late ones even out what early ones cost."""
SCRATCH_BYTES = 1 << 30
"""Bytes of scratch memory that a launch may take: shared memory, what threads keep over barriers, large local
memory."""

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _processors() -> frozenset[int]:
    """The processors that this process may use; none where they cannot be told apart."""
    if not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "sched_getcpu"):
        return frozenset()
    return frozenset(os.sched_getaffinity(0))


def _address_in(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


class Workers(Protocol):
    """What runs chunks of a launch on several threads."""

    def run(self, task: Task, args: bytes) -> None:
        """Run all units; block until they are done."""

    def try_run(self, task: Task, args: bytes) -> int:
        """The same within the gate that the arguments name; not 0 where it cannot be had."""

    def words(self, function: int, units: int, grain: int) -> tuple[int, ...]:
        """The first words of a task that is dealt in chunks of ``grain``."""

    def job(self, function: int, units: int) -> Job | None:
        """The same for a function that is run again and again without scratch memory."""

    def close(self) -> None:
        """End the threads."""


class Task:
    """A kernel over units of work, in a record that native code reads: see :data:`.gate_ir.TASK_WORDS`.

    Attributes
    ----------
    address : int
    """

    __slots__ = ("_keep", "_record", "address")

    def __init__(self, words: tuple[int, ...], keep: object = None) -> None:
        assert len(words) == TASK_WORDS
        self._record = (ctypes.c_int64 * TASK_WORDS)(*words)
        self._keep = keep
        self.address = ctypes.addressof(self._record)

    @property
    def words(self) -> tuple[int, ...]:
        """What the record holds."""
        return tuple(self._record)

    @property
    def participants(self) -> int:
        """Threads that it is dealt to."""
        return self._record[5]


class Job(Task):
    """A task without scratch memory that is run again and again.

    Attributes
    ----------
    start : callable
        Called with ``address`` and the arguments; returns when all units are done.
    """

    __slots__ = ("_cores", "start")

    def __init__(self, words: tuple[int, ...], workers: _NativeWorkers) -> None:
        super().__init__(words, workers)  # whose code and record it needs
        self._cores = workers.cores
        self.start = native().run_task

    def split(self, work: int, chunk_work: int) -> None:
        """Deal units that are ``work`` altogether in even chunks of ``chunk_work`` at least."""
        units, cores = self._record[3], self._cores
        grain = max(chunk_work * units // work, -(-units // (cores * CHUNKS_PER_CORE)), 1)
        participants = max(2, min(cores, -(-units // grain)))
        share = -(-units // participants)
        self._record[4] = -(-share // -(-share // grain))
        self._record[5] = participants


class Pool:
    """Runs ranges of units on all cores; ``run`` blocks without the GIL."""

    def __init__(self) -> None:
        self.cores = core_count()
        self._lock = threading.RLock()
        self._workers: Workers | None = None
        self._closed = False

    def run(self, function: int, args: bytes, units: int, grain: int, scratch: int) -> None:
        """Call ``function(args, begin, end, scratch)`` over chunks of units until all are done.

        Parameters
        ----------
        grain : int
            Units below which a chunk does not pay.
        scratch : int
            Bytes of scratch memory that each thread wants.
        """
        task, workers = self._deal(function, units, grain, scratch)
        if workers is None:
            native().run_task(task.address, args)
        else:
            workers.run(task, args)

    def try_run(self, function: int, args: bytes, units: int, grain: int, scratch: int) -> int:
        """The same within the gate that the arguments name; not 0 where it cannot be had now."""
        task, workers = self._deal(function, units, grain, scratch)
        code: int = native().try_task(task.address, args) if workers is None else workers.try_run(task, args)
        return code

    def task(self, function: int, units: int, grain: int, scratch: int) -> Task:
        """``function(args, begin, end, scratch)`` over units, with scratch memory of its own."""
        return self._deal(function, units, grain, scratch)[0]

    def _deal(self, function: int, units: int, grain: int, scratch: int) -> tuple[Task, Workers | None]:
        """A task, and who spreads it: None where it is for one thread."""
        chunk = max(grain, -(-units // (self.cores * CHUNKS_PER_CORE)))
        stride = -(-scratch // 64) * 64
        if scratch:  # large scratch memory is for fewer threads
            chunk = max(chunk, -(-units // max(1, SCRATCH_BYTES // stride)))
        threads = min(self.cores, -(-units // chunk))
        memory, address = None, 0
        if scratch:
            try:
                memory = ctypes.create_string_buffer(stride * threads + 64)
            except MemoryError:
                raise OutOfMemoryError(
                    f"cannot allocate {stride * threads} bytes of scratch memory for {threads} threads",
                    requested=stride * threads,
                ) from None
            address = -(-ctypes.addressof(memory) // 64) * 64
        if threads == 1 or self._closed:
            return Task((0, 0, function, units, units, 1, address, 0), memory), None
        workers = self.workers()
        words = workers.words(function, units, chunk)
        return Task((*words, address, stride), (memory, workers)), workers

    def job(self, function: int, units: int) -> Job | None:
        """``function(args, begin, end, None)`` over units, prepared; None where nothing is gained by that."""
        if units == 1 or self.cores == 1 or self._closed:
            return None
        return self.workers().job(function, units)

    def workers(self) -> Workers:
        """The threads, started when first needed."""
        workers = self._workers
        return workers if workers is not None else uninterrupted(self._start)

    def _start(self) -> Workers:
        with self._lock:
            if self._workers is None:
                native_threads = sys.platform != "win32"
                made = _NativeWorkers(self.cores) if native_threads else _PythonWorkers(self.cores)
                if self._workers is None:
                    self._workers = made
                else:
                    made.close()  # a finalizer that launched something started them meanwhile
            return self._workers

    def close(self) -> None:
        """End the threads."""
        self._closed = True
        uninterrupted(self._end)

    def _end(self) -> None:
        with self._lock:
            if self._workers is not None:
                self._workers.close()
                self._workers = None


class _NativeWorkers:
    """POSIX threads that run JIT-compiled code and never touch Python."""

    def __init__(self, cores: int) -> None:
        libc = ctypes.CDLL(None)
        self._code = load_kept(
            "pool", pool_ir(host_target().arch), ("gpucore_pool_run", "gpucore_pool_worker")
        )
        self._runner = self._code.address("gpucore_pool_run")
        self.cores = cores
        processors = _processors()
        set_words = max(processors, default=0) // 64 + 1
        words = FIRST_SLOT + SLOTS * SLOT_WORDS
        # behind the mutex and the conditions, which are smaller than 128 bytes everywhere
        counters = words + 3 * 16
        sets = counters + SLOTS * cores * 8
        records = sets + (1 + SLOTS + cores) * set_words
        size = records + WORKER_WORDS * cores
        self._memory = ctypes.create_string_buffer(size * 8 + 64)
        self._pool = -(-ctypes.addressof(self._memory) // 64) * 64
        objects = [self._pool + words * 8 + n * 128 for n in range(3)]
        libc.pthread_mutex_init(ctypes.c_void_p(objects[0]), None)
        libc.pthread_cond_init(ctypes.c_void_p(objects[1]), None)
        libc.pthread_cond_init(ctypes.c_void_p(objects[2]), None)
        functions = (
            "pthread_mutex_lock",
            "pthread_mutex_unlock",
            "pthread_cond_wait",
            "pthread_cond_broadcast",
            "pthread_mutex_trylock",
        )
        values = [_address_in(libc, name) for name in functions]
        known = (
            [_address_in(libc, name) for name in ("sched_getcpu", "sched_setaffinity")]
            if processors
            else [0, 0]
        )
        record = (ctypes.c_uint64 * size).from_address(self._pool)
        record[: len(WORDS)] = [
            *values[:4],
            *objects,
            0,
            0,
            values[4],
            *known,
            self._pool + sets * 8,
            set_words,
        ]
        for processor in processors:
            record[sets + processor // 64] |= 1 << processor % 64
        for slot in range(SLOTS):
            first = FIRST_SLOT + slot * SLOT_WORDS
            record[first + 9] = self._pool + (counters + slot * cores * 8) * 8
            record[first + 11] = self._pool + (sets + (1 + slot) * set_words) * 8
        self._threads: list[ctypes.c_void_p] = []
        worker = ctypes.c_void_p(self._code.address("gpucore_pool_worker"))
        for number in range(1, cores):
            thread = ctypes.c_void_p()
            place = records + WORKER_WORDS * number
            record[place : place + 3] = [
                self._pool,
                number,
                self._pool + (sets + (1 + SLOTS + number) * set_words) * 8,
            ]
            me = ctypes.c_void_p(self._pool + place * 8)
            if libc.pthread_create(ctypes.byref(thread), None, worker, me) != 0:
                break  # fewer threads still do the work
            self._threads.append(thread)
        # the threads use the record and the code: keep both while they run, whoever forgets this object
        # (also at the interpreter's exit, which frees the code whether or not a worker is in it)
        self._finalizer = weakref.finalize(
            self,
            uninterrupted,
            _end_threads,
            libc,
            self._pool,
            self._threads,
            os.getpid(),
            (self._memory, self._code),
        )

    def run(self, task: Task, args: bytes) -> None:
        """Run all units on this thread and the workers."""
        native().run_task(task.address, args)

    def try_run(self, task: Task, args: bytes) -> int:
        """The same within a gate."""
        code: int = native().try_task(task.address, args)
        return code

    def words(self, function: int, units: int, grain: int) -> tuple[int, ...]:
        """The first words of a task."""
        return (self._runner, self._pool, function, units, grain, min(self.cores, -(-units // grain)))

    def job(self, function: int, units: int) -> Job | None:
        """A function that is run again and again."""
        return Job((self._runner, self._pool, function, units, units, 1, 0, 0), self)

    def close(self) -> None:
        """Wake the workers to their end and wait for them."""
        self._finalizer()


def _end_threads(libc: Any, pool: int, threads: list[ctypes.c_void_p], process: int, keep: object) -> None:
    if os.getpid() != process:
        return  # a forked child has the record but none of the threads; the mutex may be held by one of them
    record = (ctypes.c_uint64 * len(WORDS)).from_address(pool)
    mutex = ctypes.c_void_p(record[WORDS.index("mutex")])
    libc.pthread_mutex_lock(mutex)
    record[WORDS.index("shutdown")] = 1
    libc.pthread_mutex_unlock(mutex)
    libc.pthread_cond_broadcast(ctypes.c_void_p(record[WORDS.index("work")]))
    for thread in threads:
        libc.pthread_join(thread, None)


class _PythonWorkers:
    """Python threads, for systems without POSIX threads; kernels run without the GIL here too."""

    def __init__(self, cores: int) -> None:
        self._executor = ThreadPoolExecutor(max(1, cores - 1), thread_name_prefix="gpucore-cpu")
        self._cores = cores

    def run(self, task: Task, args: bytes) -> None:
        """Run all units on this thread and the workers."""
        _, _, function, units, grain, participants, scratch, nbytes = task.words
        kernel = _KERNEL(function)
        lock = threading.Lock()
        position = 0

        def take() -> int:
            nonlocal position
            with lock:
                begin = position
                position += grain
            return begin

        def work(ticket: int) -> None:
            while (begin := take()) < units:
                kernel(
                    args,
                    begin,
                    min(begin + grain, units),
                    scratch + ticket * nbytes if scratch else None,
                )

        tasks: list[Callable[[], None]] = [lambda t=ticket: work(t) for ticket in range(1, participants)]  # type: ignore[misc]
        futures = [self._executor.submit(task) for task in tasks]
        work(0)
        wait(futures)
        for future in futures:
            future.result()

    def try_run(self, task: Task, args: bytes) -> int:
        """What runs in several Python threads does not begin and end in one call."""
        return 1

    def words(self, function: int, units: int, grain: int) -> tuple[int, ...]:
        """The first words of a task; no native code reads it."""
        return (0, 0, function, units, grain, min(self._cores, -(-units // grain)))

    def job(self, function: int, units: int) -> Job | None:
        """None: starting Python threads is what takes the time here."""
        return None

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown(wait=True)
