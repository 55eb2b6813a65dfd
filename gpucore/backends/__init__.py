"""Backends: finding the installed plugins, checking them, choosing a device.

The package carries the name of the public function :func:`gpucore.backends`, and importing any module of it makes Python
bind that name to the package.  So the package can be called, and calling it is calling the function.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucore.backends.selection import BackendStatus
    from gpucore.config import Settings


class _CallablePackage(types.ModuleType):
    def __call__(self, settings: Settings | None = None) -> dict[str, BackendStatus]:
        """What :func:`gpucore.backends` returns: the status of every installed backend."""
        from gpucore.backends.selection import backends

        return backends(settings)


sys.modules[__name__].__class__ = _CallablePackage
