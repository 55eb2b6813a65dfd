"""Fast mode leaves the portable functions as they are: reassociating inside them would break them."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def exponential(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.exp(x[i])


@gc.kernel
def sine(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    y[i] = gc.sin(x[i])


@pytest.mark.parametrize(("kernel", "reference"), [(exponential, np.exp), (sine, np.sin)], ids=["exp", "sin"])
def test_a_portable_function_is_as_accurate_in_fast_mode(kernel, reference):
    values = np.linspace(-20, 20, 401, dtype=np.float32)
    with gc.Context("cpu", math="fast") as context:
        y = context.zeros(values.size, gc.f32)
        kernel.over(values.size)(context.array(values), y)
        np.testing.assert_allclose(y.numpy(), reference(values.astype(np.float64)), rtol=2e-6, atol=1e-7)
