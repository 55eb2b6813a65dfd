"""Launches by others: on an NVIDIA GPU CuPy RawKernel, cuda.core, prepacked cuda.bindings, Triton; Numba on a processor."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple, Work
from gpucore_bench.peers import (
    need,
    need_cuda_device,
    numba_vulkan,
    quadrants,
    raw_vulkan,
    vkdispatch,
    warp,
)
from gpucore_bench.peers.host import Call
from gpucore_bench.peers.timing import BATCH, enqueueing

SOURCE = r"""
extern "C" __global__ void one(float* a, long long n) { a[blockIdx.x * blockDim.x + threadIdx.x] = 1.0f; }
extern "C" __global__ void sixteen(
    float* a, const float* b, const float* c, const float* d, const float* e, const float* f, const float* g, const float* h,
    float i, float j, float k, float l, int m, int n, int o, int p) {
  unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  a[t] = b[t] + c[t] + d[t] + e[t] + f[t] + g[t] + h[t] + i + j + k + l + (float)(m + n + o + p);
}
"""
N = 256
FLOATS, INTS = (1.0, 2.0, 3.0, 4.0), (1, 2, 3, 4)
NAMES = {1: "one", 16: "sixteen"}


def _scalars(arguments: int) -> tuple[Any, ...]:
    """What follows the arrays, typed as the C kernels declare it."""
    if arguments == 1:
        return (np.int64(N),)
    return (*map(np.float32, FLOATS), *map(np.int32, INTS))


def _runner(
    kind: str, once: Callable[[], object], sync: Callable[[], object], fetch: Callable[[], Any]
) -> Simple:
    """A runner that launches and waits, or one whose waits are not counted."""
    if kind == "wait":

        def waited() -> None:
            once()
            sync()

        return Simple(once=waited, fetch=fetch)
    return Simple(once=once, fetch=fetch, wait=sync, timed=enqueueing(once, sync))


def _cupy(kind: str, arguments: int) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        kernel = cupy.RawKernel(SOURCE, NAMES[arguments])
        arrays = [cupy.zeros(N, "f4") for _ in range(1 if arguments == 1 else 8)]
        values = (*arrays, *_scalars(arguments))
        stream = cupy.cuda.get_current_stream()

        def once() -> None:
            kernel((1,), (N,), values)

        return _runner(kind, once, stream.synchronize, lambda: np.asarray(cupy.asnumpy(arrays[0])))

    return make


class _Core:
    """A device, a stream, a kernel and zeroed buffers of cuda.core."""

    def __init__(self, arguments: int) -> None:
        core = need("cuda.core")
        for name in ("Device", "LaunchConfig", "Program", "ProgramOptions", "launch"):
            if not hasattr(core, name):
                core = need("cuda.core.experimental")
                break
        try:
            device = core.Device(0)
            device.set_current()
        except Exception as error:
            raise MissingPeerError("no CUDA device") from error
        self.core = core
        self.driver = need("cuda.bindings.driver")
        self.stream = device.create_stream()
        program = core.Program(SOURCE, "c++", core.ProgramOptions(arch=f"sm_{device.arch}"))
        self.code = program.compile("cubin")
        self.kernel = self.code.get_kernel(NAMES[arguments])
        count = 1 if arguments == 1 else 8
        self.buffers = [device.allocate(4 * N, stream=self.stream) for _ in range(count)]
        self.stream.sync()
        for buffer in self.buffers:
            _checked(self.driver.cuMemsetD32(int(buffer.handle), 0, N))
        _checked(self.driver.cuCtxSynchronize())

    def fetch(self) -> Any:
        """The first buffer."""
        out = np.empty(N, np.float32)
        _checked(self.driver.cuMemcpyDtoH(out.ctypes.data, int(self.buffers[0].handle), out.nbytes))
        return out


def _checked(answer: Any) -> Any:
    """The value of a cuda.bindings answer, or its error."""
    if int(answer[0]):
        raise RuntimeError(f"cuda.bindings: {answer[0]}")
    return answer[1] if len(answer) > 1 else None


def _cuda_core(kind: str, arguments: int) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        made = _Core(arguments)
        config = made.core.LaunchConfig(grid=1, block=N)
        launch, stream, kernel = made.core.launch, made.stream, made.kernel
        values = (*made.buffers, *_scalars(arguments))

        def once() -> None:
            launch(stream, config, kernel, *values)

        return _runner(kind, once, stream.sync, made.fetch)

    return make


def _bindings(kind: str, arguments: int) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        made = _Core(arguments)
        driver, stream = made.driver, made.stream
        module = _checked(driver.cuModuleLoadData(made.code.code))
        function = _checked(driver.cuModuleGetFunction(module, NAMES[arguments].encode()))
        packed: list[Any] = [ctypes.c_uint64(int(buffer.handle)) for buffer in made.buffers]
        if arguments == 1:
            packed.append(ctypes.c_int64(N))
        else:
            packed += [*map(ctypes.c_float, FLOATS), *map(ctypes.c_int32, INTS)]
        pointers = (ctypes.c_void_p * len(packed))(*(ctypes.addressof(value) for value in packed))
        where = ctypes.addressof(pointers)
        queue = driver.CUstream(int(stream.handle))
        launch = driver.cuLaunchKernel
        _checked(launch(function, 1, 1, 1, N, 1, 1, 0, queue, where, 0))

        def once() -> None:
            launch(function, 1, 1, 1, N, 1, 1, 0, queue, where, 0)

        runner = _runner(kind, once, stream.sync, made.fetch)
        keep = (made, module, packed, pointers)
        runner.release = lambda: keep  # the packed arguments live as long as the runner
        return runner

    return make


def _triton(kind: str, arguments: int) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        need("triton")
        torch = need("torch")
        need_cuda_device(torch)
        from gpucore_bench.peers import triton_kernels

        arrays = [torch.zeros(N, device="cuda") for _ in range(1 if arguments == 1 else 8)]
        values = (*arrays, *(() if arguments == 1 else (*FLOATS, *INTS)))
        kernel = getattr(triton_kernels, NAMES[arguments])[(1,)]

        def once() -> None:
            kernel(*values, BLOCK=N)

        return _runner(kind, once, torch.cuda.synchronize, lambda: arrays[0].cpu().numpy())

    return make


def _numba(arguments: int) -> dict[str, Maker]:
    names = ("a",) if arguments == 1 else tuple("abcdefgh")
    scalars = () if arguments == 1 else _scalars(arguments)
    kernel = "empty" if arguments == 1 else "sixteen"
    call = Call(kernel, (*names, *scalars), "a", dict.fromkeys(names, ((N,), "f4")))
    return {"numba parallel": call.maker(), **call.spinning("numba parallel, spinning")}


def peers(kind: str, arguments: int, on_host: bool) -> dict[str, Maker]:
    """Everyone who can launch in this way: ``kind`` is enqueue, bound (prepared beforehand) or wait.

    Numba is beside gpucore where that runs on a processor without a driver (``on_host``).
    """
    result: dict[str, Maker] = {}
    if kind != "bound":
        result["cuda.core"] = _cuda_core(kind, arguments)
    if kind != "enqueue":
        result["cuda.bindings prepacked"] = _bindings(kind, arguments)
    if kind != "bound":
        result["cupy RawKernel"] = _cupy(kind, arguments)
        result["triton"] = _triton(kind, arguments)
    result |= warp.launches(kind, arguments, N)
    if kind != "bound":
        result |= quadrants.launches(kind, arguments, N)
    if on_host and kind != "bound":
        result |= _numba(arguments)
    if kind != "bound" and arguments == 1:
        result |= vkdispatch.peer("launch", launch=kind) | numba_vulkan.peer("launch", launch=kind)
    if kind == "wait":
        result |= raw_vulkan.wait()
    else:
        result |= raw_vulkan.enqueue(BATCH, kind == "bound", arguments)
    return result
