"""The stages of the demo: what runs, on what, and what it must give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore.cli.demo import kernels, reference

Pixels = npt.NDArray[np.float32]

SIGMA_SPACE, SIGMA_COLOUR, BILATERAL_RADIUS = 3.0, 0.12, 5
AZIMUTH, ALTITUDE = math.radians(315.0), math.radians(45.0)
ZOOM = 4
VERTICAL_EXAGGERATION = 2.0


@dataclass(frozen=True)
class Terrain:
    """Elevations in metres on a grid of ``dx`` by ``dy`` metres."""

    height: Pixels
    dx: float
    dy: float


@dataclass(frozen=True)
class Stage:
    """One row of the demo's table.

    Attributes
    ----------
    title : str
    launch : Callable[[], gc.Array[Any]]
        Enqueues the kernels and gives the array they write.
    expected : Callable[[], numpy.ndarray]
        The reference.
    bytes_moved : int
        Fewest bytes that must move: each input read once, each output written once.
    tolerance : float
        Largest absolute difference allowed.
    before : numpy.ndarray
        What the picture shows beside the result.
    """

    title: str
    launch: Callable[[], gc.Array[Any]]
    expected: Callable[[], npt.NDArray[np.float64]]
    bytes_moved: int
    tolerance: float
    before: Pixels


def gaussian(radius: int) -> Pixels:
    """Normalised weights of a Gaussian cut at two standard deviations."""
    t = np.arange(-radius, radius + 1) / (radius / 2)
    w = np.exp(-0.5 * t * t)
    return np.asarray(w / w.sum(), np.float32)


def build(ctx: gc.Context, image: Pixels, terrain: Terrain) -> list[Stage]:
    """The stages for an RGB image ``(3, height, width)`` in 0 to 1 and a terrain."""
    _, height, width = image.shape
    exact = image.astype(np.float64)
    tile = kernels.TILE
    tiles = (gc.cdiv(height, tile), gc.cdiv(width, tile))

    source = ctx.array(image)
    weights = gaussian(kernels.RADIUS)
    device_weights = ctx.array(weights)
    half, blurred = ctx.empty(image.shape, gc.f32), ctx.empty(image.shape, gc.f32)
    grey, edges = ctx.empty((height, width), gc.f32), ctx.empty((height, width), gc.f32)
    smooth, equal = ctx.empty(image.shape, gc.f32), ctx.empty(image.shape, gc.f32)
    bins, curve = ctx.zeros(256, gc.u32), ctx.empty(256, gc.f32)

    crop = _detail(image)
    detail = ctx.array(crop)
    zoomed = ctx.empty((3, crop.shape[1] * ZOOM, crop.shape[2] * ZOOM), gc.f32)
    relief = (terrain.height * np.float32(VERTICAL_EXAGGERATION)).astype(np.float32)
    elevation = ctx.array(relief)
    shade = ctx.empty(relief.shape, gc.f32)

    spatial, tonal = 1 / (2 * SIGMA_SPACE**2), 1 / (2 * SIGMA_COLOUR**2)

    def blur() -> gc.Array[Any]:
        kernels.blur_rows[(3, *tiles), (1, tile, tile)](source, device_weights, half)
        kernels.blur_columns[(3, *tiles), (1, tile, tile)](half, device_weights, blurred)
        return blurred

    def sobel() -> gc.Array[Any]:
        kernels.luminance.over((height, width))(source, grey)
        kernels.sobel.over((height, width))(grey, edges)
        return edges

    def bilateral() -> gc.Array[Any]:
        kernels.bilateral.over((height, width))(source, smooth, BILATERAL_RADIUS, spatial, tonal)
        return smooth

    def equalise() -> gc.Array[Any]:
        bins.fill(0)
        kernels.luminance.over((height, width))(source, grey)
        kernels.histogram[tiles, (tile, tile)](grey, bins)
        kernels.cumulative[1, 256](bins, curve)
        kernels.equalise.over((height, width))(source, grey, curve, equal)
        return equal

    def resize() -> gc.Array[Any]:
        kernels.resize.over(zoomed.shape)(detail, zoomed)
        return zoomed

    def hillshade() -> gc.Array[Any]:
        kernels.hillshade.over(relief.shape)(elevation, shade, terrain.dx, terrain.dy, AZIMUTH, ALTITUDE)
        return shade

    plane = height * width * 4
    return [
        Stage(
            "Gaussian blur",
            blur,
            lambda: reference.blur(exact, weights.astype(np.float64)),
            12 * plane,
            2e-6,
            image,
        ),
        Stage(
            "Sobel edges", sobel, lambda: reference.sobel(reference.luminance(exact)), 6 * plane, 2e-5, image
        ),
        Stage(
            "Bilateral filter",
            bilateral,
            lambda: reference.bilateral(exact, BILATERAL_RADIUS, spatial, tonal),
            6 * plane,
            2e-5,
            image,
        ),
        Stage(
            "Histogram equalisation",
            equalise,
            lambda: reference.equalise(image, grey.numpy()),
            13 * plane,
            2e-6,
            image,
        ),
        Stage(
            f"Bilinear resize x{ZOOM}",
            resize,
            lambda: reference.resize(crop.astype(np.float64), *zoomed.shape[1:]),
            crop.nbytes + zoomed.nbytes,
            1e-4,
            crop,
        ),
        Stage(
            "Hillshade",
            hillshade,
            lambda: reference.hillshade(relief.astype(np.float64), terrain.dx, terrain.dy, AZIMUTH, ALTITUDE),
            2 * relief.nbytes,
            2e-5,
            terrain.height,
        ),
    ]


def _detail(image: Pixels) -> Pixels:
    """A quarter of the image around its upper middle, where a portrait has its face."""
    _, height, width = image.shape
    h, w = max(height // 4, 1), max(width // 4, 1)
    top, left = (height - h) // 3, (width - w) // 2
    return np.ascontiguousarray(image[:, top : top + h, left : left + w])
