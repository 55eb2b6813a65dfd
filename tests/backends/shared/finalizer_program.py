"""A finalizer at each place where the interpreter may run one: python finalizer_program.py BACKEND [ACTION ... | close]

CPython runs collections, and the handlers of signals, at the start of a function of Python, after a call of a function of C, and
where a loop begins anew. Each action is done once for each such place in the library, with another use of the context at that
place. Both must find what they computed. Prints the number of places of each action.  With ``close`` it is the end of the
context that comes at some of the places: what it interrupts ends, or raises an error of the library.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

import gpucore as gc

PATIENCE = 240.0
"""Seconds without an end after which a place counts as hung."""
N, LONG, LARGE = 64, 1 << 14, 1 << 18
TOOL = 3
SLOW = ("compile", "open_and_close")
"""Actions that come by thousands of places, of which a few are tried."""
TRIED = 12


@gc.kernel
def add(x: gc.Array[gc.i32], a: gc.i32) -> None:
    """Two streams add to one array, in no order: a device that other processes keep busy runs them at once."""
    i = gc.global_id(0)
    if i < x.shape[0]:
        gc.atomic_add(x, i, a)


@gc.kernel
def add_all(
    a: gc.Array[gc.i32], b: gc.Array[gc.i32], c: gc.Array[gc.i32], d: gc.Array[gc.i32], e: gc.Array[gc.i32], f: gc.Array[gc.i32],
    g: gc.Array[gc.i32], h: gc.Array[gc.i32], k: gc.Array[gc.i32], m: gc.Array[gc.i32], n: gc.i32,
) -> None:  # fmt: skip
    """More arguments than travel inside a command."""
    i = gc.global_id(0)
    if i < a.shape[0]:
        a[i] += b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i] + k[i] + m[i] + n


class Places:
    """Counts the places in files of the library, and calls a function at one of them."""

    def __init__(self, folders: list[str]) -> None:
        self._folders = ("<gpucore ", *folders)  # and launch functions, which are written when wanted
        self._ours: dict[CodeType, bool] = {}
        self._seen = 0
        self._at = -1
        self._use: Callable[[], None] | None = None
        monitoring = sys.monitoring
        events = monitoring.events
        monitoring.use_tool_id(TOOL, "places")
        self._events = events.PY_START | events.CALL | events.JUMP
        monitoring.register_callback(TOOL, events.PY_START, lambda code, at: self._place(code))
        monitoring.register_callback(TOOL, events.C_RETURN, lambda code, at, *rest: self._place(code))
        monitoring.register_callback(
            TOOL, events.JUMP, lambda code, at, to: self._place(code) if to < at else None
        )

    def _place(self, code: CodeType) -> None:
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(self._folders)
        if not ours:
            return
        self._seen += 1
        if self._seen - 1 == self._at and self._use is not None:
            use, self._use = self._use, None
            self.where = f"{code.co_filename}: {code.co_qualname}"
            use()

    def run(self, action: Callable[[], None], at: int = -1, use: Callable[[], None] | None = None) -> int:
        """How many places the action came by."""
        self._seen, self._at, self._use = 0, at, use
        sys.monitoring.set_events(TOOL, self._events)
        try:
            action()
        finally:
            sys.monitoring.set_events(TOOL, 0)
        return self._seen


class Actions:
    """What is done, and what it must find."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._context = context = gc.Context(backend)
        self._stream = context.stream()
        self._x, self._y = context.zeros(N, gc.i32), context.zeros(N, gc.i32)
        self._many = [context.zeros(N, gc.i32) for _ in range(10)]
        self._large = context.zeros(LARGE, gc.i32)
        self._host = np.arange(LARGE, dtype=np.int32)
        self._pinned = context.pinned(N, gc.i32)
        self._shared = context.zeros(LONG, gc.i32)
        self._total = self._sum = self._used = 0
        self._bound = add.over(N).bind(self._x, 1)
        with context.graph() as graph:
            add.over(N)(self._y, graph.scalar("a", 1))
            add.over(N)(self._y, 1)
        self._graph = graph
        self._of_graph = self._numbers = 0

    def launch(self) -> None:
        for _ in range(3):
            add.over(N)(self._x, 1)
        self._total += 3

    def launch_bound(self) -> None:
        self._bound()
        self._total += 1

    def launch_with_many_arguments(self) -> None:
        add_all.over(N)(*self._many, 1)
        self._sum += 1

    def launch_on_another_stream(self) -> None:
        add.over(N, stream=self._stream)(self._x, 2)
        self._total += 2

    def fill_and_copy(self) -> None:
        z = self._context.zeros(N, gc.i32)
        z.fill(5)
        z.copy_to(self._pinned)
        w = self._context.array(self._host[:N])
        w.copy_from(z)
        assert w.numpy().tolist() == [5] * N

    def copy_much(self) -> None:
        self._large.copy_from(self._host)
        add.over(LARGE)(self._large, 1)
        found = self._large.numpy()
        assert found[-1] == LARGE and found[0] == 1

    def record_and_wait(self) -> None:
        first, second = self._context.event(timing=True), self._context.event(timing=True)
        self._context.default_stream.record(first)
        add.over(N)(self._x, 1)
        self._context.default_stream.record(second)
        self._stream.wait(second)
        second.synchronize()
        assert first.elapsed_time(second) >= 0
        self._total += 1

    def launch_a_graph(self) -> None:
        self._graph.update(a=3)
        self._graph.launch()
        self._of_graph += 4

    def make_and_drop(self) -> None:
        stream = self._context.stream()
        z = self._context.zeros(LONG, gc.i32)
        add.over(LONG, stream=stream)(z, 1)
        del stream
        assert z.numpy()[-1] == 1
        z.free()
        self._context.pool.trim()

    def wait(self) -> None:
        add.over(LONG)(self._shared, 0)
        self._context.synchronize()

    def profile(self) -> None:
        with gc.profile(self._context) as profile:
            add.over(N)(self._x, 1)
        self._total += 1
        assert any(event.kind == "kernel" for event in profile.events)

    def compile(self) -> None:
        number = self._numbers = self._numbers + 1

        @gc.kernel
        def fresh(x: gc.Array[gc.i32]) -> None:
            x[0] = number

        z = self._context.zeros(1, gc.i32)
        fresh[1, 1](z)
        assert z.numpy()[0] == number

    def open_and_close(self) -> None:
        with gc.Context(self._backend) as other:
            z = other.zeros(N, gc.i32)
            add.over(N, stream=other.stream())(z, 1)
            assert z.numpy()[-1] == 1

    def _use(self) -> None:
        """What a finalizer does: some of each, on the same streams and on its own."""
        context = self._context
        add.over(N)(self._x, 1)
        add_all.over(N)(*self._many, 1)
        add.over(N, stream=self._stream)(self._x, 1)
        z = context.zeros(N, gc.i32)
        stream = context.stream()
        add.over(N, stream=stream)(z, 7)
        event = context.event(timing=True)
        stream.record(event)
        self._shared.copy_from(self._host[:LONG])
        assert self._shared.numpy()[-1] == LONG - 1
        assert z.numpy().tolist() == [7] * N
        event.synchronize()
        z.free()
        for _ in range(2):  # nothing waits for these, and the second may not be sent
            add_all.over(N)(*self._many, 1)
        self._total += 2
        self._sum += 3
        self._used += 1

    def _check(self) -> None:
        self._context.synchronize()
        assert (self._x.numpy() == self._total).all(), (self._x.numpy(), self._total)
        assert (self._many[0].numpy() == self._sum).all(), (self._many[0].numpy(), self._sum)
        assert (self._y.numpy() == self._of_graph).all(), (self._y.numpy(), self._of_graph)


def close_within(backend: str, places: Places) -> None:
    for name in ("launch", "fill_and_copy", "copy_much", "make_and_drop", "wait"):
        actions = Actions(backend)
        count = places.run(getattr(actions, name))
        actions._context.close()
        for at in range(0, count, max(1, count // TRIED)):
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            actions = Actions(backend)
            getattr(actions, name)()
            with contextlib.suppress(gc.GpucoreError):
                places.run(getattr(actions, name), at, actions._context.close)
        print(name, count, flush=True)


def main(backend: str, names: list[str]) -> None:
    module = sys.modules[f"gpucore_{backend}"]
    folders = [str(Path(str(module.__file__)).parent) + os.sep]
    if os.environ.get("PLACES_OF_THE_CORE"):
        folders.append(str(Path(gc.__file__).parent) + os.sep)
    places = Places(folders)
    if names == ["close"]:
        close_within(backend, places)
        return
    actions = Actions(backend)
    names = names or [name for name in vars(Actions) if not name.startswith("_")]
    for name in names:
        action: Callable[[], Any] = getattr(actions, name)
        for _ in range(3):  # what is made once is there
            action()
            actions._use()
        count = places.run(action)
        actions._check()
        step = max(1, count // TRIED) if name in SLOW else 1
        at = step // 2
        while at < count + 2:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            before = actions._used
            try:
                count = places.run(action, at, actions._use)
                assert actions._used == before + 1 or at >= count, "the finalizer did not come to its end"
                actions._check()
            except BaseException:
                print(f"{name}, place {at} of {count}: {places.where}", flush=True)
                raise
            at += step
        print(name, count, flush=True)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    actions._context.close()
    if backend == "vulkan":
        from gpucore_vulkan.instance import instance

        said = [m for m in instance().messages if "enormPreserve" not in m]
        assert not said, said[:3]


if __name__ == "__main__":
    with gc.Context(sys.argv[1]):
        pass  # imports the plugin
    main(sys.argv[1], sys.argv[2:])
