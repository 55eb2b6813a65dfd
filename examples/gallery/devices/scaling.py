"""
Bodies over all devices
=======================

Gravity between many bodies: each device computes the pull on its share and moves it,
and then every device gets the new places. What one device takes the time for, several
do in a part of it, if there is enough to do.
"""

import os
import time

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import gpucore as gc

os.environ.setdefault("GPUCORE_CPU_DEVICES", "4")
SOFTENING = 1e-2


# %%
# A thread computes the pull of all bodies on one, in their order, so that the forces
# have the same bits however the bodies are shared out.
@gc.kernel
def move(
    speed: gc.Array[gc.f32],
    mine: gc.Array2[gc.f32],
    velocity: gc.Array2[gc.f32],
    everyone: gc.Array2[gc.f32],
    step: gc.f32,
) -> None:
    i = gc.global_id(0)
    x, y, z = mine[i, 0], mine[i, 1], mine[i, 2]
    fx, fy, fz = gc.f32(0), gc.f32(0), gc.f32(0)
    for k in range(everyone.shape[0]):
        dx = everyone[k, 0] - x
        dy = everyone[k, 1] - y
        dz = everyone[k, 2] - z
        near = gc.rsqrt(dx * dx + dy * dy + dz * dz + SOFTENING)
        weight = near * near * near
        fx = gc.fma(dx, weight, fx)
        fy = gc.fma(dy, weight, fy)
        fz = gc.fma(dz, weight, fz)
    vx = velocity[i, 0] + step * fx
    vy = velocity[i, 1] + step * fy
    vz = velocity[i, 2] + step * fz
    speed[i] = gc.sqrt(vx * vx + vy * vy + vz * vz)
    velocity[i, 0], velocity[i, 1], velocity[i, 2] = vx, vy, vz
    mine[i, 0], mine[i, 1], mine[i, 2] = x + step * vx, y + step * vy, z + step * vz


def run(
    selectors: list[str], bodies: int, steps: int
) -> tuple[npt.NDArray[np.float32], float]:
    """Where the bodies are after the steps, and the seconds of the fastest."""
    rng = np.random.default_rng(1)
    start = rng.standard_normal((bodies, 3)).astype(np.float32)
    with gc.Group(selectors) as group:
        mine, velocity = group.scatter(start), group.scatter(np.zeros_like(start))
        speed, everyone = (
            group.scatter(np.zeros(bodies, np.float32)),
            group.replicate(start),
        )

        def one_step() -> None:
            group.launch(move, speed, mine, velocity, everyone, 1e-3 / bodies)
            for copy in everyone.shards:
                row = 0
                for share in mine.shards:
                    copy[row : row + len(share)].copy_from(share)
                    row += len(share)

        one_step()
        group.synchronize()
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            one_step()
            group.synchronize()
            seconds.append(time.perf_counter() - begin)
        return group.gather(mine), min(seconds)


# %%
# The devices of one backend. One that is alone is listed twice: that shows how it goes,
# and gains nothing.
with gc.Context() as ctx:
    backend = ctx.backend
found = [f"{d.backend}:{d.ordinal}" for d in gc.devices() if d.backend == backend]
selectors = found if len(found) > 1 else found * 2
sizes = [512, 1024, 2048] if backend == "cpu" else [1 << 16, 1 << 18, 1 << 19]

# %%
# The same bits from any number of devices, and the time of a step.
counts = [n for n in (1, 2, 4, 8) if n <= len(selectors)]
seconds: dict[int, list[float]] = {count: [] for count in counts}
for bodies in sizes:
    alone, _ = run(selectors[:1], bodies, 1)
    for count in counts:
        places, _ = run(selectors[:count], bodies, 1)
        assert (places == alone).all()
        seconds[count].append(run(selectors[:count], bodies, 5)[1])
        print(f"{bodies:7,} bodies, {count} devices: {seconds[count][-1] * 1e3:.2f} ms")

# %%
# How many times as fast as one device; the devices of a CPU share its cores, and a
# device that is listed twice is one.
figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for at, bodies in enumerate(sizes):
    times = [seconds[1][at] / seconds[count][at] for count in counts]
    axis.plot(counts, times, marker="o", label=f"{bodies:,} bodies")
axis.plot(counts, counts, color="tab:gray", linestyle="--", label="as many times")
axis.legend(frameon=False)
axis.set(xlabel="devices", ylabel="times as fast as one", xticks=counts, ylim=(0, None))
axis.set_title(f"An n-body step on {', '.join(selectors[: counts[-1]])}")
plt.show()
