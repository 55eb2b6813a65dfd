"""Devices, opened once a process and shared by contexts, and the toolchain that compiles for one."""

from __future__ import annotations

import atexit
import html
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from gpucore.backends import discovery
from gpucore.backends.discovery import Hooks
from gpucore.backends.hooks import check_capabilities, foreign_error
from gpucore.compile.cache import sources_of
from gpucore.compile.capabilities import Capabilities
from gpucore.errors import DeviceError, DeviceLostError, GpucoreError, NotSupportedError, PluginError
from gpucore.hookspecs import (
    OPTIONAL,
    Allocation,
    CompileOptions,
    DeviceHandle,
    DeviceHealth,
    Executable,
    MemoryInfo,
    MemoryKind,
    ObjectCode,
    Target,
)
from gpucore.ir.nodes import Module
from gpucore.runtime import ProcessBound
from gpucore.runtime.dlpack_exports import exports

if TYPE_CHECKING:
    from gpucore.hookspecs import DeviceInfo
    from gpucore.runtime.state import ContextState

__all__ = ["Device", "DeviceToolchain", "Held", "open_devices"]
Held: TypeAlias = "dict[int, tuple[Allocation, MemoryKind]]"


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
        self._device._unloadable.append((executable, generation))


P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("gpucore")
_MOST_UNLOADABLE = 64
"""Executables of dropped kernels that may stay loaded while work is pending."""
_PATIENCE = 2.0
"""Seconds after which an exit says what it waits for."""


class Device(ProcessBound):
    """An opened device; contexts on it share this object.

    Attributes
    ----------
    backend : str
    ordinal : int
    name : str
    uuid : str | None
    kind : {"cpu", "integrated", "discrete", "software"}
    driver : str
    capabilities : Capabilities
    """

    def __init__(self, info: DeviceInfo, hooks: discovery.Hooks) -> None:
        self.backend = hooks.name
        self.ordinal = info.ordinal
        self.name = info.name
        self.uuid = info.uuid
        self.kind = info.kind
        self.driver = info.driver
        self._hooks = hooks
        self._lock = threading.RLock()
        self._dead: GpucoreError | None = None
        self._generation = 0
        self._recent: deque[str] = deque(maxlen=8)
        self._states: weakref.WeakSet[ContextState] = weakref.WeakSet()
        # Allocations by identity, from where a pool has one until it is given back: in cyclic garbage the collector would run the
        # plugin's finalizers, too.
        self._held: Held = {}
        self._users = 0
        self._key = (hooks.name, 0, info.ordinal)
        # executables by specialization; a weak key that no value holds: a kernel that is dropped takes its entries along
        self._programs: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
        # of programs that are gone: to be unloaded when no launch is pending
        self._unloadable: deque[tuple[Executable, int]] = deque()
        # how other devices are reached, as gpucore.runtime.peer found out
        self._peers: weakref.WeakKeyDictionary[Device, Any] = weakref.WeakKeyDictionary()
        self._handle: DeviceHandle = hooks.open_device(info.ordinal, {})
        try:
            self.capabilities = self._checked_capabilities()
            self._target: Target = hooks.target(self._handle)
        except BaseException:
            hooks.close_device(self._handle)
            raise

    def _checked_capabilities(self) -> Capabilities:
        raw = self._hooks.capabilities(self._handle)
        check_capabilities(self._hooks.who, raw)
        for hook, capability in OPTIONAL.items():
            claimed = any(name == capability or name.startswith(f"{capability}_") for name in raw.names)
            if claimed and not self._hooks.has(hook):
                raise PluginError(
                    f"the backend {self.backend!r} claims the capability {capability!r} but has no hook "
                    f"{hook!r}"
                )
        return Capabilities(raw)

    def __repr__(self) -> str:
        return f"<Device {self.backend}:{self.ordinal} {self.name!r}, {self.kind}>"

    def _repr_html_(self) -> str:
        """What notebooks show: the device's facts as a table."""
        rows = {
            "device": f"{self.backend}:{self.ordinal}", "name": self.name, "kind": self.kind,
            "driver": self.driver, "uuid": self.uuid or "none",
        }  # fmt: skip
        cells = "".join(
            f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items()
        )
        return f"<table>{cells}</table>"

    # --- figures
    def memory_info(self) -> MemoryInfo:
        """Free and total bytes of the device's memory."""
        return self._guard(self._hooks.memory_info)(self._handle)

    def process_memory(self) -> int:
        """Bytes of device memory that this process holds.

        Raises
        ------
        NotSupportedError
            Where the figure cannot be had.
        """
        self._require("process_memory")
        return self._guard(self._hooks.process_memory)(self._handle)

    def health(self) -> DeviceHealth:
        """Whether the device works, with the figures that say so.

        Raises
        ------
        NotSupportedError
            Where they cannot be had.
        """
        self._require("device_health")
        return self._guard(self._hooks.device_health)(self._handle)

    @property
    def is_lost(self) -> bool:
        """Whether the driver has said that the device is gone, so that each call on it fails."""
        return self._dead is not None

    def reset(self) -> None:
        """Bring a lost device back as a new generation: everything taken from it before is void.

        Raises
        ------
        NotSupportedError
            Where the backend cannot.
        DeviceError
            In a process that was forked: the device is the parent's.
        """
        if open_devices.forked:
            raise fork_error()
        self._require("device_reset")
        if not self._hooks.has("reset_device"):
            raise NotSupportedError(f"{self.backend} cannot reset a device", capability="device_reset")
        # without this object's lock: contexts take theirs first, and this one within it
        states = self._all_states
        for state in states:
            state.forget("the device was reset since")
        self._programs.clear()
        self._unloadable.clear()
        self._held.clear()
        self._hooks.reset_device(self._handle)
        self._generation += 1
        self._dead = None
        self._recent.clear()
        for state in states:
            state.renew()

    def _require(self, capability: str) -> None:
        if capability not in self.capabilities.names:
            raise NotSupportedError(
                f"{self.backend}:{self.ordinal} ({self.name}) lacks the capability {capability!r}",
                capability=capability,
            )

    # --- loss
    def _guard(self, function: Callable[P, R]) -> Callable[P, R]:
        """The hook ``function``, failing fast once the device is lost, and noticing when it is."""

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if self._dead is not None:
                raise self._failure()
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self._judge(function, error)
                raise

        return call

    def _judge(self, function: Callable[..., object], error: Exception) -> None:
        """Raise another error for what a hook raised where the device is lost with it or the hook broke the contract."""
        if isinstance(error, DeviceLostError):
            raise self._lose(error) from error
        if not isinstance(error, GpucoreError):
            raise foreign_error(
                self._hooks.who, getattr(function, "__name__", repr(function)), error
            ) from error

    def _judge_launch(self, kernel: str, error: Exception) -> None:
        """Raise another error for what a prepared launch raised, where it is none of the contract's.

        Core prepares launches at their first call: what comes from there, or out of it, was judged there.
        """
        trace = error.__traceback__
        below = None if trace is None else trace.tb_next
        is_preparing = (
            below is not None and below.tb_frame.f_globals.get("__name__") == "gpucore.launch.launcher"
        )
        if not is_preparing and not isinstance(error, GpucoreError):
            raise foreign_error(
                self._hooks.who, "prepare", error, f"a launch of {kernel} that its hook prepare made"
            ) from error

    def _lose(self, error: DeviceLostError) -> DeviceLostError:
        """Remember that the device is lost; the error to raise, naming the last launches."""
        last = ", ".join(self._recent) or "none"
        lost = DeviceLostError(
            f"{self.backend}:{self.ordinal} ({self.name}) is lost: {error}. Last launches: {last}. "
            + self._cure(),
            code=error.code,
            name=error.name,
        )
        if self._dead is None:
            self._dead = lost
            log.error("%s", lost)
        return lost

    def _cure(self) -> str:
        if "device_reset" in self.capabilities.names:
            return "Every call on it fails until Device.reset()"
        return "Every call on it fails in this process"

    def _failure(self) -> GpucoreError:
        dead = self._dead
        assert dead is not None
        if isinstance(dead, DeviceLostError):
            return DeviceLostError(str(dead), code=dead.code, name=dead.name)
        return type(dead)(*dead.args)

    # --- life
    @property
    def _all_states(self) -> list[ContextState]:
        """The open contexts, also those that the collector found in a cycle: that ends weak references."""
        found = list(self._states)
        return found + [
            one for one in list(open_devices.abandoned) if one.device is self and one not in found
        ]

    def _unload_if_idle(self) -> None:
        """Unload executables whose kernels are gone, where no work is pending; past a number of them, wait for it."""
        if not self._unloadable or self._dead is not None:
            return
        wait = len(self._unloadable) > _MOST_UNLOADABLE
        for state in self._all_states:
            if state.has_dead():
                state.drain()
            for stream in state.live_streams():
                if wait:
                    stream._wait_idle()
                elif not state.query_stream(self._handle, stream._handle):
                    return
        with self._lock:
            self._unload_dead()

    def _unload_dead(self) -> None:
        """Unload executables whose kernels are gone; the caller has made sure that no launch is pending."""
        while self._unloadable:
            try:
                executable, generation = self._unloadable.popleft()
            except IndexError:
                return  # another thread was faster
            if generation == self._generation and self._dead is None:
                self._hooks.unload(self._handle, executable)

    def _close(self) -> None:
        programs = [p for table in self._programs.values() for p in table.values()]
        self._programs.clear()
        if self._dead is None:
            for program in programs:
                if program.executable is not None and program.generation == self._generation:
                    self._hooks.unload(self._handle, program.executable)
                    program.executable = None
            self._unload_dead()
        try:
            self._hooks.close_device(self._handle)
        except DeviceError as error:
            log.warning("closing %r failed: %s", self, error)


class _OpenDevices:
    """The devices that this process has open, each with the number of contexts on it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.devices: dict[tuple[str, int, int], Device] = {}
        self.forked = False
        self.used = False
        self.abandoned: deque[ContextState] = deque()
        self.lending: set[ContextState] = set()
        self.returned: deque[ContextState] = deque()
        self.closers: set[object] = set()
        self.on_open: Callable[[ContextState], None] | None = None  # of a profile of all contexts

    def acquire(self, name: str, plugin: object, info: DeviceInfo) -> Device:
        if self.forked:
            raise fork_error()
        while self.abandoned:
            self.abandoned.popleft().close()
        self.free_returned()
        with self.lock:
            if not self.used:
                self.used = True
                atexit.register(self.shut_down, os.getpid())
            key = (name, id(plugin), info.ordinal)
            device = self.devices.get(key)
            if device is None:
                device = Device(info, discovery.bind(name, plugin))
                device._key = key
                self.devices[key] = device
            device._users += 1
            return device

    def states(self) -> list[ContextState]:
        """The open contexts."""
        return [state for device in list(self.devices.values()) for state in device._all_states]

    def release(self, device: Device) -> None:
        if self.forked:
            return  # the device is the parent's: closing it here could wait for threads that do not exist
        with self.lock:
            device._users -= 1
            if device._users == 0:
                self.devices.pop(device._key, None)
                device._close()

    def lend(self, state: ContextState) -> None:
        """Keep the device of a closed context open until the memory that it has lent comes back."""
        with self.lock:
            self.lending.add(state)
        self.free_returned()

    def free_returned(self) -> None:
        """Free the memory of closed contexts that came back; finalizers only note that it did."""
        exports.sweep()
        while self.returned:
            try:
                state = self.returned.popleft()
            except IndexError:
                return  # another thread was faster
            with self.lock:
                if state not in self.lending or not state.return_memory():
                    continue
                self.lending.discard(state)
            self.release(state.device)

    def after_fork(self) -> None:
        if not self.used:
            return
        # locks may have been held by threads that do not exist here
        self.lock = threading.RLock()
        self.forked = True
        self.closers.clear()
        for device in self.devices.values():
            device._lock = threading.RLock()
            device._dead = fork_error()

    def shut_down(self, pid: int) -> None:
        if os.getpid() != pid:
            return
        for state in self.states():
            try:
                state.end_arrays()  # what daemon threads go on to launch is refused
                _say_if_busy(state)
                state.close()
            except Exception as error:  # noqa: BLE001 - the interpreter is ending: say it and go on
                log.debug("closing a context at exit: %s", error)
        while self.closers:  # threads that the interpreter would stop within the driver
            time.sleep(0.001)


def _say_if_busy(state: ContextState) -> None:
    """Explain an exit that takes long: it waits for the work of the context."""
    patience = time.monotonic() + _PATIENCE
    while not all(stream.query() for stream in state.live_streams()):
        if time.monotonic() > patience:
            log.warning(
                "the exit waits for work on %s:%s that has not ended; Ctrl-C leaves without it",
                state.device.backend, state.device.ordinal,
            )  # fmt: skip
            return
        time.sleep(0.001)


def fork_error() -> GpucoreError:
    """The error of a process that was forked after a device was used."""
    return DeviceError(
        "this process was forked after its parent used a device, and devices do not survive a fork; "
        "start worker processes with multiprocessing.get_context('spawn')"
    )


open_devices = _OpenDevices()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=open_devices.after_fork)
