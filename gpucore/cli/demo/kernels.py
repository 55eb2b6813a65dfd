"""The kernels of ``gpucore demo``, written in gpucore's kernel language.

Images are planar: ``(channels, height, width)`` of f32 in 0 to 1; single planes are ``(height, width)``.
"""

import gpucore as gc

TILE = 16
RADIUS = 6
"""Radius of the Gaussian, in pixels; its tile of shared memory is TILE by TILE + 2 * RADIUS."""


@gc.func
def clamp_index(i: gc.index, size: gc.index):
    return min(max(i, 0), size - 1)


@gc.kernel
def blur_rows(image: gc.Array[gc.f32, 3], weights: gc.Array[gc.f32], out: gc.Array[gc.f32, 3]):
    """One horizontal pass of a separable Gaussian: a block loads its rows with a margin, then convolves them."""
    tile = gc.shared((TILE, TILE + 2 * RADIUS), gc.f32)
    c, y, x = gc.global_ids(3)
    ty = gc.thread_id(1)
    tx = gc.thread_id(2)
    height = image.shape[1]
    width = image.shape[2]
    left = gc.block_id(2) * TILE - RADIUS
    row = clamp_index(y, height)
    for k in range(tx, TILE + 2 * RADIUS, TILE):
        tile[ty, k] = image[c, row, clamp_index(left + k, width)]
    gc.barrier()
    if y < height and x < width:
        total = gc.f32(0)
        for k in range(2 * RADIUS + 1):
            total += weights[k] * tile[ty, tx + k]
        out[c, y, x] = total


@gc.kernel
def blur_columns(image: gc.Array[gc.f32, 3], weights: gc.Array[gc.f32], out: gc.Array[gc.f32, 3]):
    """The vertical pass: the same with rows and columns changed."""
    tile = gc.shared((TILE + 2 * RADIUS, TILE), gc.f32)
    c, y, x = gc.global_ids(3)
    ty = gc.thread_id(1)
    tx = gc.thread_id(2)
    height = image.shape[1]
    width = image.shape[2]
    top = gc.block_id(1) * TILE - RADIUS
    column = clamp_index(x, width)
    for k in range(ty, TILE + 2 * RADIUS, TILE):
        tile[k, tx] = image[c, clamp_index(top + k, height), column]
    gc.barrier()
    if y < height and x < width:
        total = gc.f32(0)
        for k in range(2 * RADIUS + 1):
            total += weights[k] * tile[ty + k, tx]
        out[c, y, x] = total


@gc.kernel
def luminance(image: gc.Array[gc.f32, 3], out: gc.Array[gc.f32, 2]):
    """Rec. 709 luma of an RGB image."""
    y, x = gc.global_ids(2)
    out[y, x] = 0.2126 * image[0, y, x] + 0.7152 * image[1, y, x] + 0.0722 * image[2, y, x]


@gc.kernel
def sobel(image: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2]):
    """Magnitude of the Sobel gradient; the border repeats the edge."""
    y, x = gc.global_ids(2)
    up = clamp_index(y - 1, image.shape[0])
    down = clamp_index(y + 1, image.shape[0])
    left = clamp_index(x - 1, image.shape[1])
    right = clamp_index(x + 1, image.shape[1])
    gx = (image[up, right] + 2.0 * image[y, right] + image[down, right]) - (
        image[up, left] + 2.0 * image[y, left] + image[down, left]
    )
    gy = (image[down, left] + 2.0 * image[down, x] + image[down, right]) - (
        image[up, left] + 2.0 * image[up, x] + image[up, right]
    )
    out[y, x] = min(gc.sqrt(gx * gx + gy * gy), 1.0)


@gc.kernel
def bilateral(
    image: gc.Array[gc.f32, 3], out: gc.Array[gc.f32, 3], radius: gc.i32, spatial: gc.f32, tonal: gc.f32
):
    """Edge-preserving smoothing: weights fall with distance in space and in colour (Tomasi and Manduchi, 1998).

    ``spatial`` and ``tonal`` are ``1 / (2 sigma**2)`` in pixels and in colour units.
    """
    y, x = gc.global_ids(2)
    r0 = image[0, y, x]
    g0 = image[1, y, x]
    b0 = image[2, y, x]
    r = gc.f32(0)
    g = gc.f32(0)
    b = gc.f32(0)
    weight = gc.f32(0)
    for dy in range(-radius, radius + 1):
        v = clamp_index(y + dy, image.shape[1])
        for dx in range(-radius, radius + 1):
            u = clamp_index(x + dx, image.shape[2])
            dr = image[0, v, u] - r0
            dg = image[1, v, u] - g0
            db = image[2, v, u] - b0
            distance = gc.f32(dx * dx + dy * dy)
            w = gc.exp(-(distance * spatial + (dr * dr + dg * dg + db * db) * tonal))
            r += w * image[0, v, u]
            g += w * image[1, v, u]
            b += w * image[2, v, u]
            weight += w
    out[0, y, x] = r / weight
    out[1, y, x] = g / weight
    out[2, y, x] = b / weight


@gc.kernel
def histogram(image: gc.Array[gc.f32, 2], bins: gc.Array[gc.u32]):
    """Counts of 256 grey levels: each block counts in shared memory, then adds its counts to the result."""
    local = gc.shared(256, gc.u32)
    t = gc.thread_id(0) * TILE + gc.thread_id(1)
    local[t] = 0
    gc.barrier()
    y, x = gc.global_ids(2)
    if y < image.shape[0] and x < image.shape[1]:
        level = gc.i32(gc.clamp(image[y, x], 0.0, 1.0) * 255.0 + 0.5)
        gc.atomic_add(local, level, 1)
    gc.barrier()
    gc.atomic_add(bins, t, local[t])


@gc.kernel
def cumulative(bins: gc.Array[gc.u32], curve: gc.Array[gc.f32]):
    """The normalised cumulative histogram, by one block of 256 threads (Hillis and Steele, 1986)."""
    counts = gc.shared(256, gc.u32)
    t = gc.thread_id(0)
    counts[t] = bins[t]
    gc.barrier()
    for step in gc.static_range(8):
        other = gc.u32(0)
        if t >= (1 << step):
            other = counts[t - (1 << step)]
        gc.barrier()
        counts[t] += other
        gc.barrier()
    curve[t] = gc.f32(counts[t]) / gc.f32(counts[255])


@gc.kernel
def equalise(
    image: gc.Array[gc.f32, 3], grey: gc.Array[gc.f32, 2], curve: gc.Array[gc.f32], out: gc.Array[gc.f32, 3]
):
    """Give each pixel the luminance that the curve names, keeping its hue."""
    y, x = gc.global_ids(2)
    level = grey[y, x]
    wanted = curve[gc.i32(gc.clamp(level, 0.0, 1.0) * 255.0 + 0.5)]
    gain = wanted / max(level, 1.0 / 255.0)
    for c in gc.static_range(3):
        out[c, y, x] = min(image[c, y, x] * gain, 1.0)


@gc.kernel
def resize(image: gc.Array[gc.f32, 3], out: gc.Array[gc.f32, 3]):
    """Bilinear resampling, pixel centres aligned."""
    c, y, x = gc.global_ids(3)
    height = image.shape[1]
    width = image.shape[2]
    sy = (gc.f32(y) + 0.5) * (gc.f32(height) / gc.f32(out.shape[1])) - 0.5
    sx = (gc.f32(x) + 0.5) * (gc.f32(width) / gc.f32(out.shape[2])) - 0.5
    fy = gc.floor(sy)
    fx = gc.floor(sx)
    wy = sy - fy
    wx = sx - fx
    y0 = clamp_index(gc.index(fy), height)
    y1 = clamp_index(gc.index(fy) + 1, height)
    x0 = clamp_index(gc.index(fx), width)
    x1 = clamp_index(gc.index(fx) + 1, width)
    top = image[c, y0, x0] * (1.0 - wx) + image[c, y0, x1] * wx
    bottom = image[c, y1, x0] * (1.0 - wx) + image[c, y1, x1] * wx
    out[c, y, x] = top * (1.0 - wy) + bottom * wy


@gc.kernel
def hillshade(
    height: gc.Array[gc.f32, 2],
    out: gc.Array[gc.f32, 2],
    dx: gc.f32,
    dy: gc.f32,
    azimuth: gc.f32,
    altitude: gc.f32,
):
    """Shaded relief of a terrain by Horn's gradient (Horn, 1981); angles in radians, lengths in metres."""
    y, x = gc.global_ids(2)
    up = clamp_index(y - 1, height.shape[0])
    down = clamp_index(y + 1, height.shape[0])
    left = clamp_index(x - 1, height.shape[1])
    right = clamp_index(x + 1, height.shape[1])
    gx = (
        (height[up, right] + 2.0 * height[y, right] + height[down, right])
        - (height[up, left] + 2.0 * height[y, left] + height[down, left])
    ) / (8.0 * dx)
    gy = (
        (height[down, left] + 2.0 * height[down, x] + height[down, right])
        - (height[up, left] + 2.0 * height[up, x] + height[up, right])
    ) / (8.0 * dy)
    slope = gc.atan(gc.sqrt(gx * gx + gy * gy))
    aspect = gc.atan2(gy, -gx)
    shade = gc.sin(altitude) * gc.cos(slope) + gc.cos(altitude) * gc.sin(slope) * gc.cos(azimuth - aspect)
    out[y, x] = gc.clamp(shade, 0.0, 1.0)
