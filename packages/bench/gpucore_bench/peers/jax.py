"""JAX: jitted functions, timed by the clock until the result is ready.

The array that holds the result is donated, so that XLA writes where it lies as the other contenders do, and one run
cannot begin before the last has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple, Work
from gpucore_bench.peers import need

LABEL = "jax"


def _device(context: Any) -> tuple[Any, Any]:
    """JAX and its device: the CPU beside a host's device, else the first of CUDA."""
    # by default JAX takes three quarters of a GPU's memory for itself
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax = need("jax")
    platform = "cpu" if context.device.kind in ("cpu", "software") else "cuda"
    try:
        return jax, jax.devices(platform)[0]
    except RuntimeError as error:
        raise MissingPeerError(f"no {platform.upper()} device, or JAX without {platform.upper()}") from error


def peer(
    function: Callable[..., Any], order: tuple[str, ...], result: str, shape: tuple[int, ...] | None = None
) -> dict[str, Maker]:
    """``function(jnp, *arrays)`` gives what the array ``result`` becomes; ``order`` names the arrays it reads.

    ``shape`` is that of a result which is no input.
    """

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        jax, device = _device(context)
        jnp = jax.numpy
        arrays = {name: jax.device_put(inputs[name], device) for name in order}
        # a copy: what is donated must not be the memory that other contenders read their inputs from
        first = inputs[result].copy() if shape is None else np.zeros(shape, np.float32)
        held = {"out": jax.device_put(first, device)}
        reads = [name for name in order if name != result]
        constant = tuple(arrays[name] for name in reads)

        def written(out: Any, *given: Any) -> Any:
            values = dict(zip(reads, given, strict=True)) | {result: out}
            return function(jnp, *(values[name] for name in order))

        compiled = jax.jit(written, donate_argnums=0, keep_unused=True)

        def once() -> None:
            held["out"] = compiled(held["out"], *constant)

        def wait() -> None:
            held["out"].block_until_ready()

        return Simple(once=once, fetch=lambda: np.array(held["out"]), wait=wait, release=held.clear)

    return {LABEL: make}


def stencil(jnp: Any, x: Any, y: Any) -> Any:
    """The five-point mean of the inner points."""
    near = x[1:-1, 1:-1] + x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return y.at[1:-1, 1:-1].set(0.2 * near)


def matmul(jnp: Any, a: Any, b: Any) -> Any:
    """In full f32, no TF32."""
    return jnp.matmul(a, b, precision="highest")


def _cdf(jnp: Any, d: Any) -> Any:
    k = 1 / (1 + 0.2316419 * jnp.abs(d))
    poly = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = 0.39894228040143267 * jnp.exp(-0.5 * d * d) * poly
    return jnp.where(d > 0, 1 - tail, tail)


def black_scholes(jnp: Any, price: Any, strike: Any, years: Any) -> Any:
    """Calls at a rate of 0.02 and a volatility of 0.3."""
    root = jnp.sqrt(years)
    d1 = (jnp.log(price / strike) + (0.02 + 0.5 * 0.3 * 0.3) * years) / (0.3 * root)
    return price * _cdf(jnp, d1) - strike * jnp.exp(-0.02 * years) * _cdf(jnp, d1 - 0.3 * root)
