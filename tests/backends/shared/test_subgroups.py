"""Subgroup operations of every width offered, with full and partial blocks, against the order they document."""

import numpy as np
import pytest

import gpucore as gc

DTYPES = (gc.i32, gc.u32, gc.i64, gc.u64, gc.f16, gc.bf16, gc.f32, gc.f64)


def lanes(x, width, block):
    """Each subgroup of each block as its own slice."""
    for start in range(0, x.size, block):
        for first in range(start, start + block, width):
            yield slice(first, min(first + width, start + block))


def butterfly(x, width):
    neutral = -0.0 if x.dtype.kind not in "iu" else 0
    v = np.full(width, neutral, x.dtype)
    v[: x.size] = x
    step = 1
    while step < width:
        v = v + v[np.arange(width) ^ step]
        step *= 2
    return v[: x.size]


def scan(x, width):
    v, step = x.copy(), 1
    while step < width:
        moved = v.copy()
        moved[step:] = v[:-step] + v[step:] if step < v.size else moved[step:]
        v, step = moved, step * 2
    return v


def make(width):
    @gc.kernel(subgroup=width)
    def numbers(x: gc.Array, out: gc.Array, where: gc.Array[gc.i32, 2]):
        i = gc.global_id(0)
        v = x[i]
        out[0, i] = gc.subgroup_sum(v)
        out[1, i] = gc.subgroup_min(v)
        out[2, i] = gc.subgroup_max(v)
        out[3, i] = gc.subgroup_inclusive_sum(v)
        out[4, i] = gc.subgroup_exclusive_sum(v)
        out[5, i] = gc.subgroup_broadcast(v, 1)
        out[6, i] = gc.subgroup_shuffle(v, gc.subgroup_size() - 1 - gc.subgroup_lane())
        out[7, i] = gc.subgroup_shuffle_xor(v, 3)
        where[0, i] = gc.subgroup_lane()
        where[1, i] = gc.subgroup_size()

    @gc.kernel(subgroup=width)
    def votes(x: gc.Array[gc.i32], out: gc.Array[gc.u64, 2]):
        i = gc.global_id(0)
        out[0, i] = gc.subgroup_ballot(x[i] > 3)
        out[1, i] = 1 if gc.subgroup_any(x[i] > 3) else 0
        out[2, i] = 1 if gc.subgroup_all(x[i] > 3) else 0

    return numbers, votes


def model(x, width, block):
    out = np.zeros((8, x.size), x.dtype)
    for part in lanes(x, width, block):
        v = x[part]
        n, l = v.size, np.arange(v.size)
        out[0, part], out[1, part], out[2, part] = butterfly(v, width), v.min(), v.max()
        out[3, part] = scan(v, width)
        out[4, part] = np.append(np.zeros(1, v.dtype), out[3, part][:-1])
        out[5, part] = v[1] if n > 1 else v
        for row, source in ((6, width - 1 - l), (7, l ^ 3)):
            out[row, part] = v[np.where(source < n, source, l)]
    return out


def widths(context):
    offered = context.device.capabilities.subgroup_sizes
    if not offered:
        pytest.skip("the device has no subgroups")
    return offered


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers(gpucore_context, dtype):
    sizes = widths(gpucore_context)
    if not gpucore_context.device.capabilities.supports(dtype, "subgroup"):
        pytest.skip("the device has no subgroup operations of the type")
    rng = np.random.default_rng(21)
    for number, asked in enumerate((None, *sizes)):
        width = asked or sizes[0]
        if number > 1 and dtype not in (gc.i32, gc.f32):
            break  # the other widths with two types: each is a compilation of its own
        numbers, _ = make(asked)
        for block in (128, width + 5, max(width - 3, 1)):
            n = block * 3
            if dtype.is_float:
                x = rng.standard_normal(n).astype(dtype.numpy)
            else:
                info = np.iinfo(dtype.numpy)
                x = rng.integers(info.min, info.max, n, dtype.numpy, endpoint=True)
            out = gpucore_context.zeros((8, n), dtype)
            where = gpucore_context.zeros((2, n), gc.i32)
            numbers[3, block](gpucore_context.array(x), out, where)
            with np.errstate(over="ignore"):
                wanted = model(x, width, block)
            found = out.numpy()
            for row in range(8):
                np.testing.assert_array_equal(
                    found[row], wanted[row], f"row {row}, width {width}, block {block}"
                )
            np.testing.assert_array_equal(where.numpy()[0], np.arange(n) % block % width)
            assert set(where.numpy()[1]) == {width}


def test_votes(gpucore_context):
    sizes = widths(gpucore_context)
    for asked in (None, *sizes):
        width = asked or sizes[0]
        _, votes = make(asked)
        for block in (128, width + 5, max(width - 3, 1)):
            x = np.random.default_rng(block).integers(0, 9, block * 4).astype(np.int32)
            x[:width] = 7
            wanted = np.zeros((3, x.size), np.uint64)
            for part in lanes(x, width, block):
                on = x[part] > 3
                wanted[:, part] = np.array(
                    [[sum(int(v) << k for k, v in enumerate(on))], [on.any()], [on.all()]], np.uint64
                )
            out = gpucore_context.zeros(wanted.shape, gc.u64)
            votes[4, block](gpucore_context.array(x), out)
            np.testing.assert_array_equal(out.numpy(), wanted)


def test_a_width_that_is_not_offered_is_refused(gpucore_context):
    numbers, _ = make(128)
    with pytest.raises(gc.NotSupportedError):
        context = gpucore_context
        numbers[1, 128](
            context.zeros(128, gc.i32), context.zeros((8, 128), gc.i32), context.zeros((2, 128), gc.i32)
        )
