"""Rows of views: arguments with strides of any sign, and slices in kernels; what NumPy makes of the same data is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import DType, bool_, dtype
from gpucore.testing.semantics.model import Case, Group, Views

__all__ = ["SHAPE", "groups"]

SHAPE = (4, 6)
"""Of the array of each row."""
_DTYPES = ("u8", "i64", "f16", "f32", "bool")
_ROWS = 6
_VIEWS: dict[str, Views] = {
    "rows": (np.s_[1:3, 2:5], np.s_[0:2, 0:3]),
    "reversed": (np.s_[::-1, ::-1], np.s_[:, :]),
    "steps": (np.s_[::2, ::3], np.s_[2:, ::-5]),
    "both": (np.s_[::-3, 4:0:-2], np.s_[1::2, 5:1:-3]),
    "column": (np.s_[:, 5:4:-1], np.s_[::-1, 2:3]),
}
_SLICES: dict[str, str] = {
    "middle": "3:n - 5", "steps": "n - 20:n - 3:4", "down": "n + 7:2:-3", "empty": "n:3", "past": "20:n * 2",
    "front": "k - 12:k - 2", "all": "::-1",
}  # fmt: skip
Taken: TypeAlias = "Callable[[npt.NDArray[Any]], npt.NDArray[Any]]"


def _arrays(kind: DType) -> list[npt.NDArray[Any]]:
    """The bits of the elements of each row."""
    stream = Random(kind.bits)
    count = SHAPE[0] * SHAPE[1]
    most = 2 if kind is bool_ else 1 << (kind.bits - 2)  # of floats no NaN, whose bits are not promised
    return [np.array([stream.randrange(most) for _ in range(count)], np.uint64) for _ in range(_ROWS)]


def _cases(taken: Taken, kind: DType) -> list[Case]:
    return [(tuple(map(int, x)), tuple(map(int, taken(x)))) for x in _arrays(kind)]


def _copied(views: Views, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    source, target = views
    result = np.zeros(SHAPE, x.dtype)
    result[target] = x.reshape(SHAPE)[source]
    return result.ravel()


def _sliced(text: str, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    names = {"n": x.size, "k": 10}
    lower, upper, step = (*text.split(":"), "")[:3]
    # a bound below 0 is 0 in a kernel
    low, high, by = (int(eval(part, names)) if part else None for part in (lower, upper, step))
    part = x[max(low, 0) if low is not None else None : high : by]
    result = np.zeros_like(x)
    result[: part.size] = part
    return result


def groups() -> Iterable[Group]:
    """The groups ``view.rows.f32``, ``slice.middle.f32`` and so on."""
    lanes = SHAPE[0] * SHAPE[1]
    for name in _DTYPES:
        kind = dtype(name)
        for label, views in _VIEWS.items():
            cases = partial(_cases, partial(_copied, views), kind)
            yield Group(
                f"view.{label}.{name}", "view", (kind,), (kind,), cases, "view", lanes=lanes, views=views
            )
        for label, text in _SLICES.items():
            cases = partial(_cases, partial(_sliced, text), kind)
            yield Group(
                f"slice.{label}.{name}", "slice", (kind,), (kind,), cases, "view", lanes=lanes, template=text
            )
