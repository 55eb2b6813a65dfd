"""One configured kernel that several contexts launch in turn: each keeps its way, and nothing is looked up again."""

from __future__ import annotations

import dis
import itertools
import sys

import numpy as np
import pytest

import gpucore as gc
from gpucore.launch import argument_checks


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
    original = argument_checks.find_launcher

    def find_launcher(*args):
        found.append(args)
        return original(*args)

    monkeypatch.setattr(argument_checks, "find_launcher", find_launcher)
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


# --- what it costs
def executed(call) -> list[str]:
    """The names of the instructions that the launch function under a call executes."""
    found = []

    def trace(frame, event, argument):
        if frame.f_code.co_name != "launch":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            found.extend([name] if name not in ("NOP", "EXTENDED_ARG") else [])
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one such frame when tracing starts
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return found


def prepare_quietly(device, executable, config):
    """Launches that do nothing, and that can be packed ahead."""

    def call(stream, *slots):
        pass

    call.bind = lambda *slots: lambda stream: None
    return call


def test_a_launch_in_turn_looks_at_the_context_of_one_array_and_little_else_more(several):
    with gc.Group(several(4, prepare=prepare_quietly)) as group:
        arrays = [context.ones(4, gc.f32) for context in group.contexts]
        alone, turns = gc.kernel(multiply.__wrapped__).over(4), multiply.over(4)
        calls = [lambda: alone(arrays[0], 2.0), *(lambda y=y: turns(y, 2.0) for y in arrays)]
        for _ in range(5):
            for call in calls:
                call()
        once, *others = [executed(call) for call in calls]
        assert "LOAD_ATTR" in once
        for number, other in enumerate(others):
            # the signature, and what is kept for the context instead of what the kernel keeps
            assert other.count("LOAD_ATTR") <= once.count("LOAD_ATTR") + 2
            assert not [name for name in other if "SUBSCR" in name and name not in once]
            # the signature is loaded and kept; then each context is compared with it
            assert len(other) <= len(once) + 4 + 4 * (number + 1)


def test_arguments_that_change_in_turn_cost_no_more(several):
    with gc.Group(several(2, prepare=prepare_quietly)) as group:
        arrays = [context.ones(4, gc.f32) for context in group.contexts]
        alone, turns = gc.kernel(multiply.__wrapped__).over(4), multiply.over(4)
        numbers = itertools.count(1.0)
        calls = [
            lambda: alone(arrays[0], next(numbers)),
            *(lambda y=y: turns(y, next(numbers)) for y in arrays),
        ]
        for _ in range(5):
            for call in calls:
                call()
        once, *others = [executed(call) for call in calls]
        for other in others:
            # what is kept is written as well, and that the arguments are others
            assert other.count("LOAD_ATTR") <= once.count("LOAD_ATTR") + 4


def test_a_launch_by_name_in_turn_leaves_the_others_their_way(several, looked_up):
    with gc.Group(several(3)) as group:
        arrays = [context.ones(4, gc.f32) for context in group.contexts]
        launch = multiply.over(4)
        for _ in range(4):
            for y in arrays:
                launch(y, 2.0)
        for _ in range(4):
            launch(arrays[0], a=2.0)
            del looked_up[:]
            for y in arrays[1:]:
                launch(y, 2.0)
            assert looked_up == []
            launch(arrays[0], 2.0)
            assert looked_up == []
        assert [y.numpy()[0] for y in arrays] == [2.0**12, 2.0**8, 2.0**8]
