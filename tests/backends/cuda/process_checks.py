"""Further checks of ``device_check.py``: native kernels, threads, a lost device, other libraries, figures."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import device_fixture as fixture
import hand_modules as hand
import numpy as np
from device_fixture import DeviceFixture, check, expect

import gpucore_cuda as cuda
from gpucore.errors import CompileError, DeviceLostError, LaunchError
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions
from gpucore.ir import Memory, Value, dtype, f32, f64, i32, i64

# --- native kernels ---------------------------------------------------------------------------------------
SOURCE = """
template <typename T> __device__ T twice(T x) { return x + x; }
extern "C" __global__ void doubled(float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = twice(x[i]);
}
__global__ void plain(double* x, signed char c) { x[threadIdx.x] = c; }
"""


BAD_SOURCE = "__global__ void k() { nothing; }"


@check
def native_kernels(r: DeviceFixture):
    target, options = cuda.target(r.device), CompileOptions()
    x = Memory("x", f32, "global")
    signature = {
        "doubled": [x, Value("n", i32)],
        "plain": [Memory("x", f64, "global"), Value("c", dtype("i8"))],
    }
    codes = cuda.compile_source(target, SOURCE, "cuda-c++", signature, options)
    data = r.upload(np.arange(100, dtype=np.float32))
    loaded = cuda.load(r.device, codes["doubled"])
    cuda.launch(r.device, loaded, LaunchConfig((1,), (128,)), r.stream, (data, 0, 100, 100))
    expect(np.array_equal(r.read(data, np.float32, 100), 2 * np.arange(100)), "CUDA C++")
    wide = r.upload(np.zeros(4))
    cuda.launch(
        r.device, cuda.load(r.device, codes["plain"]), LaunchConfig((1,), (4,)), r.stream, (wide, 0, 4, -3)
    )
    expect((r.read(wide, np.float64, 4) == -3).all(), "a mangled name")
    again = cuda.compile_source(
        target, codes["doubled"].data, "cubin", {"doubled": signature["doubled"]}, options
    )
    cuda.load(r.device, again["doubled"])
    ptx = fixture.ptx_of(SOURCE, target.arch)
    built = cuda.compile_source(target, ptx, "ptx", {"doubled": signature["doubled"]}, options)
    cuda.launch(
        r.device,
        cuda.load(r.device, built["doubled"]),
        LaunchConfig((1,), (128,)),
        r.stream,
        (data, 0, 100, 100),
    )
    expect(np.array_equal(r.read(data, np.float32, 100), 4 * np.arange(100)), "PTX")
    notes = []
    for what, make in (
        ("C++", lambda: cuda.compile_source(target, BAD_SOURCE, "cuda-c++", {"k": []}, options)),
        ("PTX", lambda: cuda.load(r.device, cuda.compile_source(
            target, ptx.replace("ld.param", "ld.parrot"), "ptx", {"doubled": []}, options)["doubled"])),
    ):  # fmt: skip
        try:
            make()
        except CompileError as error:
            expect(error.log, "a log")
            notes.append(f"{what}: {error.log.splitlines()[0]}")
        else:
            raise AssertionError(f"bad {what} was taken")
    for wrong in ([x], [x, Value("n", i64)]):
        try:
            cuda.load(
                r.device,
                cuda.compile_source(target, SOURCE, "cuda-c++", {"doubled": wrong}, options)["doubled"],
            )
        except LaunchError as error:
            notes.append(str(error))
        else:
            raise AssertionError("a wrong signature was taken")
    return "; ".join(notes)


# --- threads, contexts
# ---------------------------------------------------------------------------------------
@check
def threads_without_a_current_context(r: DeviceFixture):
    from cuda.bindings import driver as cu

    n, failures = 4096, []
    call = r.prepare(hand.saxpy(), (16,), (256,))
    notes = []

    def work(index: int) -> None:
        try:
            notes.append(int(cu.cuCtxGetCurrent()[1]))
            stream = r.stream if index < 0 else None
            x, y = r.upload_quietly(np.full(n, index, np.float32)), r.upload_quietly(np.zeros(n, np.float32))
            stream = cuda.create_stream(r.device, StreamOptions())
            for _ in range(500):
                call(stream, x, 0, n, y, 0, n, 1.0)
            got = r.read(y, np.float32, n, stream)
            if not (got == 500 * index).all():
                failures.append((index, got[:4]))
        except Exception:  # noqa: BLE001
            failures.append(traceback.format_exc())

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    expect(not failures, failures)

    direct = []

    def first_call_is_a_launch() -> None:
        x = fixture.driver_launch_without_context(r)
        direct.append(x)

    t = threading.Thread(target=first_call_is_a_launch)
    t.start()
    t.join()
    return f"raw launch with no current context answers {direct[0]}"


@check
def a_lost_device(r: DeviceFixture):
    """In a process of its own: an illegal address, the error, failing fast, closing."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("device_check.py")), "--lose"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    expect(done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:])
    return done.stdout.strip().replace("\n", "; ")


def lose() -> int:
    r = DeviceFixture()
    call = r.prepare(hand.touch_far(f32), (1,), (1,))
    x = r.alloc(4096)
    begin = time.perf_counter()
    call(r.stream, x, 0, 1024, 1 << 45, 1.0)
    try:
        cuda.synchronize_stream(r.device, r.stream)
    except DeviceLostError as error:
        print(f"{error.name} after {(time.perf_counter() - begin) * 1e3:.0f} ms: {error}")
        if "touch_far" not in str(error):
            return 2
    else:
        return 3
    for what in (lambda: r.alloc(256), lambda: call(r.stream, x, 0, 1024, 0, 1.0)):
        try:
            what()
        except DeviceLostError:
            continue
        return 4
    cuda.free(r.device, x, None)
    cuda.destroy_stream(r.device, r.stream)
    health = cuda.device_health(r.device)
    cuda.close_device(r.device)
    return 0 if not health.ok and health.details["context_lost"] else 5


@check
def other_libraries(r: DeviceFixture):
    return fixture.exchange_with_cupy_and_torch(r)


@check
def compiling(r: DeviceFixture):
    times = {}
    for module in (hand.saxpy(), hand.reverse_tiles(), hand.loops()):
        begin = time.perf_counter()
        cuda.compile(cuda.target(r.device), module, CompileOptions(block=(256,)))
        times[module.kernel.name] = round((time.perf_counter() - begin) * 1e3, 1)
    return f"ms: {times}"


@check
def launch_cost(r: DeviceFixture):
    return fixture.launch_cost(r)


@check
def bandwidth(r: DeviceFixture):
    return fixture.bandwidth(r)
