"""Threads that move the parts of large copies between memory of the host and a ring of pinned memory.

One thread does not fill the bus, and threads of Python's that take parts in turn wait for the GIL longer than they copy: 20 us on
an H200's host, in which 200 KiB are moved. So these wait and copy in machine code, where that runs; elsewhere Python's do
the same. The thread that asks for a copy calls the driver meanwhile, and alone, for as many parts at once as are ready. The
plugins for CUDA and Vulkan both have this module, word for word.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from queue import SimpleQueue
from time import sleep
from typing import Final

from gpucore.plugin_api import serves_calls
from gpucore_vulkan.machine_code import MachineCode, runs_here

__all__ = ["MOST_SLOTS", "SPIN", "CopyJob", "CopyThreads", "copy_threads", "cores_beside"]

MOST_SLOTS: Final = 256
_JOB, _STOP, _OVER, _READY, _INSIDE, _NEXT = 0, 1, 2, 16, 32, 48
"""Words of 32 bits that threads share, in lines of their own where several write them."""
_HOST, _COUNT, _MOVED = 32, 74, 80
"""The first of five words of 64 bits, and of four and :data:`MOST_SLOTS` of 32, that describe a job; the last, how far it is."""
_DESCRIBE: Final = struct.Struct("=5Q4I").pack_into
_LINE: Final = 64
_BYTES: Final = 4 * (_MOVED + MOST_SLOTS)
SPIN: Final = 2000
"""How often a thread looks before it sleeps, 40 to 100 us: to be woken takes as long."""
_BYTES_A_THREAD: Final = 512 << 10
_EVERYBODY: Final = 0x7FFFFFFF
_PAUSE: Final = 50e-6
_LONGEST_PAUSE: Final = 1e-3
"""Seconds between two looks of a thread of Python's."""
_ALL: Final = 0xFFFFFFFF
_SERVE: Final = bytes.fromhex(
    "53"  # serve: push rbx
    "55"  # push rbp
    "4154"  # push r12
    "4889fb"  # mov rbx, rdi
    "31ed"  # xor ebp, ebp; the job that it was at last
    "4889df"  # job: mov rdi, rbx
    "89ee"  # mov esi, ebp
    "e8be000000"  # call change; until there is another job
    "8b2b"  # mov ebp, [rbx]
    "837b0400"  # cmp [rbx+4], 0; STOP
    "754e"  # jne out
    "f0ff8380000000"  # lock inc [rbx+128]; INSIDE
    "837b0800"  # part: cmp [rbx+8], 0; OVER
    "7538"  # jne leave
    "41bc01000000"  # mov r12d, 1
    "f0440fc1a3c0000000"  # lock xadd [rbx+192], r12d; the number of its part, of NEXT
    "443ba328010000"  # cmp r12d, [rbx+296]; COUNT
    "7320"  # jae leave
    "8b7340"  # ready: mov esi, [rbx+64]; READY, which end() sets after OVER
    "837b0800"  # cmp [rbx+8], 0
    "7517"  # jne leave
    "4139f4"  # cmp r12d, esi
    "720b"  # jb do
    "488d7b40"  # lea rdi, [rbx+64]
    "e87a000000"  # call change
    "ebe7"  # jmp ready
    "e810000000"  # do: call move
    "ebc2"  # jmp part
    "f0ff8b80000000"  # leave: lock dec [rbx+128]
    "eba0"  # jmp job
    "415c"  # out: pop r12
    "5d"  # pop rbp
    "5b"  # pop rbx
    "c3"  # ret
    # move(), which it calls: the part that r12 is the number of
    "4155"  # move: push r13
    "488b8310010000"  # mov rax, [rbx+272]; PART
    "4c89e1"  # mov rcx, r12
    "480fafc8"  # imul rcx, rax; where it begins
    "488b9318010000"  # mov rdx, [rbx+280]; NBYTES
    "4829ca"  # sub rdx, rcx
    "4839c2"  # cmp rdx, rax
    "480f47d0"  # cmova rdx, rax; how long it is
    "488bb300010000"  # mov rsi, [rbx+256]; HOST
    "4801ce"  # add rsi, rcx
    "4589e5"  # mov r13d, r12d
    "4423ab2c010000"  # and r13d, [rbx+300]; MASK: the number of its slot
    "490fafc5"  # imul rax, r13
    "488bbb08010000"  # mov rdi, [rbx+264]; RING
    "4801c7"  # add rdi, rax
    "83bb3001000000"  # cmp [rbx+304], 0; UP
    "7503"  # jne up
    "4887f7"  # xchg rdi, rsi
    "ff9320010000"  # up: call [rbx+288]; COPY
    "41ffc4"  # inc r12d
    "4689a4ab40010000"  # mov [rbx+4*r13+320], r12d; MOVED
    "415d"  # pop r13
    "c3"  # ret
    # change(word, old): until it has another value
    "8b8b34010000"  # change: mov ecx, [rbx+308]; SPIN
    "3937"  # again: cmp [rdi], esi
    "751d"  # jne changed
    "f390"  # pause
    "ffc9"  # dec ecx
    "79f6"  # jns again
    "89f2"  # mov edx, esi
    "be80000000"  # mov esi, 128; FUTEX_WAIT_PRIVATE
    "4531d2"  # xor r10d, r10d
    "b8ca000000"  # mov eax, 202; futex
    "0f05"  # syscall
    "89d6"  # mov esi, edx
    "31c9"  # xor ecx, ecx
    "ebdf"  # jmp again
    "c3"  # changed: ret
)
"""``serve(words)``: what a thread does until it is told to stop."""
_HELP: Final = bytes.fromhex(
    "53"  # help: push rbx
    "55"  # push rbp
    "4154"  # push r12
    "4889fb"  # mov rbx, rdi
    "89f5"  # mov ebp, esi
    "8b83c0000000"  # claim: mov eax, [rbx+192]; NEXT
    "3b4340"  # cmp eax, [rbx+64]; READY
    "7319"  # jae done
    "4189c4"  # mov r12d, eax
    "8d4801"  # lea ecx, [rax+1]
    "f00fb18bc0000000"  # lock cmpxchg [rbx+192], ecx
    "75e5"  # jne claim
    "e84cffffff"  # call move
    "ffcd"  # dec ebp
    "75dc"  # jnz claim
    "415c"  # done: pop r12
    "5d"  # pop rbp
    "5b"  # pop rbx
    "c3"  # ret
)
"""``help(words, most)``: the caller moves parts, as long as there are such that are to be moved."""
_COUNT_MOVED: Final = bytes.fromhex(
    "89f0"  # moved: mov eax, esi
    "39d0"  # look: cmp eax, edx
    "731b"  # jae out
    "89c1"  # mov ecx, eax
    "238f2c010000"  # and ecx, [rdi+300]; MASK
    "448d4001"  # lea r8d, [rax+1]
    "4439848f40010000"  # cmp [rdi+4*rcx+320], r8d; MOVED
    "7505"  # jne out
    "4489c0"  # mov eax, r8d
    "ebe1"  # jmp look
    "29f0"  # out: sub eax, esi
    "c3"  # ret
)
"""``moved(words, first, end)``: how many parts in a row were moved."""
_EQUAL: Final = bytes.fromhex(
    "0faef0"  # equal: mfence
    "b900040000"  # round: mov ecx, 1024
    "3937"  # look: cmp [rdi], esi
    "740f"  # je is
    "f390"  # pause
    "ffc9"  # dec ecx
    "75f6"  # jnz look
    "b818000000"  # mov eax, 24; sched_yield
    "0f05"  # syscall
    "ebe8"  # jmp round
    "c3"  # is: ret
)
"""``equal(word, value)``: until it has the value."""
_WAKE: Final = bytes.fromhex(
    "89f2"  # wake: mov edx, esi
    "be81000000"  # mov esi, 129; FUTEX_WAKE_PRIVATE
    "4531d2"  # xor r10d, r10d
    "b8ca000000"  # mov eax, 202
    "0f05"  # syscall
    "c3"  # ret
)
"""``wake(word, most)``: threads that wait for a change."""
_STREAM: Final = bytes.fromhex(
    "4881fa80000000"  # stream: cmp rdx, 128
    "7244"  # jb rest
    "89f9"  # mov ecx, edi
    "f7d9"  # neg ecx
    "83e10f"  # and ecx, 15; up to a target of whole 16 bytes
    "4829ca"  # sub rdx, rcx
    "f3a4"  # rep movsb
    "f30f6f06"  # line: movdqu xmm0, [rsi]
    "f30f6f4e10"  # movdqu xmm1, [rsi+16]
    "f30f6f5620"  # movdqu xmm2, [rsi+32]
    "f30f6f5e30"  # movdqu xmm3, [rsi+48]
    "660fe707"  # movntdq [rdi], xmm0
    "660fe74f10"  # movntdq [rdi+16], xmm1
    "660fe75720"  # movntdq [rdi+32], xmm2
    "660fe75f30"  # movntdq [rdi+48], xmm3
    "4883c640"  # add rsi, 64
    "4883c740"  # add rdi, 64
    "4883ea40"  # sub rdx, 64
    "4883fa40"  # cmp rdx, 64
    "73c8"  # jae line
    "4889d1"  # rest: mov rcx, rdx
    "f3a4"  # rep movsb
    "0faef8"  # sfence
    "c3"  # ret
)
"""``stream(target, source, nbytes)``, past the caches."""


@dataclass(slots=True)
class CopyJob:
    """One copy, which nobody changes: part ``i`` of the host's memory goes to or from slot ``i % slots`` of the ring.

    Attributes
    ----------
    host, ring : int
        Addresses.
    nbytes, part : int
        How long the copy is, and each part but the last.
    slots : int
        A power of two, at most :data:`MOST_SLOTS`.
    up : bool
        Whether to the ring.
    spin : int
        How often a thread looks whether a part is ready before it sleeps.
    """

    host: int
    ring: int
    nbytes: int
    part: int
    slots: int
    up: bool
    spin: int = SPIN

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.nbytes // self.part)


class CopyThreads(ABC):
    """Threads that do one job at a time.

    An interrupt may come in any place: until :meth:`end` was called, or another job has begun, the threads use the job's memory,
    which ``keep`` holds in place.
    """

    def __init__(self) -> None:
        self._job = CopyJob(0, 0, 0, 1, 1, up=True)
        self._keep: object = None

    @abstractmethod
    def begin(self, job: CopyJob, ready: int, keep: object) -> None:
        """Begin a job, the first ``ready`` parts of which may be moved."""

    @abstractmethod
    def publish(self, ready: int) -> None:
        """Let more parts be moved."""

    @abstractmethod
    def help(self) -> None:
        """Move a part in the caller's thread, if there is one to be moved that no other took."""

    @abstractmethod
    def move(self, first: int, end: int) -> None:
        """Move parts in the caller's thread as well until these, which are ready, were moved."""

    @abstractmethod
    def finish(self) -> None:
        """As :meth:`move` for all that is left of a job, the parts of which are ready, and end it."""

    @abstractmethod
    def end(self) -> None:
        """Let the threads take no more parts, and wait for those that they are at."""

    @abstractmethod
    def close(self) -> None:
        """End the threads."""

    @abstractmethod
    def _wait(self, number: int) -> None:
        """Wait until a part, which is ready, was moved."""

    @abstractmethod
    def _moved(self, first: int, end: int) -> int:
        """How many parts in a row were moved from the first on, whose slots were not used again since."""

    def moved(self, first: int, *, wait: bool) -> int:
        """How many parts in a row were moved, from the first on and up to the ring's end; if asked to, wait until it is one."""
        if wait:
            self._wait(first)
        job = self._job
        return self._moved(first, min(job.count, first + job.slots - first % job.slots))


class _Code:
    """The functions of the code."""

    def __init__(self) -> None:
        functions = _SERVE, _HELP, _COUNT_MOVED, _EQUAL, _WAKE, _STREAM
        self._code = MachineCode(b"".join(functions))
        begins = list(accumulate(map(len, functions), initial=self._code.address))
        serve, help, moved, equal, wake, stream = begins[:-1]
        number = ctypes.c_uint32
        of_words = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        of_words_and_number = ctypes.CFUNCTYPE(None, ctypes.c_void_p, number)
        self.serve, self.help = of_words(serve), of_words_and_number(help)
        self.moved = ctypes.CFUNCTYPE(number, ctypes.c_void_p, number, number)(moved)
        self.equal, self.wake = of_words_and_number(equal), of_words_and_number(wake)
        # past the caches to what the device reads next; not to what the host does
        self.copies = ctypes.cast(ctypes.CDLL(None).memcpy, ctypes.c_void_p).value or 0, stream


@functools.cache
def _code() -> _Code | None:
    """None where it does not run."""
    if not runs_here():
        return None
    try:
        return _Code()
    except OSError:
        return None


class _NativeThreads(CopyThreads):
    """Threads that wait and copy in machine code."""

    def __init__(self, name: str, count: int, code: _Code) -> None:
        super().__init__()
        memory = ctypes.create_string_buffer(_BYTES + _LINE)
        before = -ctypes.addressof(memory) % _LINE
        view = memoryview(memory).cast("B")[before : before + _BYTES]
        self._code, self._memory, self._address = code, memory, ctypes.addressof(memory) + before
        self._bytes, self._words, self._is_over = view, view.cast("I"), True
        self._words[_OVER] = 1
        try:
            for _ in range(count):
                # daemons, whose frames hold the code and the words for as long as they run
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def _serve(self) -> None:
        self._code.serve(self._address)

    def begin(self, job: CopyJob, ready: int, keep: object) -> None:
        self.end()
        # a thread that came late has seen that the last job was over once it is not inside
        self._code.equal(self._address + 4 * _INSIDE, 0)
        self._keep, self._job, self._is_over = keep, job, False
        words, slots = self._words, job.slots
        _DESCRIBE(
            self._bytes, 8 * _HOST, job.host, job.ring, job.part, job.nbytes, self._code.copies[job.up],
            job.count, slots - 1, job.up, job.spin,
        )  # fmt: skip
        self._bytes[4 * _MOVED : 4 * (_MOVED + slots)] = bytes(4 * slots)
        words[_NEXT], words[_READY] = 0, ready
        words[_OVER] = 0
        words[_JOB] = (words[_JOB] + 1) & _ALL
        # not more than are of use: to wake one takes the caller 5 us
        self._code.wake(self._address + 4 * _JOB, min(1 + job.nbytes // _BYTES_A_THREAD, _EVERYBODY))

    def publish(self, ready: int) -> None:
        self._words[_READY] = ready
        self._code.wake(self._address + 4 * _READY, _EVERYBODY)

    def help(self) -> None:
        self._code.help(self._address, 1)

    def move(self, first: int, end: int) -> None:
        while self._moved(first, end) < end - first:
            self.help()

    def finish(self) -> None:
        self._code.help(self._address, _EVERYBODY)
        self._code.equal(self._address + 4 * _INSIDE, 0)
        self._words[_OVER] = 1
        self._is_over, self._keep = True, None

    def end(self) -> None:
        if self._is_over:
            return
        self._words[_OVER] = 1
        self.publish(_ALL)
        self._code.equal(self._address + 4 * _INSIDE, 0)
        self._is_over, self._keep = True, None

    def close(self) -> None:
        words = self._words
        words[_STOP] = words[_OVER] = 1
        words[_JOB] = (words[_JOB] + 1) & _ALL
        self._code.wake(self._address + 4 * _JOB, _EVERYBODY)

    def _wait(self, number: int) -> None:
        self._code.equal(self._address + 4 * (_MOVED + number % self._job.slots), number + 1)

    def _moved(self, first: int, end: int) -> int:
        return int(self._code.moved(self._address, first, end))


class _PythonThreads(CopyThreads):
    """Threads of Python's; the one that asks moves parts, too, while it waits for them."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__()
        self._shared: _Shared | None = None
        self._tasks: SimpleQueue[_Shared | None] = SimpleQueue()
        self._count = 0
        with contextlib.suppress(RuntimeError):  # there are no more threads to be had
            for _ in range(count):
                threading.Thread(target=_serve, args=(self._tasks,), name=name, daemon=True).start()
                self._count += 1

    def begin(self, job: CopyJob, ready: int, keep: object) -> None:
        self.end()
        self._keep, self._job = keep, job
        self._shared = shared = _Shared(job, ready, keep)
        for _ in range(min(self._count, job.count)):
            self._tasks.put(shared)

    def publish(self, ready: int) -> None:
        if self._shared is not None:
            self._shared.ready = ready

    def help(self) -> None:
        """It does where it waits."""

    def move(self, first: int, end: int) -> None:
        for number in range(first, end):
            self._wait(number)

    def finish(self) -> None:
        job = self._job
        self.move(max(0, job.count - job.slots), job.count)
        self.end()

    def end(self) -> None:
        if self._shared is not None:
            self._shared.end()
        self._shared = self._keep = None

    def close(self) -> None:
        self.end()
        for _ in range(self._count):
            self._tasks.put(None)

    def _wait(self, number: int) -> None:
        if self._shared is not None:
            self._shared.move(number)
            while not self._is_moved(number):
                sleep(_PAUSE)

    def _moved(self, first: int, end: int) -> int:
        number = first
        while number < end and self._is_moved(number):
            number += 1
        return number - first

    def _is_moved(self, number: int) -> bool:
        return self._shared is not None and self._shared.moved[number % self._job.slots] == number + 1


class _Shared:
    """What threads of Python's share of a job; those of the pool that are at it are counted in a set, which no interrupt divides.

    Attributes
    ----------
    ready : int
        How many parts may be moved.
    moved : list[int]
        By slot, one more than the number of the part that was moved last.
    """

    def __init__(self, job: CopyJob, ready: int, keep: object) -> None:
        self.ready = ready
        self.moved = [0] * job.slots
        self._job, self._keep = job, keep
        self._numbers: Iterator[int] = iter(range(job.count))
        self._left = dict.fromkeys(range(job.count), True)
        self._inside: set[int] = set()
        self._is_over = False

    def move(self, number: int) -> None:
        """Move a part, if nobody else does."""
        if not self._left.pop(number, False):
            return
        job = self._job
        at, slot = number * job.part, number % job.slots
        host, place = job.host + at, job.ring + slot * job.part
        target, source = (place, host) if job.up else (host, place)
        ctypes.memmove(target, source, min(job.part, job.nbytes - at))
        self.moved[slot] = number + 1

    @serves_calls
    def help(self) -> None:
        """What a thread of the pool does."""
        ident = threading.get_ident()
        self._inside.add(ident)
        try:
            for number in self._numbers:
                pause = _PAUSE
                while number >= self.ready and not self._is_over:
                    sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                if self._is_over:
                    return
                self.move(number)
        finally:
            self._inside.discard(ident)

    def end(self) -> None:
        """Let no more parts be taken, and wait for those that are under way."""
        self._is_over = True
        while self._inside:
            sleep(_PAUSE)


def _serve(tasks: SimpleQueue[_Shared | None]) -> None:
    """A thread of the pool, until it is told to end."""
    while (shared := tasks.get()) is not None:
        shared.help()
        del shared


def cores_beside() -> int:
    """How many cores there are beside the one that asks, one at least: threads look again and again before they sleep."""
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, count - 1)


def copy_threads(name: str, count: int) -> CopyThreads:
    """So many threads, started: of machine code where it runs, else of Python's."""
    code = _code()
    if code is not None:
        with contextlib.suppress(RuntimeError):  # no more threads can be started
            return _NativeThreads(name, count, code)
    return _PythonThreads(name, count)
