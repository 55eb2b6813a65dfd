"""Two streams, ordered by an event, timed by two more."""

import numpy as np

import gpucore as gc


@gc.kernel
def double(x: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    x[i] = 2.0 * x[i]


@gc.kernel
def add(x: gc.Array[gc.f32], y: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    y[i] = x[i] + y[i]


def main() -> None:
    n = 1 << 20
    with gc.Context() as ctx, ctx.stream() as first, ctx.stream() as second:
        x = ctx.ones(n, gc.f32)
        y = ctx.ones(n, gc.f32)
        # the first launch of a kernel compiles it: not between the events
        double.over(n, stream=first)(x)
        second.wait(first)
        add.over(n, stream=second)(x, y)
        ctx.synchronize()
        x.fill(1)
        y.fill(1)
        ctx.synchronize()
        start = first.record(ctx.event(timing=True))
        double.over(n, stream=first)(x)
        second.wait(first.record())
        add.over(n, stream=second)(x, y)
        end = second.record(ctx.event(timing=True))
        end.synchronize()
        assert np.all(y.numpy(stream=second) == 3)
        print(f"both kernels took {start.elapsed_time(end):.3f} ms on {ctx.backend}")


if __name__ == "__main__":
    main()
