"""Whether the driver finds elements of local memory at the index that was asked for, not at what became of it.

NIR (seen in Mesa 22.3.6) keeps an index and the value that a loop or a branch gives it next in one register, and reads
that where an element is read or written: too late where the element had been found before.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from gpucore.hookspecs import Target
    from gpucore_vulkan.device_features.probe_loops import Run

__all__ = ["OPAQUE", "explore", "right"]

OPAQUE: Final = "OpaquePlaces"
"""The feature of targets where indices of local memory are hidden."""

_GIVEN: Final = np.array([43, 64, 128, 7], np.uint32)
_LOOP: Final = """\
module ir=1 ndim=1 math=strict

kernel @probe_places_loop(&given: u32[?], &out: u32[?]) {
  memory &t: local u32[4]
  %z: i32 = const 0
  %one: i32 = const 1
  %last: i32 = const 3
  %n: i32 = extent &given, 0
  for %i: i32 = %z to %n step %one {
    %g: u32 = load &given[%i]
    store &t[%i], %g
  }
  for %j: i32 = %z to %last step %one {
    %a: u32 = load &t[%j]
    %k: i32 = add %j, %one
    %b: u32 = load &t[%k]
    %s: u32 = add %a, %b
    store &t[%j], %s
  }
  for %m: i32 = %z to %n step %one {
    %r: u32 = load &t[%m]
    store &out[%m], %r
  }
}
"""
_BRANCH: Final = """\
module ir=1 ndim=1 math=strict

kernel @probe_places_branch(&given: u32[?], &out: u32[?]) {
  memory &t: local u32[4]
  var !k: i32
  %z: i32 = const 0
  %one: i32 = const 1
  %two: i32 = const 2
  %last: i32 = const 3
  %n: i32 = extent &given, 0
  for %i: i32 = %z to %n step %one {
    %g: u32 = load &given[%i]
    store &t[%i], %g
  }
  %w: u32 = load &given[%last]
  %v: i32 = cast %w
  %b: i32 = and %v, %one
  %a: u32 = load &t[%b]
  set !k, %b
  %c: bool = gt %v, %two
  if %c {
    %d: i32 = add %b, %one
    %e: u32 = load &t[%d]
    store &t[%last], %e
    set !k, %d
  }
  %at: i32 = get !k
  %f: u32 = load &t[%at]
  %s: u32 = add %a, %f
  store &t[%b], %s
  for %m: i32 = %z to %n step %one {
    %r: u32 = load &t[%m]
    store &out[%m], %r
  }
}
"""
_WANTED: Final = {_LOOP: [107, 192, 135, 7], _BRANCH: [43, 192, 128, 128]}


def explore(run: Run, target: Target) -> frozenset[str]:
    """The feature that kernels need to find their elements, where they do not without."""
    hidden = dataclasses.replace(target, features=target.features | {OPAQUE})
    if not right(run, target) and right(run, hidden):
        return frozenset({OPAQUE})
    return frozenset()


def right(run: Run, target: Target) -> bool:
    """Whether every element was found where the index says."""
    from gpucore.ir.text import parse  # as processes that find a device probed need none of it

    return all(
        run(target, parse(text), [_GIVEN.copy(), np.zeros(4, np.uint32)])[1].tolist() == wanted
        for text, wanted in _WANTED.items()
    )
