"""Element types, arithmetic, conversions and functions: the same bits as the interpreter's."""

import math
from fractions import Fraction

import numpy as np
import pytest

import gpucore as gc

INTEGERS = (gc.i8, gc.i16, gc.i32, gc.i64, gc.u8, gc.u16, gc.u32, gc.u64)
FLOATS = (gc.f16, gc.bf16, gc.f32, gc.f64)
ALL = (gc.bool_, *INTEGERS, *FLOATS)
N = 96


def values(dtype, seed):
    rng = np.random.default_rng(seed)
    if dtype is gc.bool_:
        return rng.integers(0, 2, N).astype(bool)
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        x = rng.integers(info.min, info.max, N, dtype.numpy, endpoint=True)
        x[:8] = np.array([0, 1, 2, 3, info.max, info.min, info.max - 1, info.min + 1], dtype.numpy)
        return rng.permutation(x)
    raw = rng.integers(0, 2**dtype.bits, N // 2, dtype=f"u{dtype.itemsize}").view(dtype.numpy)
    raw[:6] = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0]).astype(dtype.numpy)
    near = rng.standard_normal(N - N // 2).astype(dtype.numpy)
    with np.errstate(invalid="ignore"):
        return rng.permutation(np.concatenate([raw, near]))


def wanted(context, dtype, op="arithmetic"):
    """Whether the device has the operation; where it has not, what wants it is refused."""
    return context.device.capabilities.supports(dtype, op)


@gc.kernel
def copy(x: gc.Array, out: gc.Array):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[i] = x[i]


@gc.kernel
def integers(a: gc.Array, b: gc.Array, out: gc.Array):
    i = gc.global_id(0)
    if i < a.shape[0]:
        x, y = a[i], b[i]
        out[i, 0] = x + y
        out[i, 1] = x - y
        out[i, 2] = x * y
        out[i, 3] = x // y
        out[i, 4] = x % y
        out[i, 5] = (x & y) | (x ^ ~y)
        out[i, 6] = x << (y & 127)
        out[i, 7] = x >> (y & 127)
        out[i, 8] = gc.min(x, y)
        out[i, 9] = gc.max(x, y)
        out[i, 10] = gc.abs(x)
        out[i, 11] = -x
        out[i, 12] = gc.clamp(x, y, y)
        out[i, 13] = gc.popcount(x) * 100 + gc.clz(x)
        out[i, 14] = (x if x < y else y) + (1 if x == y else 0)
        out[i, 15] = gc.select(x >= y, x, y)


@gc.kernel
def floats(a: gc.Array, b: gc.Array, out: gc.Array):
    i = gc.global_id(0)
    if i < a.shape[0]:
        x, y = a[i], b[i]
        out[i, 0] = x + y
        out[i, 1] = x - y
        out[i, 2] = x * y
        out[i, 3] = x / y
        out[i, 4] = x // y
        out[i, 5] = x % y
        out[i, 6] = gc.sqrt(x)
        out[i, 7] = gc.fma(x, y, x)
        out[i, 8] = gc.min(x, y)
        out[i, 9] = gc.max(x, y)
        out[i, 10] = gc.abs(x) - (-y)
        out[i, 11] = gc.floor(x) + gc.ceil(y)
        out[i, 12] = gc.trunc(x) - gc.round(y)
        out[i, 13] = x * y + x
        out[i, 14] = gc.select(gc.isnan(x) or gc.isinf(y), y, x)
        out[i, 15] = x * 2 + 0.5


@gc.kernel
def functions(a: gc.Array, b: gc.Array, out: gc.Array):
    i = gc.global_id(0)
    if i < a.shape[0]:
        x, y = a[i], b[i]
        out[i, 0] = gc.exp(x)
        out[i, 1] = gc.log(x)
        out[i, 2] = math.sin(x)
        out[i, 3] = gc.cos(y)
        out[i, 4] = gc.tan(x)
        out[i, 5] = gc.atan2(x, y)
        out[i, 6] = gc.pow(x, y)
        out[i, 7] = gc.tanh(x)
        out[i, 8] = gc.asin(x)
        out[i, 9] = gc.acos(y)
        out[i, 10] = gc.exp2(x)
        out[i, 11] = gc.log2(y)
        out[i, 12] = gc.log10(x)
        out[i, 13] = gc.rsqrt(x)
        out[i, 14] = gc.sinh(x)
        out[i, 15] = gc.cosh(y)


def run_or_refused(same, context, dtype, kernel, *args):
    if wanted(context, dtype):
        return same(kernel, 3, 40, *args)
    with pytest.raises(gc.NotSupportedError):
        kernel[3, 40](*(context.array(a) for a in args))
    return None


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_elements_are_loaded_and_stored(gpucore_context, same, dtype):
    x = values(dtype, 1)
    if not wanted(gpucore_context, dtype, "storage"):
        with pytest.raises(gc.NotSupportedError):
            copy[3, 40](gpucore_context.array(x), gpucore_context.array(x))
        return
    _, out = same(copy, 3, 40, x, np.zeros_like(x))
    if dtype is gc.bool_ or dtype.is_integer:
        np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_arithmetic(gpucore_context, same, dtype):
    a, b = values(dtype, 2), values(dtype, 3)
    run_or_refused(same, gpucore_context, dtype, integers, a, b, np.zeros((N, 16), dtype.numpy))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_arithmetic(gpucore_context, same, dtype):
    a, b = values(dtype, 4), values(dtype, 5)
    run_or_refused(same, gpucore_context, dtype, floats, a, b, np.zeros((N, 16), dtype.numpy))


@pytest.mark.parametrize("dtype", (gc.f32, gc.f64), ids=str)
def test_functions_of_the_library(gpucore_context, same, dtype):
    a, b = values(dtype, 6), values(dtype, 7)
    run_or_refused(same, gpucore_context, dtype, functions, a, b, np.zeros((N, 16), dtype.numpy))


@gc.kernel
def cube_roots(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[i] = gc.cbrt(x[i])


# the f32 of three octaves whose cube roots are nearest a midpoint between two f32
NEAR_MIDPOINTS = (
    0x400353B5, 0x40526132, 0x4021B8E7, 0x3FCE4D58, 0x400F7652, 0x40CAC367, 0x3FAF1391, 0x40657981, 0x408C09CE, 0x40AB14E9,
)  # fmt: skip


def test_cube_roots_are_the_nearest_numbers(same):
    hard = np.array(NEAR_MIDPOINTS, np.uint32).view(np.float32)
    hard = np.concatenate([np.ldexp(hard, 3 * n) for n in (-49, -43, -42, -21, -20, -7, 0, 11, 29, 41)])
    sure = np.concatenate([[np.finfo(np.float32).max, 1e-45, 1e-40, 8.0, 27.0, 3.0], hard])
    x = np.concatenate([sure, -sure, [0.0, -0.0, math.inf, -math.inf, math.nan]]).astype(np.float32)
    _, out = same(cube_roots, -(-x.size // 32), 32, x, np.zeros_like(x))
    np.testing.assert_array_equal(out[2 * sure.size :], x[2 * sure.size :])
    assert (np.signbit(out) == np.signbit(x))[:-1].all()
    for cube, root in zip(map(Fraction, x[: 2 * sure.size].tolist()), out.tolist(), strict=False):
        y = np.float32(abs(root))
        below, above = (
            Fraction(float(y)) + Fraction(float(np.nextafter(y, np.float32(to)))) for to in (0.0, math.inf)
        )
        assert below**3 < 8 * abs(cube) < above**3


@pytest.mark.parametrize("source", ALL, ids=str)
def test_casts_to_every_type(gpucore_context, same, source):
    x = values(source, 8)
    for target in ALL:

        @gc.kernel
        def convert(x: gc.Array, out: gc.Array):
            i = gc.global_id(0)
            if i < x.shape[0]:
                out[i] = gc.cast(x[i], target)

        out = np.zeros(N, target.numpy)
        if wanted(gpucore_context, source) and wanted(gpucore_context, target):
            same(convert, 3, 40, x, out)


@pytest.mark.parametrize(
    ("source", "target"), ((gc.f32, gc.u32), (gc.f64, gc.i64), (gc.f16, gc.u16), (gc.bf16, gc.i16)), ids=str
)
def test_bitcasts_show_the_canonical_nan(gpucore_context, same, source, target):
    @gc.kernel
    def expose(x: gc.Array, out: gc.Array):
        i = gc.global_id(0)
        if i < x.shape[0]:
            out[i] = gc.bitcast(x[i], target)

    if not (wanted(gpucore_context, source) and wanted(gpucore_context, target)):
        pytest.skip("the device lacks the type")
    same(expose, 3, 40, values(source, 9), np.zeros(N, target.numpy))


@gc.kernel(math="fast")
def fast(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[i] = gc.exp(x[i]) * gc.sin(x[i]) / (1.0 + gc.sqrt(x[i] * x[i] + 0.5))


def test_fast_math_is_close(gpucore_context):
    if "fast" not in gpucore_context.device.capabilities:
        pytest.skip("the device has no fast mode")
    x = np.linspace(0.1, 3, 1000, dtype=np.float32)
    out = gpucore_context.zeros(1000, gc.f32)
    fast[4, 256](gpucore_context.array(x), out)
    d = x.astype(np.float64)
    np.testing.assert_allclose(out.numpy(), np.exp(d) * np.sin(d) / (1 + np.sqrt(d * d + 0.5)), rtol=2e-4)


def test_a_context_says_how_kernels_compute(gpucore_context):
    @gc.kernel
    def product(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
        i = gc.global_id(0)
        if i < x.shape[0]:
            out[i] = x[i] * x[i] - 1.0

    x = np.linspace(1, 2, 500, dtype=np.float32)
    for context in (gpucore_context, gpucore_context.options(math="fast")):
        out = context.zeros(500, gc.f32)
        product[2, 256](context.array(x), out)
        if context.math == "strict":
            np.testing.assert_array_equal(out.numpy(), x * x - np.float32(1))
        else:
            np.testing.assert_allclose(out.numpy(), x * x - np.float32(1), atol=1e-6)


@gc.func
def softened(d: gc.f32):
    k = 1.0 / (1.0 + 0.25 * abs(d))
    tail = gc.exp(-0.5 * d * d) * k
    if d > 0.0:
        return 1.0 - tail
    return tail


def test_a_device_function_uses_the_math_functions_in_fast_mode(gpucore_context):
    @gc.kernel(math="fast")
    def apply(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
        i = gc.global_id(0)
        y[i] = softened(x[i]) + gc.sin(x[i])

    x = np.linspace(-3, 3, 1001, dtype=np.float32)
    y = gpucore_context.zeros(x.shape, gc.f32)
    apply.over(x.size)(gpucore_context.array(x), y)
    d = x.astype(np.float64)
    tail = np.exp(-0.5 * d * d) / (1 + 0.25 * np.abs(d))
    np.testing.assert_allclose(y.numpy(), np.where(d > 0, 1 - tail, tail) + np.sin(d), atol=1e-5)
