"""gpucore as a contender: strict and fast variants of one launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gpucore as gc
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work

Launch = Callable[[gc.Context, Mapping[str, gc.Array[Any]]], Callable[[], object]]
"""Gives, for a context and its arrays, the function that launches once."""


def is_host(context: Any) -> bool:
    """Whether a processor does the work: its caches and vectors want other tiles, and its memory smaller sizes."""
    return context.device.kind in ("cpu", "software")


def ready(configured: Any, *arguments: Any) -> Callable[[], object]:
    """A checked launch whose grid and block were chosen beforehand, as a user would do ahead of a loop."""
    return lambda: configured(*arguments)


def contender(
    launch: Launch, result: str, *, outputs: Callable[[Work], Mapping[str, tuple[Any, Any]]], math: str
) -> Maker:
    """A maker that puts the inputs on the device, allocates outputs, and runs what ``launch`` prepares.

    ``outputs`` gives shape and dtype by name; an output that is also an input starts as that input.
    """

    def make(work: Work, inputs: Arrays, context: gc.Context) -> Runner:
        ctx = context.options(math=math)  # type: ignore[arg-type]
        arrays = {name: ctx.array(value) for name, value in inputs.items()}
        for name, (shape, dtype) in outputs(work).items():
            if name not in arrays:
                arrays[name] = ctx.zeros(shape, dtype)
        once = launch(ctx, arrays)
        first, last = ctx.event(timing=True), ctx.event(timing=True)
        stream = ctx.default_stream

        def timed(repeats: int) -> float:
            stream.record(first)
            for _ in range(repeats):
                once()
            stream.record(last)
            last.synchronize()
            return first.elapsed_time(last) * 1e-3

        def release() -> None:
            for array in arrays.values():
                array.free()

        return Simple(
            once=once,
            fetch=lambda: arrays[result].numpy(),
            wait=ctx.synchronize,
            timed=timed,
            release=release,
        )

    return make


def both(
    launch: Launch, result: str, outputs: Callable[[Work], Mapping[str, tuple[Any, Any]]]
) -> dict[str, Maker]:
    """The strict and the fast contender."""
    return {f"gpucore {m}": contender(launch, result, outputs=outputs, math=m) for m in ("strict", "fast")}
