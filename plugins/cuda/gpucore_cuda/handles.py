"""What the hooks hand out: memory, streams and events, as the driver names them."""

from __future__ import annotations

from collections import deque
from typing import Any


class CudaAllocation:
    """Memory of a device.

    An interrupt may come before anybody has it.  So the driver's answer is put here by the call itself, and a finalizer notes for
    the device what was dropped without being freed.

    Attributes
    ----------
    nbytes, address, host : see ``gpucore.hookspecs.Allocation``
    kind : {"device", "pinned", "unified", "outside"}
    owner : object
        What outside memory belongs to, kept alive.
    answers : list
        What the driver said when it was asked for the memory.
    dropped : deque of CudaAllocation | None
        The device's list of what it has to give back; the memory is put there unless it is freed before.
    """

    __slots__ = ("address", "answers", "dropped", "host", "kind", "nbytes", "owner")

    def __init__(self, nbytes: int, address: int, host: int | None, kind: str, owner: object = None) -> None:
        self.nbytes, self.address, self.host = nbytes, address, host
        self.kind, self.owner = kind, owner
        self.answers: list[tuple[Any, ...]] = []
        self.dropped: deque[CudaAllocation] | None = None

    def __del__(self) -> None:
        dropped = getattr(self, "dropped", None)  # absent where an interrupt came first
        if dropped is not None:
            dropped.append(self)

    def __repr__(self) -> str:
        return f"<{self.kind} memory at {self.address:#x}, {self.nbytes} bytes>"


class CudaStream:
    """A stream.

    Attributes
    ----------
    handle : CUstream
    owned : bool
        Whether it is given up with this object; an outside stream is left alone.
    spare : deque[CUstream] or None
        Where its handle goes for another stream of its priority.
    last : str
        The kernel launched last, for the message when the device is lost.
    """

    __slots__ = ("__weakref__", "handle", "last", "owned", "spare")

    def __init__(self, handle: Any, spare: deque[Any] | None = None) -> None:
        self.handle, self.owned, self.spare = handle, spare is not None, spare
        self.last = ""

    def __repr__(self) -> str:
        return f"<CUDA stream {int(self.handle):#x}>"

    def __int__(self) -> int:
        return int(self.handle)

    def __cuda_stream__(self) -> tuple[int, int]:
        """The stream protocol of cuda.core: version and handle."""
        return (0, int(self.handle))


class CudaEvent:
    """An event."""

    __slots__ = ("handle", "timing")

    def __init__(self, handle: Any, timing: bool) -> None:
        self.handle, self.timing = handle, timing
