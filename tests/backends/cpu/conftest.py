"""Running low-level modules on the CPU plugin without core's help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gpucore_cpu")

import gpucore_cpu as plugin  # noqa: E402
from gpucore import ir  # noqa: E402
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions  # noqa: E402


class Borrowed:
    """An ndarray in the place of an allocation."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.address = self.host = array.__array_interface__["data"][0]
        self.nbytes = array.nbytes


class Runner:
    """Compiles, loads and launches modules given as IR or as its text."""

    def __init__(self) -> None:
        self.plugin = plugin
        self.device = plugin.open_device(0, {})
        self.target = plugin.target(self.device)

    def module(self, source: str | ir.Module) -> ir.Module:
        return ir.parse(source) if isinstance(source, str) else source

    def compile(self, source: str | ir.Module) -> Any:
        return plugin.compile(self.target, self.module(source), CompileOptions())

    def render(self, source: str | ir.Module) -> str:
        return plugin.render(self.target, self.module(source), CompileOptions())

    def slots(self, module: ir.Module, args: tuple[Any, ...]) -> list[Any]:
        slots: list[Any] = []
        for parameter, value in zip(module.kernel.params, args, strict=True):
            if isinstance(parameter, ir.Memory):
                slots += [Borrowed(value) if value.size else None, 0, *value.shape]
            else:
                slots.append(value)
        return slots

    def prepare(self, source: str | ir.Module, grid: Any, block: Any) -> Any:
        executable = plugin.load(self.device, self.compile(source))
        config = LaunchConfig(_axes(grid), _axes(block))
        return plugin.prepare(self.device, executable, config)

    def run(self, source: str | ir.Module, grid: Any, block: Any, *args: Any) -> None:
        module = self.module(source)
        stream = plugin.create_stream(self.device, StreamOptions())
        self.prepare(module, grid, block)(stream, *self.slots(module, args))
        plugin.synchronize_stream(self.device, stream)
        plugin.destroy_stream(self.device, stream)


def _axes(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.fixture(scope="session")
def cpu() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    plugin.close_device(runner.device)


@pytest.fixture
def same_as_interpreter(cpu: Runner) -> Callable[..., list[np.ndarray[Any, Any]]]:
    """Run a low-level module on the CPU and on the interpreter; both must agree in every bit."""
    from gpucore.ir.interpreter import interpret

    def check(source: str, grid: Any, block: Any, *args: Any, **options: Any) -> list[np.ndarray[Any, Any]]:
        module = cpu.module(source)
        wanted = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        found = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        interpret(module, grid, block, wanted, **{"detect_races": False, **options})
        cpu.run(module, grid, block, *found)
        arrays = []
        for parameter, a, b in zip(module.kernel.params, wanted, found, strict=True):
            if isinstance(a, np.ndarray):
                np.testing.assert_array_equal(a, b, err_msg=parameter.name)
                arrays.append(b)
        return arrays

    return check
