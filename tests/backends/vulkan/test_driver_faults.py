"""The work-arounds for faults of drivers: each gives the right bits on a driver that needs it or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpucore.ir import f32, f64, i8, i16, i64, u8, u16, u64
from gpucore.ir.text import parse
from gpucore_vulkan.device_features import probe_places
from gpucore_vulkan.device_features.driver_faults import known_faults
from gpucore_vulkan.device_features.probe_combinations import REMEDIES, combination_cases
from gpucore_vulkan.device_features.probe_operations import operands
from gpucore_vulkan.device_features.probe_runner import ProbeRunner
from gpucore_vulkan.device_features.probe_sequences import (
    choice_cases,
    conversion_cases,
    integer_conversion_cases,
    narrow_cases,
)
from gpucore_vulkan.device_features.probes import explore
from gpucore_vulkan.device_features.targets import advertised_target


def asked(group):
    return {case.key for case in group[1]}


def right(bench, group, *features):
    target = replace(bench.target, features=bench.target.features | set(features))
    return ProbeRunner(bench.device).cases(target, "asked", *group)[0]


@pytest.mark.parametrize("features", [(), ("OpaqueNarrowing",)], ids=["plain", "opaque"])
@pytest.mark.parametrize("kind", [i8, i16, u8, u16], ids=str)
def test_narrow_integers_wrap_whatever_consumes_them(bench, kind, features):
    group = narrow_cases(kind)
    assert right(bench, group, *features) == asked(group)


@pytest.mark.parametrize("features", [(), ("SplitConversions",), ("OpaqueConversions",)], ids=str)
def test_conversions_in_a_row_go_through_every_number_between(bench, features):
    with np.errstate(all="ignore"):
        for group in (
            conversion_cases(f32, True),
            conversion_cases(f64, True),
            integer_conversion_cases(True),
        ):
            assert right(bench, group, *features) == asked(group)


@pytest.mark.parametrize("kind", [f32, f64], ids=str)
def test_choices_between_constants_keep_the_sign_of_zero(bench, kind):
    with np.errstate(all="ignore"):
        group = choice_cases(kind)
        assert right(bench, group) == asked(group)
        # known by name where it shows in some kernels alone; where these show it, it is there without
        if "OpaqueOnes" in bench.target.features - known_faults(bench.device.physical.driver):
            plain = replace(bench.target, features=bench.target.features - {"OpaqueOnes"})
            assert ProbeRunner(bench.device).cases(plain, "asked", *group)[0] != asked(group)


@pytest.mark.parametrize(
    "features", [(), *((r,) for r in REMEDIES), REMEDIES], ids=lambda f: "+".join(f) or "plain"
)
def test_operations_that_compilers_combine_mean_what_they_say(bench, features):
    with np.errstate(all="ignore"):
        group = combination_cases(True)
        assert right(bench, group, *features) == asked(group)


def test_a_driver_that_combines_wrongly_gets_the_remedy(bench, monkeypatch):
    """A driver that shows a fault until operations are written apart is asked again with each remedy."""
    real = ProbeRunner.cases

    def faulty(runner, target, name, inputs, cases):
        good, flushed = real(runner, target, name, inputs, cases)
        wrong = name == "probe_combinations" and "OpaqueBits" not in target.features
        return (good - {"and.i64"} if wrong else good), flushed

    monkeypatch.setattr(ProbeRunner, "cases", faulty)
    physical = bench.device.physical
    base = advertised_target(physical)
    found = explore(bench.device, replace(base, features=base.features - set(REMEDIES)))
    tried = set(REMEDIES) & found.features
    assert "OpaqueBits" in tried
    assert tried == {"OpaqueBits"} or known_faults(physical.driver).issuperset(REMEDIES)


def alone(bench):
    """Runs kernels of arrays in one thread of the device."""
    runner = ProbeRunner(bench.device)
    return lambda target, module, arrays: runner.arrays(target, module, arrays, 1, 1)


def test_elements_of_local_memory_are_where_the_index_says(bench):
    """With the work-around wherever the driver needs it; where it has it unasked, the driver needs it."""
    run, target = alone(bench), bench.target
    assert probe_places.right(run, target)
    assert probe_places.right(run, replace(target, features=target.features | {probe_places.OPAQUE}))
    plain = replace(target, features=target.features - {probe_places.OPAQUE})
    assert probe_places.explore(run, plain) == target.features & {probe_places.OPAQUE}


@pytest.mark.parametrize(("helps", "found"), [(True, {probe_places.OPAQUE}), (False, set())])
@pytest.mark.parametrize("kernel", ["probe_places_loop", "probe_places_branch"])
def test_a_driver_that_reads_an_index_too_late_gets_the_remedy(bench, kernel, helps, found):
    real = alone(bench)

    def faulty(target, module, arrays):
        hidden = replace(target, features=target.features | {probe_places.OPAQUE})
        given, out = real(hidden, module, arrays)
        if module.kernel.name == kernel and not (helps and probe_places.OPAQUE in target.features):
            out = out[::-1]
        return [given, out]

    plain = replace(bench.target, features=bench.target.features - {probe_places.OPAQUE})
    assert probe_places.explore(faulty, plain) == found


def converted(source, to):
    return parse(f"""\
module ir=1 ndim=1 math=strict

kernel @k(&x: {source.name}[?], &y: {to.name}[?]) {{
  %i: i32 = global_id 0
  %a: {source.name} = load &x[%i]
  %b: {to.name} = {"f2i.raw" if source.is_float else "cast"} %a
  store &y[%i], %b
}}
""")


def long_integers(kind):
    """Every length of number, halfway between floats and just beside, and the ends."""
    info, found = np.iinfo(kind.numpy), set()
    for length in range(1, 65):
        for kept in (24, 53):
            for odd in (0, 1):
                top = (1 << (length - 1)) | (odd << max(length - kept, 0))
                half = 1 << max(length - kept - 1, 0)
                found.update(top + step * half + nudge for step in (0, 1) for nudge in (-1, 0, 1))
        found.update({(1 << length) - 1, (1 << length) - (1 << max(length - 25, 0))})
    found |= {-x for x in found} | {info.min, info.max, 0, 1}
    numbers = sorted(x for x in found if info.min <= x <= info.max)
    numbers += numbers[: -len(numbers) % 64]
    return np.array(numbers, kind.numpy)


@pytest.mark.parametrize("to", [f32, f64], ids=str)
@pytest.mark.parametrize("source", [i64, u64], ids=str)
def test_an_integer_of_64_bits_rounds_once_by_way_of_32(bench, source, to):
    values = long_integers(source)
    found = np.zeros(values.size, to.numpy)
    target = replace(bench.target, features=bench.target.features | {"SplitConversions"})
    bench.run(converted(source, to), (values.size // 64,), (64,), [values, found], target)
    # Python's own conversion rounds once, to 53 bits; to 24 NumPy's does
    wanted = np.array([float(int(x)) for x in values]) if to is f64 else values.astype(np.float32)
    np.testing.assert_array_equal(found.view(f"u{to.itemsize}"), wanted.view(f"u{to.itemsize}"))


@pytest.mark.parametrize("to", [i64, u64], ids=str)
@pytest.mark.parametrize("source", [f32, f64], ids=str)
def test_a_float_becomes_64_bits_by_way_of_32(bench, source, to):
    numbers = operands(source, 1)
    low, high = (-(2.0**63), 2.0**63) if to.is_signed else (-1.0, 2.0**64)
    with np.errstate(all="ignore"):
        inside = (numbers >= low) & (numbers < high) & (numbers > -1 if not to.is_signed else True)
    values = np.concatenate([numbers[inside], [source.numpy.type(x) for x in (2**31, 2**32, 2**53, 2**62)]])
    values = np.resize(values, -(-values.size // 64) * 64).astype(source.numpy)
    found = np.zeros(values.size, to.numpy)
    target = replace(bench.target, features=bench.target.features | {"SplitConversions"})
    bench.run(converted(source, to), (values.size // 64,), (64,), [values, found], target)
    assert found.tolist() == [int(float(x)) for x in values]


def test_the_kernels_that_erred_on_nvidias_driver_are_right_with_its_work_arounds(bench):
    target = replace(bench.target, features=bench.target.features | known_faults("NVIDIA 580.159.00"))
    twice = parse("""\
module ir=1 ndim=1 math=strict

kernel @k(&x: f32[?], &y: i32[?]) {
  %i: i32 = global_id 0
  %a: f32 = load &x[%i]
  %b: u64 = f2i.raw %a
  %c: i32 = cast %b
  store &y[%i], %c
}
""")
    found = np.zeros(1, np.int32)
    bench.run(twice, (1,), (1,), [np.array([2**32], np.float32), found], target)
    assert found[0] == 0
    rest = parse("""\
module ir=1 ndim=1 math=strict

kernel @k(&x: u64[?], &y: u64[?]) {
  %i: i32 = global_id 0
  %s: u64 = load &x[%i]
  %hundred: u64 = const 100
  %r: u64 = rem.raw %s, %s
  %m: u64 = max %s, %hundred
  %d: u64 = sub %m, %s
  %o: u64 = xor %r, %d
  store &y[%i], %o
}
""")
    found = np.zeros(2, np.uint64)
    bench.run(rest, (2,), (1,), [np.array([2**64 - 2, 7], np.uint64), found], target)
    assert found.tolist() == [0, 93]
