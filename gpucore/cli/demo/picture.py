"""The demo's picture: for each stage a card with before and after side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.cli.demo.inputs import pillow

Rgb = npt.NDArray[np.uint8]

CARD_WIDTH, CARD_HEIGHT = 330, 380
GAP, CAPTION, MARGIN, TITLE = 6, 44, 36, 84
BACKGROUND, INK, DIM = (17, 20, 27), (236, 240, 246), (139, 150, 168)

# Elevation colours from valley to summit.
_TINTS = np.array(
    [(38, 84, 70), (84, 127, 80), (160, 168, 104), (197, 165, 110), (158, 118, 90), (236, 232, 226)],
    np.float64,
)


def to_rgb(values: npt.NDArray[np.float32]) -> Rgb:
    """A plane or a planar RGB image in 0 to 1 as ``(height, width, 3)`` bytes; elevations are tinted."""
    if values.ndim == 3:
        return _bytes(values.transpose(1, 2, 0))
    if np.max(values) > 2.0:
        return tint(values)
    return _bytes(np.repeat(values[:, :, None], 3, 2))


def tint(height: npt.NDArray[np.float32]) -> Rgb:
    """Elevations as colours."""
    low, high = float(np.min(height)), float(np.max(height))
    t = (height.astype(np.float64) - low) / max(high - low, 1e-9) * (len(_TINTS) - 1)
    k = np.minimum(t.astype(np.intp), len(_TINTS) - 2)
    f = (t - k)[:, :, None]
    return np.asarray(_TINTS[k] * (1 - f) + _TINTS[k + 1] * f + 0.5).astype(np.uint8)


def _bytes(values: npt.NDArray[np.floating[Any]]) -> Rgb:
    return (np.clip(values.astype(np.float64), 0, 1) * 255 + 0.5).astype(np.uint8)


def digest(panels: Sequence[Rgb]) -> str:
    """SHA-256 of the result panels' pixels: equal on two backends when they drew the same bits."""
    sha = hashlib.sha256()
    for panel in panels:
        sha.update(repr(panel.shape).encode())
        sha.update(np.ascontiguousarray(panel).tobytes())
    return sha.hexdigest()


def compose(cards: Sequence[tuple[str, str, Rgb, Rgb]], path: Path) -> None:
    """Draw ``(title, note, before, after)`` cards in two columns and write the PNG."""
    image_module = pillow()
    from PIL import ImageDraw, ImageFont

    columns = 2
    rows = -(-len(cards) // columns)
    card = 2 * CARD_WIDTH + GAP
    width = 2 * MARGIN + columns * card + (columns - 1) * MARGIN
    height = TITLE + rows * (CARD_HEIGHT + CAPTION) + (rows - 1) * GAP * 2 + MARGIN
    canvas = image_module.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 26), "gpucore demo", INK, ImageFont.load_default(30))
    draw.text(
        (MARGIN + 218, 38), "one Python kernel, any device, the same bits", DIM, ImageFont.load_default(18)
    )
    for n, (title, note, before, after) in enumerate(cards):
        x = MARGIN + (n % columns) * (card + MARGIN)
        y = TITLE + (n // columns) * (CARD_HEIGHT + CAPTION + GAP * 2)
        for k, pixels in enumerate((before, after)):
            canvas.paste(_cover(image_module, pixels), (x + k * (CARD_WIDTH + GAP), y))
        draw.text((x, y + CARD_HEIGHT + 10), title, INK, ImageFont.load_default(20))
        draw.text((x + card, y + CARD_HEIGHT + 13), note, DIM, ImageFont.load_default(16), anchor="ra")
    canvas.save(path, format="PNG")


def _cover(image_module: Any, pixels: Rgb) -> Any:
    """Scale and crop so that the picture covers half a card; few pixels stay sharp squares."""
    picture = image_module.fromarray(pixels)
    scale = max(CARD_WIDTH / picture.width, CARD_HEIGHT / picture.height)
    size = (max(round(picture.width * scale), CARD_WIDTH), max(round(picture.height * scale), CARD_HEIGHT))
    method = image_module.Resampling.NEAREST if scale > 1.5 else image_module.Resampling.LANCZOS
    picture = picture.resize(size, method)
    left, top = (size[0] - CARD_WIDTH) // 2, (size[1] - CARD_HEIGHT) // 3
    return picture.crop((left, top, left + CARD_WIDTH, top + CARD_HEIGHT))
