"""What a user of a generated package sees: every kind of value, handle, error and callback."""

from __future__ import annotations

import array
import copy
import gc
import math
import pickle
import threading
from types import ModuleType

import numpy as np
import pytest


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("sign", ["i", "u"])
def test_integers_come_back_whole_and_others_are_refused(toolbox: ModuleType, sign: str, bits: int) -> None:
    same = getattr(toolbox, f"same_{sign}{bits}")
    low = -(2 ** (bits - 1)) if sign == "i" else 0
    high = 2 ** (bits - 1) - 1 if sign == "i" else 2**bits - 1
    for value in (low, high, 0, 1, np.int8(5)):
        assert same(value) == value
    for value in (low - 1, high + 1):
        with pytest.raises(OverflowError):
            same(value)
    with pytest.raises(TypeError):
        same("1")


def test_floats_and_truth_values(toolbox: ModuleType) -> None:
    assert toolbox.same_f64(0.1) == 0.1
    assert toolbox.same_f32(0.1) == np.float32(0.1)
    assert toolbox.same_f64(math.inf) == math.inf
    assert math.isnan(toolbox.same_f64(math.nan)) and math.isnan(toolbox.same_f32(math.nan))
    assert toolbox.same_bool(True) is True and toolbox.same_bool(False) is False
    assert toolbox.same_address(2**47 + 1) == 2**47 + 1


def test_text_and_bytes(toolbox: ModuleType) -> None:
    assert toolbox.same_text("äöü 漢字 😀") == "äöü 漢字 😀"
    assert toolbox.same_bytes(b"a\0b") == b"a\0b"
    assert toolbox.same_bytes(memoryview(b"abcd")[1:3]) == b"bc"
    assert toolbox.same_bytes(np.arange(3, dtype=np.uint8)) == bytes([0, 1, 2])
    assert toolbox.same_bytes(b"") == b"" and toolbox.same_bytes(np.zeros((0, 2))) == b""
    with pytest.raises(ValueError, match="NUL"):
        toolbox.same_text("a\0b")
    with pytest.raises(TypeError, match="str, not bytes"):
        toolbox.same_text(b"a")
    with pytest.raises(TypeError, match="encode"):
        toolbox.same_bytes("text")


def test_a_value_that_does_not_fit_its_declared_type_is_an_error(toolbox: ModuleType) -> None:
    with pytest.raises(OverflowError, match="300 does not fit"):
        toolbox.too_wide()


def test_enumerations(toolbox: ModuleType) -> None:
    assert [color.value for color in toolbox.Color] == [1, 2, 40]
    assert toolbox.next_color() is toolbox.Color.GREEN
    assert toolbox.next_color(toolbox.Color.GREEN) is toolbox.Color.BLUE
    assert toolbox.both(toolbox.Access.READ) == toolbox.Access.READ | toolbox.Access.RUN


def test_constants_keep_their_escapes(toolbox: ModuleType) -> None:
    assert (toolbox.ANSWER, toolbox.HALF, toolbox.YES) == (42, 0.5, True)
    assert (toolbox.BIG, toolbox.SMALL) == (2**64 - 1, -(2**63))
    assert toolbox.PATTERN == 'tab\t, newline\n, quote" and backslash\\'


def test_arrays_go_in_as_buffers_or_numbers(toolbox: ModuleType) -> None:
    assert toolbox.sum([1, 2.5]) == 3.5
    assert toolbox.sum(np.arange(6.0).reshape(2, 3)) == 15
    assert toolbox.sum(array.array("d", [1, 2])) == 3 and toolbox.sum(()) == 0
    assert toolbox.dot(np.ones(3, np.float32), [1, 2, 3]) == 6
    assert toolbox.all_false([False, False]) and not toolbox.all_false(np.array([False, True]))
    with pytest.raises(ValueError, match="`y` has 1 elements, expected 2"):
        toolbox.dot([1, 2], [1])
    with pytest.raises(TypeError, match="buffer of double is needed, not one of format 'f'"):
        toolbox.sum(np.ones(2, np.float32))
    with pytest.raises(ValueError, match="contiguous"):
        toolbox.sum(np.ones((4, 4))[:, 1])


def test_arrays_change_in_place(toolbox: ModuleType) -> None:
    values = np.arange(4, dtype=np.int32)
    assert toolbox.scale(values, 3) is None
    assert values.tolist() == [0, 3, 6, 9]
    with pytest.raises(TypeError, match="writable"):
        toolbox.scale([1, 2], 3)
    values.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        toolbox.scale(values, 3)


def test_arrays_come_out(toolbox: ModuleType) -> None:
    assert toolbox.squares(5) == array.array("h", [0, 1, 4, 9, 16])
    assert len(toolbox.at_most(3)) == 3
    with pytest.raises(OverflowError, match="17 elements, and there is room for 16"):
        toolbox.at_most(17)
    assert toolbox.flags() == (True, False, True)


def test_several_results_are_a_tuple(toolbox: ModuleType) -> None:
    assert toolbox.split(-2.5) == (True, -2, -0.5)
    assert toolbox.bump(4) == 5
    assert toolbox.name_of(7) == "thing 7"


def test_optional_values(toolbox: ModuleType) -> None:
    assert toolbox.maybe_text(True) == "text" and toolbox.maybe_text(False) is None
    assert toolbox.greet() == "nobody" and toolbox.greet("Ada", 2) == "Ada2"
    assert toolbox.maybe_case(False) is None
    assert toolbox.value_or(None, 4) == 4
    with toolbox.maybe_case(True) as case, toolbox.make_box(3) as box:
        assert not case.closed and toolbox.value_or(box, 4) == 3
    with pytest.raises(toolbox.NullError, match="no text"):
        toolbox.must_text()


def test_names_that_python_has_already_work(toolbox: ModuleType) -> None:
    assert toolbox.float(2, 0.5) == 2.5


def test_status_values_raise_with_the_librarys_text(toolbox: ModuleType) -> None:
    for function in (toolbox.fail, toolbox.fail_in_lambda, toolbox.fail_inside):
        function(0)
        with pytest.raises(toolbox.StatusError, match="the thing is missing") as caught:
            function(3)
        assert caught.value.code == 3 and isinstance(caught.value, toolbox.Error)
    assert toolbox.divide(6, 3) == 2
    with pytest.raises(toolbox.NegativeError, match="negative"):
        toolbox.divide(1, 0)


@pytest.mark.parametrize(
    ("kind", "expected", "text"),
    [
        ("refusal", "RefusalError", 'refused: "quotes" and \\ and äöü'),
        ("memory", "OutOfMemoryError", "out of memory"),
        ("index", IndexError, "out of range"),
        ("value", ValueError, "bad value"),
        ("runtime", "NativeError", "went wrong"),
        ("int", "NativeError", "no std::exception"),
        ("long", "NativeError", "x" * 1023),
    ],
)
def test_exceptions_of_cpp(
    toolbox: ModuleType, kind: str, expected: type[Exception] | str, text: str
) -> None:
    kind_of_error = getattr(toolbox, expected) if isinstance(expected, str) else expected
    with pytest.raises(kind_of_error) as caught:
        toolbox.throws(kind)
    assert text in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    toolbox.throws("nothing")


def test_objects_are_freed_with_their_block_their_last_reference_or_close(toolbox: ModuleType) -> None:
    before = toolbox.live()
    with toolbox.Box(2) as box:
        assert box.get() == 2 and box.value == 2
        assert toolbox.live()[0] == before[0] + 1
    box = toolbox.make_box(1)
    other = box.plus(box)
    assert other.get() == 2 and box.plus_whole(other).get() == 3
    box.set(9)
    assert box.get() == 9 and box.shape() == (2, 3, 9) and list(box.shape_array()) == [2, 3, 9]
    del box
    other.close()
    other.close()
    gc.collect()
    assert toolbox.live() == before
    assert toolbox.Box.zero().get() == 0


def test_use_after_close_is_an_exception(toolbox: ModuleType) -> None:
    box = toolbox.Box()
    box.close()
    assert box.closed and "closed" in repr(box)
    for use in (
        box.get,
        lambda: box.value,
        lambda: box.plus(toolbox.Box()),
        lambda: toolbox.Box().plus(box),
        box.__enter__,
    ):
        with pytest.raises(toolbox.ClosedError, match="this Box is closed"):
            use()
    with pytest.raises(toolbox.Error):
        box.set(1)


def test_handles_are_not_copied_pickled_or_mistaken(toolbox: ModuleType) -> None:
    box = toolbox.Box()
    for wrong in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            wrong(box)
    with pytest.raises(TypeError, match="a Box is needed, not int"):
        box.plus(3)
    with pytest.raises(TypeError, match="no constructor"):
        toolbox.Lid()


def test_a_parent_outlives_its_children(toolbox: ModuleType) -> None:
    before = toolbox.live()
    case = toolbox.make_case()
    lids = [case.open(), case.open()]
    assert case.opened() == 2
    with pytest.raises(toolbox.NullError, match="no Lid"):
        lids.append(case.open())
        case.open()
    del case
    gc.collect()
    assert lids[0].number() == 3  # the child keeps it
    owner = lids[0].owner()
    owner.close()
    assert lids[0].number() == 3  # a borrowed handle frees nothing
    del lids, owner
    gc.collect()
    assert toolbox.live() == before


def test_closing_a_parent_closes_its_children_first(toolbox: ModuleType) -> None:
    before = toolbox.live()
    with toolbox.make_case() as case:
        lid = case.open()
        nested = lid.owner()
    assert lid.closed and nested.closed and toolbox.live() == before
    with pytest.raises(toolbox.ClosedError):
        lid.number()


def test_handles_that_the_library_takes_over_are_closed(toolbox: ModuleType) -> None:
    before = toolbox.live()
    case = toolbox.make_case()
    toolbox.swallow(case)
    assert case.closed and toolbox.live() == before
    with pytest.raises(toolbox.ClosedError):
        case.opened()
    held = toolbox.make_case()
    lid = held.open()
    with pytest.raises(toolbox.BusyError, match="in use"):
        toolbox.swallow(held)
    lid.close()
    with pytest.raises(toolbox.RefusalError, match="not this one"):
        toolbox.refuse(held)
    assert held.opened() == 0  # the refused call left it open
    held.close()
    one, two = toolbox.make_two()
    one.close(), two.close()
    assert toolbox.live() == before


def test_callbacks_run_and_their_exceptions_come_back(toolbox: ModuleType) -> None:
    assert toolbox.each(4, lambda number: number * 10) == 60
    seen = []

    def fails(number: int) -> int:
        seen.append(number)
        if number == 1:
            raise KeyError("stop")
        return number

    with pytest.raises(KeyError, match="stop"):
        toolbox.each(5, fails)
    assert seen == [0, 1]  # after the first failure native code gets the default
    with pytest.raises(TypeError):
        toolbox.each(2, lambda number: "text")
    with pytest.raises(OverflowError):
        toolbox.each(2, lambda number: 2**40)
    with pytest.raises(TypeError, match="callable"):
        toolbox.each(2, 5)
    assert toolbox._runtime.registered == {}


def test_callbacks_come_from_foreign_threads(toolbox: ModuleType) -> None:
    names = set()

    def step(number: int) -> int:
        names.add(threading.get_ident())
        return number

    assert toolbox.each_in_threads(8, step) == 28
    assert threading.get_ident() not in names
    with pytest.raises(ZeroDivisionError):
        toolbox.each_in_threads(4, lambda number: number // 0)


def test_callbacks_can_call_the_library_again(toolbox: ModuleType) -> None:
    def step(number: int) -> int:
        with pytest.raises(toolbox.StatusError):
            toolbox.fail(7)
        return toolbox.each(number, lambda inner: inner)

    assert toolbox.each(4, step) == 0 + 0 + 1 + 3


def test_kept_callbacks_stay_callable(toolbox: ModuleType) -> None:
    toolbox.remember(lambda number: number + 1)
    gc.collect()
    assert toolbox.recall(4) == 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_errors_of_kept_callbacks_are_told(toolbox: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    toolbox.remember(lambda number: number // 0)
    assert toolbox.recall(4) == -1
    assert told[0].exc_type is ZeroDivisionError


def test_callbacks_get_text_bytes_and_enumerations(toolbox: ModuleType) -> None:
    got = []
    toolbox.report(lambda *arguments: got.append(arguments))
    assert got == [("what", b"a\0b", toolbox.Color.BLUE, True)]
    toolbox.report(None)


def test_a_scope_is_left_behind_as_it_was(toolbox: ModuleType) -> None:
    assert toolbox.with_current(7) == 7
    assert toolbox.current() == 0


def test_calls_on_one_object_take_turns(toolbox: ModuleType) -> None:
    counter = toolbox.Counter()
    threads = [threading.Thread(target=counter.add, args=(200_000,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.count == 800_000


def test_close_in_another_thread_lets_a_running_call_end(toolbox: ModuleType) -> None:
    counter = toolbox.Counter()
    counter.add(5)
    results = []
    thread = threading.Thread(target=lambda: results.append(counter.slowly(200)))
    thread.start()
    while not counter._box:
        pass
    threading.Event().wait(0.05)
    counter.close()
    thread.join()
    assert results == [5]
    with pytest.raises(toolbox.ClosedError):
        counter.slowly(1)


def test_documentation_is_what_the_specification_says(toolbox: ModuleType) -> None:
    assert toolbox.__doc__.startswith("Everything that a specification can say.")
    assert 'With "quotes", a \\backslash and """three quotes""".' in toolbox.__doc__
    assert "The whole part." in toolbox.split.__doc__
    assert "Raises" in toolbox.divide.__doc__ and "NegativeError" in toolbox.divide.__doc__
    assert toolbox.__version__ == "1.2.3" and toolbox.available()
