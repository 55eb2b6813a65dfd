"""Object code finds a place wherever memory is free, and gives it back."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from gpucore.errors import CompileError
from gpucore.hookspecs import ObjectCode

DOUBLE = """
module ir=1 ndim=1 math=strict

kernel @double(&x: f32[?]) {
  memory &table: const f32[2] = { 1.0, 2.0 }
  %i: i32 = global_id 0
  %1: i32 = const 1
  %v: f32 = load &x[%i]
  %two: f32 = load &table[%1]
  %r: f32 = mul %v, %two
  store &x[%i], %r
}
"""

HEAD = """
import ctypes, pickle, sys
import numpy as np
import gpucore_cpu as plugin
from gpucore.hookspecs import LaunchConfig, ObjectCode, StreamOptions

device = plugin.open_device(0, {})
code = ObjectCode(*pickle.load(open(sys.argv[1], "rb")))
stream = plugin.create_stream(device, StreamOptions())
memory = plugin.alloc(device, 256, "device", None)

def right(executable):
    plugin.copy(device, memory, 0, memoryview(np.full(64, 3, np.float32)).cast("B"), 0, 256, stream)
    plugin.prepare(device, executable, LaunchConfig((1,), (64,)))(stream, memory, 0, 64)
    out = bytearray(256)
    plugin.copy(device, memoryview(out), 0, memory, 0, 256, stream)
    return np.frombuffer(out, np.float32).tolist() == [6.0] * 64
"""


def run(tmp_path: Any, cpu: Any, program: str) -> str:
    import pickle

    code = cpu.compile(DOUBLE)
    (tmp_path / "code").write_bytes(pickle.dumps((code.data, code.entry, code.format, dict(code.metadata))))
    (tmp_path / "program.py").write_text(HEAD + program, "utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", tmp_path / "code"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


FAR_APART = """
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
PROT_NONE, PRIVATE_ANONYMOUS_NORESERVE = 0, 0x4022
loaded = []
for number in range(200):
    loaded.append(plugin.load(device, code))
    if number % 8 == 0:
        assert libc.mmap(None, 4 << 30, PROT_NONE, PRIVATE_ANONYMOUS_NORESERVE, -1, 0) != 2**64 - 1
    if number % 20 == 0:
        assert right(loaded[-1])

print("all right")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reserves address space by Linux's mmap")
def test_kernels_load_though_gigabytes_lie_between_them(tmp_path: Any, cpu: Any) -> None:
    assert run(tmp_path, cpu, FAR_APART).split() == ["all", "right"]


DROPPED = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def round_of(count):
    for _ in range(count):
        plugin.unload(device, plugin.load(device, code))

assert right(plugin.load(device, code))
round_of(200)
before = resident()
round_of(400)
print((resident() - before) / 400)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
def test_an_unloaded_kernel_keeps_next_to_nothing(tmp_path: Any, cpu: Any) -> None:
    assert float(run(tmp_path, cpu, DROPPED)) <= 2048


@pytest.mark.parametrize("data", [b"", b"no object file"])
def test_what_is_no_object_file_is_refused_with_the_kernels_name(cpu: Any, data: bytes) -> None:
    code = cpu.compile(DOUBLE)
    with pytest.raises(CompileError, match="gpucore_double") as caught:
        cpu.plugin.load(cpu.device, ObjectCode(data, code.entry, code.format, code.metadata))
    assert caught.value.log
