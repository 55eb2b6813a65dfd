"""One configured kernel that several contexts launch in turn: each keeps its way, and nothing is looked up again."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc
from gpucore.launch import resolve


@gc.kernel
def multiply(y: gc.Array[gc.f32], a: gc.f32 = 1.0):
    i = gc.global_id(0)
    y[i] = a * y[i]


def add_any(y: gc.Array[gc.f32], b):
    i = gc.global_id(0)
    y[i] += b


@pytest.fixture
def looked_up(monkeypatch):
    """How many launches had to look for their launcher."""
    found = []
    original = resolve.find_launcher

    def find_launcher(*args):
        found.append(args)
        return original(*args)

    monkeypatch.setattr(resolve, "find_launcher", find_launcher)
    return found


def test_launches_in_turn_are_looked_up_at_first_only(several, looked_up):
    with gc.Group(several(3)) as group:
        arrays = [c.ones(4, gc.f32) for c in group.contexts]
        launch = multiply.over(4)
        for _ in range(3):
            for y in arrays:
                launch(y, 2.0)
        del looked_up[:]
        for _ in range(5):
            for y in arrays:
                launch(y, 2.0)
        assert looked_up == []
        for y in arrays:
            np.testing.assert_array_equal(y.numpy(), np.full(4, 256, np.float32))


def test_what_is_launched_in_turn_may_change_its_arguments(several):
    with gc.Group(several(2)) as group:
        a, b = (c.ones(4, gc.f32) for c in group.contexts)
        launch = multiply.over(4)
        for _ in range(3):
            launch(a, 2.0)
            launch(b)
        launch(y=a, a=2.0)
        launch(b, a=3.0)
        launch(a)
        launch.bind(b, 2.0)()
        assert (a.numpy()[0], b.numpy()[0]) == (16, 6)
        for arguments in (
            (),
            (1,),
            (a, 2.0, 3),
            (np.ones(4, np.float32), 2.0),
            (group.contexts[0].ones(4, gc.i32),),
        ):
            with pytest.raises(gc.LaunchError, match="multiply"):
                launch(*arguments)
        with pytest.raises(gc.LaunchError, match="no parameter"):
            launch(a, c=1)


def test_contexts_that_come_and_go_leave_nothing_behind(several):
    selectors = several(2)
    launch = multiply.over(4)
    for _ in range(30):
        with gc.Group(selectors) as group:
            a, b = (c.ones(4, gc.f32) for c in group.contexts)
            for _ in range(3):
                launch(a, 2.0)
                launch(b, 2.0)
            assert a.numpy()[0] == b.numpy()[0] == 8
    with gc.Group(selectors) as group:
        launch(group.contexts[0].ones(4, gc.f32), 1.0)
        assert launch._turns is None or len(launch._turns.by_signature) <= 3


def test_launches_in_turn_are_looked_up_no_more_after_their_types_changed(several, looked_up):
    with gc.Group(several(2)) as group:
        arrays = [context.ones(4, gc.f32) for context in group.contexts]
        launch = gc.kernel(add_any).over(4)
        for b in (2.0, 1, 2.0, 1):
            for _ in range(4):
                del looked_up[:]
                for y in arrays:
                    launch(y, b)
            assert looked_up == []
        assert [y.numpy()[0] for y in arrays] == [25, 25]


def test_a_profile_shows_launches_in_turn(several):
    with gc.Group(several(2)) as group:
        arrays = [context.ones(4, gc.f32) for context in group.contexts]
        launch = multiply.over(4)
        for _ in range(4):
            for y in arrays:
                launch(y, 2.0)
        with gc.profile(group.contexts[1]) as profile:
            for y in arrays:
                launch(y, 2.0)
        assert [event.name for event in profile.events if event.kind == "kernel"] == ["multiply"]
        for y in arrays:
            launch(y, 2.0)
        assert [y.numpy()[0] for y in arrays] == [64, 64]


def test_a_graph_records_its_devices_launches_in_turn(several):
    with gc.Group(several(2)) as group:
        a, b = (context.ones(4, gc.f32) for context in group.contexts)
        launch = multiply.over(4)
        for _ in range(3):
            launch(a, 2.0)
            launch(b, 2.0)
        with group.contexts[0].graph() as graph:
            launch(a, 3.0)
        launch(b, 3.0)
        assert (a.numpy()[0], b.numpy()[0]) == (8, 24)
        graph.launch()
        assert a.numpy()[0] == 24


def test_errors_in_turn_show_the_line_that_launched_and_nothing_of_the_library(several):
    with gc.Group(several(2)) as group:
        a, b = (context.ones(4, gc.f32) for context in group.contexts)
        launch = multiply.over(4)
        for _ in range(3):
            launch(a, 2.0)
            launch(b, 2.0)
        b.free()
        with pytest.raises(gc.LaunchError, match="multiply: the array 'y' is gone") as raised:
            launch(b, 2.0)
        assert len(raised.traceback) <= 2
        launch(a, 2.0)
        assert a.numpy()[0] == 16
