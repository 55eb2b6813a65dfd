"""Drivers that end loops without a word: found by probing, told by the kernels, and never a wrong result."""

import dataclasses

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import NotSupportedError
from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir.passes import LowerOptions, link
from gpucore.ir.passes.lower import lower
from gpucore.ir.text import parse
from gpucore.math import library
from gpucore_bench import kernels
from gpucore_vulkan.compiler import compile_module, render
from gpucore_vulkan.device_features import probe_loops
from gpucore_vulkan.device_features.capabilities import device_capabilities
from gpucore_vulkan.device_features.probed_target import device_target
from gpucore_vulkan.spirv import function

LOOP = """\
module ir=1 ndim=1 math=strict

kernel @k(&x: u32[?], %n: index) {
  var !s: u32
  %zero: index = const 0
  %one: index = const 1
  %start: u32 = const 1
  set !s, %start
  for %i: index = %zero to %n step %one loc("file.py", 3, 0) {
    %old: u32 = get !s
    %new: u32 = mul %old, %old
    set !s, %new
  }
  %end: u32 = get !s
  store &x[%zero], %end
}
"""


def driver(limit, hides=False):
    """A driver that stops the sequence of the probes after so many steps; what its kernels report."""

    def run(target, module, arrays):
        count = int(
            probe_loops.TRIED if int(arrays[0][0]) == probe_loops._sequence(probe_loops.TRIED) else 100
        )
        reached = count if limit is None else min(count, limit)
        out = np.array([probe_loops._sequence(reached)], np.uint32)
        ended = target.loop_limit is not None and reached < count and not hides
        record = [np.array([7 if ended else 0], np.uint32)] if len(arrays) == 3 else []
        return [arrays[0], out, *record]

    return run


@pytest.mark.parametrize("limit", [None, 200, 1000, 65535, probe_loops.TRIED - 1])
def test_the_probe_counts_how_far_loops_get(limit):
    assert probe_loops.explore(driver(limit), Target("vulkan", "x")) == (limit, frozenset())


def test_where_kernels_cannot_tell_that_a_loop_was_ended_they_are_refused():
    limit, features = probe_loops.explore(driver(65535, hides=True), Target("vulkan", "x"))
    assert (limit, features) == (65535, {probe_loops.UNREPORTED})
    target = Target("vulkan", "x", features=features, loop_limit=limit)
    module = lower(parse(LOOP), LowerOptions(target.native, library, loop_limit=limit)).module
    with pytest.raises(NotSupportedError, match="65,535 iterations"):
        compile_module(target, module, CompileOptions())
    short = parse(LOOP.replace("to %n", "to %one"))
    compile_module(
        target, lower(short, LowerOptions(target.native, library, loop_limit=limit)).module, CompileOptions()
    )


def test_the_probe_of_this_device_agrees_with_its_loops(bench):
    device = bench.device
    limit = device_capabilities(device).loop_limit
    assert limit == device_target(device).loop_limit
    if device.physical.info.name.startswith("llvmpipe") and "22.3" in device.physical.driver:
        assert limit == 65535
    assert limit is None or probe_loops.UNREPORTED not in device_target(device).features


class Silent:
    """The emitter's part in this, left out."""

    repeating = False

    def __init__(self, f, emit):
        pass

    def way_out(self, merge):
        return merge

    def by_threads(self, loop, condition):
        return condition

    def __getattr__(self, name):
        return lambda *args, **options: None


EVERY_LOOP = """\
module ir=1 ndim=1 math=strict

kernel @k(&x: f32[?], %n: i32, %step: i32) {
  memory &line: local f32[999]
  memory &tile: shared f32[1]
  var !s: i32
  %z: i32 = const 0
  %one: i32 = const 1
  %three: i32 = const 3
  %f: f32 = const 1.0
  set !s, %z
  init &line
  for %i: i32 = %z to %n step %one {
    for %j: i32 = %n to %i step %step {
      for %k: i32 = %z to %j step %three {
        %same: bool = eq %k, %i
        if %same {
          break
        }
        store &x[%k], %f
      }
      %before: f32 = atomic add &tile[%z], %f
      store &line[%i], %before
    }
  }
  while {
    %now: i32 = get !s
    %more: bool = lt %now, %n
  } do %more {
    store &x[%now], %f
    %next: i32 = add %now, %one
    set !s, %next
  }
  %end: f32 = load &line[%n]
  store &x[%z], %end
}
"""


@pytest.mark.parametrize("features", [frozenset(), frozenset({"OpaqueBreaks"})], ids=["plain", "opaque"])
def test_code_for_drivers_without_a_limit_is_as_if_there_were_none(bench, monkeypatch, features):
    known = device_target(bench.device)
    target = dataclasses.replace(
        known, loop_limit=None, features=known.features | features, atomics=known.atomics | {"add.f32"}
    )
    options = LowerOptions(target.native, library, atomics=target.atomics)
    module = lower(parse(EVERY_LOOP), options).module
    code = compile_module(target, module, CompileOptions()).data
    limited = dataclasses.replace(target, loop_limit=65535)
    assert compile_module(limited, module, CompileOptions()).data == code
    reporting = lower(parse(EVERY_LOOP), dataclasses.replace(options, loop_limit=65535)).module
    assert len(compile_module(limited, reporting, CompileOptions()).data) > len(code)
    monkeypatch.setattr(function, "LoopEnds", Silent)
    assert compile_module(target, module, CompileOptions()).data == code


def loop_of(text):
    """The operations of the first loop, up to the label behind it."""
    lines = [line.split(" = ")[::-1] for line in text.splitlines()]
    lines = [(rest[0].split(), rest[1].strip() if len(rest) > 1 else "") for rest in lines]
    for start, (words, _) in enumerate(lines):
        if words[:1] == ["OpLoopMerge"]:
            end = next(
                n for n, (found, name) in enumerate(lines) if found[:1] == ["OpLabel"] and name == words[1]
            )
            return [found[0] for found, _ in lines[start:end] if found and found[0] != "OpLine"]
    return []


@pytest.mark.parametrize("name", ["saxpy", "math_exp", "nbody", "mandelbrot"])
def test_only_long_loops_report_and_plain_ones_do_nothing_more_in_an_iteration(gpucore_context, bench, name):
    zeros = gpucore_context.zeros
    kernel, arguments = {
        "saxpy": (kernels.saxpy, (zeros(64, gc.f32), zeros(64, gc.f32), 1.0)),
        "math_exp": (kernels.math_exp, (zeros(64, gc.f32), zeros(64, gc.f32))),
        "nbody": (kernels.nbody, (zeros((4, 64), gc.f32), zeros((3, 64), gc.f32))),
        "mandelbrot": (kernels.mandelbrot, (zeros((8, 8), gc.i32), 100)),
    }[name]
    module = link(kernel.ir(*arguments, ndim=2 if name == "mandelbrot" else 1), library)

    def text(limit):
        target = dataclasses.replace(device_target(bench.device), loop_limit=limit)
        options = LowerOptions(target.native, library, atomics=target.atomics, loop_limit=limit)
        return render(target, lower(module, options).module, CompileOptions())

    reporting, plain = text(65535), text(None)
    long = name in ("nbody", "mandelbrot")
    assert (reporting != plain) == long == ("OpAtomicCompareExchange" in reporting)
    assert loop_of(reporting) == loop_of(plain)
    assert bool(loop_of(plain)) == long


@gc.kernel
def lcg(x: gc.Array[gc.u32], n: gc.Array[gc.i32]):
    i = gc.global_id(0)
    s = gc.u32(i)
    for _ in range(n[i]):
        s = s * gc.u32(1664525) + gc.u32(1013904223)
    k = 0
    while k < n[i + 8]:
        k += 1
        if s % gc.u32(5) == 0:
            s += gc.u32(7)
            continue
        s = s * gc.u32(1664525) + gc.u32(k)
    x[i] = s


def reference(counts):
    out = []
    for i in range(8):
        s = i
        for _ in range(counts[i]):
            s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        for k in range(1, counts[i + 8] + 1):
            s = (s + 7 if s % 5 == 0 else s * 1664525 + k) & 0xFFFFFFFF
        out.append(s)
    return out


def test_near_the_limit_results_are_right_or_an_error(gpucore_context):
    limit = gpucore_context.device.capabilities.loop_limit or 65535
    if limit > 100_000:
        pytest.skip("the limit is too far")
    random = np.random.default_rng(5)
    ended = 0
    for _ in range(12):
        near = random.integers(limit * 3 // 8, limit * 5 // 8, 2)
        counts = np.concatenate([np.minimum(random.integers(0, limit, 8), near[n]) for n in (0, 1)]).astype(
            np.int32
        )
        counts[random.integers(0, 8)], counts[8 + random.integers(0, 8)] = near
        x = gpucore_context.zeros(8, gc.u32)
        lcg[1, 8](x, gpucore_context.array(counts))
        try:
            found = x.numpy()
        except gc.KernelRuntimeError:
            assert int(near.sum()) >= limit - 2
            ended += 1
        else:
            assert list(found) == reference(counts.tolist())
    assert ended < 12
    assert ended > 0 or gpucore_context.device.capabilities.loop_limit is None
