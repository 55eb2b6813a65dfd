"""Random numbers on a device: the bits of the interpreter, and the distributions that they are meant to have."""

import math

import numpy as np

import gpucore as gc


@gc.kernel
def drawn(
    uniform: gc.Array[gc.f32],
    uniform_f64: gc.Array[gc.f64],
    normal: gc.Array[gc.f32],
    normal_f64: gc.Array[gc.f64],
    integers: gc.Array[gc.i64],
    seed: gc.u64,
):
    i = gc.global_id(0)
    uniform[i] = gc.random.uniform(seed, i)
    uniform_f64[i] = gc.random.uniform_f64(seed, i)
    normal[i] = gc.random.normal(seed, i)
    normal_f64[i] = gc.random.normal_f64(seed, i)
    integers[i] = gc.random.integers(seed, i, -3, 12)


DTYPES = (np.float32, np.float64, np.float32, np.float64, np.int64)


def numbers(ctx, count, seed):
    arrays = [ctx.empty(count, dtype) for dtype in DTYPES]
    drawn.over(count)(*arrays, seed)
    return [a.numpy() for a in arrays]


def test_a_device_draws_the_bits_of_the_interpreter(gpucore_context):
    wanted = [np.empty(96, dtype) for dtype in DTYPES]
    drawn.interpret(3, 32, *wanted, 2**63 + 5)
    for found, expected in zip(numbers(gpucore_context, 96, 2**63 + 5), wanted, strict=True):
        assert found.tobytes() == expected.tobytes()


def furthest(sample, cumulative):
    """The statistic of Kolmogorov and Smirnov, times the root of the size: above 2.2 once in 10,000 samples."""
    ordered = np.sort(sample.astype(np.float64))
    n = len(ordered)
    wanted = cumulative(ordered)
    steps = np.arange(n + 1) / n
    return max(np.max(wanted - steps[:-1]), np.max(steps[1:] - wanted)) * math.sqrt(n)


def test_numbers_are_distributed_as_numpys_are(gpucore_context):
    n = 200_000
    uniform, uniform_f64, normal, normal_f64, integers = numbers(gpucore_context, n, 12345)
    below = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))
    for sample in (uniform, uniform_f64):
        assert 0 <= sample.min() and sample.max() < 1
        assert furthest(sample, lambda v: v) < 2.2
    for sample in (normal, normal_f64):
        assert furthest(sample, below) < 2.2
    counts = np.bincount(integers + 3, minlength=15)
    assert len(counts) == 15
    assert np.sum((counts - n / 15) ** 2) / (n / 15) < 42.6  # chi-squared with 14 degrees, once in 10,000
    # neighbours are independent
    for sample in (uniform, normal):
        centred = sample.astype(np.float64) - sample.mean()
        assert abs(np.mean(centred[1:] * centred[:-1])) / centred.var() < 4 / math.sqrt(n)
