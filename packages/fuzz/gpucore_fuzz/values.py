"""Random numbers of every dtype that lean towards trouble, and the arrays made of them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import DType, bf16
from gpucore.ir.interpreter.numerics import FORMATS, bits_to_float, encode_half, rounder
from gpucore.ir.nodes import Number

__all__ = ["copies", "owner", "random_array", "random_number", "random_scalar", "source"]


def source(seed: int) -> random.Random:
    """A generator whose draws depend on the seed only (a Mersenne twister, the same in every Python)."""
    return random.Random(seed)


def random_number(rng: random.Random, dtype: DType) -> Number:
    """A value of the dtype: special ones about half of the time."""
    if dtype.kind == "bool":
        return rng.random() < 0.5
    if dtype.is_float:
        return _random_float(rng, dtype)
    low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
    high = low + (1 << dtype.bits) - 1
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((low, high, low + 1, high - 1, 0, 1, 1 << (dtype.bits - 2)))
    if kind == 1:
        return rng.randint(low, high)
    return rng.randint(max(low, -9), 17)


def _random_float(rng: random.Random, dtype: DType) -> float:
    form = FORMATS[dtype]
    round_ = rounder(dtype)
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice((0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan))
    if kind == 1:
        tiny = math.ldexp(1.0, form.emin - form.precision + 1)
        largest = math.ldexp(2.0 - math.ldexp(1.0, 1 - form.precision), form.emax)
        normal = math.ldexp(1.0, form.emin)
        return rng.choice((tiny, normal, largest, normal - tiny)) * rng.choice((1.0, -1.0))
    if kind == 2:  # any pattern
        value = bits_to_float(rng.getrandbits(dtype.bits), dtype)
        return math.nan if value != value else value
    if kind == 3:
        return round_(rng.randint(-20, 20) / 2)
    if kind == 4:
        return round_(math.ldexp(rng.uniform(-1, 1), rng.randint(-12, 12)))
    return round_(rng.uniform(-8, 8))


def random_scalar(rng: random.Random, dtype: DType) -> Number:
    """A scalar argument."""
    return random_number(rng, dtype)


def host_dtype(dtype: DType) -> np.dtype[Any]:
    """The NumPy dtype of arrays; bf16 is seen as uint16 where the host has no bf16."""
    try:
        return dtype.numpy
    except NotSupportedError:
        return np.dtype(np.uint16)


def random_array(rng: random.Random, dtype: DType, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of random values."""
    numbers = [random_number(rng, dtype) for _ in range(math.prod(shape))]
    if dtype is bf16:
        words = np.array([encode_half(float(v), dtype) for v in numbers], np.uint16)
        return words.view(host_dtype(dtype)).reshape(shape).copy()  # one that owns its memory: see `owner`
    return np.array(numbers, host_dtype(dtype)).reshape(shape)


def owner(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array whose memory an array is a part of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def copies(args: Sequence[Any]) -> list[Any]:
    """Copies of arguments; arrays that overlap do so too."""
    made: dict[int, npt.NDArray[Any]] = {}
    result: list[Any] = []
    for arg in args:
        if isinstance(arg, np.ndarray):
            whole = owner(arg)
            copy = made.setdefault(id(whole), whole.copy())
            start = arg.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
            arg = np.ndarray(arg.shape, arg.dtype, copy, start)
        result.append(arg)
    return result
