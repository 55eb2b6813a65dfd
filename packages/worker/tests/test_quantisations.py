"""Weights on the device: dequantised to the bits of ``gguf.quants``, multiplied as NumPy multiplies them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf_writer import KINDS, dequantised, quantised

import gpucore as gc
from gpucore_worker.gguf_file import Tensor
from gpucore_worker.kernels.products import run_sums
from gpucore_worker.quantisation import QUANTISATIONS
from gpucore_worker.weights import file_row_sums, upload

ROWS, COLUMNS = 70, 512


class Bytes:
    """What ``upload`` wants of a file."""

    def __init__(self, raw):
        self.data = raw

    def raw(self, tensor, begin=0, end=None):
        return self.data[begin:end]


def random_blocks(kind, rng):
    """Every byte random, but for scales that are NaN or infinite."""
    per, nbytes = gguf.GGML_QUANT_SIZES[KINDS[kind]]
    if kind in ("F32", "F16", "BF16"):
        return quantised(rng.standard_normal((ROWS, COLUMNS)).astype(np.float32), kind, rng)
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // per, nbytes), dtype=np.uint8)
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
    matrix = upload(gpucore_context, Bytes(raw), tensor, split=False)
    ids = rng.permutation(ROWS).astype(np.int32)
    out = gpucore_context.empty((ROWS, COLUMNS), gc.f32)
    matrix.take(gpucore_context.array(ids), out)
    np.testing.assert_array_equal(out.numpy().view(np.uint32), expected[ids].view(np.uint32))

    x = rng.standard_normal((3, COLUMNS)).astype(np.float32)
    device_x = gpucore_context.array(x)
    sums = gpucore_context.empty((3, COLUMNS // 32), gc.f32)
    run_sums.over(sums.shape)(device_x, sums)
    y = gpucore_context.empty((3, ROWS), gc.f32)
    matrix.multiply(device_x, sums, y)
    exact = x.astype(np.float64) @ expected.astype(np.float64).T
    bound = np.abs(x).astype(np.float64) @ np.abs(expected).astype(np.float64).T
    assert (np.abs(y.numpy() - exact) <= 1e-5 * bound).all()

    assert (matrix.row_sums() == file_row_sums(Bytes(raw), tensor)).all()


@pytest.mark.parametrize("kind", ["Q4_1", "Q6_K"])
def test_a_thread_a_segment_gives_the_bits_of_a_thread_a_row(gpucore_context, kind):
    rng = np.random.default_rng(5)
    raw = random_blocks(kind, rng)
    tensor = Tensor("w", (ROWS, COLUMNS), QUANTISATIONS[int(KINDS[kind])], 0, len(raw))
    x = gpucore_context.array(rng.standard_normal((2, COLUMNS)).astype(np.float32))
    sums = gpucore_context.empty((2, COLUMNS // 32), gc.f32)
    run_sums.over(sums.shape)(x, sums)
    found = []
    for split in (False, True):
        y = gpucore_context.ones((2, ROWS), gc.f32)
        upload(gpucore_context, Bytes(raw), tensor, split=split).multiply(x, sums, y, add=True)
        found.append(y.numpy().view(np.uint32))
    np.testing.assert_array_equal(*found)


def test_rows_that_change_on_the_device_change_their_sums(gpucore_context):
    raw = quantised(np.random.default_rng(0).standard_normal((33, 64)).astype(np.float32), "Q8_0", None)
    tensor = Tensor("w", (33, 64), QUANTISATIONS[8], 0, len(raw))
    matrix = upload(gpucore_context, Bytes(raw), tensor, split=False)
    words = matrix.words.numpy()
    words[7] ^= 1 << 13  # row 7
    matrix.words.copy_from(words)
    assert np.flatnonzero(matrix.row_sums() != file_row_sums(Bytes(raw), tensor)).tolist() == [7]
