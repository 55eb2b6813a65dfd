"""What the cases work with: one opened device, its hooks, and short cuts that keep track of what is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpucore.backends.discovery import Hooks
from gpucore.errors import NotSupportedError
from gpucore.hookspecs import (
    CompileOptions,
    DeviceCapabilities,
    DeviceInfo,
    LaunchConfig,
    MemoryKind,
    ObjectCode,
    StreamOptions,
    Target,
)
from gpucore.ir import Module
from gpucore.ir.passes import LowerOptions
from gpucore.ir.passes import lower as lower_module
from gpucore.ir.text import parse
from gpucore.ir.verify import verify


class DeviceFixture:
    """A device under test.

    Everything that a case takes through it is given back by :meth:`clean`, so that one failing case
    leaves no trace for the next.

    Attributes
    ----------
    hooks : Hooks
    device : object
        The plugin's handle.
    info : DeviceInfo
    capabilities : DeviceCapabilities
    target : Target
    """

    def __init__(self, hooks: Hooks, info: DeviceInfo) -> None:
        self.hooks: Any = hooks
        self.info = info
        self.device: Any = self.hooks.open_device(info.ordinal, {})
        self.capabilities: DeviceCapabilities = self.hooks.capabilities(self.device)
        self.target: Target = self.hooks.target(self.device)
        self._undo: list[Callable[[], None]] = []

    # --- things taken
    def stream(self, priority: int = 0) -> Any:
        """A stream."""
        handle = self.hooks.create_stream(self.device, StreamOptions(priority))
        self._undo.append(lambda: self.hooks.destroy_stream(self.device, handle))
        return handle

    def event(self, timing: bool = False) -> Any:
        """An event."""
        handle = self.hooks.create_event(self.device, timing)
        self._undo.append(lambda: self.hooks.destroy_event(self.device, handle))
        return handle

    def alloc(self, nbytes: int, kind: MemoryKind = "device") -> Any:
        """Memory."""
        allocation = self.hooks.alloc(self.device, nbytes, kind, None)
        self._undo.append(lambda: self.hooks.free(self.device, allocation, None))
        return allocation

    def upload(self, data: bytes, stream: Any, kind: MemoryKind = "device") -> Any:
        """Memory with these bytes in it."""
        allocation = self.alloc(len(data), kind)
        self.hooks.copy(self.device, allocation, 0, memoryview(data).cast("B"), 0, len(data), stream)
        return allocation

    def download(self, allocation: Any, nbytes: int, stream: Any, offset: int = 0) -> bytes:
        """The bytes of memory, after what the stream was given so far."""
        out = bytearray(nbytes)
        self.hooks.copy(self.device, memoryview(out), 0, allocation, offset, nbytes, stream)
        return bytes(out)

    def synchronize(self, stream: Any) -> None:
        """Wait for a stream."""
        self.hooks.synchronize_stream(self.device, stream)

    # --- kernels
    def lowered(self, text: str, block: tuple[int, ...] | None = None) -> Module:
        """A kernel in the IR's text form, lowered for the device."""
        from gpucore.math import library

        module = parse(text)
        verify(module, level="high")
        options = LowerOptions(
            native=self.target.native, library=library, atomics=self.target.atomics, block=block
        )
        return lower_module(module, options).module

    def compiled(self, text: str, block: tuple[int, ...] | None = None) -> ObjectCode:
        """Object code of a kernel."""
        code: ObjectCode = self.hooks.compile(
            self.target, self.lowered(text, block), CompileOptions(block=block)
        )
        return code

    def load(self, text: str, block: tuple[int, ...] | None = None) -> Any:
        """A kernel, loaded."""
        executable = self.hooks.load(self.device, self.compiled(text, block))
        self._undo.append(lambda: self.hooks.unload(self.device, executable))
        return executable

    def launch(self, text: str, grid: Sequence[int], block: Sequence[int], stream: Any, *slots: Any) -> None:
        """Compile, load and launch a kernel, and wait for it."""
        executable = self.load(text, tuple(block))
        config = LaunchConfig(tuple(grid), tuple(block))
        self.hooks.prepare(self.device, executable, config)(stream, *slots)
        self.synchronize(stream)

    # --- capabilities
    def require(self, capability: str) -> None:
        """Refuse the case on devices without the capability."""
        if capability not in self.capabilities.names:
            raise NotSupportedError(f"the device has no {capability}", capability=capability)

    def require_dtype(self, name: str, use: str = "arithmetic") -> None:
        """Refuse the case on devices without this use of a dtype."""
        if use not in self.capabilities.dtypes.get(name, frozenset()):
            raise NotSupportedError(f"the device has no {use} of {name}", capability=f"{name} {use}")

    # --- the end
    def clean(self) -> None:
        """Give back what the case took, newest first."""
        while self._undo:
            self._undo.pop()()

    def forget(self, count: int = 1) -> None:
        """Leave the newest things to the case, which gives them back itself."""
        del self._undo[-count:]

    def close(self) -> None:
        """Close the device."""
        self.hooks.close_device(self.device)
