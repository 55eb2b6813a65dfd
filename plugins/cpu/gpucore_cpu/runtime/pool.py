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
from gpucore_cpu.runtime.jit import LoadedCode
from gpucore_cpu.runtime.pool_ir import FIRST_SLOT, SLOT_WORDS, SLOTS, WORDS, WORKER_WORDS, pool_ir
from gpucore_cpu.toolchain import assemble

__all__ = ["SCRATCH_BYTES", "Pool", "core_count"]

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

    def run(
        self, function: int, args: bytes, units: int, grain: int, scratch: int | None, nbytes: int
    ) -> None:
        """Run all units; block until they are done."""

    def job(self, function: int, units: int) -> Job | None:
        """The same for a function that is run again and again without scratch memory."""

    def close(self) -> None:
        """End the threads."""


class Pool:
    """Runs ranges of units on all cores; ``run`` blocks without the GIL."""

    def __init__(self) -> None:
        self.cores = core_count()
        self._lock = threading.Lock()
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
        chunk = max(grain, -(-units // (self.cores * CHUNKS_PER_CORE)))
        stride = -(-scratch // 64) * 64
        if scratch:  # large scratch memory is for fewer threads
            chunk = max(chunk, -(-units // max(1, SCRATCH_BYTES // stride)))
        threads = min(self.cores, -(-units // chunk))
        memory = None
        address: int | None = None
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
            _KERNEL(function)(args, 0, units, address)
            return
        self.workers().run(function, args, units, chunk, address, stride)

    def job(self, function: int, units: int) -> Job | None:
        """``function(args, begin, end, None)`` over units, prepared; None where nothing is gained by that."""
        if units == 1 or self.cores == 1 or self._closed:
            return None
        return self.workers().job(function, units)

    def workers(self) -> Workers:
        """The threads, started when first needed."""
        if self._workers is None:
            with self._lock:
                if self._workers is None:
                    native = sys.platform != "win32"
                    self._workers = _NativeWorkers(self.cores) if native else _PythonWorkers(self.cores)
        return self._workers

    def close(self) -> None:
        """End the threads."""
        with self._lock:
            self._closed = True
            if self._workers is not None:
                self._workers.close()
                self._workers = None


class Job:
    """A function over units that is run again and again, in a record that native code reads.

    Attributes
    ----------
    start : callable
        Called with ``address`` and the arguments; returns when all units are done.
    address : int
    participants : int
        Threads that it is dealt to.
    """

    __slots__ = ("_record", "_workers", "address", "participants", "start")

    def __init__(
        self, workers: _NativeWorkers, start: Callable[[int, bytes], None], words: list[int]
    ) -> None:
        self._workers = workers  # whose code and record it needs
        self._record = (ctypes.c_int64 * len(words))(*words)
        self.address = ctypes.addressof(self._record)
        self.start = start
        self.participants = words[4]

    def split(self, work: int, chunk_work: int) -> None:
        """Deal units that are ``work`` altogether in even chunks of ``chunk_work`` at least."""
        units, cores = self._record[2], self._workers.cores
        grain = max(chunk_work * units // work, -(-units // (cores * CHUNKS_PER_CORE)), 1)
        self.participants = max(2, min(cores, -(-units // grain)))
        share = -(-units // self.participants)
        self._record[3] = -(-share // -(-share // grain))
        self._record[4] = self.participants


class _NativeWorkers:
    """POSIX threads that run JIT-compiled code and never touch Python."""

    def __init__(self, cores: int) -> None:
        libc = ctypes.CDLL(None)
        names = ("gpucore_pool_run", "gpucore_pool_start", "gpucore_pool_worker")
        self._code = LoadedCode(assemble(pool_ir(host_target().arch)), names)
        kinds = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        prototype = ctypes.CFUNCTYPE(None, *kinds, ctypes.c_int64, ctypes.c_int64)
        self._run = prototype(self._code.address("gpucore_pool_run"))
        begin = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
        self._start = begin(self._code.address("gpucore_pool_start"))
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
            self, _end_threads, libc, self._pool, self._threads, os.getpid(), (self._memory, self._code)
        )

    def run(
        self, function: int, args: bytes, units: int, grain: int, scratch: int | None, nbytes: int
    ) -> None:
        """Run all units on this thread and the workers."""
        participants = min(self.cores, -(-units // grain))
        self._run(self._pool, function, args, units, grain, scratch, nbytes, participants)

    def job(self, function: int, units: int) -> Job | None:
        """A function that is run again and again."""
        return Job(self, self._start, [self._pool, function, units, units, 1])

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

    def run(
        self, function: int, args: bytes, units: int, grain: int, scratch: int | None, nbytes: int
    ) -> None:
        """Run all units on this thread and the workers."""
        kernel = _KERNEL(function)
        participants = min(self._cores, -(-units // grain))
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
                    None if scratch is None else scratch + ticket * nbytes,
                )

        tasks: list[Callable[[], None]] = [lambda t=ticket: work(t) for ticket in range(1, participants)]  # type: ignore[misc]
        futures = [self._executor.submit(task) for task in tasks]
        work(0)
        wait(futures)
        for future in futures:
            future.result()

    def job(self, function: int, units: int) -> Job | None:
        """None: starting Python threads is what takes the time here."""
        return None

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown(wait=True)
