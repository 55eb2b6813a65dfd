"""What the device checks stand on: an opened device, buffers, launches of hand-written modules, timings."""

from __future__ import annotations

import importlib.metadata
import time

import numpy as np

import gpucore_cuda as cuda
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions

checks: list = []


def check(function):
    """Mark a function as one of the checks; it takes the fixture and may return a note."""
    checks.append(function)
    return function


def expect(condition, said="") -> None:
    """Raise unless the condition holds; unlike ``assert`` also under ``-O``."""
    if not condition:
        raise AssertionError(str(said)[:4000])


class DeviceFixture:
    """A device with a stream, and what a test wants to do with them in one line."""

    def __init__(self) -> None:
        self.device = cuda.open_device(0, {})
        self.notes: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Start afresh, after a reset too."""
        self.stream = cuda.create_stream(self.device, StreamOptions())
        self._buffers: list = []
        self._loaded: dict = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    # memory
    def alloc(self, nbytes: int):
        found = cuda.alloc(self.device, max(nbytes, 1), "device", None)
        self._buffers.append(found)
        return found

    def free(self, allocation) -> None:
        cuda.synchronize_stream(self.device, self.stream)
        self._buffers.remove(allocation)
        cuda.free(self.device, allocation, None)

    def tidy(self) -> None:
        """Free what the last check took."""
        if self.device.lost:
            return
        cuda.synchronize_stream(self.device, self.stream)
        for allocation in self._buffers:
            cuda.free(self.device, allocation, None)
        self._buffers.clear()

    def upload(self, data: np.ndarray):
        found = self.alloc(data.nbytes)
        cuda.copy(self.device, found, 0, as_bytes(data), 0, data.nbytes, self.stream)
        return found

    def upload_quietly(self, data: np.ndarray):
        """As ``upload`` on a stream of its own: for threads."""
        found = self.alloc(data.nbytes)
        stream = cuda.create_stream(self.device, StreamOptions())
        cuda.copy(self.device, found, 0, as_bytes(data), 0, data.nbytes, stream)
        cuda.synchronize_stream(self.device, stream)
        cuda.destroy_stream(self.device, stream)
        return found

    def read(self, allocation, dtype, count: int, stream=None) -> np.ndarray:
        out = np.empty(count, dtype)
        cuda.copy(self.device, as_bytes(out), 0, allocation, 0, out.nbytes, stream or self.stream)
        return out

    # kernels
    def executable(self, module, block):
        key = (module, block)
        if key not in self._loaded:
            code = cuda.compile(cuda.target(self.device), module, CompileOptions(block=block))
            self._loaded[key] = cuda.load(self.device, code)
        return self._loaded[key]

    def prepare(self, module, grid: tuple, block: tuple, *, known: bool = False):
        return cuda.prepare(
            self.device, self.executable(module, block if known else None), LaunchConfig(grid, block)
        )

    def run(self, module, grid: int, block: int, *groups, stream=None, sync: bool = True) -> None:
        slots = [slot for group in groups for slot in group]
        self.prepare(module, (grid,), (block,))(stream or self.stream, *slots)
        if sync:
            cuda.synchronize_stream(self.device, stream or self.stream)


def as_bytes(data: np.ndarray) -> memoryview:
    """The bytes of a contiguous ndarray, whatever its dtype."""
    return memoryview(data.reshape(-1).view(np.uint8))


def versions(r: DeviceFixture) -> dict:
    """Of everything that takes part."""
    found = {"device": r.device.name, "uuid": r.device.uuid, **cuda.backend_info().versions}
    for name in ("cuda-bindings", "cuda-core", "nvidia-cuda-nvrtc", "cupy-cuda13x", "torch", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def ptx_of(source: str, arch: str) -> str:
    """PTX of CUDA C++, by NVRTC directly."""
    from cuda.bindings import nvrtc

    _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"ptx.cu", 0, [], [])
    (result,) = nvrtc.nvrtcCompileProgram(
        program, 1, [f"--gpu-architecture={arch.replace('sm', 'compute')}".encode()]
    )
    expect(int(result) == 0, result)
    _, size = nvrtc.nvrtcGetPTXSize(program)
    buffer = bytearray(size)
    nvrtc.nvrtcGetPTX(program, buffer)
    return bytes(buffer).rstrip(b"\0").decode()


def driver_launch_without_context(r: DeviceFixture) -> str:
    """What the driver answers to a launch by a thread that never had a context: of a function, and of a
    kernel."""
    import hand_modules as hand
    from cuda.bindings import driver as cu

    from gpucore_cuda.launching import Frame, packer_of

    executable = r.executable(hand.saxpy(), None)
    packer = packer_of(executable.params)
    frame = Frame(packer)
    function = executable.function_for(32)
    frame.buffer[: packer.size] = packer.pack(0, 0, 0, 1.0)
    before = int(cu.cuCtxGetCurrent()[1])
    (answer,) = cu.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, r.stream.handle, frame.address, 0)
    return f"{answer.name} (current context {before:#x})"


def _per_call(run, synchronize, count: int = 200, repeats: int = 40) -> float:
    """The median over repeats of microseconds a call, batches short enough for the queue."""
    taken = []
    for _ in range(repeats):
        synchronize()
        begin = time.perf_counter()
        for _ in range(count):
            run()
        taken.append((time.perf_counter() - begin) / count * 1e6)
    synchronize()
    return float(np.median(taken))


def launch_cost(r: DeviceFixture) -> dict:
    """Microseconds a launch: this plugin's paths, raw bindings, cuda.core, CuPy."""
    import hand_modules as hand
    from cuda.bindings import driver as cu

    n = 256
    x, y = r.upload(np.zeros(n, np.float32)), r.upload(np.zeros(n, np.float32))
    call = r.prepare(hand.saxpy(), (1,), (256,))
    bound = call.bind(x, 0, n, y, 0, n, 1.0)
    stream, handle = r.stream, r.stream.handle
    executable = r.executable(hand.saxpy(), None)
    from gpucore_cuda.launching import Frame, packer_of

    packer = packer_of(executable.params)
    frame = Frame(packer)
    frame.buffer[: packer.size] = packer.pack(x.address, y.address, n, 1.0)
    function, address, launch = executable.function_for(256), frame.address, cu.cuLaunchKernel

    def raw() -> None:
        launch(function, 1, 1, 1, 256, 1, 1, 0, handle, address, 0)

    def wait() -> None:
        cuda.synchronize_stream(r.device, stream)

    for _ in range(100):
        raw(), bound(stream)
    times = {
        "raw prepacked": _per_call(raw, wait),
        "bound": _per_call(lambda: bound(stream), wait),
        "call": _per_call(lambda: call(stream, x, 0, n, y, 0, n, 1.0), wait),
        "raw prepacked again": _per_call(raw, wait),
    }
    for name, peer in (("cuda.core", _cuda_core_peer), ("cupy", _cupy_peer)):
        try:
            run, finish = peer(n)
            for _ in range(100):
                run()
            times[name] = _per_call(run, finish)
        except Exception as error:  # noqa: BLE001
            times[name] = f"{type(error).__name__}: {error}"[:200]
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in times.items()}


_PEER = """
extern "C" __global__ void peer(const float* x, float* y, long long n, float a) {
  long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
"""


def _cuda_core_peer(n: int):
    try:
        from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch
    except ImportError:
        from cuda.core.experimental import Device, LaunchConfig, Program, ProgramOptions, launch
    device = Device(0)
    device.set_current()
    stream = device.create_stream()
    program = Program(_PEER, code_type="c++", options=ProgramOptions(arch=f"sm_{device.arch}"))
    kernel = program.compile("cubin").get_kernel("peer")
    a, b = device.allocate(4 * n, stream=stream), device.allocate(4 * n, stream=stream)
    config = LaunchConfig(grid=1, block=256)
    count, factor = np.int64(n), np.float32(1)

    def run() -> None:
        launch(stream, config, kernel, a, b, count, factor)

    return run, stream.sync


def _cupy_peer(n: int):
    import cupy

    kernel = cupy.RawKernel(_PEER, "peer")
    a, b = cupy.zeros(n, cupy.float32), cupy.zeros(n, cupy.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    arguments = (a, b, np.int64(n), np.float32(1))

    def run() -> None:
        with stream:
            kernel((1,), (256,), arguments)

    return run, stream.synchronize


def bandwidth(r: DeviceFixture) -> str:
    """GB/s of saxpy on the device and of copies, by events or the clock."""
    import hand_modules as hand

    n = 1 << 28
    x, y = r.alloc(4 * n), r.alloc(4 * n)
    for a in (x, y):
        cuda.fill(r.device, a, 0, 4 * n, b"\0", r.stream)
    call = r.prepare(hand.saxpy(), (n // 256,), (256,), known=True)
    start, end = cuda.create_event(r.device, True), cuda.create_event(r.device, True)
    for _ in range(3):
        call(r.stream, x, 0, n, y, 0, n, 1.0)
    cuda.record_event(r.device, start, r.stream)
    for _ in range(20):
        call(r.stream, x, 0, n, y, 0, n, 1.0)
    cuda.record_event(r.device, end, r.stream)
    saxpy = 20 * 12 * n / cuda.elapsed_time(r.device, start, end) / 1e6
    cuda.record_event(r.device, start, r.stream)
    for _ in range(20):
        cuda.fill(r.device, x, 0, 4 * n, bytes(range(8)), r.stream)
    cuda.record_event(r.device, end, r.stream)
    fill8 = 20 * 4 * n / cuda.elapsed_time(r.device, start, end) / 1e6
    size = 1 << 28
    pageable = np.ones(size, np.uint8)
    pinned = cuda.alloc(r.device, size, "pinned", None)
    rates = {}
    for name, source in (("pageable", memoryview(pageable)), ("pinned", pinned)):
        for direction in ("to", "from"):
            best = 1e9
            for _ in range(3):
                begin = time.perf_counter()
                if direction == "to":
                    cuda.copy(r.device, x, 0, source, 0, size, r.stream)
                else:
                    cuda.copy(r.device, source, 0, x, 0, size, r.stream)
                cuda.synchronize_stream(r.device, r.stream)
                best = min(best, time.perf_counter() - begin)
            rates[f"{name} {direction} device"] = round(size / best / 1e9, 1)
    cuda.free(r.device, pinned, None)
    return f"GB/s: saxpy {saxpy:.0f}, fill8 {fill8:.0f}, {rates}"


def exchange_with_cupy_and_torch(r: DeviceFixture) -> str:
    """Their memory and streams, imported."""
    import hand_modules as hand

    notes = []
    try:
        import cupy

        y = cupy.ones(1000, cupy.float32)
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        mine = cuda.import_stream(r.device, stream.ptr)
        memory = cuda.import_memory(r.device, y.__cuda_array_interface__["data"][0], y.nbytes, y)
        r.run(hand.saxpy(), 4, 256, [memory, 0, 1000], [memory, 0, 1000], [2.0], stream=mine)
        with stream:
            expect(float(y.sum()) == 3000, "cupy sees it")
        cuda.free(r.device, memory, None)
        notes.append("cupy ok")
    except ImportError as error:
        notes.append(f"cupy: {error}")
    try:
        import torch

        t = torch.ones(1000, device="cuda")
        torch.cuda.synchronize()
        mine = cuda.import_stream(r.device, torch.cuda.current_stream().cuda_stream)
        memory = cuda.import_memory(r.device, t.data_ptr(), 4000, t)
        r.run(hand.saxpy(), 4, 256, [memory, 0, 1000], [memory, 0, 1000], [2.0], stream=mine, sync=False)
        expect(float(t.sum()) == 3000, "torch sees it in its stream's order")
        notes.append("torch ok")
    except ImportError as error:
        notes.append(f"torch: {error}")
    return ", ".join(notes)
