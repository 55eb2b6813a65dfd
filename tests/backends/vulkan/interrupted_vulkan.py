"""KeyboardInterrupts at random times in launches, copies, waits and closing: nothing hangs, nothing is wrong afterwards.

``python interrupts.py BACKEND [COUNT] [SEED]`` sends that many into one process and one into each of a tenth as many
others that are closing; it ends with the number of interrupts that arrived, or with what went wrong.
"""

from __future__ import annotations

import faulthandler
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np

import gpucore as gc

N = 1 << 16
PATIENCE = 60.0
"""Seconds without an end after which a process counts as hung."""


@gc.kernel
def add(x: gc.Array[gc.i32], a: gc.i32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a


class Interrupter:
    """Sends SIGINT to the main thread at random times while it is armed."""

    def __init__(self, seed: int) -> None:
        self.armed = threading.Event()
        self.sent = 0
        self._random = random.Random(seed)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while True:
            self.armed.wait()
            time.sleep(self._random.choice((0.0, 1e-4, 1e-3, 3e-3)) * self._random.random())
            if self.armed.is_set():
                self.armed.clear()
                self.sent += 1
                signal.pthread_kill(main, signal.SIGINT)


def work(ctx: gc.Context, stream: gc.Stream, rounds: int) -> None:
    """Some of everything that enqueues, copies and waits."""
    small, large = ctx.zeros(N, gc.i32), ctx.zeros(1 << 20, gc.i32)
    host, pinned = np.ones(1 << 20, np.int32), ctx.pinned(N, gc.i32)
    for _ in range(rounds):
        for _ in range(20):
            add.over(N)(small, 1)
        large.copy_from(host)
        add.over(N, stream=stream)(small, 1)
        event = stream.record()
        small.copy_to(pinned, stream=stream)
        event.synchronize()
        assert large.numpy()[-1] == 1
        small.fill(0)
        stream.synchronize()
        ctx.synchronize()


def check(ctx: gc.Context) -> None:
    """What follows an interrupt is as if there had been none."""
    x = ctx.array(np.arange(N, dtype=np.int32))
    for _ in range(50):
        add.over(N)(x, 2)
    assert (x.numpy() == np.arange(N, dtype=np.int32) + 100).all()


def interrupt_work(backend: str, count: int, seed: int) -> None:
    """One process, many interrupts."""
    interrupter = Interrupter(seed)
    arrived = 0
    with gc.Context(backend) as ctx:
        stream = ctx.stream()
        work(ctx, stream, 1)
        while arrived < count:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            try:
                interrupter.armed.set()
                while True:
                    work(ctx, stream, 1)
            except KeyboardInterrupt:
                arrived += 1
            check(ctx)
    print(arrived)


def interrupt_close(backend: str, seed: int) -> None:
    """One interrupt about the time a context closes; the process must come to its end."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    interrupter = Interrupter(seed)
    # much to wait for, little, or nothing but what closing itself does
    launches = (200, 2, 0)[seed % 3]
    try:
        with gc.Context(backend) as ctx:
            x = ctx.zeros(1 << 20, gc.i32)
            add.over(1 << 20)(x, 1)
            ctx.synchronize()
            for _ in range(launches):
                add.over(1 << 20)(x, 1)
            interrupter.armed.set()
    except KeyboardInterrupt:
        pass
    print("ended")


def run(backend: str, count: int, seed: int) -> list[str]:
    """What went wrong; nothing where all is well."""
    runs = [["work", str(count), str(seed)]]
    runs += [["close", "1", str(seed + n)] for n in range(max(count // 10, 1))]
    wrong = []
    for arguments in runs:
        command = [sys.executable, __file__, backend, *arguments[1:], arguments[0]]
        # for one that is deaf to its own patience
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * PATIENCE, check=False)
        said = done.stdout.split()
        # an interrupt at the very end may arrive after the last word
        fine = said == [str(count)] if arguments[0] == "work" else done.returncode in (0, 1, -2, 130)
        if not fine:
            wrong.append(f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr[-4000:]}")
    return wrong


if __name__ == "__main__":
    backend = sys.argv[1]
    count, seed = int(sys.argv[2]) if len(sys.argv) > 2 else 200, int(sys.argv[3]) if len(sys.argv) > 3 else 1
    mode = sys.argv[4] if len(sys.argv) > 4 else "all"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if mode == "work":
        interrupt_work(backend, count, seed)
    elif mode == "close":
        interrupt_close(backend, seed)
    else:
        found = run(backend, count, seed)
        print("\n".join(found) or f"{backend}: {count} interrupts, nothing hung, nothing wrong")
        sys.exit(bool(found))
