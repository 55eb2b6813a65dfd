"""Launches by others on an NVIDIA GPU: CuPy RawKernel, cuda.core, prepacked cuda.bindings, Triton."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucore.cli.bench.model import Arrays, Maker, MissingPeerError, Runner, Simple, Work
from gpucore.cli.bench.peers import need, need_cuda_device

SOURCE = 'extern "C" __global__ void one(float* a, long long n) { a[blockIdx.x * blockDim.x + threadIdx.x] = 1.0f; }'
N = 256
Enqueue = Callable[[Callable[[], object], Callable[[], object]], Callable[[int], float]]


def _cupy(enqueue: Enqueue | None) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        kernel = cupy.RawKernel(SOURCE, "one")
        array = cupy.zeros(N, "f4")
        stream = cupy.cuda.get_current_stream()
        arguments = (array, np.int64(N))

        def once() -> None:
            kernel((1,), (N,), arguments)

        def waited() -> None:
            once()
            stream.synchronize()

        def fetch() -> Any:
            return np.asarray(cupy.asnumpy(array))

        if enqueue is None:
            return Simple(once=waited, fetch=fetch)
        return Simple(
            once=once, fetch=fetch, wait=stream.synchronize, timed=enqueue(once, stream.synchronize)
        )

    return make


def _core_objects() -> tuple[Any, Any, Any, Any, Any]:
    """Device, stream, kernel, buffer and module of cuda.core."""
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
    stream = device.create_stream()
    program = core.Program(SOURCE, "c++", core.ProgramOptions(arch=f"sm_{device.arch}"))
    kernel = program.compile("cubin").get_kernel("one")
    buffer = device.allocate(4 * N, stream=stream)
    return core, device, stream, kernel, buffer


def _fetch(address: int) -> Callable[[], Any]:
    driver = need("cuda.bindings.driver")

    def fetch() -> Any:
        out = np.empty(N, np.float32)
        driver.cuMemcpyDtoH(out.ctypes.data, address, out.nbytes)
        return out

    return fetch


def _cuda_core(enqueue: Enqueue | None) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        core, _, stream, kernel, buffer = _core_objects()
        config = core.LaunchConfig(grid=1, block=N)
        launch, size = core.launch, np.int64(N)

        def once() -> None:
            launch(stream, config, kernel, buffer, size)

        def waited() -> None:
            once()
            stream.sync()

        fetch = _fetch(int(buffer.handle))
        if enqueue is None:
            return Simple(once=waited, fetch=fetch)
        return Simple(once=once, fetch=fetch, wait=stream.sync, timed=enqueue(once, stream.sync))

    return make


def _checked(answer: Any) -> Any:
    """The value of a cuda.bindings answer, or its error."""
    if int(answer[0]):
        raise RuntimeError(f"cuda.bindings: {answer[0]}")
    return answer[1] if len(answer) > 1 else None


def _bindings(enqueue: Enqueue | None) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        import ctypes

        driver = need("cuda.bindings.driver")
        core, device, stream, _, buffer = _core_objects()
        options = core.ProgramOptions(arch=f"sm_{device.arch}")
        code = core.Program(SOURCE, "c++", options).compile("cubin").code
        module = _checked(driver.cuModuleLoadData(code))
        function = _checked(driver.cuModuleGetFunction(module, b"one"))
        address, size = ctypes.c_uint64(int(buffer.handle)), ctypes.c_int64(N)
        pointers = (ctypes.c_void_p * 2)(ctypes.addressof(address), ctypes.addressof(size))
        packed = ctypes.addressof(pointers)
        queue = driver.CUstream(int(stream.handle))
        launch = driver.cuLaunchKernel
        _checked(launch(function, 1, 1, 1, N, 1, 1, 0, queue, packed, 0))

        def once() -> None:
            launch(function, 1, 1, 1, N, 1, 1, 0, queue, packed, 0)

        def waited() -> None:
            once()
            stream.sync()

        keep = (address, size, pointers, module, buffer)
        fetch = _fetch(int(buffer.handle))
        release = lambda: keep  # noqa: E731 - the packed arguments live as long as the runner
        if enqueue is None:
            return Simple(once=waited, fetch=fetch, release=release)
        return Simple(
            once=once, fetch=fetch, wait=stream.sync, timed=enqueue(once, stream.sync), release=release
        )

    return make


def enqueue(timer: Enqueue) -> dict[str, Maker]:
    """Checked launches, as users write them."""
    return {"cuda.core": _cuda_core(timer), "cupy RawKernel": _cupy(timer), "triton": _triton(timer)}


def prepacked(timer: Enqueue) -> dict[str, Maker]:
    """Launches whose arguments were packed beforehand."""
    return {"cuda.bindings prepacked": _bindings(timer)}


def wait() -> dict[str, Maker]:
    """A launch and a wait for it."""
    return {
        "cuda.core": _cuda_core(None),
        "cuda.bindings prepacked": _bindings(None),
        "cupy RawKernel": _cupy(None),
    }


def _triton(enqueue: Enqueue) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        need("triton")
        torch = need("torch")
        need_cuda_device(torch)
        from gpucore.cli.bench.peers import triton_kernels

        array = torch.zeros(N, device="cuda")
        kernel = triton_kernels.one[(1,)]

        def once() -> None:
            kernel(array, BLOCK=N)

        wait = torch.cuda.synchronize
        return Simple(once=once, fetch=lambda: array.cpu().numpy(), wait=wait, timed=enqueue(once, wait))

    return make
