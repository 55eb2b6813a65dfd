"""The launch path: a function generated for a kernel's layout, with the parameters packed ahead.

``cuLaunchKernel`` takes the address of an array of pointers, one to each parameter.  A frame holds that
array and the
parameters behind it, so that a launch writes the values with one ``pack_into`` and makes one call.  Frames
are
taken from a list while in use: the driver copies the parameters before it returns, but releases the GIL on
the way.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

from cuda.bindings import driver as cu

from gpucore.errors import LaunchError
from gpucore.hookspecs import BoundCall, LaunchConfig
from gpucore_cuda.driver import WRONG_CONTEXT, CudaDevice
from gpucore_cuda.loading import CudaExecutable
from gpucore_cuda.streams import CudaStream

_FORMAT = {
    "bool": "?", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
    "f16": "e", "bf16": "H", "f32": "f", "f64": "d",
}  # fmt: skip


class Layout:
    """Where the parameters lie, and how slots become values.

    Attributes
    ----------
    packer : struct.Struct
    offsets : tuple[int, ...]
        Of each parameter in the packed bytes.
    slots : tuple[str, ...]
        Names of the slots, in order.
    values : tuple[str, ...]
        Python expressions of the packed values over those names.
    """

    def __init__(self, params: list[Any]) -> None:
        slots: list[str] = []
        values: list[str] = []
        formats: list[str] = []
        for number, param in enumerate(params):
            if param[0] == "array":
                rank, extents = int(param[1]), param[2]
                a, o = f"a{number}", f"o{number}"
                slots += [a, o, *(f"e{number}_{axis}" for axis in range(rank))]
                values.append(f"{a}.address + {o} if {a} is not None else 0")
                formats.append("Q")
                for axis, dtype in extents:
                    values.append(f"e{number}_{axis}")
                    formats.append(_FORMAT[dtype])
            else:
                slots.append(f"s{number}")
                values.append(f"bf16_bits(s{number})" if param[1] == "bf16" else f"s{number}")
                formats.append(_FORMAT[param[1]])
        offsets: list[int] = []
        for index, code in enumerate(formats):
            end = struct.calcsize("@" + "".join(formats[: index + 1]))
            offsets.append(end - struct.calcsize("@" + code))
        self.packer = struct.Struct("@" + "".join(formats))
        self.offsets = tuple(offsets)
        self.slots, self.values = tuple(slots), tuple(values)


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

    def __init__(self, layout: Layout) -> None:
        self.buffer = ctypes.create_string_buffer(max(layout.packer.size, 1))
        base = ctypes.addressof(self.buffer)
        self._pointers = (ctypes.c_void_p * max(len(layout.offsets), 1))(*(base + o for o in layout.offsets))
        self.address = ctypes.addressof(self._pointers) if layout.offsets else 0


def bf16_bits(value: float) -> int:
    """The bits of a Python float rounded to bf16, to even; a float is first rounded to odd in f32."""
    import numpy as np

    single = np.float32(value)
    bits = int(single.view(np.uint32))
    if single != single:
        return 0x7FC0
    if float(single) != float(value) and float(single) not in (float("inf"), float("-inf")):
        if abs(float(single)) > abs(float(value)):
            bits -= 1  # back toward zero, so that the sticky bit is below
        bits |= 1
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF


_TEMPLATE = """\
def make(launch, function, gx, gy, gz, bx, by, bz, shared, name, frames, new_frame, pack, bf16_bits, again):
    take, give = frames.pop, frames.append

    def call(stream{slots}):
        try:
            frame = take()
        except IndexError:
            frame = new_frame()
        pack(frame.buffer, 0{values})
        stream.last = name
        answer = launch(function, gx, gy, gz, bx, by, bz, shared, stream.handle, frame.address, 0)
        if answer[0]:
            again(answer[0], stream, frame)
        give(frame)

    def bind({plain_slots}):
        frame = new_frame()
        pack(frame.buffer, 0{values})
        address = frame.address

        def bound(stream):
            stream.last = name
            answer = launch(function, gx, gy, gz, bx, by, bz, shared, stream.handle, address, 0)
            if answer[0]:
                again(answer[0], stream, frame)

        return bound

    call.bind = bind
    return call
"""


def _maker(layout: Layout) -> Callable[..., Any]:
    # Only names made from numbers go into the text, and the layout's dtypes were looked up in _FORMAT.
    slots, values = "".join(f", {s}" for s in layout.slots), "".join(f", {v}" for v in layout.values)
    text = _TEMPLATE.format(slots=slots, values=values, plain_slots=", ".join(layout.slots))
    namespace: dict[str, Any] = {}
    exec(compile(text, "<gpucore_cuda launch path>", "exec"), namespace)
    maker: Callable[..., Any] = namespace["make"]
    return maker


def prepare(device: CudaDevice, executable: CudaExecutable, config: LaunchConfig) -> Callable[..., None]:
    """Bind a launch shape.  The last axis becomes x.

    Returns
    -------
    callable
        ``call(stream, *slots)``; its attribute ``bind(*slots)`` gives ``bound(stream)``.
    """
    if executable.block is not None and tuple(config.block) != executable.block:
        raise LaunchError(
            f"the kernel {executable.name!r} was compiled for blocks of {executable.block}, "
            f"not {tuple(config.block)}"
        )
    bx, by, bz = _xyz(config.block)
    gx, gy, gz = _xyz(config.grid)
    function = executable.function_for(bx * by * bz)
    layout = Layout(executable.params)
    shared, launch = executable.dynamic_shared, cu.cuLaunchKernel

    def again(code: Any, stream: CudaStream, frame: Frame) -> None:
        """Launch once more with the device's context current, if its absence was the trouble; raise what
        remains."""
        if int(code) in WRONG_CONTEXT:
            answer = device.attempt(
                launch, function, gx, gy, gz, bx, by, bz, shared, stream.handle, frame.address, 0
            )
            if not answer[0]:
                return
            code = answer[0]
        raise device.error(code, f"launching {executable.name}")

    maker = _maker(layout)
    call: Callable[..., None] = maker(
        launch, function, gx, gy, gz, bx, by, bz, shared, executable.name, [], lambda: Frame(layout),
        layout.packer.pack_into, bf16_bits, again,
    )  # fmt: skip
    return call


def bind(call: Callable[..., Any], *slots: Any) -> BoundCall:
    """``call.bind(*slots)``, typed."""
    bound: BoundCall = call.bind(*slots)  # type: ignore[attr-defined]
    return bound


def _xyz(shape: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = (1,) * (3 - len(shape)) + tuple(shape)
    return x, y, z
