"""What a launch costs, counted: Python calls, hooks, memory.  Nothing here is timed."""

from __future__ import annotations

import dataclasses
import dis
import itertools
import weakref
from collections import deque

import numpy as np
import pytest

import gpucore as gc
from gpucore.ir import dtypes as d
from gpucore.ir import nodes as ir
from gpucore.testing import null


class Log:
    """What the quiet backend below was asked to do last."""

    def __init__(self) -> None:
        self.slots: deque[tuple] = deque(maxlen=4)  # a bounded one, so that memory can be counted
        self.packed = 0
        self.made = 0
        self.ran = 0  # which of those made


def quiet_prepare(log: Log):
    """The launch path of a backend that packs ahead, in as few calls as there can be."""

    def prepare(device, executable, config):
        launched = log.slots.append
        log.made += 1
        number = log.made

        def call(stream, *slots):
            log.ran = number
            launched(slots)

        def bind(*slots):
            log.packed += 1

            def bound(stream):
                log.ran = number
                launched(slots)

            return bound

        call.bind = bind
        return call

    return prepare


@pytest.fixture
def quiet(backend):
    """A context whose launches do nothing but be written down, and the log."""
    log = Log()
    backend("quiet", prepare=quiet_prepare(log))
    with gc.Context("quiet") as context:
        yield context, log


def kernel_of(arrays: int, make_kernel):
    """A kernel of that many arrays, which stores to the first."""
    memory = tuple(ir.Memory(f"x{n}", d.f32, "global") for n in range(arrays))
    i, v = ir.Value("i", d.index), ir.Value("v", d.f32)
    body = (
        ir.ThreadIndex(i, "global_id", 0),
        ir.Load(v, memory[-1], (i,)),
        ir.Store(memory[0], (i,), v),
    )
    return make_kernel(ir.Module(ir.Function(f"kernel_{arrays}", memory, None, (), (), body)))


@pytest.fixture
def kernel_with(saxpy):
    """``kernel_with(n)``: a kernel of n arrays."""
    source = type(saxpy.kernel_source)
    captured = type(saxpy.kernel_source.captured)

    def make(module):
        return gc.Kernel(source(captured(module), None, None), module.kernel.name)

    return lambda arrays: kernel_of(arrays, make)


# --- calls ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments", [1, 16])
def test_a_checked_launch_is_one_python_call_and_the_backends(quiet, kernel_with, count, arguments):
    context, _ = quiet
    kernel, arrays = kernel_with(arguments), [context.zeros(8, gc.f32) for _ in range(arguments)]
    configured = kernel[1, 8]
    cost = count.calls(lambda: configured(*arrays))
    assert cost.python == ["launch", "bound"]
    # the name goes to the list of the last launches; the second append is the backend's
    assert cost.native == ["append", "append"]


def test_configuring_a_launch_is_one_more_python_call(quiet, saxpy, count):
    context, _ = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    launches = {
        "__getitem__": lambda: saxpy[1, 8](x, y, 1.0),
        "over": lambda: saxpy.over(8)(x, y, 1.0),
    }
    for name, launch in launches.items():
        assert count.calls(launch).python == [name, "launch", "bound"]
    ahead = saxpy.over((8,))
    assert count.calls(lambda: ahead(x, y, 1.0)).python == ["launch", "bound"]


def test_arguments_that_change_cost_no_python_call_more(quiet, saxpy, count):
    context, _ = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    configured, scalars = saxpy[1, 8], iter(np.linspace(1, 2, 50).tolist())
    cost = count.calls(lambda: configured(x, y, next(scalars)))
    assert cost.python == ["launch", "call"]


def test_a_launch_on_a_stream_is_one_python_call_and_the_backends(quiet, saxpy, count):
    context, _ = quiet
    stream = context.stream()
    x, y = (context.array(np.ones(8, np.float32), stream=stream) for _ in range(2))
    configured = saxpy[1, 8, stream]
    assert count.calls(lambda: configured(x, y, 1.0)).python == ["launch", "bound"]
    cost = count.calls(lambda: saxpy[1, 8, stream](x, y, 1.0))
    assert cost.python == ["__getitem__", "__init__", "launch", "bound"]


def test_a_bound_launch_is_one_python_call_and_the_backends(quiet, saxpy, count):
    context, _ = quiet
    bound = saxpy[1, 8].bind(context.ones(8, gc.f32), context.ones(8, gc.f32), 1.0)
    cost = count.calls(lambda: bound())
    assert cost.python == ["__call__", "bound"]
    assert cost.native == ["append"]


def test_a_launch_calls_no_hook(recorded, saxpy, hook_calls):
    context, recorder = recorded
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    configured, bound = saxpy[1, 8], saxpy[1, 8].bind(x, y, 1.0)
    configured(x, y, 1.0)
    recorder.calls.clear()
    hook_calls.clear()
    for _ in range(10):
        configured(x, y, 1.0)
        bound()
    assert recorder.calls == []
    assert hook_calls == []


def looked_up(function) -> list:
    """The constants by which a function looks something up."""
    instructions = list(dis.get_instructions(function))
    return [
        key.argval
        for key, subscript in zip(instructions, instructions[1:], strict=False)
        if key.opname == "LOAD_CONST"
        and "[]" in (subscript.argrepr, subscript.opname.replace("BINARY_SUBSCR", "[]"))
    ]


def test_the_launch_function_looks_nothing_up_by_a_constant(quiet, saxpy):
    context, _ = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    configured = saxpy[1, 8]
    configured(x, y, 1.0)
    assert looked_up(lambda table: (table["name"], table[0])) == ["name", 0]
    assert looked_up(type(configured).__call__) == []


def test_a_profiled_launch_marks_its_stream_twice_and_makes_the_packed_call(backend, saxpy, count):
    def record_timestamp(device, stream, begins):
        return 0

    def capabilities(device):
        found = null.capabilities(device)
        return dataclasses.replace(found, names=found.names | {"timestamps"})

    backend(
        "quiet",
        prepare=quiet_prepare(log := Log()),
        capabilities=capabilities,
        record_timestamp=record_timestamp,
        read_timestamps=lambda device, timestamps: [0] * len(timestamps),
    )
    with gc.Context("quiet") as context:
        x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
        configured = saxpy[1, 8]
        for _ in range(2):
            with gc.profile(context):
                packed = log.packed
                cost = count.calls(lambda: configured(x, y, 1.0))
                assert cost.python == ["launch", "again", "record_timestamp", "bound", "record_timestamp"]
                # the name of the launch, that of the backend, the record
                assert cost.native.count("append") == 3 and len(cost.native) <= 6
                assert log.packed <= packed + 1
            configured(x, y, 1.0)


# --- memory --------------------------------------------------------------------------------------------
def test_ten_thousand_launches_leave_no_memory_behind(quiet, saxpy, count):
    context, _ = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    configured, bound, scalars = saxpy[1, 8], saxpy[1, 8].bind(x, y, 1.0), itertools.cycle([1.5, 2.5, 2.5])

    def launches():
        configured(x, y, 1.0)
        configured(x, y, next(scalars))
        saxpy.over(8)(x, y, 2.0)
        bound()

    before = context.pool.stats()
    assert count.blocks(launches, 2500) < 50
    assert context.pool.stats() == before


def test_a_launch_holds_less_than_a_kilobyte(quiet, saxpy, count):
    context, _ = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    configured, scalars = saxpy[1, 8], itertools.cycle([1.5, 2.5])
    assert count.peak(lambda: configured(x, y, 1.0)) < 1024
    assert count.peak(lambda: configured(x, y, next(scalars))) < 1024


# --- packing once for the same arguments ---------------------------------------------------------------
def test_the_same_arguments_are_packed_once(quiet, saxpy):
    context, log = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    for _ in range(10):
        saxpy[1, 8](x, y, 1.0)
    assert log.packed == 1
    for n in range(10):
        saxpy[1, 8](x, y, float(n))
    assert log.packed == 1


def test_arguments_that_are_equal_but_not_the_same_are_told_apart(quiet, saxpy):
    context, log = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    other, zero, minus = context.ones(8, gc.f32), 0.0, -0.0
    for _ in range(3):
        saxpy[1, 8](x, y, zero)
    saxpy[1, 8](x, y, minus)
    assert np.signbit(log.slots[-1][-1])
    for arrays in [(x, y), (other, y), (x, other), (x[:4], y[:4]), (x, y)]:
        for _ in range(3):
            saxpy[1, 8](*arrays, zero)
            assert not np.signbit(log.slots[-1][-1])
            first, second = (array._packed for array in arrays)
            assert log.slots[-1][:-1] == (*first, *second)


def test_one_memory_after_another_is_told_apart(quiet, saxpy):
    context, log = quiet
    y = context.ones(8, gc.f32)
    for _ in range(20):
        x = context.ones(8, gc.f32)
        for _ in range(3):
            saxpy[1, 8](x, y, 1.0)
            assert log.slots[-1][0] is x._block.allocation
        del x


def test_what_was_packed_keeps_no_array_alive(quiet, saxpy):
    context, _ = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    for _ in range(3):
        saxpy[1, 8](x, y, 1.0)
    gone, before = weakref.ref(x), context.pool.stats()["allocations"]
    del x
    assert gone() is None
    assert context.pool.stats()["allocations"] == before - 1


def test_an_array_that_is_gone_is_refused_though_it_was_packed(quiet, saxpy):
    context, log = quiet
    x, y = context.ones(8, gc.f32), context.ones(8, gc.f32)
    for _ in range(3):
        saxpy[1, 8](x, y, 1.0)
    launches = len(log.slots)
    x.free()
    with pytest.raises(gc.LaunchError, match="the array 'x' is gone"):
        saxpy[1, 8](x, y, 1.0)
    assert len(log.slots) == launches


def test_overlap_is_looked_at_though_the_arguments_were_packed(quiet, copy_kernel):
    context, log = quiet
    x = context.ones(8, gc.f32)
    apart, close = (x[:4], x[4:]), (x[:4], x[1:5])
    ran = []
    for arrays in (apart, apart, apart, close, close, close, apart, close):
        copy_kernel[1, 4](*arrays)
        ran.append(log.ran)
    assert ran == [1, 1, 1, 2, 2, 2, 1, 2], "the variant for overlapping arrays is the second that was made"
