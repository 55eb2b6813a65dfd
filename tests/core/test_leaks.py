"""What goes on for long keeps nothing: kernels, streams, shared memory and contexts that were dropped are given back.

Counted in handles of the backend and in objects, so that no clock and no size of a process decides.
``benchmarks/soak.py`` does the same for as long as one likes.
"""

from __future__ import annotations

import gc as collector
import threading
import weakref

import numpy as np
import pytest

import gpucore as gc
from gpucore.ir import dtypes as d
from gpucore.ir import nodes as ir
from gpucore.runtime.dlpack_exports import exports


@pytest.fixture
def make_kernel(saxpy):
    """``make_kernel(n)``: a kernel of its own for each number, storing it."""
    source, captured = type(saxpy.kernel_source), type(saxpy.kernel_source.captured)

    def make(number: int) -> gc.Kernel:
        x, i, v = ir.Memory("x", d.i32, "global"), ir.Value("i", d.index), ir.Value("v", d.i32)
        body = (ir.ThreadIndex(i, "global_id", 0), ir.Const(v, number), ir.Store(x, (i,), v))
        module = ir.Module(ir.Function(f"store_{number}", (x,), None, (), (), body))
        return gc.Kernel(source(captured(module), None, None), module.kernel.name)

    return make


def loaded(ctx: gc.Context) -> int:
    return ctx.device._handle.open["kernels"]


# --- kernels
def test_kernels_that_are_dropped_are_unloaded(ctx, make_kernel):
    x = ctx.zeros(8, gc.i32)
    most = 0
    for number in range(40):
        make_kernel(number)[1, 8](x)
        assert x.numpy()[0] == number
        collector.collect()
        most = max(most, loaded(ctx))
    assert most <= 3
    ctx.synchronize()
    assert loaded(ctx) == 0


def test_a_kernel_stays_loaded_while_work_is_pending(backend, make_kernel):
    idle = False
    made = backend("busy", query_stream=lambda device, stream: idle)
    del made
    with gc.Context("busy") as ctx:
        x = ctx.zeros(8, gc.i32)
        for number in range(10):
            make_kernel(number)[1, 8](x)
            collector.collect()
        assert loaded(ctx) == 10
        idle = True
        make_kernel(10)[1, 8](x)
        assert loaded(ctx) <= 2


def test_a_bound_launch_keeps_its_kernel_loaded(ctx, make_kernel):
    x = ctx.zeros(8, gc.i32)
    again = make_kernel(7)[1, 8].bind(x)
    collector.collect()
    ctx.synchronize()
    assert loaded(ctx) == 1
    again()
    assert x.numpy()[0] == 7
    del again
    collector.collect()
    ctx.synchronize()
    assert loaded(ctx) == 0


def test_a_kernel_in_use_is_loaded_once(ctx, make_kernel):
    kernel, x = make_kernel(1), ctx.zeros(8, gc.i32)
    for _ in range(5):
        kernel[1, 8](x)
        collector.collect()
        ctx.synchronize()
    assert loaded(ctx) == 1


# --- memory of others
class Source:
    """What lends its memory through DLPack; its death can be seen."""

    def __init__(self) -> None:
        self.memory = np.ones(1000, np.float32)

    def __dlpack__(self, **options):
        # NumPy's capsule holds the ndarray, a view of which holds this object
        view = self.memory[:]
        view = np.lib.stride_tricks.as_strided(view)
        return np.asarray(_Holder(self)).__dlpack__(**options)

    def __dlpack_device__(self):
        return (1, 0)


class _Holder:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.__array_interface__ = source.memory.__array_interface__


def test_from_dlpack_in_a_loop_gives_its_sources_back(ctx):
    alive: weakref.WeakSet[Source] = weakref.WeakSet()
    most = 0
    for _ in range(100):
        source = Source()
        alive.add(source)
        x = gc.from_dlpack(source, context=ctx, copy=False)
        del source, x
        most = max(most, len(alive))
    assert most <= 2
    ctx.synchronize()
    assert len(alive) == 0


def test_from_dlpack_waits_for_no_work_and_gives_back_what_work_still_uses_later(backend):
    state = {"idle": False, "waits": 0}

    def synchronize_stream(device, stream):
        state["waits"] += 1

    backend(
        "busy",
        query_stream=lambda device, stream: state["idle"],
        query_event=lambda device, event: state["idle"],
        synchronize_stream=synchronize_stream,
    )
    alive: weakref.WeakSet[Source] = weakref.WeakSet()
    with gc.Context("busy") as ctx:
        for _ in range(20):
            source = Source()
            alive.add(source)
            gc.from_dlpack(source, context=ctx, copy=False)
            del source
        assert state["waits"] == 0 and len(alive) == 20
        state["idle"] = True
        gc.from_dlpack(Source(), context=ctx, copy=False)
        assert len(alive) == 0
        state["idle"] = False
        for _ in range(200):
            source = Source()
            alive.add(source)
            gc.from_dlpack(source, context=ctx, copy=False)
            del source
        assert len(alive) <= 70, "however busy, what is kept is bounded"
    assert len(alive) == 0


def test_views_of_ours_that_are_dropped_give_the_memory_back(ctx):
    for _ in range(50):
        view = np.from_dlpack(ctx.ones(1000, gc.f32))
        assert view[0] == 1
        del view
    assert ctx.pool.stats()["allocations"] == 0 and not exports.capsules and not exports._held


def test_a_consumer_that_refuses_the_dtype_leaves_nothing_and_its_own_error(ctx):
    """NumPy has no bf16: its refusal arrives whole, not as a SystemError."""
    x = ctx.zeros(4, gc.bf16)
    for _ in range(10):
        with pytest.raises((BufferError, RuntimeError), match="[Uu]nsupported dtype"):
            np.from_dlpack(x)
    del x
    assert ctx.pool.stats()["allocations"] == 0


# --- contexts, streams, threads
def test_contexts_that_are_opened_and_closed_leave_nothing(backend, make_kernel):
    backend("null")
    kernel = make_kernel(3)
    for _ in range(20):
        with gc.Context("null") as ctx:
            handle = ctx.device._handle
            x = ctx.zeros(8, gc.i32)
            kernel.over(8, stream=ctx.stream())(x)
            assert x.numpy()[0] == 3
        assert set(handle.open.values()) == {0}


def test_arrays_keep_no_stream_that_touched_them(ctx, make_kernel):
    kernel, kept = make_kernel(5), []
    for _ in range(30):
        stream = ctx.stream()
        made, touched = ctx.array(np.zeros(8, np.int32), stream=stream), ctx.zeros(8, gc.i32)
        kernel[1, 8, stream](made)
        kernel[1, 8, stream](touched)
        kept += [made, touched]
        del stream
    ctx.synchronize()
    assert ctx.device._handle.open["streams"] == 1
    for array in kept:
        assert (array.numpy() == 5).all()
        assert (array.fill(1).numpy() == 1).all()


def test_an_array_that_the_host_never_reads_remembers_no_dropped_streams(ctx, make_kernel):
    kernel, x = make_kernel(5), ctx.zeros(8, gc.i32)

    def known() -> int:
        collector.collect()
        return sum(type(one).__name__ == "Timeline" for one in collector.get_objects())

    before = known()
    for _ in range(400):
        kernel[1, 8, ctx.stream()](x)
        ctx.synchronize()
    assert known() <= before + 70
    assert ctx.device._handle.open["streams"] <= 3
    assert (x.numpy() == 5).all()


def test_the_work_of_many_dropped_streams_comes_before_later_uses(backend, make_kernel):
    """However many streams an array has seen, whoever uses it next waits for the work of each."""
    waits: list[object] = []
    marks: dict[int, object] = {}
    backend(
        "busy",
        query_stream=lambda device, stream: False,
        record_event=lambda device, event, stream: marks.update({id(event): stream}),
        wait_event=lambda device, stream, event: waits.append((stream, marks[id(event)])),
    )
    with gc.Context("busy") as ctx:
        kernel, home = make_kernel(5), ctx.stream()
        x = ctx.array(np.zeros(8, np.int32), stream=home)
        streams = [ctx.stream() for _ in range(63)]
        for stream in streams:
            kernel[1, 8, stream](x)
        default = ctx.default_stream._handle
        del stream, streams
        collector.collect()
        last = ctx.stream()
        kernel[1, 8, last](x)  # the 64th: the default stream has the place of the others
        assert sum(one == default for one, _ in waits) >= 63
        del waits[:]
        x.copy_from(np.ones(8, np.int32))
        assert (home._handle, default) in waits


def test_the_work_of_a_dropped_stream_comes_before_later_uses_of_its_arrays(backend, make_kernel):
    waits: list[object] = []
    backend(
        "busy",
        query_stream=lambda device, stream: False,
        wait_event=lambda device, stream, event: waits.append(stream),
    )
    with gc.Context("busy") as ctx:
        default = ctx.default_stream._handle
        stream = ctx.stream()
        made, touched = ctx.array(np.zeros(8, np.int32), stream=stream), ctx.zeros(8, gc.i32)
        make_kernel(5)[1, 8, stream](touched)
        del stream, waits[:]
        made.fill(1)  # its home is gone: the default stream has waited
        assert waits == [default]
        other = ctx.stream()
        make_kernel(6)[1, 8, other](made)
        assert waits[1:] == [other._handle]
        touched.fill(2)
        assert set(waits[2:]) <= {default}


def test_an_error_found_on_a_dropped_stream_is_raised_at_the_arrays_next_wait(ctx, copy_kernel):
    checked = ctx.options(check=True)
    stream = checked.stream()
    x = checked.zeros(4, gc.f32)
    copy_kernel[1, 8, stream](x, checked.zeros(8, gc.f32))
    del stream
    with pytest.raises(gc.KernelBoundsError):
        x.numpy()
    ctx.synchronize()


def test_launches_from_two_threads_keep_nothing(ctx, make_kernel):
    kernel = make_kernel(1)
    failures: list[Exception] = []

    def work() -> None:
        try:
            stream = ctx.stream()
            for _ in range(200):
                x = ctx.array(np.zeros(8, np.int32), stream=stream)
                kernel[1, 8, stream](x)
                assert x.numpy(stream=stream)[0] == 1
        except Exception as failure:  # noqa: BLE001 - shown by the test's own thread
            failures.append(failure)

    def run() -> None:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run()
    assert not failures
    collector.collect()
    ctx.synchronize()
    before = dict(ctx.device._handle.open)
    run()
    collector.collect()
    ctx.synchronize()
    assert not failures
    after = ctx.device._handle.open
    assert all(after[kind] <= before[kind] + 2 for kind in before), (before, after)
