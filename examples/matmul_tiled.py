"""Matrix product through tiles of shared memory, accumulated with fused multiply-adds."""

import numpy as np

import gpucore as gc

TILE = 16


@gc.kernel
def matmul(a: gc.Array2[gc.f32], b: gc.Array2[gc.f32], c: gc.Array2[gc.f32]) -> None:
    left = gc.shared((TILE, TILE), gc.f32)
    right = gc.shared((TILE, TILE), gc.f32)
    y, x = gc.global_ids(2)
    ty = gc.thread_id(0)
    tx = gc.thread_id(1)
    total = gc.f32(0)
    for start in range(0, a.shape[1], TILE):
        left[ty, tx] = 0.0
        right[ty, tx] = 0.0
        if y < a.shape[0] and start + tx < a.shape[1]:
            left[ty, tx] = a[y, start + tx]
        if x < b.shape[1] and start + ty < b.shape[0]:
            right[ty, tx] = b[start + ty, x]
        gc.barrier()
        for k in gc.static_range(TILE):
            total = gc.fma(left[ty, k], right[k, tx], total)
        gc.barrier()
    if y < c.shape[0] and x < c.shape[1]:
        c[y, x] = total


def main() -> None:
    rng = np.random.default_rng(0)
    m, k, n = 150, 90, 130
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    with gc.Context() as ctx:
        c = ctx.empty((m, n), gc.f32)
        matmul[(gc.cdiv(m, TILE), gc.cdiv(n, TILE)), (TILE, TILE)](ctx.array(a), ctx.array(b), c)
        error = np.max(np.abs(c.numpy() - a.astype(np.float64) @ b))
        assert error < 1e-4
        print(f"{m} x {k} times {k} x {n} on {ctx.backend}: largest error {error:.1e}")


if __name__ == "__main__":
    main()
