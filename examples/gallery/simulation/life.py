"""
Game of Life
============

Conway's cells on a torus: a thread for each cell, and two boards that change places at
each generation.
"""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import gpucore as gc


# %%
# ``%`` takes the sign of the divisor, as in Python, so a step over the left edge comes
# back on the right. The loop over neighbours is unrolled when the kernel is compiled.
@gc.kernel
def generation(now: gc.Array2[gc.u8], later: gc.Array2[gc.u8]) -> None:
    y, x = gc.global_ids(2)
    alive = gc.i32(0)
    for dy in gc.static_range(-1, 2):
        for dx in gc.static_range(-1, 2):
            if dy != 0 or dx != 0:
                row = (y + dy) % now.shape[0]
                alive += gc.i32(now[row, (x + dx) % now.shape[1]])
    later[y, x] = gc.u8(alive == 3 or (alive == 2 and now[y, x] == 1))


# %%
# A start with one cell in five, and a Gosper gun, which shoots gliders.
rng = np.random.default_rng(3)
board = np.zeros((64, 96), np.uint8)
board[:, 56:] = rng.random((64, 40)) < 0.2
GUN = """
........................O...........
......................O.O...........
............OO......OO............OO
...........O...O....OO............OO
OO........O.....O...OO..............
OO........O...O.OO....O.O...........
..........O.....O.......O...........
...........O...O....................
............OO......................
""".split()
for row, line in enumerate(GUN):
    board[8 + row, 6 : 6 + len(line)] = [cell == "O" for cell in line]

# %%
# 200 launches, one after the other on a stream; the host waits at the end alone.


generations, shown = 200, (0, 60, 200)
boards = {0: board}
with gc.Context() as ctx:
    now, later = ctx.array(board), ctx.empty(board.shape, gc.u8)
    for n in range(1, generations + 1):
        generation.over(board.shape)(now, later)
        now, later = later, now
        if n in shown:
            boards[n] = now.numpy()


# %%
# The same 200 generations in NumPy.
def numpy_generation(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    ways = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    alive = sum(np.roll(cells, way, axis=(0, 1)).astype(int) for way in ways)
    return np.asarray((alive == 3) | ((alive == 2) & (cells == 1)), np.uint8)


expected = board
for _ in range(generations):
    expected = numpy_generation(expected)
assert np.array_equal(boards[generations], expected)
print(f"{expected.sum():,} cells live in generation {generations}, as in NumPy")

figure, axes = plt.subplots(1, 3, figsize=(10, 2.7), layout="constrained")
for axis, n in zip(axes, shown, strict=True):
    axis.imshow(boards[n], cmap="Greens", interpolation="nearest")
    axis.set(title=f"generation {n}: {boards[n].sum()} cells", xticks=[], yticks=[])
plt.show()
