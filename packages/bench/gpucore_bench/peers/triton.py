"""Triton on an NVIDIA GPU, on PyTorch's arrays and timed by its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpucore_bench.model import Maker, Work
from gpucore_bench.peers import need
from gpucore_bench.peers.device import torch_peer

BLOCK = 1024
PROGRAMS = 1024
"""Programs of a reduction's first pass."""


def _kernels() -> Any:
    need("triton")
    from gpucore_bench.peers import triton_kernels

    return triton_kernels


def stream(name: str, arguments: tuple[Any, ...], result: str) -> dict[str, Maker]:
    """A kernel over all elements; ``arguments`` names arrays, ``None`` stands for their number."""

    def build(torch: Any, arrays: dict[str, Any], work: Work) -> Callable[[], Any]:
        kernel = getattr(_kernels(), name)[(-(-work.size // BLOCK),)]
        values = tuple(arrays[a] if isinstance(a, str) else work.size if a is None else a for a in arguments)
        return lambda: kernel(*values, BLOCK=BLOCK)

    return {"triton": torch_peer(build, result)}


def reduction(result: str) -> dict[str, Maker]:
    """The sum of ``x`` in two passes."""

    def build(torch: Any, arrays: dict[str, Any], work: Work) -> Callable[[], Any]:
        programs = min(-(-work.size // BLOCK), PROGRAMS)
        reduce = _kernels().reduce
        x = arrays["x"]
        partial = torch.empty(programs, device=x.device)
        out = arrays[result] = torch.empty(1, device=x.device)

        def once() -> None:
            reduce[(programs,)](x, partial, work.size, BLOCK=BLOCK)
            reduce[(1,)](partial, out, programs, BLOCK=BLOCK)

        return once

    return {"triton": torch_peer(build, result)}
