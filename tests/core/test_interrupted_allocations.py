"""Interrupts of allocations, at every call and return of the memory pool: what arrays took is given back."""

from __future__ import annotations

import gc as garbage
import sys

import gpucore as gc

FILES = ("memory_pool.py", "memory_block.py")


class Interrupt:
    """Raises KeyboardInterrupt at one call or return, which is where CPython looks for signals; counts them."""

    def __init__(self, at):
        self.left = at

    def __enter__(self):
        garbage.disable()
        sys.setprofile(self.profile)

    def __exit__(self, kind, error, trace):
        sys.setprofile(None)
        garbage.enable()
        return kind is KeyboardInterrupt

    def profile(self, frame, event, argument):
        if event == "c_call":
            return
        if frame.f_code.co_filename.endswith(FILES) and frame.f_code.co_name != "__del__":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def test_no_block_is_lost_to_an_interrupt(backend, monkeypatch):
    backend("null")
    ctx = gc.Context("null")
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    for size in (100, 1 << 20):  # a cached piece, and new memory each time
        at, finished = 0, False
        while not finished:
            at += 1
            ctx.zeros(100, gc.f32)  # dropped: what the next allocation takes back first
            if size > 100:
                ctx.pool.trim()
            interrupt = Interrupt(at)
            with interrupt:
                ctx.zeros(size, gc.f32)
            finished = interrupt.left > 0
            assert ctx.pool.stats()["used"] == 0, (size, at)
        assert at > 10
    ctx.close()
    assert unraisable == []
