"""Weights as they lie on the device: one number of them, and four neighbours at once for products.

Each quantisation has four functions. ``value`` gives a weight as ggml dequantises it, rounded as ggml rounds. For products a run
of 32 weights is ``scale * code + least``: ``scales`` gives the two floats, ``four`` the small integers of weights ``4 * j`` to
``4 * j + 3`` as floats, which are exact, and ``code`` one of them. So a scale costs one operation a run. ``base`` is the first
word of a block, ``sub`` the run within it; words of a block are ``lanes`` elements apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import gpucore as gc

__all__ = [
    "BlockFunctions",
    "Functions",
    "block_functions",
    "fifth_bits",
    "host_half",
    "signed_byte",
    "signed_six_bits",
]

Functions = dict[str, Callable[..., Any]]
"""By the name of the quantisation."""


@dataclass(frozen=True, slots=True)
class BlockFunctions:
    """What reads blocks of one layout.

    Attributes
    ----------
    values, scales, fours, codes : dict
    host_scales, host_fours : dict
        The same numbers by what processors are good at.
    byte_of, nibbles, k_nibbles : callable
        What products of integers need.
    """

    values: Functions
    scales: Functions
    fours: Functions
    host_scales: Functions
    host_fours: Functions
    codes: Functions
    byte_of: Callable[..., Any]
    nibbles: Callable[..., Any]
    k_nibbles: Callable[..., Any]


@gc.func
def half(bits):
    """The f16 of these 16 bits, exactly: a few integer operations where a device has no conversion of its own."""
    whole = gc.bitcast((bits & 0x7FFF) << 13, gc.f32) * gc.f32(2.0**112)
    if (bits & 0x7C00) == 0x7C00:
        whole = gc.bitcast(gc.u32(0x7F800000) | ((bits & 0x3FF) << 13), gc.f32)
    return gc.bitcast(gc.bitcast(whole, gc.u32) | ((bits & 0x8000) << 16), gc.f32)


@gc.func
def host_half(bits):
    """The same without operations on numbers so small that processors take many times as long for them."""
    magnitude = (bits & 0x7FFF) << 13
    small = gc.bitcast(magnitude + gc.u32(0x38800000), gc.f32) - gc.f32(2.0**-14)
    rebased = magnitude + (gc.u32(0x38000000) if magnitude < 0x0F800000 else gc.u32(0x70000000))
    whole = gc.bitcast(small, gc.u32) if magnitude < 0x00800000 else rebased
    return gc.bitcast(whole | ((bits & 0x8000) << 16), gc.f32)


@gc.func
def low_half(word):
    return half(word & 0xFFFF)


@gc.func
def high_half(word):
    return half(word >> 16)


@gc.func
def signed_byte(word, shift):
    return gc.i32(word << gc.u32(24 - shift)) >> 24


@gc.func
def signed_six_bits(word):
    """Four numbers from 0 to 63, a byte each, less 32: bytes with a sign."""
    return (word + 0x60606060) ^ 0x80808080


@gc.func
def bytes_of(word):
    """Four small numbers, one in each byte."""
    return (
        gc.f32(gc.i32(word & 0xFF)),
        gc.f32(gc.i32((word >> 8) & 0xFF)),
        gc.f32(gc.i32((word >> 16) & 0xFF)),
        gc.f32(gc.i32(word >> 24)),
    )


@gc.func
def low_nibbles(word):
    """The low nibble of each byte: on a processor each is a lookup, which takes no mask and no conversion."""
    return (
        gc.f32(gc.i32(word & 15)),
        gc.f32(gc.i32((word >> 8) & 15)),
        gc.f32(gc.i32((word >> 16) & 15)),
        gc.f32(gc.i32((word >> 24) & 15)),
    )


@gc.func
def scales_float(words, base, sub):
    return 1.0, 0.0


@gc.func
def low_brain(word):
    return gc.bitcast(word << 16, gc.f32)


@gc.func
def high_brain(word):
    return gc.bitcast(word & gc.u32(0xFFFF0000), gc.f32)


@gc.func
def fifth_bits(bits, j):
    """Of the word of fifth bits four, each as bit 4 of a byte."""
    four = (bits >> gc.u32(4 * j)) & 15
    return ((four & 1) << 4) | ((four & 2) << 11) | ((four & 4) << 18) | ((four & 8) << 25)


@cache
def block_functions(lanes: int) -> BlockFunctions:
    """The functions for words of a block that lie ``lanes`` elements apart."""

    @gc.func
    def byte_of(words, base, at):
        """The byte ``at`` of a block whose words all hold four."""
        return gc.i32((words[base + (at // 4) * lanes] >> gc.u32((at % 4) * 8)) & 0xFF)

    @gc.func
    def value_f32(words, base, k):
        return gc.bitcast(words[base + k * lanes], gc.f32)

    @gc.func
    def four_f32(words, base, sub, j):
        at = base + 4 * j * lanes
        return (
            gc.bitcast(words[at], gc.f32),
            gc.bitcast(words[at + lanes], gc.f32),
            gc.bitcast(words[at + 2 * lanes], gc.f32),
            gc.bitcast(words[at + 3 * lanes], gc.f32),
        )

    @gc.func
    def value_f16(words, base, k):
        word = words[base + (k // 2) * lanes]
        return low_half(word) if k % 2 == 0 else high_half(word)

    @gc.func
    def four_f16(words, base, sub, j):
        first = words[base + 2 * j * lanes]
        second = words[base + (2 * j + 1) * lanes]
        return low_half(first), high_half(first), low_half(second), high_half(second)

    @gc.func
    def value_bf16(words, base, k):
        word = words[base + (k // 2) * lanes]
        return low_brain(word) if k % 2 == 0 else high_brain(word)

    @gc.func
    def four_bf16(words, base, sub, j):
        first = words[base + 2 * j * lanes]
        second = words[base + (2 * j + 1) * lanes]
        return low_brain(first), high_brain(first), low_brain(second), high_brain(second)

    # --- blocks of 32: of byte k of the nibbles the low one is weight k, the high one weight k + 16
    @gc.func
    def nibble(words, base, k):
        return (byte_of(words, base, k % 16) >> (4 if k >= 16 else 0)) & 15

    @gc.func
    def nibbles(words, base, j):
        """Four nibbles, each in a byte of the word."""
        return (words[base + (j % 4) * lanes] >> gc.u32((j // 4) * 4)) & 0x0F0F0F0F

    @gc.func
    def value_q4_0(words, base, k):
        return low_half(words[base]) * gc.f32(nibble(words, base + lanes, k) - 8)

    @gc.func
    def four_q4_0(words, base, sub, j):
        return bytes_of(nibbles(words, base + lanes, j))

    @gc.func
    def value_q4_1(words, base, k):
        return low_half(words[base]) * gc.f32(nibble(words, base + lanes, k)) + high_half(words[base])

    @gc.func
    def five_bits(words, base, k):
        """A weight of five bits: the word of fifth bits, then the nibbles."""
        return nibble(words, base + lanes, k) | (gc.i32((words[base] >> gc.u32(k)) & 1) << 4)

    @gc.func
    def value_q5_0(words, base, k):
        return low_half(words[base]) * gc.f32(five_bits(words, base + lanes, k) - 16)

    @gc.func
    def four_q5(words, base, sub, j):
        return bytes_of(nibbles(words, base + 2 * lanes, j) | fifth_bits(words[base + lanes], j))

    @gc.func
    def value_q5_1(words, base, k):
        return low_half(words[base]) * gc.f32(five_bits(words, base + lanes, k)) + high_half(words[base])

    @gc.func
    def value_q8_0(words, base, k):
        return low_half(words[base]) * gc.f32(signed_byte(words[base + (1 + k // 4) * lanes], (k % 4) * 8))

    @gc.func
    def four_q8_0(words, base, sub, j):
        word = words[base + (1 + j) * lanes]
        return (
            gc.f32(signed_byte(word, 0)),
            gc.f32(signed_byte(word, 8)),
            gc.f32(signed_byte(word, 16)),
            gc.f32(gc.i32(word) >> 24),
        )

    # --- blocks of 256: eight runs, each with a scale and a least value of six bits
    @gc.func
    def scale_of(words, base, sub):
        """The six-bit scale of run ``sub``; ``base`` is that of the twelve bytes that hold scales and least values."""
        early = byte_of(words, base, sub % 4) & 63
        late = (byte_of(words, base, sub % 4 + 8) & 15) | ((byte_of(words, base, sub % 4) >> 6) << 4)
        return gc.f32(early if sub < 4 else late)

    @gc.func
    def least_of(words, base, sub):
        early = byte_of(words, base, sub % 4 + 4) & 63
        late = (byte_of(words, base, sub % 4 + 8) >> 4) | ((byte_of(words, base, sub % 4 + 4) >> 6) << 4)
        return gc.f32(early if sub < 4 else late)

    @gc.func
    def k_nibble(words, base, k):
        """Weight ``k`` of 256: 32 bytes hold two runs, the first in the low nibbles."""
        return (byte_of(words, base, (k // 64) * 32 + k % 32) >> (4 * ((k // 32) % 2))) & 15

    @gc.func
    def value_q4_k(words, base, k):
        head = words[base]
        sub = k // 32
        scale = low_half(head) * scale_of(words, base + lanes, sub)
        least = high_half(head) * least_of(words, base + lanes, sub)
        return scale * gc.f32(k_nibble(words, base + 4 * lanes, k)) - least

    @gc.func
    def value_q5_k(words, base, k):
        head = words[base]
        sub = k // 32
        scale = low_half(head) * scale_of(words, base + lanes, sub)
        least = high_half(head) * least_of(words, base + lanes, sub)
        fifth = (byte_of(words, base + 4 * lanes, k % 32) >> sub) & 1
        return scale * gc.f32(k_nibble(words, base + 12 * lanes, k) | (fifth << 4)) - least

    @gc.func
    def value_q6_k(words, base, k):
        half = k // 128
        place = k % 128
        low = (byte_of(words, base, half * 64 + place % 64) >> (4 * (place // 64))) & 15
        high = (byte_of(words, base, 128 + half * 32 + place % 32) >> (2 * (place // 32))) & 3
        code = gc.f32((low | (high << 4)) - 32)
        scale = gc.f32((byte_of(words, base, 192 + k // 16) << 24) >> 24)
        return (low_half(words[base + 52 * lanes]) * scale) * code

    @gc.func
    def k_nibbles(words, base, sub, j):
        return (words[base + ((sub // 2) * 8 + j) * lanes] >> gc.u32((sub % 2) * 4)) & 0x0F0F0F0F

    @gc.func
    def four_q4_k(words, base, sub, j):
        return bytes_of(k_nibbles(words, base + 4 * lanes, sub, j))

    @gc.func
    def four_q5_k(words, base, sub, j):
        fifth = (words[base + (4 + j) * lanes] >> gc.u32(sub)) & 0x01010101
        return bytes_of(k_nibbles(words, base + 12 * lanes, sub, j) | (fifth << 4))

    @gc.func
    def four_q6_k(words, base, sub, j):
        """The scales of 16 weights are integers too: their products with the weights are exact."""
        half = sub // 4
        quarter = sub % 4
        low = (
            words[base + (half * 16 + (quarter % 2) * 8 + j) * lanes] >> gc.u32((quarter // 2) * 4)
        ) & 0x0F0F0F0F
        high = (words[base + (32 + half * 8 + j) * lanes] >> gc.u32(quarter * 2)) & 0x03030303
        scale = gc.f32((byte_of(words, base, 192 + sub * 2 + j // 4) << 24) >> 24)
        a, b, c, d = bytes_of(low | (high << 4))
        return scale * (a - 32.0), scale * (b - 32.0), scale * (c - 32.0), scale * (d - 32.0)

    # --- one small integer as a float, for threads that multiply it with several tokens
    @gc.func
    def code_f32(words, base, sub, k):
        return gc.bitcast(words[base + k * lanes], gc.f32)

    @gc.func
    def code_f16(words, base, sub, k):
        return value_f16(words, base, k)

    @gc.func
    def code_bf16(words, base, sub, k):
        return value_bf16(words, base, k)

    @gc.func
    def code_q4(words, base, sub, k):
        word = words[base + (1 + k // 4 % 4) * lanes]
        return gc.f32(gc.i32((word >> gc.u32(k % 4 * 8 + k // 16 * 4)) & 15))

    @gc.func
    def code_q5(words, base, sub, k):
        low = (words[base + (2 + k // 4 % 4) * lanes] >> gc.u32(k % 4 * 8 + k // 16 * 4)) & 15
        high = (words[base + lanes] >> gc.u32(k)) & 1
        return gc.f32(gc.i32(low | (high << 4)))

    @gc.func
    def code_q8_0(words, base, sub, k):
        return gc.f32(signed_byte(words[base + (1 + k // 4) * lanes], k % 4 * 8))

    @gc.func
    def code_q4_k(words, base, sub, k):
        word = words[base + (4 + sub // 2 * 8 + k // 4) * lanes]
        return gc.f32(gc.i32((word >> gc.u32(k % 4 * 8 + sub % 2 * 4)) & 15))

    @gc.func
    def code_q5_k(words, base, sub, k):
        low = (words[base + (12 + sub // 2 * 8 + k // 4) * lanes] >> gc.u32(k % 4 * 8 + sub % 2 * 4)) & 15
        high = (words[base + (4 + k // 4) * lanes] >> gc.u32(k % 4 * 8 + sub)) & 1
        return gc.f32(gc.i32(low | (high << 4)))

    @gc.func
    def code_q6_k(words, base, sub, k):
        half = sub // 4
        quarter = sub % 4
        low = (
            words[base + (half * 16 + quarter % 2 * 8 + k // 4) * lanes]
            >> gc.u32(k % 4 * 8 + quarter // 2 * 4)
        ) & 15
        high = (words[base + (32 + half * 8 + k // 4) * lanes] >> gc.u32(k % 4 * 8 + quarter * 2)) & 3
        scale = gc.f32((byte_of(words, base, 192 + sub * 2 + k // 16) << 24) >> 24)
        return scale * (gc.f32(gc.i32(low | (high << 4))) - 32.0)

    # --- scale and least value of a run
    def scales_with(half_of: Callable[..., Any]) -> Functions:
        """The functions that give them, with the one that makes a float of 16 bits."""

        @gc.func
        def pair(words, base, sub):
            head = words[base]
            return half_of(head & 0xFFFF), half_of(head >> 16)

        @gc.func
        def q4_0(words, base, sub):
            scale = half_of(words[base] & 0xFFFF)
            return scale, -8.0 * scale

        @gc.func
        def q5_0(words, base, sub):
            scale = half_of(words[base] & 0xFFFF)
            return scale, -16.0 * scale

        @gc.func
        def q8_0(words, base, sub):
            return half_of(words[base] & 0xFFFF), 0.0

        @gc.func
        def k(words, base, sub):
            head = words[base]
            return (
                half_of(head & 0xFFFF) * scale_of(words, base + lanes, sub),
                -(half_of(head >> 16) * least_of(words, base + lanes, sub)),
            )

        @gc.func
        def q6_k(words, base, sub):
            return half_of(words[base + 52 * lanes] & 0xFFFF), 0.0

        return {
            "F32": scales_float, "F16": scales_float, "BF16": scales_float, "Q4_0": q4_0, "Q4_1": pair, "Q5_0": q5_0,
            "Q5_1": pair, "Q8_0": q8_0, "Q4_K": k, "Q5_K": k, "Q6_K": q6_k,
        }  # fmt: skip

    host = scales_with(host_half)

    @gc.func
    def host_k(words, base, sub):
        """By one way or the other: ``sub`` is the same for all rows."""
        head = words[base]
        shift = gc.u32(sub % 4 * 8)
        first = words[base + lanes] >> shift
        second = words[base + 2 * lanes] >> shift
        scale = first & 63
        least = second & 63
        if sub >= 4:
            third = words[base + 3 * lanes] >> shift
            scale = (third & 15) | ((first >> 2) & 0x30)
            least = ((third >> 4) & 15) | ((second >> 2) & 0x30)
        return (
            host_half(head & 0xFFFF) * gc.f32(gc.i32(scale)),
            -(host_half(head >> 16) * gc.f32(gc.i32(least))),
        )

    # --- four neighbours on processors, for one token
    @gc.func
    def host_four_q8_0(words, base, sub, j):
        """By the bits of 2**23 + 128 + weight and of 2**15 + 128 + weight: what is taken away leaves the weight exactly.

        A byte whose sign is turned is the end of the one mantissa, and stands eight bits further up in the other. No byte
        but the third and fourth is shifted, and none is converted.
        """
        early = words[base + (1 + j) * lanes]
        late = early >> 16
        return (
            gc.bitcast((early & 0xFF) ^ 0x4B000080, gc.f32) - 8388736.0,
            gc.bitcast((early & 0xFF00) ^ 0x47008000, gc.f32) - 32896.0,
            gc.bitcast((late & 0xFF) ^ 0x4B000080, gc.f32) - 8388736.0,
            gc.bitcast((late & 0xFF00) ^ 0x47008000, gc.f32) - 32896.0,
        )

    @gc.func
    def host_four_q4(words, base, sub, j):
        word = words[base + (1 + j % 4) * lanes] >> gc.u32(j // 4 * 4)
        return low_nibbles(word)

    @gc.func
    def host_four_q5(words, base, sub, j):
        fifth = (((words[base + lanes] >> gc.u32(4 * j)) & 15) * gc.u32(0x02040810)) & 0x10101010
        return bytes_of(nibbles(words, base + 2 * lanes, j) | fifth)

    @gc.func
    def host_four_q4_k(words, base, sub, j):
        first = base + (4 + sub // 2 * 8) * lanes
        return low_nibbles(words[first + j * lanes] >> gc.u32(sub % 2 * 4))

    @gc.func
    def host_four_q6_k(words, base, sub, j):
        half = sub // 4
        quarter = sub % 4
        first_low = base + (half * 16 + quarter % 2 * 8) * lanes
        first_high = base + (32 + half * 8) * lanes
        low = words[first_low + j * lanes] >> gc.u32(quarter // 2 * 4)
        high = words[first_high + j * lanes] >> gc.u32(quarter * 2)
        four = signed_six_bits((low & 0x0F0F0F0F) | ((high & 0x03030303) << 4))
        scale = gc.f32(signed_byte(words[base + (48 + sub // 2) * lanes] >> gc.u32(sub % 2 * 16), j // 4 * 8))
        return (
            scale * gc.f32(signed_byte(four, 0)),
            scale * gc.f32(signed_byte(four, 8)),
            scale * gc.f32(signed_byte(four, 16)),
            scale * gc.f32(gc.i32(four) >> 24),
        )

    values: Functions = {
        "F32": value_f32, "F16": value_f16, "BF16": value_bf16, "Q4_0": value_q4_0, "Q4_1": value_q4_1, "Q5_0": value_q5_0,
        "Q5_1": value_q5_1, "Q8_0": value_q8_0, "Q4_K": value_q4_k, "Q5_K": value_q5_k, "Q6_K": value_q6_k,
    }  # fmt: skip
    fours: Functions = {
        "F32": four_f32, "F16": four_f16, "BF16": four_bf16, "Q4_0": four_q4_0, "Q4_1": four_q4_0, "Q5_0": four_q5,
        "Q5_1": four_q5, "Q8_0": four_q8_0, "Q4_K": four_q4_k, "Q5_K": four_q5_k, "Q6_K": four_q6_k,
    }  # fmt: skip
    codes: Functions = {
        "F32": code_f32, "F16": code_f16, "BF16": code_bf16, "Q4_0": code_q4, "Q4_1": code_q4, "Q5_0": code_q5,
        "Q5_1": code_q5, "Q8_0": code_q8_0, "Q4_K": code_q4_k, "Q5_K": code_q5_k, "Q6_K": code_q6_k,
    }  # fmt: skip
    host_scales = host | {"Q4_K": host_k, "Q5_K": host_k}
    host_fours = fours | {
        "Q4_0": host_four_q4, "Q4_1": host_four_q4, "Q5_0": host_four_q5, "Q5_1": host_four_q5, "Q4_K": host_four_q4_k,
        "Q6_K": host_four_q6_k, "Q8_0": host_four_q8_0,
    }  # fmt: skip
    return BlockFunctions(
        values, scales_with(half), fours, host_scales, host_fours, codes, byte_of, nibbles, k_nibbles
    )
