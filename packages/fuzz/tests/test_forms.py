"""Programs of many statements: seeds keep theirs, every form comes, the reference is right, failures become small."""

from __future__ import annotations

import re
import zlib
from collections import Counter

import pytest

from gpucore.errors import GpucoreError, NotSupportedError
from gpucore_fuzz.programs import evaluate as evaluation
from gpucore_fuzz.programs.arithmetic import FLOATS, INTS
from gpucore_fuzz.programs.building import bare, const, element, of, var
from gpucore_fuzz.programs.evaluate import evaluate
from gpucore_fuzz.programs.forms import FIRST_SEED
from gpucore_fuzz.programs.generate import generate
from gpucore_fuzz.programs.run import ValuePrograms, differences, loaded, outputs_of
from gpucore_fuzz.programs.shrinking import shrink, size_of
from gpucore_fuzz.programs.tree import (
    Assign,
    Expression,
    For,
    If,
    LocalPair,
    LocalStore,
    Program,
    Store,
    While,
    text_of,
)

OLDER = (3, 8400289, 50000003, 54024880, 70000073, 72000001, 73000000, 73000007, FIRST_SEED - 1)


def sum_of(seeds):
    crc = 0
    for seed in seeds:
        program, wanted = generate(seed)
        crc = zlib.crc32((text_of(program) + repr(sorted(wanted.items()))).encode(), crc)
    return crc


def test_older_seeds_keep_their_programs_and_newer_ones_have_theirs():
    assert sum_of(OLDER) == 351568156
    assert sum_of(range(FIRST_SEED, FIRST_SEED + 8)) == 4151775888


FORMS = {
    "neighbours": r"(a\d+)\[(j\d+)\] = .*\1\[\(\2 \+ 1\)\]",
    "swap of neighbours": r"(a\d+)\[(j\d+)\], \1\[\(\2 \+ 1\)\] = ",
    "swap through a variable": r"(w\d+) = (a\d+)\[(j\d+)\]\n +\2\[\3\] = .*\n +\2\[\(\3 \+ 1\)\] = \1\n",
    "bubble sort": r"for (j\d+) in range\(\d\):\n +for j\d+ in range\(\(\d - \1\)\):",
    "insertion sort": r"while n\d+ < \d and \(\(w\d+ >= 0\) and \(w\d+ [<>] a\d+\[w\d+\]\)\)",
    "recurrence": r"(a\d+)\[(j\d+)\] = .*\1\[\(\2 - 1\)\]",
    "recurrence of two": r"(a\d+)\[(j\d+)\] = .*\1\[\(\2 - 2\)\]",
    "ring": r"a\d+\[\(\(w\d+ \+ .*j\d+.*\) % ",
    "masked ring": r"a\d+\[\(\(w\d+ \+ .*j\d+.*\) & ",
    "reversal": r"(a\d+)\[(j\d+)\], \1\[\(\d - \2\)\] = ",
    "two arrays": r"(a\d+)\[(j\d+)\] = .*(?!\1)a\d+\[",
    "counter of i32 as index": r"a\d+\[\(n\d+ - 1\)\] = ",
    "loop backwards": r"range\(\d, -1, -1\)",
    "histogram": r"(a\d+\[\(w\d+ & .*\)\]) = \(\1 \+ ",
    "rotation": r"<< .*\) [|^+] \(.* >> \(",
    "shift by a variable": r"(<<|>>) \(\w+(\(\w+\)|\[i\])? & ",
    "carry": r"w\d+ = \(\(w\d+ \+ .*\) \+ gc\.\w+\(\(w\d+ < ",
    "borrow": r"(w\d+) = \(.* if \(w\d+ < .*\n +w\d+ = .*\n +w\d+ = .* - \1\)",
    "saturation": r"gc\.clamp\(\(gc\.i\d+\(w\d+\) [-+*] ",
    "digits": r"(w\d+) = \(\1 // .*(10|7|16)\)\)",
    "state machine": r" elif \(w\d+ == 1\):(.*\n)+? +else:",
    "break": r"    break\n",
    "continue": r"    continue\n",
    "return out of a loop": r"\n( +)for j\d+ in .*\n(\1    .*\n)*\1        return ",
    "filter": r"(w\d+) = \(\1 \+ \(gc\.\w+\([\d.]+\) \* \(.* - \1\)\)\)",
    "Newton step": r"(w\d+) = \(\(\1 \+ \(.* / \1\)\) \* gc\.\w+\(0\.5\)\)",
    "behind a branch": r"\n( +)else:\n(\1    .*\n)*\1(?! )w\d+ = .*(abs|-w|min|max|//|popcount|clz)",
    "behind a loop": r"\n( +)while .*\n(\1    .*\n)*\1(?! )w\d+ = .*(abs|-w|min|max|//|popcount|clz)",
}


def test_every_form_comes_in_a_few_hundred_seeds():
    found, lines, dtypes = Counter(), [], set()
    for seed in range(FIRST_SEED, FIRST_SEED + 200):
        program, _ = generate(seed)
        text = text_of(program)
        lines.append(len(text.partition("def k(")[2].splitlines()))
        found.update(form for form, pattern in FORMS.items() if re.search(pattern, text))
        dtypes |= {t for t, _ in program.locals.values()}
    rare = {form: found[form] for form in FORMS if found[form] < 2}
    assert not rare
    assert dtypes == {*INTS, *FLOATS, "bool"}
    # of statements a half has more than 40, and none so many that a driver takes minutes
    assert sorted(lines)[len(lines) // 2] > 40
    assert max(lines) < 250
    older = "".join(text_of(generate(seed)[0]) for seed in range(FIRST_SEED - 40, FIRST_SEED))
    assert not re.search(FORMS["swap of neighbours"], older)


def program_of(t, values, size, body, outputs):
    stores = (Store(f"o{n}", s, e) for n, (s, e) in enumerate(outputs))
    return Program(
        FIRST_SEED, {"x0": t}, {f"o{n}": s for n, (s, _) in enumerate(outputs)}, {}, {}, {}, {"a": (t, size)}, {}, {}, (),
        (*body, *stores), len(values), 0, {"x0": tuple(values)},
    )  # fmt: skip


def at(n):
    return element("a", "i8", bare("index", n))


def filled():
    """``a`` of x, 5, -3, 9."""
    x = Expression("load", "i8", name="x0")
    numbers = (x, const("i8", 5), const("i8", -3), const("i8", 9))
    return tuple(LocalStore("a", "i8", bare("index", n), e) for n, e in enumerate(numbers))


def after(j, n=1):
    return of("+", j, bare("index", n))


def holds(program, expected):
    """The reference and the interpreter both give what was computed by hand."""
    assert evaluate(program) == expected
    with loaded(program) as kernel:
        assert outputs_of(program, kernel, None) == expected


def test_a_bubble_sort_by_pairs_sorts():
    j, turn = var("j", "index"), var("p", "index")
    a, b = element("a", "i8", j), element("a", "i8", after(j))
    pair = LocalPair("a", "i8", j, of("min", a, b), after(j), of("max", a, b))
    inner = For("j", 0, of("-", bare("index", 3), turn, t="index"), 1, (pair,))
    program = program_of(
        "i8", (7, -128), 4, (*filled(), For("p", 0, 3, 1, (inner,))), [("i8", at(n)) for n in range(4)]
    )
    assert "a[j], a[(j + 1)] = min(a[j], a[(j + 1)]), max(a[j], a[(j + 1)])" in text_of(program)
    # 7 5 -3 9 and -128 5 -3 9
    holds(program, {"o0": [0xFD, 0x80], "o1": [5, 0xFD], "o2": [7, 5], "o3": [9, 9]})


def test_an_insertion_goes_backwards_and_ends_before_the_first():
    at_place, x = var("w", "i32"), var("v", "i8")
    order = of("and", of(">=", at_place, bare("i32", 0), t="bool"),
               of("<", x, element("a", "i8", at_place), t="bool"))  # fmt: skip
    move = (
        LocalStore("a", "i8", of("+", at_place, bare("i32", 1)), element("a", "i8", at_place)),
        Assign("w", "i32", of("-", at_place, bare("i32", 1))),
    )
    steps = (
        Assign("v", "i8", element("a", "i8", bare("index", 2))),
        Assign("w", "i32", const("i32", 1)),
        While("n", 4, order, move),
        LocalStore("a", "i8", of("+", at_place, bare("i32", 1)), x),
    )
    program = program_of("i8", (7, 4), 4, (*filled(), *steps), [("i8", at(n)) for n in range(4)])
    # -3 goes before 7 and 5, or 4 and 5
    holds(program, {"o0": [0xFD, 0xFD], "o1": [7, 4], "o2": [5, 5], "o3": [9, 9]})


def test_a_recurrence_backwards_and_a_chain_of_elif():
    j = var("j", "index")
    step = LocalStore("a", "i8", j, of("+", element("a", "i8", j), element("a", "i8", after(j))))
    x = Expression("load", "i8", name="x0")
    chain = If(
        of("<", x, const("i8", 0), t="bool"),
        (Assign("w", "i8", const("i8", 1)),),
        (
            If(
                of("==", x, const("i8", 7), t="bool"),
                (Assign("w", "i8", const("i8", 2)),),
                (Assign("w", "i8", const("i8", 3)),),
            ),
        ),
    )
    body = (*filled(), For("j", 2, -1, -1, (step,)), Assign("w", "i8", const("i8", 0)), chain)
    program = program_of("i8", (7, -1, 120), 4, body, [("i8", at(0)), ("i8", at(1)), ("i64", var("w", "i8"))])
    assert "elif (x0[i] == gc.i8(7)):" in text_of(program)
    # 9, 6, 11, x + 11; 120 + 11 is -125
    holds(program, {"o0": [18, 10, 131], "o1": [11, 11, 11], "o2": [2, 1, 3]})


def test_an_index_below_zero_is_outside_of_the_reference_s_arrays():
    with pytest.raises(IndexError):
        evaluate(program_of("i8", (1,), 4, (), [("i8", element("a", "i8", bare("index", -1)))]))


def test_the_interpreter_agrees_with_programs_of_many_statements():
    runner = ValuePrograms.open("interpreter", checked=False)
    verdicts = [runner.run(seed) for seed in range(FIRST_SEED, FIRST_SEED + 8)]
    assert [v.outcome for v in verdicts] == ["right"] * 8, verdicts


def test_devices_agree_with_programs_of_many_statements(gpucore_context):
    right = 0
    for seed in range(FIRST_SEED + 100, FIRST_SEED + 108):
        program, wanted = generate(seed)
        with loaded(program) as kernel:
            try:
                found = outputs_of(program, kernel, gpucore_context)
            except NotSupportedError:
                continue
        assert differences(wanted, found) == [], text_of(program)
        right += 1
    assert right > 4


def late_places(machine, s, thread):
    """A fault: of two stores the second value is read behind the first store."""
    if isinstance(s, LocalPair):
        machine._statement(LocalStore(s.array, s.t, s.index, s.value), thread)
        return machine._statement(LocalStore(s.array, s.t, s.other, s.second), thread)
    return None


def negated_too_wide(op, t, *args):
    """A fault: a negative of a narrow integer keeps a bit too many."""
    result = RIGHT(op, t, *args)
    return -args[0] if op == "neg" and t in ("i8", "i16", "u8", "u16") else result


RIGHT = evaluation.apply


@pytest.mark.parametrize(("fault", "lines"), [("places", 22), ("negatives", 16)])
def test_a_fault_in_many_statements_becomes_a_few_lines(monkeypatch, fault, lines):
    statement = evaluation._Machine._statement

    def late(machine, s, thread):
        return late_places(machine, s, thread) if isinstance(s, LocalPair) else statement(machine, s, thread)

    def fails(program):
        wanted = evaluate(program)
        with monkeypatch.context() as patch:
            if fault == "places":
                patch.setattr(evaluation._Machine, "_statement", late)
            else:
                patch.setattr(evaluation, "apply", negated_too_wide)
            if not differences(wanted, evaluate(program)):
                return False
        try:
            with loaded(program) as kernel:
                return not differences(wanted, outputs_of(program, kernel, None))
        except GpucoreError:  # a candidate that is no kernel
            return False

    program = next(p for p, _ in map(generate, range(FIRST_SEED, FIRST_SEED + 200)) if fails(p))
    small = shrink(program, fails)
    text = text_of(small)
    assert size_of(small) < size_of(program)
    assert small.threads == 1
    assert len(text.splitlines()) <= lines, text
    assert fails(small)
