"""The pairs of the table: every kind of consumer, rows that tell a kept bit from a wrapped one, counts of their own."""

import numpy as np
import pytest

from gpucore.testing.semantics import digest, groups, parts, run_interpreter
from gpucore.testing.semantics.runner import Report, _part, batches, evaluate, interpreter_evaluator
from gpucore.testing.semantics.table import PAIRED_FLOATS, PAIRED_INTEGERS

PAIRS = parts()["pairs"]
CONSUMERS = ("lt", "floordiv", "divisor", "shr", "i64", "f64", "min", "max", "popcount", "index", "atomic")


@pytest.mark.parametrize("dtype", PAIRED_INTEGERS, ids=str)
def test_every_operation_meets_every_kind_of_consumer(dtype):
    for producer in ("neg", "abs", "add", "sub", "mul", "floordiv", "mod", "shl", "shr", "min", "max", "not"):
        for consumer in CONSUMERS:
            if consumer != dtype.name:
                assert f"pair.{producer}.{dtype}.{consumer}" in PAIRS
    assert f"pair.popcount.{dtype}.lt" in PAIRS or f"pair.popcount.{dtype}.i32.lt" in PAIRS


@pytest.mark.parametrize("dtype", PAIRED_FLOATS, ids=str)
def test_choices_between_constants_meet_what_sees_the_sign_of_zero(dtype):
    for choice in ("select(0.0,-1.0)", "choice(-0.0,1.0)"):
        assert f"pair.{choice}.{dtype}.{dtype}.divisor" in PAIRS


def test_the_keys_are_of_this_part_alone():
    assert not set(PAIRS) & set(groups())
    assert sum(len(group.rows) for group in PAIRS.values()) > 100_000


@pytest.mark.parametrize(
    ("key", "inputs", "expected"),
    [
        ("pair.neg.i8.i64", (0x80, 0x80), -128),
        ("pair.neg.i16.max", (0x8000, 0x8000), 0),
        ("pair.abs.i16.lt", (0x8000, 0x8000), 0),
        ("pair.popcount.u16.i32.i64", (0xFFFE, 0), 15),
        ("pair.cast_f32.f32.u64.f64", (0x4F800000, 0), 0x41F0000000000000),
        ("pair.neg.i8.floordiv", (0x80, 0x80), 1),
    ],
)
def test_rows_known_from_failures_are_in_it(key, inputs, expected):
    # wrong on real devices once: what each was is told by the name
    found = {row.inputs[0]: row for row in PAIRS[key].rows if row.inputs[0] == inputs[0]}
    assert found, [hex(r.inputs[0]) for r in PAIRS[key].rows]
    rows = [
        r
        for r in PAIRS[key].rows
        if r.inputs[0] == inputs[0] and (r.inputs[1] == inputs[1] or len(found) == 1)
    ]
    bits = PAIRS[key].results[0].bits
    assert expected & ((1 << bits) - 1) in {r.expected[0] for r in rows}


SOME = [key for n, key in enumerate(PAIRS) if n % 60 == 0]


def test_the_interpreter_gives_the_bits_of_some():
    report = run_interpreter(SOME)
    assert report.results == {}
    part = report.parts["pairs"]
    assert (part.failed, part.refused) == (0, 0), [r for r in part.results.values() if r.failed]
    assert part.passed == sum(len(PAIRS[key].rows) for key in SOME)


def test_a_backend_that_keeps_bits_beyond_the_width_fails():
    group = PAIRS["pair.neg.i8.i64"]

    def keeps_nine_bits(work):
        arrays = interpreter_evaluator(work)
        x = work.arrays[0].astype(np.int64)
        arrays[work.results[0][0]][...] = -x
        return arrays

    (result,) = evaluate([group], keeps_nine_bits)
    assert result.failed > 0
    assert all("80" in failure.row for failure in result.failures)


def test_a_part_has_counts_and_a_digest_of_its_own_and_changes_no_other():
    with_part = run_interpreter(["add.i8", "pair.neg.i8.i64"])
    without = run_interpreter(["add.i8"])
    assert with_part.digest == without.digest
    assert (with_part.passed, without.parts) == (without.passed, {})
    body = with_part.to_dict()["parts"]["pairs"]
    assert body["digest"] == digest(with_part.parts["pairs"].results.values())
    assert body["passed"] == len(PAIRS["pair.neg.i8.i64"].rows)
    assert body["groups"] == {}


def test_a_part_names_its_groups_that_failed_and_the_report_does_not_conform():
    from gpucore.testing.conformance.runner import Report as Conformance

    (batch, *_) = batches([PAIRS["pair.neg.i8.i64"]])

    def broken(work):
        raise RuntimeError("the device is on fire")

    results = {r.key: r for r in evaluate(batch, broken)}
    part = Report("b", "d", results)
    assert _part(part)["groups"]["pair.neg.i8.i64"]["reason"] == "RuntimeError: the device is on fire"
    whole = Conformance("b", "d", "", None, {}, "", {}, Report("b", "d", {}, {"pairs": part}))
    assert not whole.conforms
    assert "on fire" in whole.failures()[0]


def test_an_unknown_group_is_refused():
    with pytest.raises(KeyError, match="no group 'neg'"):
        run_interpreter(["neg"])
