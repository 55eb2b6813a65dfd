"""The launch path: functions written once for a kernel, with the parameters packed ahead.

``cuLaunchKernel`` takes the address of an array of pointers, one to each parameter.  A frame holds that array and the parameters
behind it, so that a launch writes the values with one ``pack_into`` and makes one call.  Frames are taken from a list while in
use: the driver copies the parameters before it returns, but releases the GIL on the way.
"""

from __future__ import annotations

import ctypes
from typing import Any

from cuda.bindings import driver as cu

from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig
from gpucore.plugin_api import STRUCT_CODES, ArgumentPacker, PackedField
from gpucore_cuda.device import CudaDevice
from gpucore_cuda.driver import WRONG_CONTEXT
from gpucore_cuda.handles import CudaStream
from gpucore_cuda.loading import CudaExecutable

__all__ = ["BoundLaunch", "Frame", "PreparedLaunch", "packer_of", "prepare"]


def packer_of(params: list[Any]) -> ArgumentPacker:
    """The packer for parameters as the object code's metadata lists them, in the layout of C."""
    fields: list[PackedField] = []
    for number, (kind, what, *extents) in enumerate(params):
        if kind == "array":
            fields.append(PackedField(number, "pointer", "Q"))
            fields += [PackedField(number, axis, STRUCT_CODES[dtype]) for axis, dtype in extents[0]]
        else:
            fields.append(PackedField(number, "value", STRUCT_CODES[what], what))
    ranks = [int(param[1]) if param[0] == "array" else None for param in params]
    return ArgumentPacker(ranks, fields, order="@")


class Frame:
    """Packed parameters and the array of pointers to them.

    Attributes
    ----------
    buffer : ctypes array
        What ``pack_into`` writes to.
    address : int
        Of the array of pointers; 0 for a kernel without parameters.
    """

    __slots__ = ("_pointers", "address", "buffer")

    def __init__(self, packer: ArgumentPacker) -> None:
        self.buffer = ctypes.create_string_buffer(max(packer.size, 1))
        base = ctypes.addressof(self.buffer)
        offsets = packer.offsets
        self._pointers = (ctypes.c_void_p * max(len(offsets), 1))(*(base + offset for offset in offsets))
        self.address = ctypes.addressof(self._pointers) if offsets else 0


_TEMPLATE = """\
def enqueue(prepared, stream, {arguments}):
    try:
        frame = take_frame()
    except IndexError:
        frame = Frame(PACKER)
    pack_into(frame.buffer, 0, {values})
    stream.last = NAME
    gx, gy, gz, bx, by, bz = prepared.shape
    answer = launch_kernel(prepared.function, gx, gy, gz, bx, by, bz, SHARED, stream.handle, frame.address, 0)
    if answer[0]:
        prepared.retry(answer[0], stream, frame)
    give_frame(frame)


def bind(prepared, {arguments}):
    frame = Frame(PACKER)
    pack_into(frame.buffer, 0, {values})
    return BoundLaunch(prepared, frame)


def repack(prepared, frame, {arguments}):
    pack_into(frame.buffer, 0, {values})


def enqueue_bound(bound, stream):
    stream.last = NAME
    prepared = bound.prepared
    gx, gy, gz, bx, by, bz = prepared.shape
    answer = launch_kernel(prepared.function, gx, gy, gz, bx, by, bz, SHARED, stream.handle, bound.frame.address, 0)
    if answer[0]:
        prepared.retry(answer[0], stream, bound.frame)
"""


class PreparedLaunch:
    """A kernel with its launch shape; each kernel has a subclass with the functions of :data:`_TEMPLATE`.

    Attributes
    ----------
    function : CUfunction
    shape : tuple[int, ...]
        Grid and block, x first.
    """

    __slots__ = ("_device", "_executable", "function", "shape")

    def __init__(self, device: CudaDevice, executable: CudaExecutable, config: LaunchConfig) -> None:
        if executable.block is not None and tuple(config.block) != executable.block:
            raise LaunchError(
                f"the kernel {executable.name!r} was compiled for blocks of {executable.block}, "
                f"not {tuple(config.block)}"
            )
        bx, by, bz = block = _xyz(config.block)
        self._device = device
        self._executable = executable
        self.function = executable.function_for(bx * by * bz)
        self.shape = (*_xyz(config.grid), *block)

    @property
    def name(self) -> str:
        """The kernel's."""
        return self._executable.name

    @property
    def dynamic_shared(self) -> int:
        """Bytes of shared memory that a launch asks for."""
        return self._executable.dynamic_shared

    def retry(self, code: Any, stream: CudaStream, frame: Frame) -> None:
        """Launch once more with the device's context current, if its absence was the trouble; raise what remains."""
        executable = self._executable
        if int(code) in WRONG_CONTEXT:
            answer = self._device.attempt(
                cu.cuLaunchKernel, self.function, *self.shape, executable.dynamic_shared, stream.handle, frame.address, 0
            )  # fmt: skip
            if not answer[0]:
                return
            code = answer[0]
        raise self._device.error(code, f"launching {executable.name}")

    def __call__(self, stream: CudaStream, *arguments: Any) -> None:
        """Pack the arguments and launch."""
        raise NotImplementedError

    def bind(self, *arguments: Any) -> BoundLaunch:
        """The launch with its arguments packed."""
        raise NotImplementedError

    def repack(self, frame: Frame, *arguments: Any) -> None:
        """Pack the arguments into a frame that ``bind`` made."""
        raise NotImplementedError


class BoundLaunch:
    """A launch with its arguments packed in a frame of its own."""

    __slots__ = ("frame", "prepared")

    def __init__(self, prepared: PreparedLaunch, frame: Frame) -> None:
        self.prepared = prepared
        self.frame = frame

    def __call__(self, stream: CudaStream) -> None:
        """Launch."""
        raise NotImplementedError


def _launch_class(executable: CudaExecutable) -> type[PreparedLaunch]:
    packer = packer_of(executable.params)
    frames: list[Frame] = []
    bound = type("BoundLaunch", (BoundLaunch,), {"__slots__": ()})
    values = {
        "NAME": executable.name,
        "SHARED": executable.dynamic_shared,
        "PACKER": packer,
        "Frame": Frame,
        "BoundLaunch": bound,
        "launch_kernel": cu.cuLaunchKernel,
        "take_frame": frames.pop,
        "give_frame": frames.append,
    }
    functions = packer.functions(_TEMPLATE, values, f"CUDA launch of {executable.name}")
    bound.__call__ = functions["enqueue_bound"]  # type: ignore[method-assign]
    members = {
        "__slots__": (),
        "__call__": functions["enqueue"],
        "bind": functions["bind"],
        "repack": functions["repack"],
    }
    return type("PreparedLaunch", (PreparedLaunch,), members)


def prepare(device: CudaDevice, executable: CudaExecutable, config: LaunchConfig) -> PreparedLaunch:
    """Bind a launch shape.  The last axis becomes x.

    Returns
    -------
    PreparedLaunch
        ``call(stream, *arguments)``; its method ``bind(*arguments)`` gives ``bound(stream)``.
    """
    made = executable.launch_class
    if made is None:
        made = executable.launch_class = _launch_class(executable)
    launch: PreparedLaunch = made(device, executable, config)
    return launch


def _xyz(shape: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = (1,) * (3 - len(shape)) + tuple(shape)
    return x, y, z
