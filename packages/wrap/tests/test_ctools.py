"""Functions of C called by their names: each argument becomes the parameter's own type, or is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def c(load: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load(Path(__file__).parent / "libraries" / "ctools.yaml", "ctools")


def test_results_come_through_pointers_of_other_types(c: ModuleType) -> None:
    with c.List() as values:
        values.append([5, -3, 700])
        assert values.size == 3 and list(values.copy()) == [5, -3, 700]
        assert values.limits() == (-3, 700)
        values.append([-1000])
        with pytest.raises(OverflowError, match="-1000 does not fit"):
            values.limits()
    with pytest.raises(c.CtError, match="domain") as caught:
        c.List().limits()
    assert caught.value.code > 0


def test_lengths_that_do_not_fit_are_refused(c: ModuleType) -> None:
    values = c.List()
    values.append(range(255))
    with pytest.raises(OverflowError, match="256 does not fit"):
        values.append(range(256))
    assert values.size == 255
    assert c.tiny(255) == 255
    for wrong in (256, -1):
        with pytest.raises(OverflowError, match=f"{wrong} does not fit"):
            c.tiny(wrong)


def test_values_change_and_fixed_lengths_are_checked(c: ModuleType) -> None:
    assert c.next(4) == 5
    with pytest.raises(OverflowError):
        c.next(-1)
    assert c.norm([1, 2, 2]) == 9
    with pytest.raises(ValueError, match="`v` has 2 elements, expected 3"):
        c.norm([1, 2])
    assert c.host() == "host" and c.host(2) == "ho"
    assert c.same_address(2**40) == 2**40


def test_enumerations_of_c(c: ModuleType) -> None:
    assert c.mode_name() == "fast" and c.mode_name(c.Mode.SAFE) == "safe"
    assert c.other(c.Mode.SAFE) is c.Mode.FAST and int(c.Mode.SAFE) == 9


def test_callbacks_with_the_pointer_last(c: ModuleType) -> None:
    values, seen = c.List(), []
    values.append([1, 2, 3])
    assert values.each(lambda item: seen.append(item) or 0) == 0 and seen == [1, 2, 3]
    assert values.each(lambda item: 7 if item == 2 else 0) == 7
    with pytest.raises(ZeroDivisionError):
        values.each(lambda item: item // 0)
    assert values.maybe_each() == 0 and values.maybe_each(lambda item: 0) == 1


def test_callbacks_without_a_pointer(c: ModuleType) -> None:
    values, inner = c.List(), c.List()
    values.append([1, 2, 3])
    inner.append([10, 20])
    assert values.fold(lambda a, b: a + b) == 6
    assert values.fold(lambda a, b: a + b * inner.fold(lambda x, y: x + y)) == 180
    with pytest.raises(KeyError):
        values.fold(lambda a, b: {}[a])


def test_callbacks_live_as_long_as_the_object_that_keeps_them(c: ModuleType) -> None:
    values, seen = c.List(), []
    values.watch(seen.append)
    gc.collect()
    values.append([4, 5])
    assert seen == [4, 5]
    assert len(c._runtime.registered) == 1
    values.close()
    assert c._runtime.registered == {}


def test_an_object_that_its_own_callback_closes_lives_until_the_call_ends(c: ModuleType) -> None:
    values = c.List()
    values.append([1, 2, 3])
    seen = []

    def visit(item: int) -> int:
        if item == 1:
            values.close()
        with pytest.raises(c.ClosedError):
            values.append([9])
        seen.append(item)
        return 0

    assert values.each(visit) == 0 and seen == [1, 2, 3]
    with pytest.raises(c.ClosedError):
        values.each(visit)
