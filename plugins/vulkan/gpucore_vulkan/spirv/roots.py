"""Square roots of f32, correctly rounded, by way of a device's estimate of the reciprocal root.

Where ``Sqrt`` is not exact, ``InverseSqrt`` and an exact fma are enough.  With ``y`` near ``1 / sqrt(x)``, the
Newton step ``s + (x - s * s) * y / 2`` from ``s = x * y`` is one of the two floats around the root (P. Markstein,
*IA-64 and Elementary Functions*, 2000, chapter 9).  Which one is right is then decided, not hoped for: the
remainder ``e = x - s * s`` is exact in an fma, and ``s`` is the root rounded to nearest exactly when

    (s - u'/2)**2 < x < (s + u/2)**2

with ``u`` and ``u'`` the distances of ``s`` to the floats above and below it.  ``e`` is an integer times ``u'**2``, so
this is ``-s * u' < e <= s * u``; a root is never halfway.  Products with ``u`` are exact.

So the estimate may be off by several ulp without a wrong bit.  Arguments outside ``2**-63`` to ``2**63`` are scaled
by an even power of two; then nothing in between is denormal, which such an fma may take for zero.
"""

from __future__ import annotations

import functools
from typing import Final

from gpucore.ir import Function
from gpucore.ir.text import parse

__all__ = ["NAME", "refined_sqrt"]

NAME: Final = "soft.sqrt_refined.f32"

# without a branch, so that compilers can mix the iterations of a loop
_TEXT: Final = f"""\
module ir=1 ndim=1 math=strict

func @{NAME}(%x: f32) -> f32 {{
  %bits: u32 = bitcast.raw %x
  %low: f32 = const {2.0**-63!r}
  %high: f32 = const {2.0**63!r}
  %small: bool = lt %x, %low
  %large: bool = ge %x, %high
  %unit: f32 = const 1.0
  %grow: f32 = const {2.0**96!r}
  %shrink: f32 = const {2.0**-64!r}
  %not_small: f32 = select %large, %shrink, %unit
  %scale: f32 = select %small, %grow, %not_small
  %down: f32 = const {2.0**-48!r}
  %up: f32 = const {2.0**32!r}
  %not_down: f32 = select %large, %up, %unit
  %undo: f32 = select %small, %down, %not_down
  %a: f32 = mul %x, %scale

  %y: f32 = rsqrt %a
  %s: f32 = mul %a, %y
  %half: f32 = const 0.5
  %h: f32 = mul %y, %half
  %minus_s: f32 = neg %s
  %r: f32 = fma %minus_s, %s, %a
  %t: f32 = fma %r, %h, %s

  %minus_t: f32 = neg %t
  %e: f32 = fma %minus_t, %t, %a
  %one: u32 = const 1
  %field: u32 = const {0x7F800000}
  %digits: u32 = const {23 << 23}
  %p: u32 = bitcast.raw %t
  %p_field: u32 = and %p, %field
  %p_unit: u32 = sub %p_field, %digits
  %above: f32 = bitcast.raw %p_unit
  %most: f32 = mul %t, %above
  %over: bool = gt %e, %most
  %q: u32 = sub %p, %one
  %q_field: u32 = and %q, %field
  %q_unit: u32 = sub %q_field, %digits
  %below: f32 = bitcast.raw %q_unit
  %far: f32 = mul %t, %below
  %fewest: f32 = neg %far
  %under: bool = le %e, %fewest
  %next: u32 = add %p, %one
  %raised: u32 = select %over, %next, %p
  %rounded: u32 = select %under, %q, %raised
  %root: f32 = bitcast.raw %rounded
  %result: f32 = mul %root, %undo

  %zero: u32 = const 0
  %infinity: u32 = const {0x7F800000}
  %before: u32 = sub %bits, %one
  %last: u32 = const {0x7F7FFFFF}
  %regular: bool = lt %before, %last
  %magnitude: u32 = const {0x7FFFFFFF}
  %size: u32 = and %bits, %magnitude
  %nothing: bool = eq %size, %zero
  %endless: bool = eq %bits, %infinity
  %same: bool = or %nothing, %endless
  %nan: u32 = const {0x7FC00000}
  %special: u32 = select %same, %bits, %nan
  %fixed: f32 = bitcast.raw %special
  %chosen: f32 = select %regular, %result, %fixed
  return %chosen
}}

kernel @nothing() {{
}}
"""


@functools.cache
def refined_sqrt() -> Function:
    """The square root of an f32, for emitters whose fma is exact where nothing is denormal."""
    return parse(_TEXT).functions[0]
