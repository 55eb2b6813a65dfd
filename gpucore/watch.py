"""Captured constants, looked at cheaply at every launch."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from gpucore.lang import DeviceFunction

if TYPE_CHECKING:
    from gpucore.lang import Captured

__all__ = ["watched"]

_MISSING = object()


def watched(captured: Captured) -> list[tuple[Any, str, Any]]:
    """Where each captured constant lives (globals, a closure's cell, a module), its name there, its value now.

    While all of these hold the same objects, ``captured.constants()`` is what it was.  The constants of
    device functions that the kernel calls are among them.
    """
    result: list[tuple[Any, str, Any]] = []
    _watch(captured, result, set())
    return result


def _watch(captured: Captured, result: list[tuple[Any, str, Any]], seen: set[int]) -> None:
    if id(captured) in seen:
        return
    seen.add(id(captured))
    function = captured.function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for dotted in captured._free_names():
        root, *rest = dotted.split(".")
        value = captured.lookup(root)
        steps: list[tuple[Any, str, Any]] = []
        if root in cells:
            steps.append((cells[root], "cell_contents", value))
        elif root in function.__globals__:
            steps.append((function.__globals__, root, value))
        for attribute in rest:
            if not isinstance(value, (types.ModuleType, types.SimpleNamespace)):
                break
            place, value = value, getattr(value, attribute, _MISSING)
            steps.append((place, attribute, value))
        if isinstance(value, DeviceFunction):
            result += steps
            _watch(value.captured, result, seen)
        elif isinstance(value, (bool, int, float, str, tuple)) or type(value).__module__ == "numpy":
            result += steps
