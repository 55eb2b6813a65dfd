"""What the host gets that calls a function of the kernel language."""

from __future__ import annotations

from typing import NoReturn

from gpucore.errors import KernelTypeError

__all__ = ["outside"]


def outside(name: str) -> NoReturn:
    """Raise: the function works inside kernels."""
    raise KernelTypeError(
        f"gc.{name} works inside kernels only: call it in a function decorated with @gc.kernel or @gc.func"
    )
