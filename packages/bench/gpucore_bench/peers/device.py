"""CuPy and PyTorch on an NVIDIA GPU, timed by their own events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need, need_cuda_device


def cupy_peer(build: Callable[[Any, dict[str, Any], Work], Callable[[], Any]], result: str) -> Maker:
    """``build(cupy, arrays, work)`` gives a function that enqueues once, writing ``arrays[result]``."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        arrays: dict[str, Any] = {name: cupy.asarray(value) for name, value in inputs.items()}
        once = build(cupy, arrays, work)
        first, last = cupy.cuda.Event(), cupy.cuda.Event()

        def timed(repeats: int) -> float:
            first.record()
            for _ in range(repeats):
                once()
            last.record()
            last.synchronize()
            return float(cupy.cuda.get_elapsed_time(first, last)) * 1e-3

        def release() -> None:
            arrays.clear()
            cupy.get_default_memory_pool().free_all_blocks()

        return Simple(
            once=once,
            fetch=lambda: np.asarray(cupy.asnumpy(arrays[result])),
            wait=cupy.cuda.get_current_stream().synchronize,
            timed=timed,
            release=release,
        )

    return make


def torch_peer(
    build: Callable[[Any, dict[str, Any], Work], Callable[[], Any]], result: str, device: str = "cuda"
) -> Maker:
    """As :func:`cupy_peer`, for PyTorch; on ``device="cpu"`` timed by the clock."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        torch = need("torch")
        if device == "cuda":
            need_cuda_device(torch)
        arrays: dict[str, Any] = {
            name: torch.from_numpy(value.copy()).to(device) for name, value in inputs.items()
        }
        once = build(torch, arrays, work)

        def fetch() -> Any:
            return arrays[result].cpu().numpy()

        if device != "cuda":
            return Simple(once=once, fetch=fetch, release=arrays.clear)
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def timed(repeats: int) -> float:
            first.record()
            for _ in range(repeats):
                once()
            last.record()
            last.synchronize()
            return float(first.elapsed_time(last)) * 1e-3

        return Simple(once=once, fetch=fetch, wait=torch.cuda.synchronize, timed=timed, release=arrays.clear)

    return make


def torch_both(
    build: Callable[[Any, dict[str, Any], Work], Callable[[], Any]], result: str, label: str = "torch"
) -> dict[str, Maker]:
    """PyTorch on the GPU, and on the processor."""
    return {label: torch_peer(build, result), "torch cpu": torch_peer(build, result, "cpu")}


def cupy_elementwise(signature: tuple[str, str], code: str, order: tuple[str, ...], result: str) -> Maker:
    """A CuPy elementwise kernel, ``order`` naming the arrays it takes (scalars as given)."""

    def build(cupy: Any, arrays: dict[str, Any], work: Work) -> Callable[[], Any]:
        kernel = cupy.ElementwiseKernel(*signature, code, "peer")
        if result not in arrays:
            arrays[result] = cupy.empty_like(arrays[order[0]])
        call = tuple(arrays[name] for name in order)
        return lambda: kernel(*call)

    return cupy_peer(build, result)


def cupy_raw_both(
    code: str, name: str, launch: Callable[[dict[str, Any], Work, Any], tuple[Any, Any, Any]], result: str
) -> dict[str, Maker]:
    """A CuPy RawKernel without and with ``--use_fast_math``."""
    return {
        "cupy RawKernel": cupy_raw(code, name, launch, result),
        "cupy RawKernel fast": cupy_raw(code, name, launch, result, fast=True),
    }


def cupy_raw(
    code: str,
    name: str,
    launch: Callable[[dict[str, Any], Work, Any], tuple[Any, Any, Any]],
    result: str,
    fast: bool = False,
) -> Maker:
    """A CuPy RawKernel; ``launch(arrays, work, cupy)`` gives grid, block and arguments."""

    def build(cupy: Any, arrays: dict[str, Any], work: Work) -> Callable[[], Any]:
        options = ("--use_fast_math",) if fast else ()
        kernel = cupy.RawKernel(code, name, options=options)
        grid, block, arguments = launch(arrays, work, cupy)
        return lambda: kernel(grid, block, arguments)

    return cupy_peer(build, result)
