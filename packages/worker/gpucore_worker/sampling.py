"""How the next token is chosen from the logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.errors import InferenceError, ParameterError
from gpucore_worker.kernels.sampling import chances

_SEEDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes
    ----------
    temperature : float
        0 takes the likeliest token, the first of several; else logits are divided by it.
    seed : int
        The same seed gives the same tokens on every device: its random numbers are Philox's, one a token.

    Raises
    ------
    ParameterError
    """

    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        t = self.temperature
        if isinstance(t, bool) or not isinstance(t, (int, float)) or not math.isfinite(t) or t < 0:
            raise ParameterError(f"temperature is {t!r}; a finite number from 0 on was expected")
        if 0 < t < 1e-6:
            raise ParameterError(
                f"temperature is {t!r}; 0 takes the likeliest token, else at least 1e-6 is needed"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < _SEEDS:
            raise ParameterError(f"seed is {self.seed!r}; a whole number from 0 to 2**64 - 1 was expected")


class Sampler:
    """Chooses tokens on a context's device."""

    def __init__(self, context: gc.Context, sampling: Sampling, vocabulary: int) -> None:
        self._sampling = sampling
        # the likeliest token is found on the host
        size = 0 if sampling.temperature == 0 else vocabulary
        self._logits: gc.Array[Any] = context.empty(size, gc.f32)
        self._chances: gc.Array[Any] = context.empty(size + 1, gc.f32)

    def free(self) -> None:
        """Give the memory back."""
        self._logits.free()
        self._chances.free()

    def choose(self, logits: npt.NDArray[np.float32], step: int) -> int:
        """The next token.

        Parameters
        ----------
        logits : ndarray of f32, (vocabulary,)
        step : int
            Tokens chosen before.

        Raises
        ------
        InferenceError
            A logit is not a number: the weights are damaged.
        """
        largest = float(np.max(logits))
        if not math.isfinite(largest):
            raise InferenceError(
                "the logits are no finite numbers; the model's weights are damaged or do not fit it"
            )
        if self._sampling.temperature == 0:
            return int(np.argmax(logits))
        self._logits.copy_from(logits)
        chances.over(self._chances.shape[0])(
            self._logits, self._chances, largest, 1.0 / self._sampling.temperature, self._sampling.seed, step
        )
        found = self._chances.numpy()
        # sums in f64, from the first token on: one order, so that rounding is the same everywhere
        sums = np.cumsum(found[:-1], dtype=np.float64)
        return int(np.searchsorted(sums, float(found[-1]) * sums[-1], side="right"))
