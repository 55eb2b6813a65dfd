"""Numbers of four bits that are unpacked from words and become floats, as weights of language models do."""

import numpy as np

import gpucore as gc


@gc.kernel
def unpack(
    words: gc.Array[gc.u32, 1],
    signed: gc.Array[gc.i32, 1],
    out: gc.Array[gc.f32, 2],
    sums: gc.Array[gc.f32, 1],
) -> None:
    i = gc.global_id(0)
    if i < words.shape[0]:
        word = words[i]
        total = gc.f32(0)
        for k in gc.static_range(8):
            one = gc.f32(gc.i32((word >> (4 * k)) & 15))
            out[i, k] = one
            if k % 2 == 1 or word > 0x80000000:
                total += gc.f32(15 & (word >> (4 * k)))
        out[i, 8] = gc.f32(signed[i] & 15)
        out[i, 9] = gc.f32((word & 15) + 1)
        out[i, 10] = gc.f32(word & 7)
        out[i, 11] = gc.f32(gc.u8(word) & 15)
        sums[i] = total


def test_nibbles_of_words_become_the_floats_that_they_are(gpucore_context: gc.Context) -> None:
    rng = np.random.default_rng(8)
    words = rng.integers(0, 1 << 32, 45, dtype=np.uint32)
    signed = rng.integers(-(1 << 31), 1 << 31, 45).astype(np.int32)
    nibbles = (words[:, None] >> (4 * np.arange(8, dtype=np.uint32))) & 15
    ctx = gpucore_context
    out, sums = ctx.zeros((45, 12), gc.f32), ctx.zeros(45, gc.f32)
    unpack[3, 16](ctx.array(words), ctx.array(signed), out, sums)
    expected = [*nibbles.T, signed & 15, nibbles[:, 0] + 1, words & 7, nibbles[:, 0]]
    np.testing.assert_array_equal(out.numpy(), np.stack(expected, axis=1).astype(np.float32))
    taken = np.where((words > 0x80000000)[:, None], nibbles, nibbles * (np.arange(8) % 2).astype(np.uint32))
    np.testing.assert_array_equal(sums.numpy(), taken.sum(axis=1).astype(np.float32))
