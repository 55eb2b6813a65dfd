"""Whether the driver lets loops run to their end.

llvmpipe (the driver of lavapipe) stops every loop of a thread after 65,535 iterations, all loops together, and says
nothing.  Nobody promises that other drivers do not, so each is asked: loops compute a sequence whose last element is
known, and what they come to instead tells how far they got.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpucore.hookspecs import Target

if TYPE_CHECKING:
    from gpucore.ir import Module
    from gpucore_vulkan.device_features.probe_operations import Bits

__all__ = ["UNREPORTED", "explore", "loop_limit", "reports_ends"]

UNREPORTED: Final = "UnreportedLoopEnds"
"""The feature of targets where kernels cannot tell that a loop was ended."""

TRIED: Final = 1 << 20
"""Iterations that are tried: what ends loops later is not found."""
_OUTER: Final = 1 << 10
_SHORT: Final = 100
_SITE: Final = 7

# a step of the sequence; no compiler knows the element after n of them without the loop
_STEP: Final = "%p: u32 = mul %x, %a\n      %y: u32 = add %p, %c\n      set !x, %y"
_HEAD: Final = """\
  var !x: u32
  %z: i32 = const 0
  %one: i32 = const 1
  %two: i32 = const 2
  %a: u32 = const 1664525
  %c: u32 = const 1013904223
  %u: u32 = const 1
  set !x, %u
  %last: u32 = load &given[%z]
"""
_WHILE: Final = f"""\
module ir=1 ndim=1 math=strict

kernel @probe_while(&given: u32[?], &out: u32[?]) {{
{_HEAD}
  while {{
    %x: u32 = get !x
    %more: bool = ne %x, %last
  }} do %more {{
      {_STEP}
  }}
  %end: u32 = get !x
  store &out[%z], %end
}}
"""
_NESTED: Final = f"""\
module ir=1 ndim=1 math=strict

kernel @probe_nested(&given: u32[?], &out: u32[?]) {{
{_HEAD}
  %outer: u32 = load &given[%one]
  %inner: u32 = load &given[%two]
  %n: i32 = cast %outer
  %m: i32 = cast %inner
  for %i: i32 = %z to %n step %one {{
    for %j: i32 = %z to %m step %one {{
      %x: u32 = get !x
      {_STEP}
    }}
  }}
  %end: u32 = get !x
  store &out[%z], %end
}}
"""


def _reporting(text: str) -> str:
    """The kernel whose loops report that they were ended."""
    for plain, reporting in (
        ("@probe_", "@probe_report_"),
        ("&out: u32[?])", "&out: u32[?], &$error: u32[?])"),
        ("while {", f"while site {_SITE} {{"),
        ("step %one {", f"step %one site {_SITE} {{"),
    ):
        text = text.replace(plain, reporting)
    return text


Run = Callable[[Target, "Module", "list[Bits]"], "list[Bits]"]
"""Runs a kernel of arrays in one thread; what they hold afterwards."""


def _sequence(count: int) -> int:
    """The element after so many steps."""
    x, a, c = 1, 1664525, 1013904223
    while count:
        if count & 1:
            x = (a * x + c) & 0xFFFFFFFF
        a, c = a * a & 0xFFFFFFFF, (a + 1) * c & 0xFFFFFFFF
        count >>= 1
    return x


def _steps(element: int) -> int:
    """After how many steps the element comes; 0 where it does not come in time."""
    x = 1
    for count in range(TRIED + 1):
        if x == element:
            return count
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
    return 0


def _given(count: int) -> Any:
    return np.array([_sequence(count), _OUTER, count // _OUTER], np.uint32)


def explore(run: Run, target: Target) -> tuple[int | None, frozenset[str]]:
    """The iterations after which a thread's loops ended, and what kernels must know of it.

    None where all that was tried ran to its end.
    """
    limit = loop_limit(run, target)
    if limit is None or reports_ends(run, dataclasses.replace(target, loop_limit=limit)):
        return limit, frozenset()
    return limit, frozenset({UNREPORTED})


def loop_limit(run: Run, target: Target) -> int | None:
    """The iterations after which a thread's loops ended; None where all that was tried ran to its end."""
    from gpucore.ir.text import parse  # as processes that find a device probed need none of it

    for text in (_WHILE, _NESTED):
        found = run(target, parse(text), [_given(TRIED), np.zeros(1, np.uint32)])
        element = int(found[1][0])
        if element != _sequence(TRIED):
            return _steps(element)
    return None


def reports_ends(run: Run, target: Target) -> bool:
    """Whether a kernel can tell that the driver ended its loop."""
    from gpucore.ir.text import parse

    for text in map(_reporting, (_WHILE, _NESTED)):
        for count, word in ((TRIED, _SITE), (_SHORT, 0)):
            arrays = [_given(count), np.zeros(1, np.uint32), np.zeros(1, np.uint32)]
            if int(run(target, parse(text), arrays)[2][0]) != word:
                return False
    return True
