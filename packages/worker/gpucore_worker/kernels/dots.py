"""Products of runs of 32 weights with 8-bit activations: integers, which are exact.

``codes[t, first + j]`` holds activations ``4 * j`` to ``4 * j + 3`` of the run, a byte each; what is given is to be
multiplied with the scale of the activations and with that of the weights, and their least value is added apart.
"""

from __future__ import annotations

from functools import cache

import gpucore as gc
from gpucore_worker.kernels.blocks import Functions, block_functions, fifth_bits, signed_byte, signed_six_bits

__all__ = ["dot_functions"]


@cache
def dot_functions(lanes: int, split: bool = True) -> Functions:
    """The functions for words of a block that lie ``lanes`` elements apart, for segments of rows (``split``) or for whole rows.

    Floats have none and are multiplied as in exact mode.
    """
    blocks = block_functions(lanes)
    byte_of, nibbles, k_nibbles = blocks.byte_of, blocks.nibbles, blocks.k_nibbles

    @gc.func
    def dot_q4(words, base, sub, codes, t, first):
        total = gc.i32(0)
        for j in gc.static_range(8):
            total = gc.dot4(nibbles(words, base + lanes, j), gc.bitcast(codes[t, first + j], gc.i32), total)
        return total

    @gc.func
    def dot_q5(words, base, sub, codes, t, first):
        total = gc.i32(0)
        fifth = words[base + lanes]
        for j in gc.static_range(8):
            weights = nibbles(words, base + 2 * lanes, j) | fifth_bits(fifth, j)
            total = gc.dot4(weights, gc.bitcast(codes[t, first + j], gc.i32), total)
        return total

    @gc.func
    def dot_q8_0(words, base, sub, codes, t, first):
        total = gc.i32(0)
        for j in gc.static_range(8):
            total = gc.dot4(words[base + (1 + j) * lanes], codes[t, first + j], total)
        return total

    @gc.func
    def dot_q4_k(words, base, sub, codes, t, first):
        total = gc.i32(0)
        for j in gc.static_range(8):
            weights = k_nibbles(words, base + 4 * lanes, sub, j)
            total = gc.dot4(weights, gc.bitcast(codes[t, first + j], gc.i32), total)
        return total

    @gc.func
    def dot_q5_k(words, base, sub, codes, t, first):
        total = gc.i32(0)
        for j in gc.static_range(8):
            fifth = (words[base + (4 + j) * lanes] >> gc.u32(sub)) & 0x01010101
            weights = k_nibbles(words, base + 12 * lanes, sub, j) | (fifth << 4)
            total = gc.dot4(weights, gc.bitcast(codes[t, first + j], gc.i32), total)
        return total

    @gc.func
    def dot_q6_k(words, base, sub, codes, t, first):
        """The scales of 16 weights are integers too; weights are stored with 32 added."""
        half = sub // 4
        quarter = sub % 4
        total = gc.i32(0)
        for part in gc.static_range(2):
            products = gc.i32(0)
            ones = gc.i32(0)
            for i in gc.static_range(4):
                j = 4 * part + i
                low = (
                    words[base + (half * 16 + (quarter % 2) * 8 + j) * lanes] >> gc.u32((quarter // 2) * 4)
                ) & 0x0F0F0F0F
                high = (words[base + (32 + half * 8 + j) * lanes] >> gc.u32(quarter * 2)) & 0x03030303
                eight = gc.bitcast(codes[t, first + j], gc.i32)
                products = gc.dot4(low | (high << 4), eight, products)
                ones = gc.dot4(eight, gc.i32(0x01010101), ones)
            scale = (byte_of(words, base, 192 + sub * 2 + part) << 24) >> 24
            total += scale * (products - 32 * ones)
        return total

    @gc.func
    def host_dot_q6_k(words, base, sub, codes, t, first):
        """The same with signed bytes, on a processor one instruction each, and rows of words that lie one behind another."""
        half = sub // 4
        quarter = sub % 4
        first_low = base + (half * 16 + quarter % 2 * 8) * lanes
        first_high = base + (32 + half * 8) * lanes
        scales = words[base + (48 + sub // 2) * lanes] >> gc.u32(sub % 2 * 16)
        total = gc.i32(0)
        for part in gc.static_range(2):
            products = gc.i32(0)
            for i in gc.static_range(4):
                j = 4 * part + i
                low = words[first_low + j * lanes] >> gc.u32(quarter // 2 * 4)
                high = words[first_high + j * lanes] >> gc.u32(quarter * 2)
                weights = signed_six_bits((low & 0x0F0F0F0F) | ((high & 0x03030303) << 4))
                products = gc.dot4(weights, codes[t, first + j], products)
            total += signed_byte(scales, 8 * part) * products
        return total

    @gc.func
    def host_dot_q4_k(words, base, sub, codes, t, first):
        nibbles_at = base + (4 + sub // 2 * 8) * lanes
        total = gc.i32(0)
        for j in gc.static_range(8):
            weights = (words[nibbles_at + j * lanes] >> gc.u32(sub % 2 * 4)) & 0x0F0F0F0F
            total = gc.dot4(weights, gc.bitcast(codes[t, first + j], gc.i32), total)
        return total

    return {
        "Q4_0": dot_q4, "Q4_1": dot_q4, "Q5_0": dot_q5, "Q5_1": dot_q5, "Q8_0": dot_q8_0, "Q4_K": dot_q4_k, "Q5_K": dot_q5_k,
        "Q6_K": dot_q6_k,
    } | ({} if split else {"Q4_K": host_dot_q4_k, "Q6_K": host_dot_q6_k})  # fmt: skip
