"""The first kernel: y = a * x + y."""

import numpy as np

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


def main() -> None:
    n = 1_000_000
    with gc.Context() as ctx:
        x = ctx.array(np.arange(n, dtype=np.float32))
        y = ctx.ones(n, gc.f32)
        saxpy[gc.cdiv(n, 256), 256](x, y, 2.0)
        expected = np.float32(2) * np.arange(n, dtype=np.float32) + np.float32(1)
        assert np.array_equal(y.numpy(), expected)
        print(f"saxpy of {n} elements on {ctx.backend} ({ctx.device.name}): the same bits as NumPy")


if __name__ == "__main__":
    main()
