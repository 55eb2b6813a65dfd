"""Checked mode: an index out of bounds becomes an exception that names the Python line, on every device."""

import gpucore as gc


@gc.kernel
def shift(x: gc.Array[gc.f32], out: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    out[i] = x[i + 1]


def main() -> None:
    with gc.Context(check=True) as ctx:
        x = ctx.ones(100, gc.f32)
        out = ctx.zeros(100, gc.f32)
        shift.over(100)(x, out)
        try:
            ctx.synchronize()
        except gc.KernelBoundsError as error:
            print(error)
        print("the context still works:", out.numpy()[:3])


if __name__ == "__main__":
    main()
