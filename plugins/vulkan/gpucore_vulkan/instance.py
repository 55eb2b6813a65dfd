"""The Vulkan instance: one a process, with or without the validation layer."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Final

from gpucore_vulkan.device_features.probe_answers import ProbeAnswers
from gpucore_vulkan.loader import Binding, Functions, Unavailable, binding, result_name

__all__ = ["Instance", "instance", "validation_wanted"]

VALIDATION_LAYER: Final = "VK_LAYER_KHRONOS_validation"


def validation_wanted() -> bool:
    """Whether the environment asks for the validation layer (``GPUCORE_VULKAN_VALIDATION=1``)."""
    return os.environ.get("GPUCORE_VULKAN_VALIDATION", "").lower() in ("1", "true", "yes", "on")


class Instance:
    """A VkInstance of Vulkan 1.2 or later.

    Attributes
    ----------
    api : int
        The version of Vulkan asked for, which bounds what its devices may be used for.
    messages : list[str]
        What the validation layer said, warnings and errors; empty without it.
    answers : dict[str, ProbeAnswers]
        What probing found, for devices that are opened again.
    """

    def __init__(self, bound: Binding, validation: bool) -> None:
        self.bound = bound
        self.validation = validation
        self.messages: list[str] = []
        self.answers: dict[str, ProbeAnswers] = {}
        ffi, lib = bound.ffi, bound.lib
        self._global = Functions(bound, lib.vkGetInstanceProcAddr, ffi.NULL)
        self.version = self._loader_version()
        extensions = self._extensions()
        wanted: list[str] = []
        flags = 0
        if "VK_KHR_portability_enumeration" in extensions:
            wanted.append("VK_KHR_portability_enumeration")
            flags = 1
        layers: list[str] = []
        if validation:
            self._require_layer()
            layers.append(VALIDATION_LAYER)
            wanted.append("VK_EXT_debug_utils")
        name = ffi.new("char[]", b"gpucore")
        self.api = api = min(self.version, (1 << 22) | (3 << 12))
        app = bound.new(
            "VkApplicationInfo", "APPLICATION_INFO", pApplicationName=name, pEngineName=name, apiVersion=api
        )
        layer_text = [ffi.new("char[]", text.encode()) for text in layers]
        extension_text = [ffi.new("char[]", text.encode()) for text in wanted]
        layer_array = ffi.new("char*[]", layer_text or [ffi.NULL])
        extension_array = ffi.new("char*[]", extension_text or [ffi.NULL])
        info = bound.new(
            "VkInstanceCreateInfo", "INSTANCE_CREATE_INFO", flags=flags, pApplicationInfo=app,
            enabledLayerCount=len(layers), ppEnabledLayerNames=layer_array,
            enabledExtensionCount=len(wanted), ppEnabledExtensionNames=extension_array,
        )  # fmt: skip
        messenger = self._messenger_info() if validation else None
        if messenger is not None:
            info.pNext = messenger
        made = ffi.new("VkInstance*")
        code = self._global.vkCreateInstance(info, ffi.NULL, made)
        if code == -9:
            raise Unavailable("No Vulkan driver is installed (VK_ERROR_INCOMPATIBLE_DRIVER).", driver_fix())
        if code < 0:
            raise Unavailable(f"A Vulkan instance cannot be made ({result_name(code)}).", driver_fix())
        self.handle = made[0]
        self.vk = Functions(bound, lib.vkGetInstanceProcAddr, self.handle)
        self._keep = (app, name, layer_text, extension_text, layer_array, extension_array, messenger, made)
        if messenger is not None:
            out = ffi.new("VkDebugUtilsMessengerEXT*")
            self.vk.vkCreateDebugUtilsMessengerEXT(self.handle, messenger, ffi.NULL, out)

    def _loader_version(self) -> int:
        number = self.bound.ffi.new("uint32_t*", 1 << 22)
        if self._global.vkEnumerateInstanceVersion(number) < 0 or number[0] < (1 << 22) | (2 << 12):
            raise Unavailable(
                f"The Vulkan loader has version {number[0] >> 22}.{number[0] >> 12 & 1023}, 1.2 is needed.",
                "Bring the Vulkan loader and the graphics driver up to date.",
            )
        return int(number[0])

    def _extensions(self) -> set[str]:
        ffi = self.bound.ffi
        count = ffi.new("uint32_t*")
        self._global.vkEnumerateInstanceExtensionProperties(ffi.NULL, count, ffi.NULL)
        items = ffi.new("VkExtensionProperties[]", max(count[0], 1))
        self._global.vkEnumerateInstanceExtensionProperties(ffi.NULL, count, items)
        return {ffi.string(items[n].extensionName).decode() for n in range(count[0])}

    def _require_layer(self) -> None:
        ffi = self.bound.ffi
        count = ffi.new("uint32_t*")
        self._global.vkEnumerateInstanceLayerProperties(count, ffi.NULL)
        items = ffi.new("VkLayerProperties[]", max(count[0], 1))
        self._global.vkEnumerateInstanceLayerProperties(count, items)
        names = {ffi.string(items[n].layerName).decode() for n in range(count[0])}
        if VALIDATION_LAYER not in names:
            raise Unavailable(
                f"The layer {VALIDATION_LAYER} is not installed.",
                "Install it (apt install vulkan-validationlayers), or unset GPUCORE_VULKAN_VALIDATION.",
            )

    def _messenger_info(self) -> Any:
        ffi = self.bound.ffi

        def heard(severity: int, kinds: int, data: Any, user: Any) -> int:
            name = ffi.string(data.pMessageIdName).decode() if data.pMessageIdName != ffi.NULL else ""
            self.messages.append(f"{name}: {ffi.string(data.pMessage).decode(errors='replace')}")
            return 0

        signature = (
            "VkBool32(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT, "
            "VkDebugUtilsMessengerCallbackDataEXT *, void *)"
        )
        self._callback = ffi.callback(signature, heard)
        return self.bound.new(
            "VkDebugUtilsMessengerCreateInfoEXT", "DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT",
            messageSeverity=0x1100, messageType=0x7 & ~0x1, pfnUserCallback=self._callback,
        )  # fmt: skip

    def physical_devices(self) -> list[Any]:
        """The handles of all devices, in the loader's order."""
        ffi = self.bound.ffi
        count = ffi.new("uint32_t*")
        code = self.vk.vkEnumeratePhysicalDevices(self.handle, count, ffi.NULL)
        if code < 0 or count[0] == 0:
            raise Unavailable("Vulkan drivers are there, but none of them shows a device.", driver_fix())
        items = ffi.new("VkPhysicalDevice[]", count[0])
        self.vk.vkEnumeratePhysicalDevices(self.handle, count, items)
        return [items[n] for n in range(count[0])]


def driver_fix() -> str:
    """What to do when there is a loader and no driver."""
    chosen = next((v for v in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES") if os.environ.get(v)), None)
    if chosen:
        return (
            f"{chosen} is set to {os.environ[chosen]!r}; check that it names a working driver, or unset it."
        )
    if sys.platform.startswith("linux"):
        return (
            "Install the graphics driver, or a software one: apt install mesa-vulkan-drivers. "
            "In a container, the NVIDIA driver needs NVIDIA_DRIVER_CAPABILITIES to name graphics."
        )
    return "Install the graphics driver of the card's maker."


class _Holder:
    """The process's instances, by whether they validate."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.made: dict[tuple[int, bool], Instance] = {}

    def get(self, validation: bool) -> Instance:
        key = (os.getpid(), validation)
        with self.lock:
            if key not in self.made:
                self.made.setdefault(key, Instance(binding(), validation))
            return self.made[key]


_HOLDER = _Holder()


def instance(validation: bool | None = None) -> Instance:
    """The process's instance; one exists for each choice of validation.

    Raises
    ------
    Unavailable
    """
    return _HOLDER.get(validation_wanted() if validation is None else validation)
