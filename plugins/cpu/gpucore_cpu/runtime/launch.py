"""The launch path: slots packed by one struct, one call into the kernel."""

from __future__ import annotations

import math
import sys
import time
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpucore.errors import CompileError, OutOfMemoryError
from gpucore.hookspecs import LaunchConfig, ObjectCode
from gpucore.plugin_api import ArgumentPacker, PackedField
from gpucore_cpu.host import last_level_cache
from gpucore_cpu.runtime.gate import native
from gpucore_cpu.runtime.jit import LoadedCode
from gpucore_cpu.runtime.pool import SCRATCH_BYTES, Job, Pool, Task
from gpucore_cpu.runtime.streams import Stream

__all__ = ["BoundLaunch", "Executable", "PreparedLaunch"]

INLINE_THREADS = 16384
"""Without loops, grids of at most that many threads run in the caller's thread."""
GUESSED_THREADS = 8 * INLINE_THREADS
"""Without loops, the first launch of at most that many threads is taken for short enough for the caller's thread."""
SERIAL_NS = 6_000
"""A launch of at most that much work is not worth waking other threads for."""
OUTLIER = 4
"""A launch that takes so many times as long as those before is believed when the next one does, too."""
RETRIES = 3
"""How often one thread is tried in vain for what seems as little: data that fits the caches of several cores may
not fit those of one."""
HANDOFF_NS = 2_000
"""What it costs to hand chunks to other threads and to hear that they are done."""
CALLER_NS = 2_000_000
"""A launch of at most that much work runs before the call returns when its stream is idle."""
MIN_CHUNK_THREADS = 2048
"""Threads without loops that a chunk holds at least."""
MIN_CHUNK_NS = 1_500
"""Work that a chunk holds at least, where it is known."""
TILE = 4096
"""Threads of a unit of work along the last axis at most, for kernels that do not see blocks."""
TILES_PER_CORE = 16
TILE_MULTIPLE = 64

_WORD = 8
_WORDS = {
    "bool": "?7x",
    "i8": "q",
    "i16": "q",
    "i32": "q",
    "i64": "q",
    "index": "q",
    "u8": "Q",
    "u16": "Q",
    "u32": "Q",
    "u64": "Q",
    "f16": "e6x",
    "f32": "f4x",
    "f64": "d",
}
"""How scalars fill a word, as :mod:`struct` spells it."""


class Executable:
    """Loaded object code: the addresses of its two entry points and how its arguments are packed.

    Attributes
    ----------
    flat, loops : bool
        Whether it does not see blocks; whether it has loops.
    threads_in_caches : int
        Launches of more threads touch more than fits the caches, and go past them.
    thread_work : float
        Nanoseconds that a thread of it took in the latest launch that was measured; 0 before.
    launch_class : type[PreparedLaunch]
        Of its launch shapes: ``launch_class(pool, executable, config)`` is what the hook ``prepare`` gives back.
    """

    def __init__(self, object_code: ObjectCode) -> None:
        entry = object_code.entry
        try:
            self._code = LoadedCode(object_code.data, (entry, f"{entry}.range"))
        except RuntimeError as error:
            raise CompileError(
                f"LLVM cannot load the object code of {entry}", source="", log=str(error)
            ) from error
        self.address = self._code.address(entry)
        self.range_address = self._code.address(f"{entry}.range")
        self.metadata: Mapping[str, Any] = object_code.metadata
        self.thread_work = 0.0
        meta = self.metadata
        self.flat, self.loops = meta["layout"] == "flat", bool(meta["loops"])
        self.threads_in_caches = last_level_cache() // meta["traffic"] if meta["traffic"] else sys.maxsize
        self.launch_class = _launch_class(entry, self.metadata["params"])

    def scratch(self, block: tuple[int, ...]) -> int:
        """Bytes of shared and local memory that a thread of the CPU needs for a block."""
        meta = self.metadata
        if meta["layout"] == "linear":
            gangs = -(-math.prod(block) // meta["width"])
        else:
            gangs = math.prod(block[:-1]) * -(-block[-1] // meta["width"])
        return int(meta["shared"] + meta["context"] * gangs)

    def close(self) -> None:
        """Unload the code; nothing may run it any more."""
        self._code.close()


def _packer(params: list[dict[str, Any]]) -> ArgumentPacker:
    """The packer for parameters as the object code's metadata lists them: an 8-byte word each, and for each extent that is
    read."""
    ranks: list[int | None] = []
    fields: list[PackedField] = []
    for number, parameter in enumerate(params):
        if parameter["kind"] == "array":
            ranks.append(parameter["rank"])
            fields.append(PackedField(number, "pointer", "Q"))
            fields += [PackedField(number, axis, "q") for axis in parameter["extents"]]
        else:
            ranks.append(None)
            fields.append(PackedField(number, "value", _WORDS[parameter["dtype"]]))
    return ArgumentPacker(ranks, fields, order="=", address="host")


_TEMPLATE = """\
def enqueue(prepared, stream, {arguments}):
    packed = pack(prepared.header, stream.gate, {values})
    if prepared.indirect or stream.items or try_launch(packed):
        prepared.launch(stream, packed)


def bind(prepared, {arguments}):
    return BoundLaunch(prepared, pack(prepared.header, 0, {values}))


def enqueue_bound(bound, stream):
    owner, packed, prepared = bound.latest
    if owner is not stream:
        packed = bound.pack_for(stream)
    if prepared.indirect or stream.items or try_launch(packed):
        prepared.launch(stream, packed)
"""
"""What is written for a kernel: the header and the stream's gate stand before the packed arguments."""


class BoundLaunch:
    """A launch with its arguments packed; the stream's gate is among them, so another stream packs anew.

    Attributes
    ----------
    latest : tuple[Stream | None, bytes, PreparedLaunch]
        The stream and the bytes of the latest launch, and what is launched; replaced as a whole.
    """

    __slots__ = ("latest",)

    def __init__(self, prepared: PreparedLaunch, packed: bytes) -> None:
        self.latest: tuple[Stream | None, bytes, PreparedLaunch] = (None, packed, prepared)

    def pack_for(self, stream: Stream) -> bytes:
        """The packed arguments of a launch on ``stream``."""
        _, packed, prepared = self.latest
        packed = packed[:_WORD] + stream.gate.to_bytes(_WORD, sys.byteorder) + packed[2 * _WORD :]
        self.latest = stream, packed, prepared
        return packed

    def __call__(self, stream: Stream) -> None:
        """Launch; each kernel has a subclass with the function of :data:`_TEMPLATE`."""
        raise NotImplementedError


class PreparedLaunch:
    """One launch shape of one executable, and what it is known to cost.

    Each kernel has a subclass with the functions of :data:`_TEMPLATE`: ``call(stream, *arguments)`` and its method ``bind``.

    Attributes
    ----------
    header : int
        Address of the words that the kernel reads of the shape; the kernel's own address stands before them.
    indirect : bool
        Whether there is more to a launch than the one call of the kernel.
    work : int | None
        Nanoseconds over all cores; None until measured, 0 for short launches without loops.
    """

    __slots__ = (
        "_words", "doubt", "executable", "grain", "header", "indirect", "job", "least", "most", "pool", "quick", "retries",
        "scratch", "short", "threads", "units", "work",
    )  # fmt: skip

    if TYPE_CHECKING:

        def __call__(self, stream: Stream, /, *arguments: Any) -> None: ...

    def __init__(self, pool: Pool, executable: Executable, config: LaunchConfig) -> None:
        grid, block = config.grid, config.block
        self.pool = pool
        self.executable = executable
        blocks = math.prod(grid)
        threads = blocks * math.prod(block)
        units, tile, tiles = blocks, 0, 0
        if executable.flat:
            along = grid[-1] * block[-1]
            rows = threads // along
            # tiles a few times the cores, of whole cache lines
            wanted = -(-pool.cores * TILES_PER_CORE // rows)
            tile = min(TILE, -(-along // wanted // TILE_MULTIPLE) * TILE_MULTIPLE)
            tiles = -(-along // tile)
            units = tiles * rows
        self.units, self.threads = units, threads
        cached = int(threads <= executable.threads_in_caches)
        # array's address costs a tenth of that of an array of ctypes
        self._words = array("q", (executable.address, units, tile, tiles, *grid, *block, cached))
        self.header = self._words.buffer_info()[0] + _WORD
        self.scratch = (
            executable.scratch(block) if executable.metadata["context"] else executable.metadata["shared"]
        )
        if self.scratch > SCRATCH_BYTES:
            raise OutOfMemoryError(
                f"a CPU thread needs {self.scratch} bytes for the shared and local memory of this kernel at block "
                f"{block}, {executable.metadata['width']} threads side by side; at most {SCRATCH_BYTES} can be had",
                requested=self.scratch, limit=SCRATCH_BYTES,
            )  # fmt: skip
        loops = executable.loops
        seems_short = not loops and threads <= INLINE_THREADS
        self.short = seems_short and not self.scratch
        self.indirect = not self.short
        self.work: int | None = None
        if seems_short:
            self.work = 0
        elif executable.thread_work:
            self.work = max(1, round(executable.thread_work * threads))  # as other shapes took
        elif not loops and threads <= GUESSED_THREADS:
            self.work = threads  # a nanosecond each, until one was measured
        # chunks that outweigh the taking of them
        self.grain = 1 if loops else max(1, MIN_CHUNK_THREADS * units // threads)

        # spread launches without scratch memory, and between which times their split stays as it is
        self.job: Job | None = None
        self.least = self.most = 0
        self.doubt = False
        self.retries = RETRIES
        self.quick = 0

    def bind(self, *arguments: Any) -> BoundLaunch:
        """The launch with its arguments packed; each kernel has a subclass with the function of :data:`_TEMPLATE`."""
        raise NotImplementedError

    def launch(self, stream: Stream, packed: bytes) -> None:
        """Launch where the stream is busy, or there is more to do than to call the kernel."""
        work = self.work
        if stream.items or work is None or work > CALLER_NS:
            self.enqueue(stream, packed)
        elif self.scratch or (self.job is None and work > SERIAL_NS):
            self.run_here(stream, packed, work > SERIAL_NS)
        elif not work:
            self.enqueue(stream, packed)  # somebody else runs there
        else:
            self.run_timed(stream, packed, None if work <= SERIAL_NS else self.job)

    def run_timed(self, stream: Stream, packed: bytes, job: Job | None) -> None:
        """Run in the caller's thread, spread by a job or in one thread, and look at the time that it takes."""
        functions = stream.native
        start = time.perf_counter_ns()
        if functions.try_launch(packed) if job is None else functions.try_task(job.address, packed):
            self.enqueue(stream, packed)
            return
        elapsed = time.perf_counter_ns() - start
        if job is not None:
            if not self.least <= elapsed <= self.most:
                self.weigh(elapsed)
        elif elapsed > SERIAL_NS:
            self.outgrow(elapsed)
        else:
            self.quick += 1
            if self.short and self.quick >= RETRIES:
                self.indirect, self.work = False, 0

    def enqueue(self, stream: Stream, packed: bytes) -> None:
        """Run in the order of the stream, in its own thread."""
        stream.submit(lambda: self.run(packed), exclusive=True)

    def run_here(self, stream: Stream, packed: bytes, spread: bool) -> None:
        """Run the whole launch in the caller's thread where the stream's gate can be had, else in the stream's."""
        executable, grain = self.executable, self._grain(spread)
        start = time.perf_counter_ns()
        if self.pool.try_run(executable.range_address, packed, self.units, grain, self.scratch):
            self.enqueue(stream, packed)
        else:
            self._note(time.perf_counter_ns() - start, grain)

    def run(self, packed: bytes) -> None:
        """Run the whole launch, and note how much work it was."""
        grain = self._grain(True)
        start = time.perf_counter_ns()
        self.pool.run(self.executable.range_address, packed, self.units, grain, self.scratch)
        self._note(time.perf_counter_ns() - start, grain)

    def _grain(self, spread: bool) -> int:
        if not spread:
            return self.units
        return self.grain if not self.work else max(1, MIN_CHUNK_NS * self.units // self.work)

    def _note(self, elapsed: int, grain: int) -> None:
        threads = min(self.pool.cores, -(-self.units // grain))
        if threads > 1:
            elapsed -= HANDOFF_NS
        work = max(1, elapsed * threads)
        if not self.indirect:
            # it seemed short: once more than that may be an interruption
            if work <= SERIAL_NS or not self.doubt:
                self.doubt = work > SERIAL_NS
                return
            self.indirect, self.doubt = True, False
        self.learn(work)
        if threads > 1 and not self.scratch and work > SERIAL_NS:
            self.job = self.job or self.pool.job(self.executable.range_address, self.units)
            self.split()

    def task(self) -> Task | None:
        """What runs the whole launch again and again on one stream, dealt as it is known to be best.

        None where that is nothing more than a call of the kernel. Its work must be known.
        """
        if not self.indirect:
            return None
        assert self.work is not None
        if self.job is not None and self.work > SERIAL_NS:
            return self.job
        grain = self._grain(self.work > SERIAL_NS)
        return self.pool.task(self.executable.range_address, self.units, grain, self.scratch)

    def learn(self, work: int) -> None:
        """Note the work of a launch, for other shapes of the kernel, too."""
        self.work = work
        self.executable.thread_work = work / self.threads

    def split(self) -> None:
        """Deal the work anew, and look at the next time that it takes."""
        if self.job is not None and self.work:
            self.job.split(self.work, MIN_CHUNK_NS)
        self.least = self.most = 0

    def weigh(self, elapsed: int) -> None:
        """Note what a spread launch took: run it in one thread from now on, or deal it accordingly."""
        assert self.job is not None
        if elapsed > OUTLIER * self.most > 0 and not self.doubt:
            # perhaps it was interrupted: look at the next one
            self.doubt, self.least = True, elapsed
            return
        self.doubt = False
        work = max(1, (elapsed - HANDOFF_NS) * self.job.participants)
        if work <= SERIAL_NS and self.retries:
            self.retries -= 1
            self.quick = 0
            self.work = work
            return
        self.learn(max(work, SERIAL_NS + 1))
        self.split()
        self.least, self.most = elapsed * 3 // 4, elapsed * 3 // 2

    def outgrow(self, elapsed: int) -> None:
        """Note that a launch in one thread took long: spread the next."""
        if self.quick >= RETRIES:  # it did not before: one that was interrupted shows nothing
            self.retries = RETRIES
        self.learn(elapsed)
        self.split()


def _launch_class(entry: str, params: list[dict[str, Any]]) -> type[PreparedLaunch]:
    bound = type("BoundLaunch", (BoundLaunch,), {"__slots__": ()})
    values = {"try_launch": native().try_launch, "BoundLaunch": bound}
    functions = _packer(params).functions(_TEMPLATE, values, f"CPU launch of {entry}", prefix="QQ")
    bound.__call__ = functions["enqueue_bound"]  # type: ignore[method-assign]
    members = {"__slots__": (), "__call__": functions["enqueue"], "bind": functions["bind"]}
    return type("PreparedLaunch", (PreparedLaunch,), members)
