"""What breaks a bridge from its edges: names it uses itself, conversions that fail half way, callbacks that outlive Python."""

from __future__ import annotations

import builtins
import gc
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EDGES = Path(__file__).parent / "libraries" / "edges.yaml"


@pytest.fixture(scope="module")
def edges(load: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load(EDGES, "edges")


def test_none_is_no_callback_unless_it_may_be(edges: ModuleType) -> None:
    for call in (lambda: edges.apply(None, 1), lambda: edges.Thing().keep(None), lambda: edges.halve(None)):
        with pytest.raises(TypeError, match="a callable is needed, not NoneType"):
            call()
    edges.hear(None)
    heard = []
    edges.hear(heard.append)
    assert heard == [None]  # a text of a callback may be null
    assert edges.apply(lambda number: number + 1, 4) == 5


@pytest.mark.parametrize(
    "code",
    [
        "def loop():\n  while True: edges.apply(lambda number: time.sleep(0.001) or 1, 1)\n"
        "threading.Thread(target=loop, daemon=True).start()",
        "thing = edges.Thing(); thing.tick(lambda number: time.sleep(0.001) or 1)",
        "thing = edges.Thing(); thing.tick(lambda number: time.sleep(60) or 1)",
        "def once(): edges.apply(lambda number: time.sleep(60) or 1, 1)\nthreading.Thread(target=once, daemon=True).start()",
    ],
    ids=["daemon thread", "library's thread", "library's thread that does not return", "daemon thread that does not return"],
)  # fmt: skip
def test_python_ends_while_a_callback_runs(built: Callable[[Path], Path], code: str) -> None:
    head = "import threading, time, edges\nthreading.excepthook = lambda told: None\n"
    for _ in range(1 if "60" in code else 4):
        done = subprocess.run(
            [sys.executable, "-c", f"{head}{code}\ntime.sleep(0.05)\nprint('end', flush=True)\n"],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(built(EDGES))},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_parameters_may_have_the_names_of_helpers(edges: ModuleType) -> None:
    assert edges.lengths(b"abc", b"ab", 1) == 123 and edges.lengths(lib=b"a") == 1
    assert edges.helpers(check="a", text_in="b", builtins="c") == (99, 98, 97)
    assert edges.same(same=4) == 4
    with edges.make_shell() as shell, edges.make_object() as thing, edges.make_traits():
        assert type(shell) is edges.shell and type(thing) is edges.object
    assert edges.IntEnum.ONE == 1 and edges.Level.HIGH == 2


def test_an_error_may_have_the_name_of_a_builtin(edges: ModuleType) -> None:
    with pytest.raises(builtins.ValueError, match="bad value") as caught:
        edges.bad_value()
    assert type(caught.value) is builtins.ValueError
    with pytest.raises(edges.failure, match="under"):
        edges.under()
    with pytest.raises(builtins.ValueError, match="NUL"):
        edges.helpers("a\0", "b", "c")


def test_a_callback_that_refers_to_its_object_keeps_nothing_alive(edges: ModuleType) -> None:
    before, seen = edges.live(), []

    def make() -> None:
        thing = edges.Thing()
        thing.keep(lambda number: number + (not thing.closed))
        assert thing.call(3) == 4
        seen.append(weakref.ref(thing))

    for _ in range(5):
        make()
    gc.collect()
    assert [ref() for ref in seen] == [None] * 5 and edges.live() == before
    with edges.Thing(lambda number: number * 2) as thing:  # a constructor keeps it as well
        gc.collect()
        assert thing.call(4) == 8
    assert len(edges._runtime.registered) == 0


def test_a_registration_that_fails_ends_its_callback(edges: ModuleType) -> None:
    class Doubles:
        def __call__(self, number: int) -> int:
            return number * 2

    thing, step = edges.Thing(), Doubles()
    ref = weakref.ref(step)
    with pytest.raises(edges.NativeError, match="refused"):
        thing.refuse(step)
    del step
    gc.collect()
    assert ref() is None and edges.call_last(2) == -1
    edges.keep_ever(lambda number: number * 3)
    gc.collect()
    assert edges.call_last(2) == 6
    edges.forget_last()


def test_handles_are_freed_where_another_output_fails(edges: ModuleType) -> None:
    before = edges.live()
    with pytest.raises(OverflowError, match="does not fit"):
        edges.wide()
    for which in (0, 1, 2):
        with pytest.raises(edges.NullError, match="gave no Thing"):
            edges.pair(which)
    with pytest.raises(edges.NullError, match="gave no Thing"):
        edges.thing_and()
    with pytest.raises(builtins.ValueError, match="9 is not a valid Level"):
        edges.kinded(9)
    gc.collect()
    assert edges.live() == before
    level, thing = edges.kinded(2)
    assert level is edges.Level.HIGH and not thing.closed


def test_optional_arrays_may_share_a_count(edges: ModuleType) -> None:
    assert edges.shared([1, 2]) == 2 and edges.shared(None, [1.0]) == 1 and edges.shared() == 0
    assert edges.shared([1, 2], [1.0, 2.0]) == 2
    with pytest.raises(builtins.ValueError, match="`b` has 1 elements, expected 2"):
        edges.shared([1, 2], [1.0])
    assert edges.fixed() == 0 and edges.fixed(b"abcd") == 4
    with pytest.raises(builtins.ValueError, match="expected 4"):
        edges.fixed(b"abc")


def test_a_number_too_large_for_f32_is_an_error(edges: ModuleType) -> None:
    for value in (math.inf, -math.inf, 1.5, 3, np.float32(0.5)):
        assert (
            edges.single(value)
            == edges.single_or(value)
            == edges.first([value])
            == edges.narrow(value)
            == value
        )
    assert math.isnan(edges.single(math.nan)) and math.isnan(edges.first([math.nan]))
    assert edges.single_or() == -1
    for function in (
        edges.single, edges.single_or, edges.narrow, lambda x: edges.first([x]), lambda x: edges.halve(lambda one: x),
    ):  # fmt: skip
        for value in (1e300, -1e300):
            with pytest.raises(OverflowError):
                function(value)
    with pytest.raises(TypeError):
        edges.first(["1"])
    assert edges.halve(lambda one: one / 2) == 0.5


def test_a_number_that_is_no_member_is_refused_going_in(edges: ModuleType) -> None:
    assert edges.same_level(edges.Level.HIGH) == edges.same_level(2) == edges.same_level(np.int64(2)) == 2
    assert edges.level_or() == 9 and edges.level_or(1) == 1
    for function in (edges.same_level, edges.level_or):
        with pytest.raises(builtins.ValueError, match="3 is not a valid Level"):
            function(3)
        with pytest.raises(TypeError):
            function(1.0)
    assert edges.same_bits(5) == 5  # flags combine, and other bits pass
