"""Runs IR modules on a Vulkan device through the plugin's hooks alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import gpucore_vulkan as plugin
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions, Target
from gpucore.ir import Memory, Module


class Bench:
    """An opened device and one stream."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.stream = plugin.create_stream(device, StreamOptions())
        self.target: Target = plugin.target(device)

    def upload(self, array: np.ndarray) -> Any:
        """A device allocation with the array's bytes."""
        piece = plugin.alloc(self.device, max(array.nbytes, 1), "device", self.stream)
        if array.nbytes:
            view = memoryview(np.ascontiguousarray(array)).cast("B")
            plugin.copy(self.device, piece, 0, view, 0, array.nbytes, self.stream)
        return piece

    def download(self, piece: Any, array: np.ndarray) -> None:
        """The allocation's bytes into the array."""
        if array.nbytes:
            view = memoryview(array).cast("B")
            plugin.copy(self.device, view, 0, piece, 0, array.nbytes, self.stream)

    def run(
        self,
        module: Module,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: list[Any],
        target: Target | None = None,
    ) -> None:
        """Run a low-level module on ndarrays in place."""
        code = plugin.compile(target or self.target, module, CompileOptions())
        executable = plugin.load(self.device, code)
        pieces: list[tuple[Any, np.ndarray]] = []
        slots: list[Any] = []
        for parameter, argument in zip(module.kernel.params, args, strict=True):
            if isinstance(parameter, Memory):
                raw = argument.view(np.uint16) if argument.dtype.name == "bfloat16" else argument
                piece = self.upload(raw)
                pieces.append((piece, raw))
                slots += [piece, 0, *argument.shape]
            else:
                slots.append(argument.item() if isinstance(argument, np.generic) else argument)
        plugin.prepare(self.device, executable, LaunchConfig(grid, block))(self.stream, *slots)
        for piece, array in pieces:
            self.download(piece, array)
            plugin.free(self.device, piece, None)
        plugin.unload(self.device, executable)

    def lowered(self, module: Module) -> Module:
        """A high-level module as this device wants it."""
        from gpucore.ir.passes.lower import LowerOptions, link, lower
        from gpucore.math import library

        target = self.target
        linked = link(module, library) if module.math == "strict" else module
        return lower(
            linked,
            LowerOptions(
                native=target.native, library=library, fast_native=target.fast_native, atomics=target.atomics
            ),
        ).module

    def with_width(self, width: int) -> Target:
        """The target at another subgroup width."""
        features = {f for f in self.target.features if not f.startswith("SubgroupSize")}
        return replace(self.target, features=frozenset(features | {f"SubgroupSize{width}"}))
