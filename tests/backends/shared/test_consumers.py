"""Results that are consumed before they are stored: no bit beyond the dtype is seen."""

import numpy as np
import pytest

import gpucore as gc

NARROW = {gc.i8: np.int8, gc.i16: np.int16, gc.u8: np.uint8, gc.u16: np.uint16}


@gc.kernel
def consumed(x: gc.Array, y: gc.Array, wide: gc.Array[gc.i64, 2], real: gc.Array[gc.f32, 2]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        a, b = x[i], y[i]
        wide[i, 0] = -a
        wide[i, 1] = 0 - a
        wide[i, 2] = abs(a)
        wide[i, 3] = a * b
        wide[i, 4] = (a + b) // 3
        wide[i, 5] = (a - b) % 7
        wide[i, 6] = (a + b) >> 1
        wide[i, 7] = max(-a, b)
        wide[i, 8] = min(~a, b)
        wide[i, 9] = gc.popcount(-a)
        wide[i, 10] = gc.clz(a + b)
        wide[i, 11] = 1 if abs(a) > b else 0
        wide[i, 12] = -a // b
        wide[i, 13] = gc.popcount(a)
        wide[i, 14] = (a << 3) >> 2
        wide[i, 15] = gc.select(a < b, -a, a * 2)
        real[i, 0] = gc.f32(-a)
        real[i, 1] = gc.f32(a + b) * 0.5


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_narrow_arithmetic_wraps_before_it_is_consumed(same, gpucore_context, dtype):
    if not gpucore_context.device.capabilities.supports(dtype, "arithmetic"):
        pytest.skip(f"no arithmetic on {dtype}")
    info = np.iinfo(NARROW[dtype])
    ends = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 7, 50]
    x, y = (np.array(side, NARROW[dtype]) for side in zip(*((a, b) for a in ends for b in ends), strict=True))
    same(consumed, 2, 64, x, y, np.zeros((x.size, 16), np.int64), np.zeros((x.size, 2), np.float32))


@gc.kernel
def converted(x: gc.Array[gc.f64], out: gc.Array[gc.i64, 2]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        a = x[i]
        b = gc.f32(a)
        out[i, 0] = gc.i32(gc.u64(b))
        out[i, 1] = gc.u8(gc.i32(b))
        out[i, 2] = gc.i16(gc.u32(b))
        out[i, 3] = gc.i64(gc.f32(gc.i32(b)))
        out[i, 4] = gc.i32(gc.u64(a))
        out[i, 5] = gc.u16(gc.i64(a))
        out[i, 6] = max(~gc.u8(1), gc.u8(b))
        out[i, 7] = gc.u16(gc.u8(b)) + 1
        out[i, 8] = gc.i8(gc.i16(a))


def test_every_conversion_in_a_row_is_made(same, gpucore_context):
    if not gpucore_context.device.capabilities.supports(gc.f64, "arithmetic"):
        pytest.skip("no arithmetic on f64")
    numbers = [0.5, 1.5, 127.0, 128.5, 255.9, 256.0, 32768.0, 65535.5, 65536.0, 2.0**31, 2.0**32, 2.0**32 + 4096,
               2.0**33 + 255, 2.0**53 + 2, 2.0**63, 2.0**64, 2.0**80, np.inf]  # fmt: skip
    x = np.array([*numbers, *(-v for v in numbers), np.nan])
    same(converted, 1, 64, x, np.zeros((x.size, 9), np.int64))


@gc.kernel
def chosen(x: gc.Array[gc.f32], real: gc.Array[gc.f32, 2], raw: gc.Array[gc.u32, 2]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        above = x[i] > 1.0
        branch = gc.f32(0.0)
        if above:
            branch = -1.0
        real[i, 0] = branch
        real[i, 1] = gc.select(above, -0.0, 1.0)
        real[i, 2] = -0.0 if above else 1.0
        real[i, 3] = 1.0 / gc.select(above, -1.0, 0.0)
        real[i, 4] = -abs(gc.select(above, -2.0, 0.0))
        raw[i, 0] = gc.select(above, gc.u32(0xBF800000), gc.u32(0))
        raw[i, 1] = gc.u32(0x80000000) if above else gc.u32(0x3F800000)


def test_a_choice_between_constants_keeps_the_sign_of_zero(same):
    x = np.array([0.0, 2.0, np.nan, 1.0], np.float32)
    same(chosen, 1, 4, x, np.zeros((4, 5), np.float32), np.zeros((4, 2), np.uint32))


@gc.kernel
def quotients(s: gc.Array[gc.u64], out: gc.Array[gc.u64, 2]):
    i = gc.global_id(0)
    if i < s.shape[0]:
        a = s[i]
        out[i, 0] = a % a ^ max(a, 100) - a
        out[i, 1] = a // max(a, 3) ^ a % 7
        out[i, 2] = (a + 5) % a ^ (a // 3) % 11


def test_quotients_of_64_bits_stand_beside_each_other(same):
    s = np.array([2**64 - 2, 2**64 - 1, 2**63, 2**32, 2**32 - 1, 7, 1, 100], np.uint64)
    same(quotients, 1, 8, s, np.zeros((8, 3), np.uint64))


@gc.kernel
def lowest_bits(s: gc.Array[gc.i64], u: gc.Array[gc.u64], out: gc.Array[gc.i64, 2]):
    i = gc.global_id(0)
    if i < s.shape[0]:
        a, b = s[i], u[i]
        out[i, 0] = 12 // a & 4294967297 & 3
        out[i, 1] = a // 3 & 4294967296
        out[i, 2] = (a - 1 if a < 5 else a) & 1
        out[i, 3] = gc.i64(b * (b // 5 & 1))
        out[i, 4] = gc.i64(b * (b % 2) + b * (b >> 63))
        out[i, 5] = gc.i64((b & 5) & 3) * a


def test_a_mask_that_leaves_one_bit_leaves_that_bit(same):
    """NVIDIA's compiler (580.159) made conditions of such bits in halves of 64, and wrong ones."""
    ends = [0, 1, 2, 3, 5, 12, 24, 2**31, 2**32, 2**32 + 1, 2**33 - 1, 2**62 + 1, 2**63 - 1]
    s = np.array([*ends, *(-x for x in ends), -(2**63)], np.int64)
    same(lowest_bits, 1, 32, s, s.view(np.uint64), np.zeros((s.size, 6), np.int64))


@gc.kernel
def squares(
    x1: gc.Strided[gc.u16], x2: gc.Strided[gc.u64], out: gc.Strided[gc.i16], c: gc.Strided[gc.u32], s: gc.f64
):
    i = gc.global_id(0)
    quotient = 0.0 // s
    gc.atomic_add(c, gc.u32(x2[i] * x2[i]) & gc.u32(3), gc.u32(1))
    gc.atomic_add(c, 2 + gc.i32(x2[i] * x2[i] % 4), gc.u32(1))
    out[i] = gc.bitcast((x1[i] if (quotient >= quotient) else gc.u16(0)), gc.i16)


def test_a_square_modulo_4_is_an_index(gpucore_context):
    """NVIDIA's compiler (580.159) knows that it is one bit, and made 1 of 0 (`gpucore fuzz -g values --seeds 54024880`)."""
    x = np.arange(48, dtype=np.uint64)
    counts, out = gpucore_context.zeros(8, gc.u32), gpucore_context.ones(48, gc.i16)
    squares.over(48)(gpucore_context.ones(48, gc.u16), gpucore_context.array(x), out, counts[::2], 0.0)
    np.testing.assert_array_equal(counts.numpy(), [24, 0, 24, 0, 24, 0, 24, 0])
    assert not out.numpy().any()


@gc.kernel
def places(
    s: gc.f64, x: gc.Array[gc.u16], n: gc.Array[gc.i32], c: gc.Array[gc.i32], out: gc.Array[gc.u32, 2]
):
    t = gc.thread_id(0)
    rest = gc.shared(48, gc.f64)
    one = gc.local(4, gc.u32)
    each = gc.local(4, gc.u32)
    one[gc.clamp(gc.u32(32768) << gc.u32(s), 0, 3)] = 3742510945
    gc.atomic_or(c, one[gc.clamp(x[t], 0, 3)] >> gc.u32(30), gc.i32(x[t]))
    rest[t] = s % s
    each[gc.clamp(gc.u32(1) << gc.u32(n[t]), 0, 3)] = 7
    out[t, 0] = each[0] + 2 * each[1] + 4 * each[2] + 8 * each[3]
    out[t, 1] = each[gc.min(gc.u32(4) << gc.u32(n[t]), 2)]


@pytest.mark.parametrize("shift", [0.0, 16.0, 17.0, 31.0, 32.0])
def test_a_clamped_shift_is_one_place_of_a_local_array(gpucore_context, shift):
    """NVIDIA's Vulkan compiler took the place at 0 for that at 3."""
    x = np.array([t % 5 if t % 2 else 1 << t % 16 for t in range(48)], np.uint16)
    n = np.arange(48, dtype=np.int32)
    c, out = gpucore_context.zeros(4, gc.i32), gpucore_context.zeros((48, 2), gc.u32)
    places[1, 48](shift, gpucore_context.array(x), gpucore_context.array(n), c, out)
    place = min(3, 32768 << int(shift) & 0xFFFFFFFF)
    wanted = [0, 0, 0, 0]
    for value in x.tolist():
        wanted[3 if min(value, 3) == place else 0] |= value
    assert c.numpy().tolist() == wanted
    ones = [min(3, 1 << k if k < 32 else 0) for k in range(48)]
    fours = [min(2, 4 << k & 0xFFFFFFFF if k < 32 else 0) for k in range(48)]
    assert out.numpy().tolist() == [[7 << a, 7 * (a == b)] for a, b in zip(ones, fours, strict=True)]


@gc.kernel
def sizes(x: gc.Array, out: gc.Array[gc.i32, 2]):
    i = gc.global_id(0)
    v = x[i]
    size = gc.select(i > 100, gc.cast(3, x.dtype), abs(v))
    out[i, 0] = 7 if abs(v) >= gc.cast(0, x.dtype) else 5
    out[i, 1] = 7 if abs(v) > gc.cast(-1, x.dtype) else 5
    out[i, 2] = 7 if gc.cast(-0.0, x.dtype) <= abs(v) else 5
    out[i, 3] = 7 if -abs(v) < gc.cast(1, x.dtype) else 5
    out[i, 4] = 7 if size >= gc.cast(0, x.dtype) else 5
    out[i, 5] = 7 if not (abs(v) < gc.cast(0, x.dtype)) else 5


@pytest.mark.parametrize("dtype", [gc.f16, gc.bf16, gc.f32, gc.f64], ids=str)
def test_the_size_of_no_number_is_not_above_a_bound(gpucore_context, dtype):
    """ptxas took the size of an f32 for no less than 0, whatever it was the size of."""
    x = gpucore_context.array(np.array([np.nan, -0.0, -2.5, np.inf]).astype(dtype.numpy))
    out = gpucore_context.zeros((4, 6), gc.i32)
    sizes[1, 4](x, out)
    assert out.numpy().tolist() == [[5, 5, 5, 5, 5, 7], *[[7] * 6] * 3]


@gc.kernel
def not_numbers(s: gc.i8, x: gc.Array[gc.i16], found: gc.Array[gc.i16, 2], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    zero = gc.f32(gc.f32(s) < gc.f32(-4294967296.0))
    double = gc.f64(zero)
    half = gc.f16(zero) / gc.f16(zero)
    brain = gc.bf16(zero) / gc.bf16(zero)
    t = zero / zero
    found[i, 0] = -x[i] if gc.isnan(t) else x[i]
    product = double * (double + gc.f64(float("inf")))
    found[i, 1] = x[i] if product <= product else -x[i]
    found[i, 2] = gc.i16(t)
    if i == 0:
        out[0] = 7 if half == half else 5
        out[1] = 7 if gc.isnan(brain) else 5
        out[2] = 7 if half <= half else 5
        out[3] = 7 if brain >= brain else 5
        out[4] = 7 if max(t, zero) == max(t, zero) else 5
        out[5] = 7 if gc.isnan(min(t, zero)) else 5
        out[6] = 7 if not (t < t) else 5
        out[7] = 7 if t > t or t < t or t == t else 5
        out[8] = 7 if gc.isnan(-t) else 5
        out[9] = 7 if gc.isnan(gc.sqrt(zero - 1.0)) else 5
        out[10] = 7 if gc.isnan(gc.fma(t, t, t)) else 5
        out[11] = 7 if gc.bool_(t) else 5
        out[12] = 7 if gc.isnan(gc.f32(gc.f64(t))) else 5
        out[13] = 7 if gc.isnan(gc.floor(t)) else 5
        out[14] = 7 if gc.clamp(t, 0.0, 1.0) == gc.clamp(t, 0.0, 1.0) else 5
        out[15] = 7 if gc.isinf(t) else 5
        out[16] = 7 if gc.isnan(gc.exp(t)) else 5
        out[17] = 7 if gc.isnan(t % 3.0) else 5


NOT_NUMBERS = [5, 7, 5, 5, 5, 7, 7, 5, 7, 7, 7, 7, 7, 7, 5, 5, 7, 7]


def test_what_a_compiler_knows_to_be_no_number_is_none(gpucore_context):
    """NVVM took the comparison of such a quotient with itself for true."""
    x = np.array([1, 2, -32768, 7], np.int16)
    found, out = gpucore_context.zeros((4, 3), gc.i16), gpucore_context.zeros(18, gc.i32)
    not_numbers[1, 4](3, gpucore_context.array(x), found, out)
    assert out.numpy().tolist() == NOT_NUMBERS
    assert found.numpy().tolist() == [[-1, -1, 0], [-2, -2, 0], [-32768, -32768, 0], [-7, -7, 0]]


@gc.kernel
def quotients_by_zero(u: gc.Array[gc.u16], x: gc.Array, out: gc.Array[gc.i32, 2]):
    i = gc.global_id(0)
    zero = gc.cast(-0.0, x.dtype) if x[i] < gc.cast(1.0, x.dtype) else gc.cast(2.0, x.dtype)
    number = gc.cast(u[i], x.dtype)
    none = gc.cast(0.0, x.dtype)
    out[i, 0] = 7 if number / zero < none else 5
    out[i, 1] = 7 if number / gc.cast(-0.0, x.dtype) >= none else 5
    out[i, 2] = 7 if none > gc.cast(1.0, x.dtype) / zero else 5
    out[i, 3] = 7 if gc.cast(1.0, x.dtype) / (number * zero) < none else 5
    rest = number % (number / gc.cast(-0.0, x.dtype))
    out[i, 4] = 7 if rest < none else 5
    out[i, 5] = (
        7 if max(-number % (number / gc.cast(-0.0, x.dtype)), gc.cast(-2.0, x.dtype)) == -number else 5
    )


@pytest.mark.parametrize("dtype", [gc.f16, gc.bf16, gc.f32, gc.f64], ids=str)
def test_a_quotient_by_a_negative_zero_is_below_zero(gpucore_context, dtype):
    """NVVM took a quotient of what is not below 0 for no less than 0, by -0.0 as well."""
    x = gpucore_context.array(np.array([0.5, 0.5, 0.5, 4.0]).astype(dtype.numpy))
    out = gpucore_context.zeros((4, 6), gc.i32)
    quotients_by_zero[1, 4](gpucore_context.array(np.array([0, 1, 2, 1], np.uint16)), x, out)
    assert out.numpy().tolist() == [[5, 5, 7, 7, 5, 5], *[[7, 5, 7, 7, 7, 7]] * 2, [5, 5, 5, 5, 7, 7]]


@gc.kernel
def halves(s: gc.Array[gc.i64], u: gc.Array[gc.u64], signed: gc.Array[gc.i64, 2], out: gc.Array[gc.u64, 2]):
    i = gc.global_id(0)
    signed[i, 0] = (s[i] >> gc.i64(63)) - (s[i] << gc.i64(1))
    signed[i, 1] = (s[i] << gc.i64(4)) - (s[i] >> gc.i64(60))
    signed[i, 2] = (s[i] >> gc.i64(31)) + (s[i] << gc.i64(33))
    out[i, 0] = (u[i] >> gc.u64(63)) - (u[i] << gc.u64(1))
    out[i, 1] = -u[i] - (u[i] >> gc.u64(63)) - u[i]
    out[i, 2] = (u[i] << gc.u64(20)) + (u[i] >> gc.u64(44))


def test_the_difference_of_the_halves_of_a_rotation_is_none(same):
    """ptxas 13.0 made a rotation of it."""
    u = np.array([6, 0, 1, 2**63, 2**63 + 5, 2**64 - 1, 0x0123456789ABCDEF, 0xFEDCBA9876543210], np.uint64)
    same(halves, 1, 8, u.view(np.int64), u, np.zeros((8, 3), np.int64), np.zeros((8, 3), np.uint64))
