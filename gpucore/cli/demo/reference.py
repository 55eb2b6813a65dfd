"""What the demo's kernels must give, in NumPy and in double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]


def _pad(image: Image, radius: int, axis: int) -> Image:
    widths = [(0, 0)] * image.ndim
    widths[axis] = (radius, radius)
    return np.pad(image, widths, mode="edge")


def blur(image: Image, weights: Image) -> Image:
    """Separable convolution along the last two axes, the edge repeated."""
    radius = len(weights) // 2
    for axis in (image.ndim - 1, image.ndim - 2):
        padded = _pad(image, radius, axis)
        size = image.shape[axis]
        image = sum(
            (w * np.take(padded, np.arange(k, k + size), axis) for k, w in enumerate(weights)),
            np.zeros(image.shape),
        )
    return image


def luminance(image: Image) -> Image:
    """Rec. 709 luma."""
    return np.asarray(0.2126 * image[0] + 0.7152 * image[1] + 0.0722 * image[2])


def _differences(plane: Image) -> tuple[Image, Image]:
    p = np.pad(plane, 1, mode="edge")
    gx = (p[:-2, 2:] + 2 * p[1:-1, 2:] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[1:-1, :-2] + p[2:, :-2])
    gy = (p[2:, :-2] + 2 * p[2:, 1:-1] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[:-2, 1:-1] + p[:-2, 2:])
    return gx, gy


def sobel(plane: Image) -> Image:
    """Magnitude of the Sobel gradient, at most 1."""
    gx, gy = _differences(plane)
    return np.minimum(np.hypot(gx, gy), 1.0)


def bilateral(image: Image, radius: int, spatial: float, tonal: float) -> Image:
    """Bilateral filter of an RGB image."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    total, weight = np.zeros(image.shape), np.zeros((height, width))
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            part = padded[:, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            distance = ((part - image) ** 2).sum(0)
            w = np.exp(-((dx * dx + dy * dy) * spatial + distance * tonal))
            total += w * part
            weight += w
    return total / weight


def equalise(image: npt.NDArray[np.float32], grey: npt.NDArray[np.float32]) -> Image:
    """Histogram equalisation of the luminance.  Levels are f32, as in the kernels: a level decides a bin."""
    level = (np.clip(grey, np.float32(0), np.float32(1)) * np.float32(255) + np.float32(0.5)).astype(np.int32)
    curve = np.cumsum(np.bincount(level.ravel(), minlength=256)) / level.size
    gain = curve[level] / np.maximum(grey.astype(np.float64), 1 / 255)
    return np.minimum(image * gain, 1.0)


def resize(image: Image, height: int, width: int) -> Image:
    """Bilinear resampling, pixel centres aligned."""

    def positions(size: int, source: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Image]:
        s = (np.arange(size) + 0.5) * (source / size) - 0.5
        low = np.floor(s)
        first = np.clip(low, 0, source - 1).astype(np.intp)
        second = np.clip(low + 1, 0, source - 1).astype(np.intp)
        fraction: Image = np.asarray(s - low)
        return first, second, fraction

    y0, y1, wy = positions(height, image.shape[1])
    x0, x1, wx = positions(width, image.shape[2])
    rows = image[:, y0] * (1 - wy)[:, None] + image[:, y1] * wy[:, None]
    return np.asarray(rows[:, :, x0] * (1 - wx) + rows[:, :, x1] * wx)


def hillshade(terrain: Image, dx: float, dy: float, azimuth: float, altitude: float) -> Image:
    """Shaded relief by Horn's gradient."""
    gx, gy = _differences(terrain)
    gx, gy = gx / (8 * dx), gy / (8 * dy)
    slope, aspect = np.arctan(np.hypot(gx, gy)), np.arctan2(gy, -gx)
    shade = np.sin(altitude) * np.cos(slope) + np.cos(altitude) * np.sin(slope) * np.cos(azimuth - aspect)
    return np.asarray(np.clip(shade, 0.0, 1.0))
