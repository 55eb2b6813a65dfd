"""What gpucore is measured against, each imported only when it is asked for and installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from gpucore_bench.model import MissingPeerError

KNOWN = (
    "numpy", "numba", "cupy", "torch", "triton", "jax", "warp", "quadrants", "cuda.core", "cuda.bindings", "vulkan-cffi",
    "vkdispatch", "numba-vulkan",
)  # fmt: skip


def of_peer(contender: str, peer: str) -> bool:
    """Whether a contender's label is of a peer: its name, alone or before a space."""
    return f"{contender} ".startswith(f"{peer} ")


def need(module: str) -> ModuleType:
    """Import a peer.

    Raises
    ------
    MissingPeerError
        When it is not installed or cannot start on this machine.
    """
    # GNU OpenMP's spinning waits cost Numba and PyTorch up to tenfold where cores are shared (virtual machines): their best
    # is measured unless the user's environment says otherwise.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if importlib.util.find_spec(module.split(".")[0]) is None:
            raise MissingPeerError("not installed")
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise MissingPeerError("not installed") from error
        raise MissingPeerError(f"{module} cannot be imported: {error}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingPeerError(f"{module} cannot be imported: {error}") from error


def need_cuda_device(module: ModuleType) -> None:
    """Refuse a CUDA peer where there is no CUDA device, rather than let it fail deep inside."""
    try:
        count = (
            int(module.cuda.runtime.getDeviceCount())
            if hasattr(module.cuda, "runtime")
            else int(module.cuda.device_count())
        )
    except Exception as error:
        raise MissingPeerError("no CUDA device") from error
    if count == 0:
        raise MissingPeerError("no CUDA device")
