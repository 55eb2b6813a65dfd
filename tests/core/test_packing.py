"""The packer of launch arguments: what lies where, and functions written for it."""

from __future__ import annotations

import ctypes
import struct
import traceback

import numpy as np
import pytest

from gpucore.plugin_api import STRUCT_CODES, ArgumentPacker, PackedField


class Memory:
    def __init__(self, address):
        self.address, self.host = address, address + 1


FIELDS = [
    PackedField(0, "value", "?"), PackedField(1, "pointer", "Q"), PackedField(1, 1, "i"), PackedField(2, "value", "f"),
    PackedField(3, "value", "H", "bf16"),
]  # fmt: skip
TEMPLATE = "def launch({arguments}):\n    return pack({values})\n"


def test_the_c_layout_is_that_of_a_c_struct():
    class Struct(ctypes.Structure):
        _fields_ = (
            ("a", ctypes.c_bool), ("b", ctypes.c_uint64), ("c", ctypes.c_int32), ("d", ctypes.c_float), ("e", ctypes.c_uint16),
        )  # fmt: skip

    packer = ArgumentPacker([None, 2, None, None], FIELDS, order="@")
    launch = packer.functions(TEMPLATE, {}, "test")["launch"]
    data = launch(True, Memory(4096), 8, 3, 5, 0.5, 1.0)
    seen = Struct.from_buffer_copy(data.ljust(ctypes.sizeof(Struct), b"\0"))
    assert (seen.a, seen.b, seen.c, seen.d, seen.e) == (True, 4104, 5, 0.5, 0x3F80)
    assert packer.offsets == tuple(getattr(Struct, name).offset for name, _ in Struct._fields_)


def test_words_of_eight_bytes_and_addresses_of_the_host():
    fields = [PackedField(0, "pointer", "Q"), PackedField(0, 0, "q"), PackedField(1, "value", "f4x")]
    packer = ArgumentPacker([1, None], fields, order="=", address="host")
    launch = packer.functions(TEMPLATE, {}, "test")["launch"]
    assert struct.unpack("=Qqf4x", launch(Memory(64), 4, 7, 2.0)) == (69, 7, 2.0)
    assert launch(None, 4, 0, 2.0)[:8] == bytes(8), "an array of size zero has no address"
    assert packer.offsets == (0, 8, 16)


def test_fields_at_offsets_and_padding():
    fields = [PackedField(1, "value", "I", offset=4), PackedField(0, "value", "Q", offset=16)]
    packer = ArgumentPacker([None, None], fields, size=32)
    assert (packer.size, packer.offsets) == (32, (4, 16))
    data = packer.functions(TEMPLATE, {}, "test")["launch"](9, 7)
    assert struct.unpack_from("<I", data, 4) + struct.unpack_from("<Q", data, 16) == (7, 9)


def test_a_prefix_goes_before_the_arguments():
    packer = ArgumentPacker([None], [PackedField(0, "value", "q")], order="=")
    template = "def launch(header, {arguments}):\n    return pack(header, 0, {values})\n"
    assert struct.unpack("=QQq", packer.functions(template, {}, "test", prefix="QQ")["launch"](5, 6)) == (
        5,
        0,
        6,
    )


def test_floats_past_the_largest_round_to_infinity():
    packer = ArgumentPacker([None, None], [PackedField(0, "value", "f"), PackedField(1, "value", "e")])
    with pytest.raises(OverflowError):
        packer.functions(TEMPLATE, {}, "test")["launch"](1e39, 1.0)
    rounded = packer.functions(TEMPLATE.replace("pack(", "pack_rounded("), {}, "test")["launch"]
    assert struct.unpack("<fe", rounded(1e39, -1e6)) == (np.inf, -np.inf)


def test_every_dtype_has_a_code_of_its_width():
    from gpucore.ir.dtypes import dtype

    for name, code in STRUCT_CODES.items():
        if name != "index":
            assert struct.calcsize(f"={code}") == dtype(name).itemsize, name


def test_a_kernel_without_parameters():
    packer = ArgumentPacker([], [])
    assert packer.functions(TEMPLATE, {}, "test")["launch"]() == b""
    assert packer.size == 0


def test_tracebacks_show_the_line_of_the_template():
    packer = ArgumentPacker([None], [PackedField(0, "value", "b")])
    with pytest.raises(struct.error) as caught:
        packer.functions(TEMPLATE, {}, "launch of a test")["launch"](1000)
    text = "".join(traceback.format_exception(caught.value))
    assert "return pack(scalar0)" in text and "launch of a test" in text
