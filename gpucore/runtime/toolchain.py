"""The toolchain of a context: compiles through its hooks, loads onto its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpucore.backends.discovery import Hooks
from gpucore.compile.cache import sources_of
from gpucore.compile.capabilities import Capabilities
from gpucore.hookspecs import CompileOptions, DeviceHandle, Executable, ObjectCode, Target
from gpucore.ir.nodes import Module

if TYPE_CHECKING:
    from gpucore.runtime.device import Device

__all__ = ["DeviceToolchain", "Retired"]


@dataclass(frozen=True, slots=True)
class Retired:
    """An executable whose program is gone, to be unloaded when no launch of it is pending."""

    executable: Executable
    generation: int


class DeviceToolchain:
    """A :class:`~gpucore.compile.pipeline.Toolchain` over the hooks of one context.

    Parameters
    ----------
    device : Device
    hooks : Hooks
        Of the context: wrappers may sit on them.
    load : callable
        The ``load`` hook, guarded against a lost device.
    """

    __slots__ = ("_device", "_hooks", "_load")

    def __init__(
        self, device: Device, hooks: Hooks, load: Callable[[DeviceHandle, ObjectCode], Executable]
    ) -> None:
        self._device = device
        self._hooks = hooks
        self._load = load

    @property
    def where(self) -> str:
        device = self._device
        return f"{device.backend}:{device.ordinal} ({device.name})"

    @property
    def target(self) -> Target:
        return self._device._target

    @property
    def capabilities(self) -> Capabilities:
        return self._device.capabilities

    @property
    def generation(self) -> int:
        return self._device._generation

    def versions(self) -> Mapping[str, str]:
        return self._hooks.backend_info().versions

    @property
    def ir_version(self) -> int:
        return self._hooks.ir_version

    def sources(self) -> str:
        return sources_of(self._hooks.plugin)

    def compile(self, module: Module, options: CompileOptions) -> ObjectCode:
        return self._hooks.compile(self.target, module, options)

    def load(self, code: ObjectCode) -> Executable:
        return self._load(self._device._handle, code)

    def retire(self, executable: Executable, generation: int) -> None:
        self._device._unloadable.append(Retired(executable, generation))
