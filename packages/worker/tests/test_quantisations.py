"""Weights on the device: dequantised to the bits of ``gguf.quants``, multiplied as NumPy multiplies them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf_writer import KINDS, dequantised, quantised

import gpucore as gc
from gpucore_worker.gguf_file import Tensor
from gpucore_worker.kernels.blocks import host_half
from gpucore_worker.kernels.layouts import Layout
from gpucore_worker.kernels.one_token import product_of_values
from gpucore_worker.quantisation import QUANTISATIONS
from gpucore_worker.weights import Operand, file_row_sums, upload

ROWS, COLUMNS = 70, 512


class Bytes:
    """What ``upload`` wants of a file."""

    def __init__(self, raw):
        self.data = raw

    def raw(self, tensor, begin=0, end=None):
        return self.data[begin:end]


def run(work):
    configured, arguments = work
    configured(*arguments)


def operand(context, x, quick=False):
    made = Operand.make(context.options(check=False), *x.shape, quick)
    made.values.copy_from(x)
    made.finish()
    return made


def rounded(x):
    """Activations as quick mode rounds them, 32 with one scale."""
    runs = x.reshape(len(x), -1, 32)
    most = np.abs(runs).max(-1, keepdims=True)
    codes = np.rint(runs * (np.float32(127) / most))
    return codes.astype(np.float64), (most / np.float32(127)).astype(np.float64)


def random_blocks(kind, rng, columns=COLUMNS):
    """Every byte random, but for scales that are NaN or infinite."""
    per, nbytes = gguf.GGML_QUANT_SIZES[KINDS[kind]]
    if kind in ("F32", "F16", "BF16"):
        return quantised(rng.standard_normal((ROWS, columns)).astype(np.float32), kind, rng)
    blocks = rng.integers(0, 256, (ROWS * columns // per, nbytes), dtype=np.uint8)
    places = (208,) if kind == "Q6_K" else (0, 2) if kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else (0,)
    for at in places:
        blocks[:, at + 1] &= 0xBF  # the highest bit of the exponent: |scale| < 2
    return blocks.reshape(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantisation_is_read_as_ggml_reads_it(gpucore_context, kind):
    rng = np.random.default_rng(list(KINDS).index(kind))
    raw = random_blocks(kind, rng)
    tensor = Tensor("w", (ROWS, COLUMNS), QUANTISATIONS[int(KINDS[kind])], 0, len(raw))
    expected = dequantised(raw, kind, (ROWS, COLUMNS))
    unchecked = gpucore_context.options(check=False)  # as the network has it
    matrix = upload(unchecked, Bytes(raw), tensor, split=False)
    ids = rng.permutation(ROWS).astype(np.int32)
    out = unchecked.empty((ROWS, COLUMNS), gc.f32)
    run(matrix.take(unchecked.array(np.append(np.int32(0), ids)), out))
    np.testing.assert_array_equal(out.numpy().view(np.uint32), expected[ids].view(np.uint32))

    x = rng.standard_normal((5, COLUMNS)).astype(np.float32)
    codes, steps = rounded(x)
    for quick in (False, True):
        y = unchecked.full((5, ROWS + 5), 7.0, gc.f32)
        run(matrix.product(operand(gpucore_context, x, quick), y, 5))
        found = y.numpy()
        # a token alone, and tokens that share what was unpacked
        run(matrix.product(operand(gpucore_context, x[3:4], quick), y[:1], 5))
        np.testing.assert_array_equal(y.numpy()[0].view(np.uint32), found[3].view(np.uint32))
        assert (found[:, :5] == 7).all()
        # floats are multiplied as they are
        taken = x if not quick or kind in ("F32", "F16", "BF16") else (codes * steps).reshape(x.shape)
        exact = taken.astype(np.float64) @ expected.astype(np.float64).T
        bound = np.abs(x).astype(np.float64) @ np.abs(expected).astype(np.float64).T
        assert (np.abs(found[:, 5:] - exact) <= 1e-5 * bound).all()

    assert (matrix.row_sums() == file_row_sums(Bytes(raw), tensor)).all()


def test_halves_are_the_floats_of_numpy(gpucore_context):
    @gc.kernel
    def convert(out: gc.Array[gc.f32]) -> None:
        i = gc.global_id(0)
        out[i] = host_half(gc.u32(i))

    found = gpucore_context.zeros(1 << 16, gc.f32)
    convert.over(1 << 16)(found)
    expected = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    number = ~np.isnan(expected)
    assert np.isnan(found.numpy()[~number]).all()
    assert (found.numpy().view(np.uint32)[number] == expected.view(np.uint32)[number]).all()


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("kind", ["Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K"])
def test_a_thread_a_segment_gives_the_bits_of_a_thread_a_row(gpucore_context, kind, quick):
    rng = np.random.default_rng(5)
    raw = random_blocks(kind, rng)
    tensor = Tensor("w", (ROWS, COLUMNS), QUANTISATIONS[int(KINDS[kind])], 0, len(raw))
    x = operand(gpucore_context, rng.standard_normal((2, COLUMNS)).astype(np.float32), quick)
    found = []
    for split in (False, True):
        y = gpucore_context.options(check=False).ones((2, ROWS), gc.f32)
        run(
            upload(gpucore_context.options(check=False), Bytes(raw), tensor, split=split).product(
                x, y, add=True
            )
        )
        found.append(y.numpy().view(np.uint32))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("kind", "columns", "slots"),
    [("Q4_1", 96, 8), ("Q8_0", 1056, 32), ("F16", 512, 8), ("Q5_0", 2304, 32), ("Q6_K", 2304, 8)],
)
def test_a_product_of_one_token_has_the_bits_of_one_of_many(gpucore_context, kind, columns, slots, quick):
    rng = np.random.default_rng(6)
    unchecked = gpucore_context.options(check=False)
    raw = random_blocks(kind, rng, columns)
    tensor = Tensor("w", (ROWS, columns), QUANTISATIONS[int(KINDS[kind])], 0, len(raw))
    matrix = upload(unchecked, Bytes(raw), tensor, split=True)
    x = operand(gpucore_context, rng.standard_normal((1, columns)).astype(np.float32), quick)
    before = unchecked.array(rng.standard_normal((1, ROWS + 3)).astype(np.float32))
    expected, found = unchecked.array(before), unchecked.array(before)
    run(matrix.product(x, expected, 3, add=True))
    layout = Layout(kind, quick, columns, slots)
    product_of_values(layout, True, False)[layout.over(ROWS)](
        matrix.words, x.values, found, unchecked.zeros(1, gc.f32), ROWS, 3
    )
    assert (found.numpy() != before.numpy())[0, 3:].all()
    np.testing.assert_array_equal(found.numpy().view(np.uint32), expected.numpy().view(np.uint32))


def test_integers_of_activations_are_those_of_numpy(gpucore_context):
    x = np.random.default_rng(3).standard_normal((2, 64)).astype(np.float32)
    x[0, :32] = 0
    x[1, 5] = -1e30
    made = operand(gpucore_context, x, quick=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes, steps = rounded(x)
    codes = np.nan_to_num(codes)
    assert (made.codes.numpy().view(np.int8) == codes.reshape(2, 64)).all()
    assert (made.steps.numpy() == steps[..., 0]).all()
    assert (made.sums.numpy() == (codes.sum(-1) * steps[..., 0]).astype(np.float32)).all()


def test_rows_that_change_on_the_device_change_their_sums(gpucore_context):
    raw = quantised(np.random.default_rng(0).standard_normal((33, 64)).astype(np.float32), "Q8_0", None)
    tensor = Tensor("w", (33, 64), QUANTISATIONS[8], 0, len(raw))
    matrix = upload(gpucore_context.options(check=False), Bytes(raw), tensor, split=False)
    words = matrix.words.numpy()
    words[7] ^= 1 << 13  # row 7
    matrix.words.copy_from(words)
    assert np.flatnonzero(matrix.row_sums() != file_row_sums(Bytes(raw), tensor)).tolist() == [7]
