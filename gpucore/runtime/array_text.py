"""What an array looks like: its values as NumPy prints them, and what notebooks show."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucore.runtime import copies

if TYPE_CHECKING:
    from gpucore.runtime.array import Array

__all__ = ["html_text", "values_text"]


def html_text(array: Array[Any]) -> str:
    """A line of facts and the values."""
    text, why = values_text(array, "")
    facts = html.escape(f"Array, {array._summary()}, {array.nbytes:,} bytes{why}")
    # many values scroll: the next cell stays in sight
    style = "max-height: 20em; overflow: auto; font-size: smaller"
    values = "" if text is None else f'<pre style="{style}">{html.escape(text)}</pre>'
    return f"<div><b>{facts}</b></div>{values}"


def values_text(array: Array[Any], prefix: str) -> tuple[str | None, str]:
    """The values as NumPy prints them, or None and why there are none to show; that an error of a kernel is still unread."""
    if array._block.home is None:
        return None, f", gone: {array._block.why}"
    try:
        shown = copies.edges(array)
        array.context._state.deliver_prints()
        is_doubtful = array.context._state.has_unread_error()
    except Exception as error:  # noqa: BLE001 - a repr says what is wrong, it never raises
        return None, f", values not shown: {error}"
    with np.printoptions(threshold=0 if shown.shape != array.shape else max(shown.size, 1)):
        text = np.array2string(shown, separator=", ", prefix=prefix)
    return text, ", a kernel failed: context.synchronize() raises its error" if is_doubtful else ""
