"""The binding to Vulkan: cffi's view of its headers, the loader library, and function pointers.

Of the package ``vulkan`` only the parsed headers are used (``_vulkancache.py``, loaded by path): its
wrappers cost tens of microseconds a call and lose nested strings.  All else goes through this file, so that
another binding could replace it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any

from gpucore.errors import DeviceError, GpucoreError

__all__ = ["RESULTS", "Binding", "Functions", "Unavailable", "binding", "check", "result_name"]

RESULTS: dict[int, str] = {
    0: "VK_SUCCESS",
    1: "VK_NOT_READY",
    2: "VK_TIMEOUT",
    5: "VK_INCOMPLETE",
    -1: "VK_ERROR_OUT_OF_HOST_MEMORY",
    -2: "VK_ERROR_OUT_OF_DEVICE_MEMORY",
    -3: "VK_ERROR_INITIALIZATION_FAILED",
    -4: "VK_ERROR_DEVICE_LOST",
    -5: "VK_ERROR_MEMORY_MAP_FAILED",
    -6: "VK_ERROR_LAYER_NOT_PRESENT",
    -7: "VK_ERROR_EXTENSION_NOT_PRESENT",
    -8: "VK_ERROR_FEATURE_NOT_PRESENT",
    -9: "VK_ERROR_INCOMPATIBLE_DRIVER",
    -10: "VK_ERROR_TOO_MANY_OBJECTS",
    -12: "VK_ERROR_FRAGMENTED_POOL",
    -13: "VK_ERROR_UNKNOWN",
    -1000069000: "VK_ERROR_OUT_OF_POOL_MEMORY",
    -1000012000: "VK_ERROR_INVALID_SHADER_NV",
    -1000257000: "VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS",
}
OUT_OF_MEMORY = frozenset({-1, -2, -10, -1000069000})
DEVICE_LOST = -4


class Unavailable(GpucoreError):
    """Vulkan cannot be used: the reason in one sentence, the fix in another."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason, fix)
        self.reason = reason
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.reason} {self.fix}"


def result_name(code: int) -> str:
    """The name of a VkResult."""
    return RESULTS.get(code, f"VkResult({code})")


def check(code: int, what: str) -> None:
    """Raise a DeviceError unless a call succeeded; devices have their own, which knows when they are lost."""
    if code < 0:
        raise DeviceError(f"{what} failed: {result_name(code)}", code=code, name=result_name(code))


def _loader_names() -> list[str]:
    chosen = os.environ.get("GPUCORE_VULKAN_LOADER")
    if chosen:
        return [chosen]
    if sys.platform == "win32":
        return ["vulkan-1.dll"]
    if sys.platform == "darwin":
        names = ["libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib"]
        folders = ["/opt/homebrew/lib", "/usr/local/lib"]
        return names + [f"{folder}/{name}" for folder in folders for name in names]
    return ["libvulkan.so.1", "libvulkan.so"]


def _loader_fix() -> str:
    if sys.platform == "win32":
        return "Install the graphics driver of the card's maker; it brings vulkan-1.dll."
    if sys.platform == "darwin":
        return "Install the Vulkan SDK, or: brew install molten-vk vulkan-loader"
    return "Install the Vulkan loader, for example: apt install libvulkan1"


class Binding:
    """The headers (``ffi``), the loader library (``lib``) and what hangs on them.

    ``lib`` also answers for the constants of the headers.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("vulkan")
        places = list(spec.submodule_search_locations or ()) if spec else []
        files = [Path(p) / "_vulkancache.py" for p in places]
        found = next((f for f in files if f.is_file()), None)
        if found is None:
            raise Unavailable("The Python package vulkan is not installed.", "Install it: pip install vulkan")
        headers = importlib.util.spec_from_file_location("_gpucore_vulkan_headers", found)
        if headers is None or headers.loader is None:
            raise Unavailable(
                f"{found} cannot be loaded.", "Install it again: pip install --force-reinstall vulkan"
            )
        module = importlib.util.module_from_spec(headers)
        headers.loader.exec_module(module)
        self.ffi: Any = module.ffi
        self.lib: Any = self._open()

    def _open(self) -> Any:
        tried: list[str] = []
        for name in _loader_names():
            try:
                return self.ffi.dlopen(name)
            except OSError:
                tried.append(name)
        raise Unavailable(f"No Vulkan loader was found (tried {', '.join(tried)}).", _loader_fix())

    def new(self, kind: str, stype: str | None = None, **fields: Any) -> Any:
        """A zeroed struct, its ``sType`` set from the name after ``VK_STRUCTURE_TYPE_``.

        Fields that are structs or arrays of their own must be kept alive by the caller.
        """
        made = self.ffi.new(f"{kind}*")
        if stype is not None:
            made.sType = getattr(self.lib, f"VK_STRUCTURE_TYPE_{stype}")
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    def address_of(self, buffer: Any) -> tuple[int, Any]:
        """The address of a host buffer, and what keeps it there."""
        view = self.ffi.from_buffer(buffer)
        return int(self.ffi.cast("uintptr_t", view)), view


class Functions:
    """Function pointers by name, looked up once; attributes are cffi functions."""

    def __init__(self, bound: Binding, get: Any, handle: Any, suffixed: bool = False) -> None:
        self._bound = bound
        self._get = get
        self._handle = handle
        self._suffixed = suffixed

    def __getattr__(self, name: str) -> Any:
        ffi = self._bound.ffi
        spelled = [name, f"{name}KHR"] if self._suffixed else [name]
        for spelling in spelled:
            pointer = self._get(self._handle, spelling.encode())
            if pointer != ffi.NULL:
                function = ffi.cast(f"PFN_{name}", pointer)
                setattr(self, name, function)
                return function
        raise DeviceError(f"the Vulkan driver lacks {name}", name="VK_ERROR_EXTENSION_NOT_PRESENT", code=-7)


_LOCK = threading.RLock()


@functools.cache
def _binding() -> Binding:
    return Binding()


def binding() -> Binding:
    """The process's binding, made on first use.

    Raises
    ------
    Unavailable
    """
    with _LOCK:
        return _binding()
