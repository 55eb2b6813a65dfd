"""What tests of all packages share: counting what a call costs, in things that are not noisy."""

from __future__ import annotations

import gc as collector
import signal
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C arrive in tests of it, also where a shell without job control runs them in the background, deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def module_of(
    text: str,
    *,
    ndim: int = 1,
    extra: str = "",
    math: str = "strict",
    level: str = "high",
    native: frozenset[str] = frozenset(),
) -> Any:
    """Text without the module line, as a verified module."""
    from gpucore.ir.text import parse
    from gpucore.ir.verify import verify

    module = parse(f"module ir=1 ndim={ndim} math={math}{extra}\n" + textwrap.dedent(text))
    verify(module, level=level, native=native)
    return module


@pytest.fixture
def build() -> Callable[..., Any]:
    """``build(text, ndim=1, extra="", math="strict", level="high", native=frozenset())``: see :func:`module_of`."""
    return module_of


@dataclass
class Calls:
    """What one call ran: Python functions, and functions written in C, by name and in order."""

    python: list[str] = field(default_factory=list)
    native: list[str] = field(default_factory=list)


class Counter:
    """Counts what a call costs once it is warm."""

    @staticmethod
    def calls(action: Callable[[], object], warm: int = 3) -> Calls:
        """The functions that ``action`` calls, itself left out."""
        for _ in range(warm):
            action()
        seen = Calls()

        def note(frame: Any, event: str, arg: Any) -> None:
            if event == "call":
                seen.python.append(frame.f_code.co_name)
            elif event == "c_call":
                seen.native.append(arg.__name__)

        before, collecting = sys.getprofile(), collector.isenabled()
        # a collection falls where the allocations of all tests so far put it, and runs the finalizers of what others left
        collector.disable()
        sys.setprofile(note)
        try:
            action()
        finally:
            sys.setprofile(before)
            if collecting:
                collector.enable()
        if hasattr(action, "__code__"):
            seen.python.remove(action.__code__.co_name)
        seen.native.remove("setprofile")
        return seen

    @staticmethod
    def blocks(action: Callable[[], object], times: int) -> int:
        """By how many of Python's memory blocks the process has grown after ``times`` calls."""
        for _ in range(64):
            action()
        start = sys.getallocatedblocks()
        for _ in range(times):
            action()
        return sys.getallocatedblocks() - start

    @staticmethod
    def peak(action: Callable[[], object]) -> int:
        """The bytes of Python's memory that one call holds at most, beyond what was held before."""
        for _ in range(8):
            action()
        tracemalloc.start()
        try:
            action()
            tracemalloc.reset_peak()
            start = tracemalloc.get_traced_memory()[0]
            action()
            return tracemalloc.get_traced_memory()[1] - start
        finally:
            tracemalloc.stop()


@pytest.fixture
def count() -> Counter:
    """``count.calls(action)``, ``count.blocks(action, times)``, ``count.peak(action)``."""
    return Counter()


@pytest.fixture
def hook_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of a backend's hooks called through pluggy from here on."""
    from pluggy import HookCaller

    from gpucore.hookspecs import BackendSpec

    seen: list[str] = []
    original = HookCaller.__call__

    def call(self: Any, **arguments: Any) -> Any:
        if hasattr(BackendSpec, self.name):  # pytest's own hooks come this way too
            seen.append(self.name)
        return original(self, **arguments)

    monkeypatch.setattr(HookCaller, "__call__", call)
    return seen
