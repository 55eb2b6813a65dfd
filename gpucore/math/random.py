"""``gc.random``: random numbers by counter, for kernels; the same bits on every device in strict mode.

Method: Philox 4x32 with 10 rounds (J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, *Parallel random numbers: as
easy as 1, 2, 3*, SC11), as in their library Random123.  There is no state: a number is a function of a seed and of an
index, so that threads draw independently and a result does not depend on how they are scheduled.  The seed's two words
are the key, and the index's two words the first of the counter, whose others are zero.  ``normal`` is the transform of
G. E. P. Box and M. E. Muller (*A note on the generation of random normal deviates*, 1958).

Functions given the same seed and index use the same words: draw several numbers with several indices or seeds.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy

from gpucore.ir.dtypes import f32, f64, i32, i64, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import static_range
from gpucore.lang.math_builtins import cos, log, sqrt

if TYPE_CHECKING:
    Word: TypeAlias = Any
else:
    Word = u64  # which a checker would ask for

__all__ = ["integers", "normal", "normal_f64", "philox", "uniform", "uniform_f64"]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and the root of 3, less 1, as fractions
PI_OVER_2_31 = 1.4629180792671596e-09
PI_OVER_2_63 = 3.4061215800865545e-19


@func
def philox(counter, key):
    """Four random u32 words of Philox 4x32-10.

    Parameters
    ----------
    counter : tuple of four integers
        Each is taken as a u32.
    key : tuple of two integers
        Each is taken as a u32.
    """
    c0, c1, c2, c3 = u32(counter[0]), u32(counter[1]), u32(counter[2]), u32(counter[3])
    k0, k1 = u32(key[0]), u32(key[1])
    for _ in static_range(10):
        a = u64(c0) * MULTIPLIERS[0]
        b = u64(c2) * MULTIPLIERS[1]
        c0, c1, c2, c3 = u32(b >> 32) ^ c1 ^ k0, u32(b), u32(a >> 32) ^ c3 ^ k1, u32(a)
        k0 += WEYL[0]
        k1 += WEYL[1]
    return c0, c1, c2, c3


@func
def words(seed, index):
    """The four words of a seed and an index."""
    k = u64(seed)
    n = u64(index)
    return philox((n, n >> 32, 0, 0), (k, k >> 32))


@func
def pair(low: u32, high: u32) -> u64:
    """Two words as one number."""
    return u64(low) | (u64(high) << 32)


@func
def uniform(seed: Word, index: Word) -> f32:
    """An f32 in [0, 1): a multiple of ``2**-24``, of word 0.

    Parameters
    ----------
    seed, index : integers
        Taken as u64.
    """
    a, _, _, _ = words(seed, index)
    return f32(a >> 8) * 5.9604644775390625e-08


@func
def uniform_f64(seed: Word, index: Word) -> f64:
    """An f64 in [0, 1): a multiple of ``2**-53``, of the words 0 and 1."""
    a, b, _, _ = words(seed, index)
    return f64(pair(a, b) >> 11) * 1.1102230246251565e-16


@func
def normal(seed: Word, index: Word) -> f32:
    """A standard normal f32, of the words 0 and 1; the largest is near 6.66."""
    a, b, _, _ = words(seed, index)
    radius = sqrt(f32(-2.0) * log((f32(a) + 1.0) * 2.3283064365386963e-10))
    return radius * cos(f32(i32(b)) * PI_OVER_2_31)


@func
def normal_f64(seed: Word, index: Word) -> f64:
    """A standard normal f64, of the four words; the largest is near 8.57."""
    a, b, c, d = words(seed, index)
    radius = sqrt(f64(-2.0) * log((f64(pair(a, b) >> 11) + 1.0) * 1.1102230246251565e-16))
    return radius * cos(f64(i64(pair(c, d))) * PI_OVER_2_63)


@func
def integers(seed: Word, index: Word, low: i64, high: i64) -> i64:
    """An i64 in [low, high), of the words 0 and 1; ``low`` where the range is empty.

    The 64 random bits are multiplied by the number of values and the upper half taken (D. Lemire, *Fast random integer
    generation in an interval*, 2019, without rejection): no value is more likely than another by more than ``2**-64``.
    """
    a, b, _, _ = words(seed, index)
    count = u64(high) - u64(low)
    if high <= low:
        count = u64(0)
    # the upper half of (b * 2**32 + a) * count
    count_low = count & 0xFFFFFFFF
    count_high = count >> 32
    carried = (u64(a) * count_low) >> 32
    middle = u64(b) * count_low + carried
    crossed = u64(a) * count_high + (middle & 0xFFFFFFFF)
    upper = u64(b) * count_high + (middle >> 32) + (crossed >> 32)
    return i64(u64(low) + upper)


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> None:
    """Say what to write for a function of ``numpy.random``."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"gpucore.random draws numbers in kernels and has no {name!r}: it has {', '.join(__all__)}"
    if hasattr(numpy.random, name):
        message += (
            "; numbers on the host come from NumPy: context.array(numpy.random.default_rng(0).random(n))"
        )
    raise AttributeError(message, name=None, obj=None)
