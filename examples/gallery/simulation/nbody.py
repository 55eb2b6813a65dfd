"""
Two galaxies pass
=================

Gravity between 2,048 bodies: a block brings them into shared memory, tile by tile, and
every thread adds up their pull on its own body.
"""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import gpucore as gc

TILE = 128
SOFTENING = 0.02


# %%
# Every thread reads every body, so a tile that the block fetched once is read 128
# times. The number of bodies is a multiple of the tile; a power of two costs no test
# for the rest.
@gc.kernel
def pull(
    position: gc.Array2[gc.f32], mass: gc.Array[gc.f32], force: gc.Array2[gc.f32]
) -> None:
    tile = gc.shared((TILE, 3), gc.f32)
    i = gc.global_id(0)
    t = gc.thread_id(0)
    x = position[i, 0]
    y = position[i, 1]
    fx = gc.f32(0)
    fy = gc.f32(0)
    for start in range(0, mass.shape[0], TILE):
        tile[t, 0] = position[start + t, 0]
        tile[t, 1] = position[start + t, 1]
        tile[t, 2] = mass[start + t]
        gc.barrier()
        for k in range(TILE):
            dx = tile[k, 0] - x
            dy = tile[k, 1] - y
            near = gc.rsqrt(dx * dx + dy * dy + SOFTENING * SOFTENING)
            weight = tile[k, 2] * near * near * near
            fx += weight * dx
            fy += weight * dy
        gc.barrier()
    force[i, 0] = fx
    force[i, 1] = fy


@gc.kernel
def move(
    position: gc.Array2[gc.f32],
    velocity: gc.Array2[gc.f32],
    force: gc.Array2[gc.f32],
    step: gc.f32,
) -> None:
    i, axis = gc.global_ids(2)
    velocity[i, axis] += step * force[i, axis]
    position[i, axis] += step * velocity[i, axis]


# %%
# Two discs, each around a heavy centre, on paths that lead past each other.
rng = np.random.default_rng(1)


def disc(
    n: int, centre: list[float], drift: list[float], spin: float
) -> list[npt.NDArray[np.float32]]:
    radius = np.sqrt(rng.uniform(0.01, 0.25, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    away = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    speed = spin * np.sqrt(1 / radius)[:, None]
    position = np.array(centre) + radius[:, None] * away
    velocity = np.array(drift) + speed * np.stack([-away[:, 1], away[:, 0]], axis=1)
    mass = np.full(n, 0.05 / n)
    position[0], velocity[0], mass[0] = centre, drift, 1.0
    return [a.astype(np.float32) for a in (position, velocity, mass)]


one = disc(1024, [-0.8, -0.35], [0.55, 0.1], 1.0)
two = disc(1024, [0.8, 0.35], [-0.55, -0.1], -1.0)
position, velocity, mass = (
    np.concatenate(parts) for parts in zip(one, two, strict=True)
)

# %%
# Three hundred steps with nothing but launches; the pictures are all that comes back.
shown = {}
with gc.Context() as ctx:
    p, v, m = ctx.array(position), ctx.array(velocity), ctx.array(mass)
    force = ctx.empty_like(p)
    pull[len(mass) // TILE, TILE](p, m, force)
    first = force.numpy()
    for n in range(301):
        if n % 100 == 0:
            shown[n] = p.numpy()
        pull[len(mass) // TILE, TILE](p, m, force)
        move.over(p.shape)(p, v, force, 0.006)
    end = v.numpy()

# %%
# The first forces against NumPy in double precision. At the end the momentum is what it
# was, as Newton's third law has it.
d = position.astype(np.float64)[None] - position.astype(np.float64)[:, None]
exact = np.einsum("ijk,ij,j->ik", d, ((d**2).sum(axis=2) + SOFTENING**2) ** -1.5, mass)
error = np.abs(first - exact).max() / np.abs(exact).max()
assert error < 1e-5, error
gained = (mass[:, None] * (end - velocity)).sum(axis=0, dtype=np.float64)
assert np.allclose(gained, 0, atol=1e-3), gained
print(f"{error:.1e} off NumPy; momentum gained: {np.abs(gained).max():.1e}")

figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
colours = np.repeat(["#7fd4ff", "#ffb45e"], 1024)
for axis, (n, bodies) in zip(axes, shown.items(), strict=True):
    axis.scatter(*bodies.T, s=1.2, c=colours, linewidths=0)
    axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", facecolor="#0b1020")
    axis.set(xticks=[], yticks=[], title=f"step {n}")
plt.show()
