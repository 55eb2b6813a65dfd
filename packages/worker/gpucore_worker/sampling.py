"""How the next token is chosen from the logits."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.errors import InferenceError, ParameterError
from gpucore_worker.kernels.sampling import chances

_SEEDS = 1 << 64
_MOST_TEMPERATURE = sys.float_info.max
_LEAST_PENALTY = 1e-6
"""What is smaller makes infinities of logits."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes
    ----------
    temperature : float
        0 takes the likeliest token, the first of several; else logits are divided by it.
    seed : int
        The same seed gives the same tokens on every device: its random numbers are Philox's, one a token.
    top_k : int
        Draw among that many of the likeliest; 0: among all.
    top_p : float
        Draw among the likeliest whose chances together reach it; 1: among all.
    min_p : float
        Draw among those that have at least this share of the largest chance; 0: among all.
    repetition_penalty : float
        Logits of tokens that occurred are divided by it, or multiplied where they are below 0 (Keskar and others, 2019); 1: none.

    Raises
    ------
    ParameterError
    """

    temperature: float = 0.0
    seed: int = 0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        t = self.temperature
        if isinstance(t, bool) or not isinstance(t, (int, float)) or not 0 <= t <= _MOST_TEMPERATURE:
            raise ParameterError(f"temperature is {t!r}; a finite number from 0 on was expected")
        if 0 < t < 1e-6:
            raise ParameterError(
                f"temperature is {t!r}; 0 takes the likeliest token, else at least 1e-6 is needed"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < _SEEDS:
            raise ParameterError(f"seed is {self.seed!r}; a whole number from 0 to 2**64 - 1 was expected")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 0:
            raise ParameterError(f"top_k is {self.top_k!r}; a whole number from 0 on was expected")
        self._within("top_p", self.top_p, 0, 1)
        self._within("min_p", self.min_p, 0, 1, zero=True)
        self._within("repetition_penalty", self.repetition_penalty, _LEAST_PENALTY, 10, zero=True)

    @staticmethod
    def _within(name: str, value: object, least: float, most: float, *, zero: bool = False) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not (least < value <= most or (zero and value == least))
        ):
            start = "from" if zero else "above"
            raise ParameterError(
                f"{name} is {value!r}; a number {start} {least} and up to {most} was expected"
            )

    def likely(self, chances: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """The tokens among which one is drawn, in their order in the vocabulary."""
        count = len(chances)
        if self.top_k == 0 and self.top_p == 1 and self.min_p == 0:
            return np.arange(count)
        order = np.argsort(-chances, kind="stable")
        kept = min(self.top_k or count, count)
        if self.top_p < 1:
            sums = np.cumsum(chances[order])
            kept = min(kept, int(np.searchsorted(sums, self.top_p * sums[-1])) + 1)
        if self.min_p > 0:
            kept = min(kept, int(np.count_nonzero(chances >= self.min_p * chances[order[0]])))
        return np.sort(order[: max(kept, 1)])


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

    def choose(self, logits: npt.NDArray[np.float32], step: int, before: npt.NDArray[np.int32]) -> int:
        """The next token.

        Parameters
        ----------
        logits : ndarray of f32, (vocabulary,)
        step : int
            Tokens chosen before.
        before : ndarray of i32
            The tokens so far, the prompt's too.

        Raises
        ------
        InferenceError
            A logit is not a number: the weights are damaged.
        """
        if self._sampling.repetition_penalty != 1:
            logits = logits.copy()
            seen = np.unique(before)
            penalty = np.float32(self._sampling.repetition_penalty)
            logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
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
        found = self._chances.numpy().astype(np.float64)
        kept = self._sampling.likely(found[:-1])
        # sums in f64, from the first token on: one order, so that rounding is the same everywhere
        sums = np.cumsum(found[kept])
        return int(kept[np.searchsorted(sums, found[-1] * sums[-1], side="right")])
