"""Operations that a compiler combines wrongly: rules that hold for the text of every kernel where the target says so."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from test_narrow_integers import small, text_of

from gpucore.ir.text import parse

FEATURES = {
    "OpaqueComparisons64",
    "OpaqueNegatives",
    "OpaqueEqualities",
    "OpaqueBits",
    "OpaqueLiterals",
    "OpaqueRotations",
}
REST = {
    "OpaqueNarrowing",
    "OpaqueWidening",
    "OpaqueConstants",
    "OpaqueOnes",
    "OpaqueConversions",
    "OpaquePlaces",
}


def both(full_target, body, params):
    """The texts with the work-arounds and without."""
    return texts(full_target, small(body, params))


def texts(full_target, module):
    """The texts of a module with the work-arounds and without."""
    target = replace(full_target, features=full_target.features - REST)
    plain = replace(target, features=target.features - FEATURES)
    return text_of(target, module), text_of(plain, module)


def defined(text, name):
    """The opcode and the operands that make a value."""
    op, _, *operands = re.search(rf"^\s*{re.escape(name)} = (.*)$", text, re.MULTILINE).group(1).split()
    return op, operands


def operands_of(text, op):
    """The operands of the last instruction of an opcode."""
    return re.findall(rf"= {op} %\S+ (.*)", text)[-1].split()


def unknown(text, name):
    """Whether a value is joined with what no compiler knows: a pushed word, or a pair of it."""
    op, operands = defined(text, name)
    if op == "OpBitcast":
        op, operands = defined(text, operands[0])
    if op != "OpBitwiseXor":
        return False
    op, sources = defined(text, operands[1])
    if op == "OpBitcast":
        op, sources = defined(text, sources[0])
        assert op == "OpCompositeConstruct"
        op, sources = defined(text, sources[0])
    if op == "OpIMul":
        op, sources = defined(text, sources[0])
    return op == "OpLoad" and defined(text, sources[0])[0] == "OpAccessChain"


@pytest.mark.parametrize("kind", ["i64", "u64"])
@pytest.mark.parametrize("op", ["min", "max"])
def test_no_compiler_finds_a_bound_of_64_bits(full_target, kind, op):
    body = f"""\
  %a: {kind} = load &x[%i]
  %b: {kind} = load &y[%i]
  %r: {kind} = {op} %a, %b
  store &x[%i], %r"""
    text, plain = both(full_target, body, f"&x: {kind}[?], &y: {kind}[?]")
    compare = f"Op{'S' if kind == 'i64' else 'U'}{'LessThan' if op == 'min' else 'GreaterThan'}"
    for shown, hides in ((text, True), (plain, False)):
        first, second = operands_of(shown, compare)
        _, *chosen = operands_of(shown, "OpSelect")
        assert unknown(shown, first) == hides
        assert (first in chosen) == (not hides)
        assert second in chosen


@pytest.mark.parametrize("constant", ["%a, %c", "%c, %a"])
def test_a_choice_by_a_comparison_of_64_bits_is_no_bound_to_a_compiler(full_target, constant):
    body = f"""\
  %a: u64 = load &x[%i]
  %c: u64 = const 100
  %t: bool = lt {constant}
  %r: u64 = select %t, %a, %c
  store &x[%i], %r"""
    text, plain = both(full_target, body, "&x: u64[?]")
    place = 0 if constant.startswith("%a") else 1
    assert unknown(text, operands_of(text, "OpULessThan")[place])
    assert not unknown(plain, operands_of(plain, "OpULessThan")[place])


@pytest.mark.parametrize("kind", ["i32", "u32", "i64", "u64"])
@pytest.mark.parametrize(
    ("written", "op"), [("neg %a", "OpSNegate"), ("sub %zero, %a", "OpISub"), ("mul %a, %minus", "OpIMul")]
)
def test_no_compiler_knows_a_negative(full_target, kind, written, op):
    minus = -1 if kind.startswith("i") else 2 ** int(kind[1:]) - 1
    body = f"""\
  %zero: {kind} = const 0
  %minus: {kind} = const {minus}
  %a: {kind} = load &x[%i]
  %r: {kind} = {written}
  store &x[%i], %r"""
    text, plain = both(full_target, body, f"&x: {kind}[?]")
    for shown, hides in ((text, True), (plain, False)):
        stored = re.search(r"OpStore %\S+ (%\S+)", shown).group(1)
        assert unknown(shown, stored) == hides
        made = defined(shown, stored)[1][0] if hides else stored
        assert defined(shown, made)[0] == op


@pytest.mark.parametrize("op", ["eq", "ne"])
@pytest.mark.parametrize("bound", ["max %low, %b", "select %t, %low, %b"])
def test_what_was_bounded_is_compared_where_no_compiler_sees_it(full_target, op, bound):
    body = f"""\
  %a: i32 = load &x[%i]
  %b: i32 = load &x[%i]
  %low: i32 = min %a, %b
  %t: bool = gt %a, %b
  %m: i32 = {bound}
  %e: bool = {op} %m, %a
  %r: u32 = cast %e
  store &y[%i], %r"""
    text, plain = both(full_target, body, "&x: i32[?], &y: u32[?]")
    different, one = operands_of(text, "OpULessThan" if op == "eq" else "OpUGreaterThanEqual")
    compared = operands_of(plain, "OpIEqual" if op == "eq" else "OpINotEqual")
    made, operands = defined(text, different)
    assert made == "OpBitwiseXor"
    assert [defined(text, x)[0] for x in operands] == [defined(plain, x)[0] for x in compared]
    assert not any(unknown(text, x) for x in operands)  # (x ^ z) == x would say what z is
    made, operands = defined(text, one)
    assert made == "OpBitwiseOr"
    assert defined(text, operands[0])[0] in ("OpIMul", "OpLoad")


CLAMPED = """\
module ir=1 ndim=1 math=strict

kernel @k(&x: u32[?]) {{
  memory &a: local u32[4]
  %i: i32 = global_id 0
  %n: u32 = load &x[%i]
  %m: u32 = load &x[%i]
  %c: bool = lt %n, %m
  %first: i32 = const 0
  %number: u32 = const 32768
  %zero: u32 = const 0
  %three: u32 = const 3
  %s: u32 = shl.raw {shifted}
  %t: u32 = select %c, %s, %zero
  %h: u32 = {high}
  %l: u32 = {low}
  %at: i32 = cast %l
"""
STORED = CLAMPED + "  store &a[%at], %n\n  %r: u32 = load &a[%first]\n  store &x[%i], %r\n}}\n"
LOADED = CLAMPED + "  store &a[%first], %n\n  %r: u32 = load &a[%at]\n  store &x[%i], %r\n}}\n"


def indices(text):
    """The indices of a local memory, in order."""
    variable = re.search(r"(%\S+) = OpVariable %\S+ Function", text).group(1)
    return re.findall(rf"OpAccessChain %\S+ {re.escape(variable)} (%\S+)", text)


@pytest.mark.parametrize(("body", "which"), [(STORED, 0), (LOADED, 1)], ids=["store", "load"])
@pytest.mark.parametrize("high", ["max %t, %zero", "max %zero, %t", "select %c, %t, %zero"])
def test_no_compiler_compares_a_clamped_shift_with_places(full_target, body, which, high):
    module = parse(body.format(shifted="%number, %n", high=high, low="min %h, %three"))
    text, plain = texts(full_target, module)
    assert unknown(text, indices(text)[which])
    assert not unknown(plain, indices(plain)[which])
    assert indices(text)[1 - which] == indices(plain)[1 - which]


@pytest.mark.parametrize(
    ("shifted", "low"),
    [
        ("%n, %m", "min %t, %three"),
        ("%number, %three", "min %t, %three"),
        ("%number, %n", "add %t, %three"),
        ("%number, %n", "min %n, %three"),
    ],
)
def test_other_indices_of_a_local_memory_are_left_alone(full_target, shifted, low):
    text, _ = texts(full_target, parse(STORED.format(shifted=shifted, high="add %n, %m", low=low)))
    assert defined(text, indices(text)[0])[0] in ("OpSelect", "OpIAdd")


def test_what_costs_nothing_is_left_alone(full_target):
    body = """\
  %a: i32 = load &x[%i]
  %b: i32 = load &x[%i]
  %zero: i32 = const 0
  %d: i32 = sub %a, %b
  %m: i32 = min %d, %b
  %e: bool = eq %a, %b
  %z: bool = eq %m, %zero
  %t: bool = lt %a, %b
  %u: bool = and %e, %t
  %v: bool = and %u, %z
  %r: i32 = select %v, %m, %d
  store &x[%i], %r"""
    text, plain = both(full_target, body, "&x: i32[?]")
    assert text == plain


def test_the_high_half_of_an_unknown_zero_is_not_the_sign_of_its_low_half(full_target):
    """A sign extension joined with one is one again, and known to fit 32 bits."""
    body = """\
  %a: i32 = load &x[%i]
  %w: i64 = cast %a
  %r: i64 = neg %w
  store &y[%i], %r"""
    text, _ = both(full_target, body, "&x: i32[?], &y: i64[?]")
    _, (_, zero) = defined(text, re.search(r"OpStore %\S+ (%\S+)", text).group(1))
    assert defined(text, zero)[0] == "OpBitcast"
    low, high = defined(text, defined(text, zero)[1][0])[1]
    assert low == high


def test_negative_zero_is_a_constant_that_no_compiler_knows(full_target):
    body = """\
  %a: f32 = load &x[%i]
  %one: f32 = const 3.0
  %zero: f32 = const -0.0
  %t: bool = lt %a, %one
  %r: f32 = select %t, %zero, %one
  store &x[%i], %r"""
    module = small(body, "&x: f32[?]")
    for hides in (True, False):
        features = full_target.features - (set() if hides else {"OpaqueOnes"})
        text = text_of(replace(full_target, features=features), module)
        chosen = operands_of(text, "OpSelect")[1]
        assert (defined(text, chosen)[0] == "OpBitcast") == hides


def masks(text):
    """The operands of every bitwise and."""
    return [line.split() for line in re.findall(r"= OpBitwiseAnd %\S+ (.*)", text)]


@pytest.mark.parametrize("kind", ["u8", "i32", "u64"])
@pytest.mark.parametrize("operands", ["%a, %one", "%one, %a"])
def test_no_compiler_knows_that_a_mask_leaves_one_bit(full_target, kind, operands):
    body = f"""\
  %one: {kind} = const 1
  %a: {kind} = load &x[%i]
  %b: {kind} = load &x[%i]
  %t: {kind} = and {operands}
  %r: {kind} = mul %t, %b
  store &x[%i], %r"""
    text, plain = both(full_target, body, f"&x: {kind}[?]")
    place = operands.split(", ").index("%one")
    assert unknown(text, masks(text)[0][place])
    assert not unknown(text, masks(text)[0][1 - place])
    assert not unknown(plain, masks(plain)[0][place])


@pytest.mark.parametrize(("factors", "hides"), [("mul %a, %b", True), ("add %a, %b", False)])
@pytest.mark.parametrize("operands", ["%w, %three", "%three, %w"])
def test_no_compiler_knows_that_a_square_modulo_4_is_one_bit(full_target, operands, factors, hides):
    """Two loads of one element are one value to it."""
    body = f"""\
  %three: u32 = const 3
  %a: u64 = load &x[%i]
  %b: u64 = load &x[%i]
  %s: u64 = {factors}
  %w: u32 = cast %s
  %r: u32 = and {operands}
  store &y[%i], %r"""
    text, plain = both(full_target, body, "&x: u64[?], &y: u32[?]")
    place = operands.split(", ").index("%three")
    assert unknown(text, masks(text)[0][place]) == hides
    assert not unknown(plain, masks(plain)[0][place])


@pytest.mark.parametrize(
    ("kind", "first", "second", "hidden"),
    [
        ("i64", 2**32 + 1, 3, [True, False]),  # one bit of each half
        ("i64", 2**32, 3, [True, False]),
        ("i64", 2**33 + 2, 3, [False, False]),
        ("u32", 5, 3, [False, True]),  # one bit of both
        ("u32", 6, 3, [False, False]),
        ("u64", 2**33 - 1, 7 * 2**32, [True, False]),
    ],
)
def test_no_compiler_knows_that_two_masks_leave_one_bit(full_target, kind, first, second, hidden):
    body = f"""\
  %m: {kind} = const {first}
  %n: {kind} = const {second}
  %a: {kind} = load &x[%i]
  %s: {kind} = and %a, %m
  %t: {kind} = and %s, %n
  store &x[%i], %t"""
    text, plain = both(full_target, body, f"&x: {kind}[?]")
    assert [unknown(text, mask) for _, mask in masks(text)] == hidden
    assert not any(unknown(plain, mask) for _, mask in masks(plain))


@pytest.mark.parametrize("bit", ["shr.raw %a, %most", "cast %c"])
def test_no_compiler_multiplies_by_a_condition(full_target, bit):
    body = f"""\
  %most: u64 = const 63
  %a: u64 = load &x[%i]
  %c: bool = lt %a, %most
  %t: u64 = {bit}
  %r: u64 = mul %a, %t
  store &x[%i], %r"""
    text, plain = both(full_target, body, "&x: u64[?]")
    assert any(unknown(text, line.split()[1]) for line in re.findall(r"= OpIMul %\S+ (.*)", text))
    assert not any(unknown(plain, line.split()[1]) for line in re.findall(r"= OpIMul %\S+ (.*)", plain))


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_what_is_compared_with_a_zero_is_not_taken_for_it(full_target, kind):
    body = f"""\
  %zero: {kind} = const 0.0
  %a: {kind} = load &x[%i]
  %t: bool = eq %zero, %a
  %r: u32 = cast %t
  store &y[%i], %r"""
    text, plain = both(full_target, body, f"&x: {kind}[?], &y: u32[?]")
    assert unknown(text, operands_of(text, "OpFOrdEqual")[1])
    assert not unknown(plain, operands_of(plain, "OpFOrdEqual")[1])
    other, _ = both(full_target, body.replace("const 0.0", "const 3.0"), f"&x: {kind}[?], &y: u32[?]")
    assert not unknown(other, operands_of(other, "OpFOrdEqual")[1])
    nan, _ = both(full_target, body.replace("eq %zero", "ne %a"), f"&x: {kind}[?], &y: u32[?]")
    assert not unknown(nan, operands_of(nan, "OpFUnordNotEqual")[1])


@pytest.mark.parametrize(
    ("chosen", "hides"),
    [("%zero, %inf", False), ("%inf, %zero", False), ("%a, %inf", True), ("%inf, %b", True)],
)
def test_a_comparison_that_only_picks_literals_is_left_alone(full_target, chosen, hides):
    """What the compiler takes from it concerns nothing: the logarithm has such a comparison."""
    body = f"""\
  %zero: f32 = const 0.0
  %a: f32 = load &x[%i]
  %b: f32 = load &x[%i]
  %t: bool = eq %a, %zero
  %inf: f32 = const -inf
  %r: f32 = select %t, {chosen}
  store &x[%i], %r"""
    text, _ = both(full_target, body, "&x: f32[?]")
    assert unknown(text, operands_of(text, "OpFOrdEqual")[0]) == hides


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("divisor", ["%zero", "%chosen", "%a"])
def test_no_compiler_divides_literals(full_target, kind, divisor):
    body = f"""\
  %zero: {kind} = const 0.0
  %two: {kind} = const 2.0
  %a: {kind} = load &x[%i]
  %t: bool = lt %a, %two
  %chosen: {kind} = select %t, %zero, %a
  %r: {kind} = div %zero, {divisor}
  store &x[%i], %r"""
    text, plain = both(full_target, body, f"&x: {kind}[?]")
    assert unknown(text, operands_of(text, "OpFDiv")[0]) == (divisor != "%a")
    assert not unknown(plain, operands_of(plain, "OpFDiv")[0])


def test_what_is_hidden_twice_stays_hidden(full_target):
    """An exclusive or with one zero would undo the other."""
    body = """\
  %a: i64 = load &x[%i]
  %c: i64 = const 100
  %n: i64 = neg %a
  %t: bool = lt %n, %c
  %r: i64 = select %t, %a, %c
  store &x[%i], %r"""
    text, _ = both(full_target, body, "&x: i64[?]")
    operand = operands_of(text, "OpSLessThan")[0]
    _, (result, outer) = defined(text, operand)
    _, (_, inner) = defined(text, result)
    assert unknown(text, operand)
    assert unknown(text, result)
    assert inner != outer


@pytest.mark.parametrize("kind", ["i64", "u64"])
@pytest.mark.parametrize("op, terms", [("sub", "%r, %l"), ("sub", "%l, %r"), ("add", "%r, %l")])
def test_no_compiler_finds_the_halves_of_a_rotation(full_target, kind, op, terms):
    body = f"""\
  %a: {kind} = load &x[%i]
  %up: {kind} = const 63
  %one: {kind} = const 1
  %r: {kind} = shr.raw %a, %up
  %l: {kind} = shl.raw %a, %one
  %d: {kind} = {op} {terms}
  store &x[%i], %d"""
    text, plain = both(full_target, body, f"&x: {kind}[?]")
    for shown, hides in ((text, True), (plain, False)):
        instruction = "OpISub" if op == "sub" else "OpIAdd"
        (given,) = [
            operands.split()
            for operands in re.findall(rf"= {instruction} %\S+ (.*)", shown)
            if any(defined(shown, one)[0].startswith("OpShift") for one in operands.split())
        ]
        lower = given[terms.split(", ").index("%r")]
        assert unknown(shown, lower) == hides
