"""
Prefix sums
===========

A running total looks as if it must be done in order. Blocks do it in a handful of steps
instead: each scans its part in shared memory, the totals of the parts are scanned
likewise, and a last launch adds them.
"""

import matplotlib.pyplot as plt
import numpy as np

import gpucore as gc

BLOCK = 256


# %%
# The scan of Hillis and Steele: in step ``k`` every element takes the one that is
# ``2**k`` places before it. Two barriers keep reading and writing of a step apart. The
# tests do not surround the barriers: all threads of a block come to each of them.
@gc.kernel
def scan_blocks(
    x: gc.Array[gc.i32], out: gc.Array[gc.i32], totals: gc.Array[gc.i32]
) -> None:
    part = gc.shared(BLOCK, gc.i32)
    i = gc.global_id(0)
    t = gc.thread_id(0)
    part[t] = x[i] if i < x.shape[0] else 0
    gc.barrier()
    for k in gc.static_range(8):
        before = part[t - (1 << k)] if t >= (1 << k) else 0
        gc.barrier()
        part[t] += before
        gc.barrier()
    if i < x.shape[0]:
        out[i] = part[t]
    if t == BLOCK - 1:
        totals[gc.block_id(0)] = part[t]


@gc.kernel
def add_totals(out: gc.Array[gc.i32], totals: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    block = i // BLOCK
    if block > 0:
        out[i] += totals[block - 1]


# %%
# The function calls itself for the totals: 65,000 elements have 254 blocks, and these
# fit into one.
def prefix_sum(ctx: gc.Context, x: gc.Array[gc.i32]) -> gc.Array[gc.i32]:
    blocks = gc.cdiv(x.size, BLOCK)
    out, totals = ctx.empty_like(x), ctx.empty(blocks, gc.i32)
    scan_blocks[blocks, BLOCK](x, out, totals)
    if blocks > 1:
        add_totals.over(x.size)(out, prefix_sum(ctx, totals))
    return out


# %%
# A walk of 65,000 random steps, up or down, is a prefix sum. Integers have no rounding:
# the result is NumPy's, whatever the order.
rng = np.random.default_rng(7)
steps = rng.choice(np.array([-1, 1], np.int32), (6, 65_000))
with gc.Context() as ctx:
    walks = np.stack([prefix_sum(ctx, ctx.array(walk)).numpy() for walk in steps])
assert np.array_equal(walks, np.cumsum(steps, axis=1))

# %%
# The interpreter runs the same kernel and would name both lines of a data race: take a
# barrier away, and it does.
small, result, totals = (
    steps[0, :BLOCK],
    np.zeros(BLOCK, np.int32),
    np.zeros(1, np.int32),
)
scan_blocks.interpret(1, BLOCK, small, result, totals)
assert np.array_equal(result, np.cumsum(small))
print(f"{walks.size:,} sums equal to NumPy's")

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
n = np.arange(1, walks.shape[1] + 1)
axes.plot(n, walks.T, linewidth=0.8)
for sign in (-1, 1):
    axes.plot(n, sign * 2 * np.sqrt(n), color="black", linewidth=0.8, linestyle="--")
axes.text(30_000, 2 * np.sqrt(30_000) + 60, "two deviations", ha="center")
axes.set(xlabel="steps", ylabel="place", xlim=(0, n[-1]), title="Six random walks")
axes.spines[["top", "right"]].set_visible(False)
plt.show()
