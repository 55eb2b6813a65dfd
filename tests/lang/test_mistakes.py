"""A wrong kernel gives one exception at the user's line: the place, the line with a caret, the rule, the cure."""
# ruff: noqa: E731, F821, F841 - kernels are wrong on purpose here, or name what only the language resolves

import importlib.util
import pickle
import traceback
from pathlib import Path

import pytest

from gpucore.errors import KernelSyntaxError, KernelTypeError, NotSupportedError

_spec = importlib.util.spec_from_file_location("gpucore_mistake_cases", Path(__file__).parent / "cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

MISTAKES = cases.load()
KNOWN = {name: f for name, f in MISTAKES.items()}
GOLDEN = cases.parse_golden()


def test_every_mistake_has_its_text_and_there_are_enough_of_them():
    assert set(GOLDEN) == set(KNOWN)
    assert len(GOLDEN) >= 45


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_author_is_told(name):
    assert cases.text(cases.told(KNOWN[name])) == GOLDEN[name]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_message_has_a_line_a_caret_a_rule_and_a_cure(name):
    error = cases.told(KNOWN[name])
    head, line, caret, cure = str(error).split("\n")
    assert head.startswith(f"{error.filename}:{error.lineno}:{error.offset}: ")
    assert (
        line.strip()
        == Path(error.filename).read_text(encoding="utf-8").splitlines()[error.lineno - 1].strip()
    )
    assert set(caret.strip()) == {"^"}
    assert cure.strip().endswith((".", ":", "?"))


def test_the_caret_stands_under_the_mistake_after_letters_outside_ascii():
    def kernel(x):
        größe = 1.0
        x[0] = unbekannt  # noqa: E702

    error = cases.told(kernel)
    _, line, caret, *_ = str(error).split("\n")
    assert line[caret.index("^") : caret.rindex("^") + 1] == "unbekannt"


def test_the_traceback_holds_nothing_of_the_inside_and_no_second_exception():
    try:
        cases.build(
            cases.capture(KNOWN["divides_integers"]),
            cases.argument_types(cases.capture(KNOWN["divides_integers"])),
        )
    except KernelTypeError as error:
        frames = [f.name for f in traceback.extract_tb(error.__traceback__)]
        assert len(frames) == 2, frames  # here, and the function that raised
        assert error.__cause__ is None
        assert error.__context__ is None
    else:
        pytest.fail("accepted")


def test_errors_travel_between_processes():
    error = cases.told(KNOWN["negative_index"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert (again.filename, again.lineno) == (error.filename, error.lineno)


@pytest.mark.parametrize("name", ["mathematics_for_later"])
def test_what_a_later_version_has_is_not_supported_yet(name):
    assert isinstance(cases.told(KNOWN[name]), NotSupportedError)
    assert isinstance(cases.told(KNOWN[name]), KernelSyntaxError)
