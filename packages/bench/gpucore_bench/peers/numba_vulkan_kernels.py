"""numba-vulkan's side: the kernels, as its users would write them."""

# mypy: ignore-errors

import numba_vulkan as nv


@nv.jit
def one(a):
    a[nv.global_id(0)] = 1.0


@nv.jit
def saxpy(x, y, a):
    i = nv.global_id(0)
    if i < x.shape[0]:
        y[i] = a * x[i] + y[i]
