"""Which functions of Vulkan launches, copies and submissions enter, counted at the binding."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("gpucore_vulkan")

import gpucore_vulkan as plugin
from gpucore.hookspecs import CompileOptions, LaunchConfig
from gpucore.ir import Function, Load, Memory, Module, Op, Store, ThreadIndex, Value, i32
from gpucore_vulkan.loader import Functions

N = 256


class Entries:
    """The names of Vulkan functions in the order of their calls."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def of(self, action) -> list[str]:
        """What one action enters."""
        self.names.clear()
        action()
        return list(self.names)


@pytest.fixture
def entries(monkeypatch, vulkan_device):
    """Every function that is looked up from here on is written down when called."""
    found, plain = Entries(), Functions.__getattr__

    def look(self, name):
        function = plain(self, name)

        def call(*args):
            found.names.append(name)
            return function(*args)

        setattr(self, name, call)
        return call

    monkeypatch.setattr(Functions, "__getattr__", look)
    return found


@pytest.fixture
def counted(entries, vulkan_device):
    """A device of its own, whose functions are all looked up anew."""
    from bench import Bench

    device = plugin.open_device(int(os.environ.get("GPUCORE_VULKAN_TEST_DEVICE", "0")), {})
    made = Bench(device)
    yield made
    plugin.destroy_stream(device, made.stream)
    plugin.close_device(device)


@pytest.fixture
def launch(counted):
    """``launch(a)`` runs ``x[i] = x[i] + a`` on the device's stream."""
    x, a = Memory("x", i32, "global"), Value("a", i32)
    i, v, r = (Value(n, i32) for n in ("i", "v", "r"))
    body = (ThreadIndex(i, "global_id", 0), Load(v, x, (i,)), Op(r, "add", (v, a)), Store(x, (i,), r))
    module = Module(Function("step", (x, a), None, (), (), body))
    executable = plugin.load(counted.device, plugin.compile(counted.target, module, CompileOptions()))
    piece = counted.upload(np.zeros(N, np.int32))
    call = plugin.prepare(counted.device, executable, LaunchConfig((N // 64,), (64,)))
    yield lambda value=1: call(counted.stream, piece, 0, N, value)
    plugin.synchronize_stream(counted.device, counted.stream)
    plugin.free(counted.device, piece, None)
    plugin.unload(counted.device, executable)


def test_x(entries, counted, launch):
    import sys

    for _ in range(5):
        print(entries.of(launch), file=sys.stderr)
    print(
        "sync", entries.of(lambda: plugin.synchronize_stream(counted.device, counted.stream)), file=sys.stderr
    )
    for _ in range(40):
        print(entries.of(launch), file=sys.stderr)
    print(
        "sync", entries.of(lambda: plugin.synchronize_stream(counted.device, counted.stream)), file=sys.stderr
    )
    d = plugin.alloc(counted.device, 1024, "device", counted.stream)
    e = plugin.alloc(counted.device, 1024, "device", counted.stream)
    h = memoryview(bytearray(1024))
    for n in range(3):
        print(
            "h2d",
            entries.of(lambda: plugin.copy(counted.device, d, 0, h, 0, 1024, counted.stream)),
            file=sys.stderr,
        )
    for n in range(3):
        print(
            "d2h",
            entries.of(lambda: plugin.copy(counted.device, h, 0, d, 0, 1024, counted.stream)),
            file=sys.stderr,
        )
    for n in range(3):
        print(
            "d2d",
            entries.of(lambda: plugin.copy(counted.device, e, 0, d, 0, 1024, counted.stream)),
            file=sys.stderr,
        )
    for n in range(3):
        print(
            "fill",
            entries.of(lambda: plugin.fill(counted.device, e, 0, 1024, b"abcd", counted.stream)),
            file=sys.stderr,
        )
    print(
        "sync", entries.of(lambda: plugin.synchronize_stream(counted.device, counted.stream)), file=sys.stderr
    )
    assert 0
