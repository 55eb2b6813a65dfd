"""
Ray marching
============

A scene described by distances alone: each thread follows a ray of light, each time as
far as nothing can be in the way.
"""

import matplotlib.pyplot as plt
import numpy as np

import gpucore as gc


# %%
# Device functions make the scene. They take and give tuples; the compiler sees numbers
# alone. Four balls melt into one another over a floor; ``smooth`` is the smaller of two
# distances without a crease.
@gc.func
def smooth(a: gc.f32, b: gc.f32, width: gc.f32) -> gc.f32:
    h = gc.clamp(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return b + (a - b) * h - width * h * (1.0 - h)


@gc.func
def distance(x: gc.f32, y: gc.f32, z: gc.f32) -> gc.f32:
    d = gc.f32(100.0)
    for cx, cy, cz, r in (
        (-0.9, 0.1, 0.2, 0.75), (0.35, 0.3, 0.0, 0.9),
        (1.35, -0.2, 0.7, 0.5), (-0.1, -0.3, 1.0, 0.45),
    ):  # fmt: skip
        d = smooth(d, gc.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - r, 0.3)
    return min(d, y + 0.8)


# %%
# March: go forward by the distance of the nearest thing, until it is next to nothing.
# The normal is the slope of the distance. A second march, toward the light, finds
# shadows.
@gc.func
def march(
    ox: gc.f32, oy: gc.f32, oz: gc.f32, dx: gc.f32, dy: gc.f32, dz: gc.f32, far: gc.f32
) -> gc.f32:
    t = gc.f32(0.02)
    for _ in range(160):
        d = distance(ox + t * dx, oy + t * dy, oz + t * dz)
        t += d
        if d < 0.0005 or t > far:
            break
    return t


@gc.kernel
def render(picture: gc.Array3[gc.f32], depth: gc.Array2[gc.f32]) -> None:
    row, column = gc.global_ids(2)
    height = gc.f32(depth.shape[0])
    u = (gc.f32(column) + 0.5 - 0.5 * gc.f32(depth.shape[1])) / height
    v = (0.5 * height - gc.f32(row) - 0.5) / height
    scale = gc.rsqrt(u * u + v * v + 1.2)
    dx, dy, dz = u * scale, (v - 0.14) * scale, -1.09 * scale
    t = march(0.1, 0.75, 4.2, dx, dy, dz, 30.0)
    depth[row, column] = t
    x, y, z = 0.1 + t * dx, 0.75 + t * dy, 4.2 + t * dz

    e = 0.001
    nx = distance(x + e, y, z) - distance(x - e, y, z)
    ny = distance(x, y + e, z) - distance(x, y - e, z)
    nz = distance(x, y, z + e) - distance(x, y, z - e)
    length = gc.rsqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx * length, ny * length, nz * length

    lx, ly, lz = -0.525, 0.743, 0.415
    bright = max(nx * lx + ny * ly + nz * lz, 0.0)
    if march(x + 0.02 * nx, y + 0.02 * ny, z + 0.02 * nz, lx, ly, lz, 8.0) < 8.0:
        bright = 0.0
    shine = max(0.0, lx * (dx - 2.0 * (dx * nx + dy * ny + dz * nz) * nx)
        + ly * (dy - 2.0 * (dx * nx + dy * ny + dz * nz) * ny)
        + lz * (dz - 2.0 * (dx * nx + dy * ny + dz * nz) * nz))  # fmt: skip
    fog = gc.exp(-0.0012 * t * t * t)
    floor = y < -0.795
    tile = (gc.i32(gc.floor(x)) + gc.i32(gc.floor(z))) % 2 == 0
    for c, (ball, sky) in enumerate(((0.95, 0.62), (0.42, 0.76), (0.26, 0.92))):
        own = (0.85 if tile else 0.55) if floor else ball
        light = own * (0.22 + 0.12 * ny + 0.8 * bright)
        if not floor:
            light += 0.5 * bright * shine**32
        picture[row, column, c] = gc.clamp(light * fog + sky * (1.0 - fog), 0.0, 1.0)


# %%
# The whole picture is one launch.
height, width = 480, 800
with gc.Context() as ctx:
    picture = ctx.empty((height, width, 3), gc.f32)
    depth = ctx.empty((height, width), gc.f32)
    render.over(depth.shape)(picture, depth)
    image, far = picture.numpy(), depth.numpy()

# %%
# Where a ray meets the floor can be worked out: the floor is flat. Its pixels are those
# that NumPy finds there.
v = (0.5 * height - np.arange(height)[:, None] - 0.5) / height
u = (np.arange(width) + 0.5 - 0.5 * width) / height
exact = -1.55 / ((v - 0.14) / np.sqrt(u * u + v * v + 1.2))
near = (exact > 0) & (exact < 20)
floor = near & (np.abs(far - exact) < 0.01 * exact)
assert floor.sum() > 0.6 * near.sum(), "most of the ground is floor"
assert np.all(far[near] < 1.01 * exact[near]), "nothing is seen below it"
print(f"{floor.sum():,} of {near.sum():,} pixels of the ground are within 1 %")

figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
axes.imshow(image)
axes.set_axis_off()
plt.show()
