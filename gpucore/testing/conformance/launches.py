"""Compiling and launching: what is rendered, compiled and loaded, which threads run, what they see, and in which order."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Sequence
from typing import Any

from gpucore.errors import GpucoreError
from gpucore.hookspecs import CompileOptions, LaunchConfig, ObjectCode
from gpucore.testing.conformance import kernels
from gpucore.testing.conformance.runner import DeviceFixture, case, expect, in_threads


@case("compile", "render")
def renders_source_for_people(fixture: DeviceFixture) -> None:
    """``render`` gives text, the same each time."""
    module = fixture.lowered(kernels.SAXPY)
    text = fixture.hooks.render(fixture.target, module, CompileOptions())
    expect(isinstance(text, str) and bool(text.strip()), "no text")
    expect(
        text == fixture.hooks.render(fixture.target, module, CompileOptions()), "another text the second time"
    )


@case("compile", "compile")
def object_code_is_plain_data(fixture: DeviceFixture) -> None:
    """Object code holds bytes and JSON metadata, and survives pickling: the cache keeps it on disk."""
    code = fixture.compiled(kernels.SAXPY)
    expect(isinstance(code.data, bytes) and bool(code.data), "no bytes")
    expect(bool(code.entry) and bool(code.format), f"entry {code.entry!r}, format {code.format!r}")
    metadata = json.loads(json.dumps(dict(code.metadata)))
    expect(pickle.loads(pickle.dumps(code)).data == code.data, "pickling changes it")
    restored = ObjectCode(code.data, code.entry, code.format, metadata)
    executable = fixture.hooks.load(fixture.device, restored)
    fixture.hooks.unload(fixture.device, executable)


@case("compile", "target", "compile")
def compiles_for_the_default_target(fixture: DeviceFixture) -> None:
    """``compile`` needs no device: the default target will do."""
    code = fixture.hooks.compile(
        fixture.hooks.target(None), fixture.lowered(kernels.NUMBER), CompileOptions()
    )
    expect(bool(code.data), "no bytes")


@case("compile", "compile", "load", "unload")
def loads_many_kernels_at_once(fixture: DeviceFixture) -> None:
    """Executables are independent: unloading one leaves the others at work."""
    stream = fixture.stream()
    code = fixture.compiled(kernels.NUMBER, (32,))
    held = [fixture.hooks.load(fixture.device, code) for _ in range(8)]
    for executable in held[1:]:
        fixture.hooks.unload(fixture.device, executable)
    out = fixture.alloc(128)
    fixture.hooks.prepare(fixture.device, held[0], LaunchConfig((1,), (32,)))(stream, out, 0, 32)
    data = fixture.download(out, 128, stream)
    fixture.hooks.unload(fixture.device, held[0])
    expect(data == b"".join(n.to_bytes(4, "little") for n in range(32)), "the kernel that was kept is broken")


@case("compile", "load")
def garbage_is_refused(fixture: DeviceFixture) -> None:
    """Object code that is none raises one of gpucore's errors, and nothing worse happens."""
    try:
        executable = fixture.hooks.load(fixture.device, ObjectCode(b"this is no kernel", "main", "none"))
        fixture.hooks.unload(fixture.device, executable)
    except GpucoreError:
        return
    expect(False, "garbage was loaded")


def _ints(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def _read_ints(
    fixture: DeviceFixture, allocation: Any, count: int, stream: Any, offset: int = 0
) -> list[int]:
    return list(struct.unpack(f"<{count}i", fixture.download(allocation, 4 * count, stream, offset)))


@case("launch", "prepare", "launch")
def saxpy(fixture: DeviceFixture) -> None:
    """Floats are multiplied and added, and ids past the extent do nothing."""
    stream = fixture.stream()
    n = 1000
    x = fixture.upload(struct.pack(f"<{n}f", *range(n)), stream)
    y = fixture.upload(struct.pack(f"<{n}f", *([1.0] * n)) + b"\x55" * 64, stream)
    fixture.launch(
        kernels.SAXPY,
        (4,),
        (256 if fixture.capabilities.max_threads_per_block >= 256 else 1,),
        stream,
        x,
        0,
        n,
        y,
        0,
        n,
        2.0,
    )
    got = fixture.download(y, 4 * n + 64, stream)
    reach = n if fixture.capabilities.max_threads_per_block >= 256 else 4
    expected = [2.0 * i + 1.0 if i < reach else 1.0 for i in range(n)]
    expect(list(struct.unpack(f"<{n}f", got[: 4 * n])) == expected, "wrong sums")
    expect(got[4 * n :] == b"\x55" * 64, "bytes past the array were written")


@case("launch", "prepare")
def every_thread_runs_once(fixture: DeviceFixture) -> None:
    """Each id of the grid is there, for blocks of many sizes."""
    stream = fixture.stream()
    for grid, block in ((1, 1), (7, 1), (3, 5), (10, 32), (4, 33), (129, 64)):
        count = grid * block
        out = fixture.upload(_ints([-1] * count), stream)
        fixture.launch(kernels.INCREMENT, (grid,), (block,), stream, out, 0, count)
        expect(
            _read_ints(fixture, out, count, stream) == [0] * count,
            f"grid {grid}, block {block}: not once each",
        )
        fixture.launch(kernels.NUMBER, (grid,), (block,), stream, out, 0, count)
        expect(
            _read_ints(fixture, out, count, stream) == list(range(count)),
            f"grid {grid}, block {block}: wrong ids",
        )


@case("launch", "prepare")
def axes_are_in_array_order(fixture: DeviceFixture) -> None:
    """Grid, block and ids have the slowest axis first, as arrays have."""
    stream = fixture.stream()
    grid, block = (2, 3), (4, 5)
    height, width = grid[0] * block[0], grid[1] * block[1]
    out = fixture.upload(_ints([-1] * (height * width * 4)), stream)
    fixture.launch(kernels.IDS_2D, grid, block, stream, out, 0, height, width, 4)
    expected = [
        v
        for y in range(height)
        for x in range(width)
        for v in (y // block[0], x % block[1], grid[1], block[0])
    ]
    expect(_read_ints(fixture, out, height * width * 4, stream) == expected, "ids of a two-axis launch")
    out = fixture.upload(_ints([-1] * (4 * 6 * 6)), stream)
    fixture.launch(kernels.IDS_3D, (2, 3, 2), (2, 2, 3), stream, out, 0, 4, 6, 6)
    expected = [10000 * z + 100 * y + x for z in range(4) for y in range(6) for x in range(6)]
    expect(_read_ints(fixture, out, 4 * 6 * 6, stream) == expected, "ids of a three-axis launch")


@case("launch", "prepare")
def scalars_arrive(fixture: DeviceFixture) -> None:
    """Scalar arguments of every kind and width reach the kernel."""
    fixture.require_dtype("i64")
    fixture.require_dtype("u8")
    stream = fixture.stream()
    ints, floats = fixture.upload(b"\0" * 32, stream), fixture.upload(b"\0" * 4, stream)
    slots = (ints, 0, 4, floats, 0, 1, -7, 250, -(2**40) - 3, 1.5, True)
    fixture.launch(kernels.SCALARS, (1,), (1,), stream, *slots)
    expect(struct.unpack("<4q", fixture.download(ints, 32, stream)) == (-7, 250, -(2**40) - 3, 1), "integers")
    expect(struct.unpack("<f", fixture.download(floats, 4, stream)) == (1.5,), "floats")


@case("launch", "prepare")
def extents_and_offsets_arrive(fixture: DeviceFixture) -> None:
    """Extents are those of the slots, and the byte offset is where the array begins."""
    fixture.require_dtype("i64")
    stream = fixture.stream()
    memory = fixture.upload(b"\0" * 512, stream)
    fixture.launch(kernels.EXTENTS, (1,), (1,), stream, memory, 0, 5, 7, memory, 256, 11, memory, 448, 3)
    expect(struct.unpack("<3q", fixture.download(memory, 24, stream, 448)) == (5, 7, 11), "extents")
    out = fixture.upload(_ints([-1] * 64), stream)
    fixture.launch(kernels.NUMBER, (1,), (16,), stream, out, 4 * 20, 16)
    expected = [-1] * 20 + list(range(16)) + [-1] * 28
    expect(_read_ints(fixture, out, 64, stream) == expected, "the offset")


@case("launch", "prepare")
def empty_arrays_have_no_allocation(fixture: DeviceFixture) -> None:
    """An array of size zero comes as None, and a kernel that guards its accesses runs."""
    stream = fixture.stream()
    fixture.launch(kernels.SAXPY, (2,), (32,), stream, None, 0, 0, None, 0, 0, 2.0)


@case("launch", "prepare", "launch")
def launch_is_prepare_and_call(fixture: DeviceFixture) -> None:
    """``launch`` and, where there is one, ``bind`` do what the prepared call does."""
    stream = fixture.stream()
    executable = fixture.load(kernels.INCREMENT, (32,))
    config = LaunchConfig((2,), (32,))
    out = fixture.upload(_ints([0] * 64), stream)
    fixture.hooks.launch(fixture.device, executable, config, stream, (out, 0, 64))
    call = fixture.hooks.prepare(fixture.device, executable, config)
    call(stream, out, 0, 64)
    expected = 2
    if hasattr(call, "bind"):
        bound = call.bind(out, 0, 64)
        bound(stream)
        bound(stream)
        expected = 4
    expect(_read_ints(fixture, out, 64, stream) == [expected] * 64, f"not {expected} increments")


@case("launch", "prepare", "fill", "copy")
def launches_keep_the_order_of_the_stream(fixture: DeviceFixture) -> None:
    """Fills, launches and copies of one stream run in the order they were enqueued."""
    stream = fixture.stream()
    count = 4096
    call = fixture.hooks.prepare(
        fixture.device, fixture.load(kernels.INCREMENT, (64,)), LaunchConfig((count // 64,), (64,))
    )
    out, kept = fixture.alloc(4 * count), fixture.alloc(4 * count)
    for start in (10, 20, 30):
        fixture.hooks.fill(fixture.device, out, 0, 4 * count, struct.pack("<i", start), stream)
        for _ in range(5):
            call(stream, out, 0, count)
        fixture.hooks.copy(fixture.device, kept, 0, out, 0, 4 * count, stream)
        fixture.hooks.fill(fixture.device, out, 0, 4 * count, b"\xff", stream)
        expect(
            _read_ints(fixture, kept, count, stream) == [start + 5] * count, f"after the fill with {start}"
        )


@case("launch", "prepare", "wait_event", "record_event")
def events_order_launches(fixture: DeviceFixture) -> None:
    """A launch in a stream that waits for an event sees the launches before the mark."""
    first, second = fixture.stream(), fixture.stream()
    count = 4096
    call = fixture.hooks.prepare(
        fixture.device, fixture.load(kernels.INCREMENT, (64,)), LaunchConfig((count // 64,), (64,))
    )
    out = fixture.upload(_ints([0] * count), first)
    for turn in range(10):
        event = fixture.event()
        source, target = (first, second) if turn % 2 == 0 else (second, first)
        call(source, out, 0, count)
        fixture.hooks.record_event(fixture.device, event, source)
        fixture.hooks.wait_event(fixture.device, target, event)
    expect(_read_ints(fixture, out, count, first) == [10] * count, "increments were lost")


@case("launch", "prepare")
def shared_memory_and_barriers(fixture: DeviceFixture) -> None:
    """A barrier makes what a block's threads wrote to shared memory visible to the others."""
    stream = fixture.stream()
    count = 64 * 20
    data = fixture.upload(_ints(list(range(count))), stream)
    fixture.launch(kernels.REVERSE, (20,), (64,), stream, data, 0, count)
    expected = [64 * block + 63 - t for block in range(20) for t in range(64)]
    expect(_read_ints(fixture, data, count, stream) == expected, "blocks are not reversed")


@case("launch", "prepare")
def atomics_lose_nothing(fixture: DeviceFixture) -> None:
    """Threads of all blocks that add to one cell each get a number of their own."""
    stream = fixture.stream()
    count = 64 * 100
    total, seen = fixture.upload(_ints([0]), stream), fixture.upload(_ints([0] * count), stream)
    fixture.launch(kernels.COUNT, (100,), (64,), stream, total, 0, 1, seen, 0, count)
    expect(_read_ints(fixture, total, 1, stream) == [count], "the total")
    expect(_read_ints(fixture, seen, count, stream) == [1] * count, "a number was drawn twice or never")


@case("launch", "prepare", "capabilities")
def subgroups_have_the_default_width(fixture: DeviceFixture) -> None:
    """Lanes are runs of consecutive threads, as many as the first of ``subgroup_sizes``."""
    fixture.require_dtype("i32", "subgroup")
    stream = fixture.stream()
    width = fixture.capabilities.subgroup_sizes[0]
    count = width * 3
    out = fixture.upload(_ints([0] * count), stream)
    text = kernels.SUBGROUP_SUM.replace("math=strict", f"math=strict subgroup={width}")
    fixture.launch(text, (1,), (count,), stream, out, 0, count)
    expected = [sum(range(i // width * width, i // width * width + width)) for i in range(count)]
    expect(_read_ints(fixture, out, count, stream) == expected, f"sums over {width} lanes")


@case("launch", "prepare")
def grids_are_large(fixture: DeviceFixture) -> None:
    """The last axis takes more than 65,535 blocks."""
    stream = fixture.stream()
    out = fixture.upload(_ints([0, 0]), stream)
    fixture.launch(kernels.LAST_BLOCK, (70_001,), (1,), stream, out, 0, 2)
    expect(_read_ints(fixture, out, 2, stream) == [70_000, 70_001], "blocks are missing")


@case("launch", "prepare")
def threads_prepare_and_launch(fixture: DeviceFixture) -> None:
    """Eight threads prepare and launch one executable, each on a stream of its own."""
    executable = fixture.load(kernels.INCREMENT, (32,))
    streams = [fixture.stream() for _ in range(8)]
    held = [(s, fixture.upload(_ints([0] * 32 * (n + 1)), s)) for n, s in enumerate(streams)]

    def work(number: int) -> str | None:
        stream, out = held[number]
        count = 32 * (number + 1)
        for _ in range(10):
            call = fixture.hooks.prepare(fixture.device, executable, LaunchConfig((number + 1,), (32,)))
            call(stream, out, 0, count)
        found = _read_ints(fixture, out, count, stream)
        return None if found == [10] * count else f"thread {number} lost increments"

    in_threads(8, work)
