"""What sampling computes on the device, so that a seed gives the same tokens everywhere."""

from __future__ import annotations

import gpucore as gc

__all__ = ["chances"]


@gc.kernel
def chances(
    logits: gc.Array[gc.f32, 1],
    out: gc.Array[gc.f32, 1],
    largest: gc.f32,
    warmth: gc.f32,
    seed: gc.u64,
    step: gc.u64,
) -> None:
    """Unnormalised chances ``exp((logit - largest) * warmth)``, and behind them a number in [0, 1) that seed and step decide."""
    i = gc.global_id(0)
    size = logits.shape[0]
    if i < size:
        out[i] = gc.exp((logits[i] - largest) * warmth)
    elif i == size:
        out[i] = gc.random.uniform(seed, step)
