"""Run every hook of the CUDA backend on a device, without gpucore's core: ``python device_check.py
[REPORT.json]``.

Prints a table and exits with the number of checks that failed.  ``--only NAME`` runs one check.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [
    str(HERE),
    str(ROOT),
    str(ROOT / "plugins" / "cuda"),
    str(ROOT / "tests" / "codegen" / "cuda"),
]

import device_fixture as fixture  # noqa: E402
import hand_modules as hand  # noqa: E402
import numpy as np  # noqa: E402
import operation_cases  # noqa: E402
import process_checks  # noqa: E402, F401  it adds its checks
from device_fixture import DeviceFixture, check, checks, expect  # noqa: E402

import gpucore_cuda as cuda  # noqa: E402
from gpucore.errors import OutOfMemoryError  # noqa: E402
from gpucore.hookspecs import StreamOptions  # noqa: E402
from gpucore.ir import bool_, dtype, f32, i32, u8, u64  # noqa: E402


# --- identity ---------------------------------------------------------------------------------------
@check
def probing(r: DeviceFixture):
    found = cuda.probe()
    expect(found.available, found.reason)
    info = found.devices[0]
    expect(len(info.uuid) == 36 and info.uuid == info.uuid.lower(), info.uuid)
    return f"{info.name} {info.uuid} {info.driver}"


@check
def capabilities(r: DeviceFixture):
    known = cuda.capabilities(r.device)
    expect(known.max_grid == (65535, 65535, 2**31 - 1), known.max_grid)
    expect(known.shared_memory >= 48 * 1024, known.shared_memory)
    arch = cuda.target(r.device).arch
    return f"{arch} block {known.max_block} shared {known.shared_memory} {sorted(known.names)}"


@check
def memory_and_health(r: DeviceFixture):
    info = cuda.memory_info(r.device)
    expect(0 < info.free <= info.total, info)
    notes = []
    for name in ("device_health", "process_memory"):
        try:
            notes.append(f"{name} {getattr(cuda, name)(r.device)}")
        except Exception as error:  # noqa: BLE001
            notes.append(f"{name}: {type(error).__name__}: {error}")
    return f"free {info.free} of {info.total}; " + "; ".join(notes)


# --- memory ------------------------------------------------------------------------------------------
@check
def copies(r: DeviceFixture):
    for nbytes in (1, 255, 4096, 65536, 65537, 1 << 20, 40 << 20):
        data = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)
        a, b = r.alloc(nbytes + 64), r.alloc(nbytes + 64)
        cuda.copy(r.device, a, 3, memoryview(data), 0, nbytes, r.stream)
        cuda.copy(r.device, b, 7, a, 3, nbytes, r.stream)
        back = np.zeros(nbytes + 5, np.uint8)
        cuda.copy(r.device, memoryview(back), 5, b, 7, nbytes, r.stream)
        expect(np.array_equal(back[5:], data), nbytes)
    readonly = memoryview(b"gpucore!" * 8)
    cuda.copy(r.device, a, 0, readonly, 8, 56, r.stream)
    expect(bytes(r.read(a, np.uint8, 56)) == bytes(readonly[8:]), "read-only source")


@check
def pinned_and_unified(r: DeviceFixture):
    import ctypes

    n = 1 << 22
    pinned = cuda.alloc(r.device, n, "pinned", None)
    view = np.frombuffer((ctypes.c_char * n).from_address(pinned.host), np.uint8)
    view[:] = np.arange(n, dtype=np.uint8)
    a = r.alloc(n)
    cuda.copy(r.device, a, 0, pinned, 0, n, r.stream)
    other = cuda.alloc(r.device, n, "pinned", None)
    cuda.copy(r.device, other, 0, a, 0, n, r.stream)
    cuda.synchronize_stream(r.device, r.stream)
    seen = np.frombuffer((ctypes.c_char * n).from_address(other.host), np.uint8)
    expect(np.array_equal(seen, view), "pinned round trip")
    note = "pinned ok"
    if "unified_memory" in cuda.capabilities(r.device).names:
        u = cuda.alloc(r.device, 4096, "unified", None)
        host = np.frombuffer((ctypes.c_char * 4096).from_address(u.host), np.float32)
        host[:] = 1.5
        x = r.upload(np.full(1024, 2.0, np.float32))
        r.run(hand.saxpy(), 4, 256, [x, 0, 1024], [u, 0, 1024], [3.0])
        cuda.synchronize_stream(r.device, r.stream)
        expect((host == 7.5).all(), host[:4])
        cuda.free(r.device, u, None)
        note += ", unified ok"
    for memory in (pinned, other):
        cuda.free(r.device, memory, None)
    return note


@check
def fills(r: DeviceFixture):
    n = 8 * 100_003
    a = r.alloc(n + 64)
    for pattern in (b"\x07", b"\x01\x02", b"\x01\x02\x03\x04", bytes(range(8)), b"\x05" * 8, b"\x01\x02" * 4):
        cuda.fill(r.device, a, 0, n + 64, b"\xee", r.stream)
        cuda.fill(r.device, a, 16, n, pattern, r.stream)
        back = r.read(a, np.uint8, n + 64)
        expect((back[:16] == 0xEE).all() and (back[16 + n :] == 0xEE).all(), "outside the range")
        expect(
            np.array_equal(back[16 : 16 + n], np.tile(np.frombuffer(pattern, np.uint8), n // len(pattern))),
            pattern,
        )


@check
def out_of_memory(r: DeviceFixture):
    try:
        cuda.alloc(r.device, 1 << 50, "device", None)
    except OutOfMemoryError as error:
        message = str(error)
    else:
        raise AssertionError("a petabyte was allocated")
    x = r.upload(np.ones(1000, np.float32))
    expect(r.read(x, np.float32, 1000).sum() == 1000, "usable after")
    return message


@check
def pageable_source_is_read_on_return(r: DeviceFixture):
    """The source is overwritten right after the call while a slow kernel still holds the stream."""
    for nbytes in (64, 4096, 60000, 1 << 20, 64 << 20):
        out, spun = r.alloc(nbytes), r.alloc(4)
        r.run(hand.spin(), 1, 1, [spun, 0, 1], [20_000_000], sync=False)
        source = np.full(nbytes, 7, np.uint8)
        begin = time.perf_counter()
        cuda.copy(r.device, out, 0, memoryview(source), 0, nbytes, r.stream)
        took = time.perf_counter() - begin
        busy = not cuda.query_stream(r.device, r.stream)
        source[:] = 9
        expect((r.read(out, np.uint8, nbytes) == 7).all(), f"{nbytes} bytes were read after the call")
        r.note(f"{nbytes}: {took * 1e3:.2f} ms{' while busy' if busy else ''}")


# --- streams and events --------------------------------------------------------------------------------
@check
def streams_and_events(r: DeviceFixture):
    d = r.device
    streams = [cuda.create_stream(d, StreamOptions(priority=p)) for p in (-100, 0, 1, 100)]
    plain = cuda.create_event(d, False)
    expect(cuda.query_event(d, plain), "a fresh event has passed")
    cuda.wait_event(d, streams[0], plain)
    cuda.synchronize_event(d, plain)
    start, end = cuda.create_event(d, True), cuda.create_event(d, True)
    out = r.alloc(4)
    cuda.record_event(d, start, streams[1])
    r.run(hand.spin(), 1, 1, [out, 0, 1], [30_000_000], stream=streams[1], sync=False)
    cuda.record_event(d, end, streams[1])
    expect(not cuda.query_event(d, end) and not cuda.query_stream(d, streams[1]), "still running")
    cuda.wait_event(d, streams[2], end)
    cuda.record_event(d, plain, streams[2])
    expect(cuda.query_stream(d, streams[3]), "an idle stream is idle")
    cuda.synchronize_event(d, plain)
    expect(cuda.query_event(d, end), "the other stream waited")
    took = cuda.elapsed_time(d, start, end)
    expect(took > 1, took)
    outside = cuda.import_stream(d, int(streams[0]))
    cuda.synchronize_stream(d, outside)
    cuda.destroy_stream(d, outside)
    expect(cuda.query_stream(d, streams[0]), "the original is alive")
    for s in streams:
        cuda.destroy_stream(d, s)
    for e in (plain, start, end):
        cuda.destroy_event(d, e)
    return f"{took:.2f} ms"


# --- kernels ---------------------------------------------------------------------------------------------
@check
def saxpy(r: DeviceFixture):
    for n in (1, 255, 256, 100_003):
        x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
        a, b = r.upload(x), r.upload(y)
        r.run(hand.saxpy(), -(-n // 256), 256, [a, 0, n], [b, 0, n], [2.0])
        expect(np.array_equal(r.read(b, np.float32, n), np.float32(2) * x + y), n)


@check
def bound_launches(r: DeviceFixture):
    n = 1000
    x, y = r.upload(np.ones(n, np.float32)), r.upload(np.zeros(n, np.float32))
    call = r.prepare(hand.saxpy(), (4,), (256,))
    bound = call.bind(x, 0, n, y, 0, n, 0.5)
    for _ in range(10):
        bound(r.stream)
    expect((r.read(y, np.float32, n) == 5).all(), "ten launches")


@check
def shared_memory(r: DeviceFixture):
    data = np.arange(4096, dtype=np.float32)
    for padding in (0, 25_000, 50_000):
        x, out = r.upload(data), r.alloc(data.nbytes)
        r.run(hand.reverse_tiles(padding=padding), 16, 256, [x, 0, 4096], [out, 0, 4096])
        want = data.reshape(16, 256)[:, ::-1].ravel()
        expect(np.array_equal(r.read(out, np.float32, 4096), want), padding)


@check
def atomics(r: DeviceFixture):
    n = 10_000
    data = np.random.default_rng(1).integers(0, 1 << 30, n, dtype=np.uint32)
    x, counts = r.upload(data), r.upload(np.zeros(16, np.uint32))
    r.run(hand.histogram(), -(-n // 256), 256, [x, 0, n], [counts, 0, 16])
    expect(np.array_equal(r.read(counts, np.uint32, 16), np.bincount(data % 16, minlength=16)), "histogram")
    for key in sorted(cuda.target(r.device).atomics):
        op, name = key.split(".")
        operation_cases.atomic_case(r, op, dtype(name))
    expect(not operation_cases.atomic_add_flushes(r, hand.atomic("add", f32)), "strict keeps subnormals")
    expect(not operation_cases.atomic_add_flushes(r, hand.shared_atomic_add()), "in shared memory too")
    flushed = operation_cases.atomic_add_flushes(r, hand.atomic("add", f32, math="fast"))
    return f"the device's own f32 atomic add flushes subnormals: {flushed}"


@check
def subgroups(r: DeviceFixture):
    for op in ("sum", "min", "max", "inclusive_sum", "exclusive_sum", "broadcast", "shuffle", "shuffle_xor"):
        for name in ("i8", "u16", "i32", "u64", "f16", "f32", "f64"):
            operation_cases.subgroup_case(r, op, dtype(name), dtype(name))
    operation_cases.subgroup_case(r, "any", bool_, bool_)
    operation_cases.subgroup_case(r, "all", bool_, bool_)
    operation_cases.subgroup_case(r, "ballot", bool_, u64)
    operation_cases.subgroup_case(r, "lane", i32, i32)
    operation_cases.subgroup_case(r, "size", i32, i32)


@check
def loops(r: DeviceFixture):
    big = 2**63 - 1
    cases = [(0, 10, 1), (10, 0, -1), (0, 10, 3), (9, -1, -4), (5, 5, 1), (0, 5, 0), (0, 5, -1),
             (big - 5, big, 2), (-big, -big + 7, 3), (0, big, 1 << 61), (3, 100, 7)]  # fmt: skip
    columns = [r.upload(np.array(c, np.int64)) for c in zip(*cases)]
    out = r.alloc(8 * len(cases))
    r.run(hand.loops(), 1, 32, *([c, 0, len(cases)] for c in (*columns, out)))
    got = r.read(out, np.int64, len(cases)).tolist()
    want = [(hand.loops_expected(*c) + 2**63) % 2**64 - 2**63 for c in cases]
    expect(got == want, list(zip(cases, got, want)))


@check
def operations(r: DeviceFixture):
    """Every key that the target claims, and the baseline, against exact arithmetic on the host."""
    return operation_cases.all_operations(r)


@check
def random_kernels(r: DeviceFixture):
    """Kernels made at random, against the interpreter, bit for bit."""
    return operation_cases.random_kernels(r, 150)


@check
def far_indices(r: DeviceFixture):
    free = cuda.memory_info(r.device).free
    for d, count in ((u8, 5 << 30), (f32, (1 << 31) + 1000)):
        if free < count * d.itemsize + (1 << 30):
            r.note(f"{d}: not enough memory")
            continue
        x = r.alloc(count * d.itemsize)
        cuda.fill(r.device, x, 0, count * d.itemsize, b"\0", r.stream)
        for at in (0, 2**31 - 1, 2**31, count - 1):
            if at < count:
                r.run(hand.touch_far(d), 1, 1, [x, 0, count], [at], [1])
                back = np.zeros(1, d.numpy)
                cuda.copy(
                    r.device, memoryview(back.view(np.uint8)), 0, x, at * d.itemsize, d.itemsize, r.stream
                )
                expect(back[0] == 1, (d, at, back))
        r.free(x)


@check
def wide_grids(r: DeviceFixture):
    """The last axis past 65,535 blocks, the others at 65,535."""
    n = 70_000 * 32
    x, y = r.upload(np.ones(n, np.float32)), r.upload(np.zeros(n, np.float32))
    r.run(hand.saxpy(), 70_000, 32, [x, 0, n], [y, 0, n], [1.0])
    expect((r.read(y, np.float32, n) == 1).all(), "x axis")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("report", nargs="?")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--lose", action="store_true")
    arguments = parser.parse_args()
    if arguments.lose:
        return process_checks.lose()
    r = DeviceFixture()
    rows = []
    for function in checks:
        if arguments.only and function.__name__ not in arguments.only:
            continue
        begin = time.perf_counter()
        r.notes = []
        try:
            said, ok = str(function(r) or ""), True
        except Exception:  # noqa: BLE001
            said, ok = traceback.format_exc()[-3000:], False
        said = "; ".join([*r.notes, said]) if r.notes else said
        r.tidy()
        rows.append(
            {"check": function.__name__, "ok": ok, "ms": (time.perf_counter() - begin) * 1e3, "note": said}
        )
        print(
            f"{'ok  ' if ok else 'FAIL'} {function.__name__:34s} {rows[-1]['ms']:9.1f} ms  {said[:1500]}",
            flush=True,
        )
        if r.device.lost:
            print("the device is lost; stopping")
            break
    failed = sum(not row["ok"] for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    if arguments.report:
        head = {
            "python": platform.python_version(),
            **fixture.versions(r),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        Path(arguments.report).write_text(json.dumps({"about": head, "checks": rows}, indent=1, default=str))
    return failed


if __name__ == "__main__":
    sys.exit(main())
