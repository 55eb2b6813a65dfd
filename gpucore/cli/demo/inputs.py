"""Where the demo's photograph and terrain come from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from gpucore.cli.demo.stages import Pixels, Terrain

LARGEST_SIDE = 4096
"""Larger photographs are reduced, so that the NumPy references finish in a minute."""

INSTALL = "install it with: pip install 'gpucore[demo]'"


def pillow() -> Any:
    """The Pillow image module, or one clear line when it is missing."""
    try:
        from PIL import Image
    except ImportError:
        raise click.ClickException(
            f"the demo reads and writes pictures with Pillow, which is missing; {INSTALL}"
        ) from None
    return Image


def _sample(name: str) -> Path:
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError:
        raise click.ClickException(
            f"the demo's own photograph and terrain come with matplotlib, which is missing; {INSTALL}"
        ) from None
    return Path(get_sample_data(name, asfileobj=False))


def photograph(path: Path | None) -> Pixels:
    """An RGB image as ``(3, height, width)`` f32 in 0 to 1; without a path a portrait of Grace Hopper."""
    image_module = pillow()
    source = path or _sample("grace_hopper.jpg")
    try:
        with image_module.open(source) as opened:
            opened.load()
            picture = opened.convert("RGB")
    except FileNotFoundError:
        raise click.ClickException(f"there is no file {source}") from None
    except IsADirectoryError:
        raise click.ClickException(f"{source} is a folder, not a picture") from None
    except PermissionError:
        raise click.ClickException(f"{source} cannot be read: permission denied") from None
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        reason = str(error).rstrip(".")
        raise click.ClickException(f"{source} is not a picture that Pillow can read: {reason}") from None
    if max(picture.size) > LARGEST_SIDE:
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), image_module.Resampling.LANCZOS)
    if min(picture.size) < 8:
        raise click.ClickException(
            f"{source} is {picture.size[0]} by {picture.size[1]} pixels; the demo wants at least 8 by 8"
        )
    rgb: npt.NDArray[np.uint8] = np.asarray(picture, dtype=np.uint8)
    return np.ascontiguousarray((rgb.astype(np.float32) / np.float32(255)).transpose(2, 0, 1))


def terrain() -> Terrain:
    """The elevation model of the Jacksboro fault, Tennessee, that matplotlib ships (SRTM, geographic grid)."""
    with np.load(_sample("jacksboro_fault_dem.npz")) as data:
        height = data["elevation"].astype(np.float32)
        middle = math.radians(float(data["ymin"]) + float(data["ymax"])) / 2
        # a degree of latitude is 111,200 m; of longitude that times the cosine of the latitude
        dx = 111_200.0 * float(data["dx"]) * math.cos(middle)
        dy = 111_200.0 * float(data["dy"])
    return Terrain(height, dx, dy)
