"""Opening a device: its context, and the functions that its hooks find in it."""

from __future__ import annotations

from gpucore.errors import BackendUnavailableError, DeviceError
from gpucore_cuda import memory, streams
from gpucore_cuda.device import CudaDevice


def open_device(ordinal: int) -> CudaDevice:
    """Open device ``ordinal``.

    Raises
    ------
    BackendUnavailableError
        With the cause and the fix.
    """
    try:
        return CudaDevice(ordinal, memory, streams)
    except DeviceError as error:
        raise BackendUnavailableError(
            f"cuda:{ordinal} cannot be opened: {error}; check nvidia-smi"
        ) from error
