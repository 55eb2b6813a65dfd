"""Ctrl-C at random moments of everything that a program does: python interrupted_program.py COUNT SEED [ACTION ...] [-b BACKEND]

Afterwards everything works, and nothing hangs.  Prints the number of interrupts that were caught.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import signal
import sys
from typing import Any

import numpy as np

import gpucore as gc

SHORT, LONG = 256, 1 << 18
PATIENCE = 240.0
"""Seconds without an end after which a round counts as hung, also on a machine that does much else."""
SLOW = ("open_and_close", "compile")
"""Actions that take so long that their later half wants later interrupts."""


@gc.kernel
def add(x: gc.Array[gc.i32], a: gc.i32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a


@gc.kernel
def turn(x: gc.Array[gc.i32]) -> None:
    tile = gc.shared(64, gc.i32)
    t, i = gc.thread_id(0), gc.global_id(0)
    tile[t] = x[i]
    gc.barrier()
    x[i] = tile[63 - t]


class Bench:
    """What is interrupted: each public method."""

    def __init__(self, rng: random.Random, backend: str) -> None:
        self._rng = rng
        self._backend = backend
        self._context = context = gc.Context(backend)
        self._stream, self._other = context.default_stream, context.stream()
        self._short, self._long, self._spare = (context.zeros(n, gc.i32) for n in (SHORT, LONG, LONG))
        self._host = np.zeros(LONG, np.int32)
        self._events = [context.event() for _ in range(4)]
        self._bound = add[1, SHORT].bind(self._short, 1)
        self._checked = context.options(check=True).zeros(SHORT, gc.i32)
        self._graph: Any = None

    def launch(self) -> None:
        add[1, SHORT](self._short, 1)

    def launch_bound(self) -> None:
        self._bound()

    def launch_spread(self) -> None:
        add.over(LONG)(self._long, 1)

    def launch_with_shared_memory(self) -> None:
        turn[4, 64](self._short)

    def launch_several(self) -> None:
        for _ in range(3):
            add.over(LONG)(self._long, 1)
            add[1, SHORT](self._short, 1)

    def upload(self) -> None:
        self._long.copy_from(self._host)

    def download(self) -> None:
        self._long.copy_to(self._host)

    def read(self) -> None:
        self._short.numpy()

    def move(self) -> None:
        self._spare.copy_from(self._long)

    def fill(self) -> None:
        self._long.fill(self._rng.randrange(100))

    def wait(self) -> None:
        add.over(LONG)(self._long, 1)
        self._context.synchronize()

    def wait_for_another(self) -> None:
        event = self._rng.choice(self._events)
        add.over(LONG)(self._long, 1)
        self._stream.record(event)
        self._other.wait(event)
        add[1, SHORT, self._other](self._short, 1)
        self._other.synchronize()

    def make_a_stream(self) -> None:
        stream = self._context.stream()
        add[1, SHORT, stream](self._short, 1)
        stream.synchronize()

    def poll(self) -> None:
        add.over(LONG)(self._long, 1)
        while not self._stream.query():
            pass

    def open_and_close(self) -> None:
        with gc.Context(self._backend) as context:
            x = context.zeros(LONG, gc.i32)
            add.over(LONG)(x, 1)
            x.numpy()

    def compile(self) -> None:
        number = self._rng.randrange(10**9)

        @gc.kernel
        def fresh(x: gc.Array[gc.i32]) -> None:
            x[0] = number

        fresh[1, 1](self._short)

    def record_a_graph(self) -> None:
        with self._context.graph() as graph:
            add[1, SHORT](self._short, 1)
            add.over(LONG)(self._long, 1)
        graph.launch()

    def launch_a_graph(self) -> None:
        if self._graph is None:
            with self._context.graph() as graph:
                add[1, SHORT](self._short, 1)
                self._short.fill(3)
                add[1, SHORT](self._short, 1)
            self._graph = graph
        self._graph.launch()

    def pass_through_a_pipeline(self) -> None:
        def step(stream: gc.Stream, x: gc.Array[gc.i32]) -> gc.Array[gc.i32]:
            add.over(SHORT, stream=stream)(x, 1)
            return x

        for result in self._context.pipeline(step, (np.full(SHORT, n, np.int32) for n in range(8))):
            result.sum()

    def prefetch(self) -> None:
        for x in self._context.prefetch(np.full(SHORT, n, np.int32) for n in range(4)):
            add.over(SHORT)(x, 1)

    def profile(self) -> None:
        with gc.profile(self._context):
            add[1, SHORT](self._short, 1)

    def lend_and_borrow(self) -> None:
        x = gc.from_dlpack(self._host, context=self._context, copy=True)
        add.over(LONG)(x, 1)
        x.numpy()

    def copy_through_pinned_memory(self) -> None:
        pinned = self._context.pinned(SHORT, gc.i32)
        self._short.copy_to(pinned)
        self._short.copy_from(pinned)

    def launch_checked(self) -> None:
        add.over(SHORT)(self._checked, 1)
        self._checked.context.synchronize()

    def pool_of_its_own(self) -> None:
        pool = gc.MemoryPool(self._context, size=1 << 20)
        x = self._context.options(pool=pool).zeros(SHORT, gc.i32)
        add[1, SHORT](x, 1)

    def _check(self) -> None:
        ones = self._context.ones(LONG, gc.i32)
        for _ in range(3):
            add.over(LONG)(ones, 1)
        assert (ones.numpy() == 4).all()
        self._context.synchronize()
        assert self._stream.query()
        assert self._other.query()


armed = False


def interrupt(*_: object) -> None:
    if armed:
        raise KeyboardInterrupt


def again_and_again(action: object, delay: float) -> None:
    """Until an interrupt; one may be lost in a finalizer, so they come again."""
    global armed
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, delay, 0.3)
            while True:
                action()  # type: ignore[operator]
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(count: int, seed: int, names: list[str], backend: str) -> None:
    def within_patience() -> None:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)

    rng = random.Random(seed)
    sys.unraisablehook = lambda _: None  # interrupts in finalizers
    signal.signal(signal.SIGALRM, interrupt)
    within_patience()
    bench = Bench(rng, backend)
    names = names or [name for name in vars(Bench) if not name.startswith("_")]
    for name in names:
        getattr(bench, name)()
    for number in range(count):
        name = names[number % len(names)]
        within_patience()
        again_and_again(getattr(bench, name), 10 ** rng.uniform(-5, -0.7 if name in SLOW else -2))
        bench._check()
    within_patience()
    bench._context.close()
    print(count)


parser = argparse.ArgumentParser()
parser.add_argument("count", type=int)
parser.add_argument("seed", type=int)
parser.add_argument("action", nargs="*")
parser.add_argument("-b", "--backend", default="cpu")
options = parser.parse_args()
main(options.count, options.seed, options.action, options.backend)
