"""The smallest kernel that proves a device works, for ``gpucore doctor``."""

import numpy as np

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):  # type: ignore[no-untyped-def,valid-type]
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


def saxpy_error(ctx: gc.Context) -> str | None:
    """Run saxpy on the context and compare with NumPy bit for bit; None when equal, else what differs."""
    n = 1000
    x, y = np.arange(n, dtype=np.float32) / np.float32(3), np.ones(n, np.float32)
    device = ctx.array(y)
    saxpy[gc.cdiv(n, 256), 256](ctx.array(x), device, 1.1)
    expected = np.float32(1.1) * x + y
    found = device.numpy()
    wrong = np.flatnonzero(found != expected)
    if wrong.size == 0:
        return None
    k = int(wrong[0])
    return (
        f"saxpy gives {found[k]} for element {k}, NumPy {expected[k]} ({wrong.size} of {n} elements differ)"
    )
