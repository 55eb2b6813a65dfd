"""The profiler on the null backend: what it changes, what it leaves alone, and what it notes."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import gpucore as gc
from gpucore.runtime import profiler
from gpucore.runtime.context_profile import ProfileEvent

N = 64


@pytest.fixture
def launch(ctx, saxpy):
    """A configured kernel with its arguments, launched once."""
    x, y = ctx.ones(N, gc.f32), ctx.ones(N, gc.f32)
    configured = saxpy.over(N)
    configured(x, y, 2.0)
    return configured, (x, y, 2.0)


def kinds(prof, *wanted):
    return [event for event in prof.events if event.kind in wanted]


def test_without_a_profile_launch_functions_and_hooks_are_the_same_objects(ctx, launch):
    configured, arguments = launch
    stream = ctx.stream()
    on_stream = configured.kernel.over(N, stream=stream)
    on_stream(*arguments)

    def functions():
        return (
            type(configured).__call__, type(configured.kernel.over(N, stream=stream)).__call__, ctx._state.hooks,
            *(vars(ctx._state.hooks).values()), vars(configured._prepared[0]).get("known"),
        )  # fmt: skip

    before = functions()
    with gc.profile(ctx):
        during = functions()
        configured(*arguments)
    after = functions()
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert before[0] is not during[0]
    assert before[1] is not during[1]


def test_every_way_to_launch_is_noted_once(ctx, launch):
    configured, (x, y, a) = launch
    stream = ctx.stream()
    bound = configured.bind(x, y, a)
    bound()
    with gc.profile(ctx) as prof:
        configured(x, y, a)
        configured(x, y, a=a)
        configured.kernel.over(N, stream=stream)(x, y, a)
        configured.kernel[2, 32](x, y, a)  # compiled under the profile
        bound()
        bound(stream)
    bound()
    found = kinds(prof, "kernel")
    assert [event.name for event in found] == ["saxpy"] * 6
    assert {event.stream for event in found} == {"null:0 default", "null:0 stream 1"}
    np.testing.assert_array_equal(y.numpy(), 1 + 2 * np.arange(9, 10, dtype=np.float32).repeat(N))


def test_copies_and_fills_are_noted_with_their_bytes(ctx):
    x, y = ctx.zeros(N, gc.f32), ctx.zeros(N, gc.f32)
    pinned = ctx.pinned(N, gc.f32)
    with gc.profile(ctx) as prof:
        x.copy_from(np.ones(N, np.float32))
        y.copy_from(x)
        y.fill(3)
        y.numpy()
        y.copy_to(pinned)
        x.copy_from(pinned)
    assert [(event.kind, event.name, event.bytes) for event in kinds(prof, "copy", "fill")] == [
        ("copy", "copy to device", 4 * N), ("copy", "copy on device", 4 * N), ("fill", "fill", 4 * N),
        ("copy", "copy to host", 4 * N), ("copy", "copy to host", 4 * N), ("copy", "copy to device", 4 * N),
    ]  # fmt: skip
    assert np.all(x.numpy() == 3)


def test_waits_and_allocations_are_noted(ctx):
    with gc.profile(ctx, allocations=True) as prof:
        x = ctx.empty(1000, gc.f32)
        ctx.synchronize()
        ctx.event().synchronize()
        x.free()
    assert [event.name for event in kinds(prof, "wait")][:2] == ["wait for stream", "wait for event"]
    assert kinds(prof, "wait")[0].stream == "null:0 default"
    allocations = kinds(prof, "alloc")
    assert [event.name for event in allocations] == ["allocate from the driver", "allocate", "release"]
    assert {event.bytes for event in allocations} == {4096}
    with gc.profile(ctx) as without:
        ctx.empty(1000, gc.f32)
    assert kinds(without, "alloc") == []


def test_events_lie_within_the_profile_in_the_order_of_the_stream(ctx, launch):
    configured, arguments = launch
    begin = time.perf_counter_ns()
    with gc.profile(ctx) as prof:
        for _ in range(20):
            configured(*arguments)
    end = time.perf_counter_ns()
    found = kinds(prof, "kernel")
    slack = 10_000_000  # an event's time against the base
    assert begin - slack <= found[0].start_ns
    assert found[-1].end_ns <= end + slack
    assert all(event.queued_ns <= event.start_ns <= event.end_ns for event in found)
    assert all(a.end_ns <= b.start_ns for a, b in zip(found, found[1:]))


def test_many_launches_are_read_while_the_profile_runs(ctx, launch, monkeypatch):
    from gpucore.runtime import context_profile

    monkeypatch.setattr(context_profile, "_MOST_PENDING", 8)
    configured, arguments = launch
    with gc.profile(ctx) as prof:
        for _ in range(30):
            configured(*arguments)
        assert len(prof.events) >= 20
        assert ctx.device._handle.open["events"] < 25
    assert len(prof.events) == 30


def test_nothing_is_left_of_a_profile(ctx, launch):
    configured, arguments = launch
    before = dict(ctx.device._handle.open)
    for _ in range(3):
        with gc.profile(ctx):
            configured(*arguments)
            ctx.synchronize()
    assert ctx.device._handle.open == before


def test_a_backend_gives_times_by_hooks_of_its_own(backend, saxpy):
    from dataclasses import replace

    from gpucore.testing import null

    marks = []

    def capabilities(device):
        found = null.capabilities(device)
        return replace(found, names=found.names | {"timestamps"})

    def record_timestamp(device, stream, begins):
        marks.append(begins)
        return len(marks)

    def read_timestamps(device, timestamps):
        return [1000 * timestamp for timestamp in timestamps]

    backend(
        "clocked",
        capabilities=capabilities,
        record_timestamp=record_timestamp,
        read_timestamps=read_timestamps,
    )
    with gc.Context("clocked") as context:
        x = context.ones(N, gc.f32)
        with gc.profile(context) as prof:
            saxpy.over(N)(x, x, 1.0)
            x.fill(1)
    assert marks == [True, False, True, False]
    assert [(event.kind, event.start_ns, event.end_ns) for event in prof.events] == [
        ("kernel", 1000, 2000), ("fill", 3000, 4000),
    ]  # fmt: skip


# --- ranges
def test_ranges_are_noted_as_context_managers_decorators_and_in_coroutines(ctx):
    @gc.profile_range("called")
    def function(value):
        return value + 1

    @gc.profile_range("awaited")
    async def coroutine():
        await asyncio.sleep(0.002)
        return 5

    async def both():
        return await asyncio.gather(coroutine(), coroutine())

    with gc.profile_range("outside"):
        pass
    with gc.profile(ctx) as prof, gc.profile_range("outer"):
        with gc.profile_range("inner"):
            assert function(1) == 2
        assert asyncio.run(both()) == [5, 5]
    found = {event.name: event for event in prof.events}
    assert set(found) == {"outer", "inner", "called", "awaited"}
    assert found["outer"].start_ns <= found["inner"].start_ns <= found["called"].start_ns
    assert found["called"].end_ns <= found["inner"].end_ns <= found["outer"].end_ns
    assert found["awaited"].duration_ns >= 2_000_000
    with pytest.raises(TypeError, match="takes a name"):
        gc.profile_range(3)


def test_one_range_serves_several_threads_and_itself(ctx):
    part = gc.profile_range("part")

    def work():
        with part, part:
            time.sleep(0.001)

    with gc.profile(ctx) as prof:
        threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(prof.events) == 6
    assert all(event.duration_ns >= 1_000_000 for event in prof.events)


# --- several contexts
def test_a_context_whose_device_is_lost_is_no_obstacle_to_profiling_the_others(backend, saxpy):
    def fill(device, dst, offset, nbytes, pattern, stream):
        raise gc.DeviceLostError("it fell off the bus")

    backend("null")
    backend("other", fill=fill)
    with gc.Context("null") as living, gc.Context("other") as dead:
        with pytest.raises(gc.DeviceLostError):
            dead.zeros(N, gc.f32)
        x = living.ones(N, gc.f32)
        with gc.profile() as prof:
            saxpy.over(N)(x, x, 2.0)
        assert [e.name for e in prof.events if e.kind == "kernel"] == ["saxpy"]


def test_all_contexts_are_profiled_those_opened_meanwhile_too(backend, saxpy):
    backend("null")
    with gc.Context("null") as first:
        x = first.ones(N, gc.f32)
        with gc.profile() as prof:
            saxpy.over(N)(x, x, 1.0)
            with gc.Context("null") as second:
                y = second.ones(N, gc.f32)
                saxpy.over(N)(y, y, 1.0)
            with pytest.raises(gc.LaunchError, match="all contexts are being profiled already"):
                with gc.profile():
                    pass
        saxpy.over(N)(x, x, 1.0)
    assert [(event.name, event.stream) for event in kinds(prof, "kernel")] == [
        ("saxpy", "null:0 default"), ("saxpy", "null:0#2 default"),
    ]  # fmt: skip


def test_a_context_has_one_profile_at_a_time(ctx, launch):
    configured, arguments = launch
    with gc.profile(ctx) as outer:
        with pytest.raises(gc.LaunchError, match="profiled already.*profile_range"):
            with gc.profile(ctx):
                pass
        configured(*arguments)
        with pytest.raises(gc.LaunchError, match="has begun already"):
            with outer:
                pass
    assert len(kinds(outer, "kernel")) == 1
    with gc.profile(ctx):
        pass


def test_what_is_no_context_and_a_closed_one_are_refused(backend):
    with pytest.raises(TypeError, match="profile\\(\\) takes a Context.*not str"):
        gc.profile("cpu")
    backend("null")
    context = gc.Context("null")
    context.close()
    with pytest.raises(gc.LaunchError, match="closed"):
        with gc.profile(context):
            pass


def test_a_context_that_closes_under_its_profile_leaves_its_times(backend, saxpy):
    backend("null")
    context = gc.Context("null")
    with gc.profile(context) as prof:
        x = context.ones(N, gc.f32)
        saxpy.over(N)(x, x, 1.0)
        context.close()
    assert [event.kind for event in kinds(prof, "kernel", "fill")] == ["fill", "kernel"]
    assert prof.lost == 0


def test_what_raises_inside_reaches_the_caller_and_launches_are_plain_again(ctx, launch):
    configured, arguments = launch
    plain = type(configured).__call__
    with pytest.raises(ZeroDivisionError), gc.profile(ctx) as prof:
        configured(*arguments)
        1 / 0
    assert len(kinds(prof, "kernel")) == 1
    assert type(configured).__call__ is plain


def test_a_lost_device_costs_the_times_and_nothing_else(backend, saxpy):
    calls = {"left": 10**9}

    def record_event(device, event, stream):
        from gpucore.testing import null

        calls["left"] -= 1
        if calls["left"] < 0:
            raise gc.DeviceLostError("it fell off the bus", code=-4, name="LOST")
        null.record_event(device, event, stream)

    backend("falling", record_event=record_event)
    with gc.Context("falling") as context:
        x = context.ones(N, gc.f32)
        saxpy.over(N)(x, x, 1.0)
        with pytest.raises(gc.DeviceLostError), gc.profile(context) as prof:
            saxpy.over(N)(x, x, 1.0)
            calls["left"] = 0
            saxpy.over(N)(x, x, 1.0)
        assert prof.lost == 1
        assert prof.events == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_leaves_the_profile_of_its_parent_alone():
    code = """
import os, sys, warnings
import gpucore as gc
from gpucore.backends import discovery
from gpucore.testing import null
warnings.simplefilter("ignore")
with discovery.register("null", null):
    context = gc.Context("null")
    x = context.ones(8, gc.f32)
    child = 1
    with gc.profile(context) as prof:
        x.fill(2)
        child = os.fork()
    if not child:
        os._exit(0 if prof.events == [] else 3)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), [event.kind for event in prof.events])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 ['fill']\n", done.stderr


# --- what is shown
EVENTS = [
    ProfileEvent("kernel", "saxpy", "null:0 default", 1000, 5000, 0, 500, "MainThread"),
    ProfileEvent("kernel", "saxpy", "null:0 default", 5000, 7000, 0, 600, "MainThread"),
    ProfileEvent("copy", "copy to host", "null:0 stream 1", 2000, 4000, 8000, 700, "MainThread"),
    ProfileEvent("wait", "wait for stream", "null:0 default", 900, 7100, 0, 900, "MainThread"),
    ProfileEvent("range", "step", None, 100, 8000, 0, 100, "MainThread"),
    ProfileEvent("alloc", "allocate", "null:0 default", 200, 200, 4096, 200, "MainThread"),
]


def test_the_table_has_calls_totals_means_and_shares():
    lines = profiler.table(EVENTS).splitlines()
    assert lines[0].split() == ["kind", "name", "calls", "total", "ms", "mean", "us", "GB/s", "share"]
    assert lines[2].split() == ["kernel", "saxpy", "2", "0.006", "3.00", "75.0%"]
    assert lines[3].split() == ["copy", "copy", "to", "host", "1", "0.002", "2.00", "4.00", "25.0%"]
    assert len(lines) == 2 + 5


def test_a_trace_has_a_track_for_kernels_copies_and_each_thread(tmp_path):
    profiler.save_trace(EVENTS, tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text("utf-8"))["traceEvents"]
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in trace
        if event["name"] == "thread_name"
    }
    complete = [event for event in trace if event["ph"] == "X"]
    assert len(complete) == len(EVENTS)
    on_tracks = {(names[event["pid"], event["tid"]], event["name"]) for event in complete}
    assert on_tracks == {
        ("default: kernels", "saxpy"), ("stream 1: copies", "copy to host"), ("MainThread", "wait for stream"),
        ("MainThread", "step"), ("memory", "allocate"),
    }  # fmt: skip
    (copied,) = (event for event in complete if event["cat"] == "copy")
    assert (copied["ts"], copied["dur"], copied["args"]["bytes"], copied["args"]["queued_us"]) == (
        2.0,
        2.0,
        8000,
        1.3,
    )


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    profiler.plot(EVENTS, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(gc.NotSupportedError, match="nothing to draw"):
        profiler.plot([], tmp_path / "empty.png")


def test_the_picture_shows_what_is_short_beside_the_whole(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    events = [
        ProfileEvent("range", "step", None, 0, 10**10, 0, 0, "MainThread"),
        *(
            ProfileEvent("copy", "copy to host", "null:0 default", at, at + 1000, 8, at, "MainThread")
            for at in range(10**9, 10**10, 10**9)
        ),
    ]
    profiler.plot(events, tmp_path / "timeline.png")
    picture = image.imread(tmp_path / "timeline.png")
    red, green, blue = (picture[..., channel] for channel in range(3))
    is_copy = (green > red + 0.1) & (green > blue + 0.1)
    above = is_copy[: picture.shape[0] // 3]  # the legend is below
    columns = above.sum(axis=0) > 10
    assert np.count_nonzero(columns[1:] & ~columns[:-1]) == 9


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(gc.NotSupportedError, match=r"gpucore\[plot\]"):
        profiler.plot(EVENTS, tmp_path / "timeline.png")


def test_the_command_runs_a_script_with_its_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, helper\n"
        "import gpucore as gc\n"
        "from gpucore.backends import discovery\n"
        "from gpucore.testing import null\n"
        "with discovery.register('null', null), gc.Context('null') as ctx:\n"
        "    ctx.ones(8, gc.f32).numpy()\n"
        "    print('arguments', sys.argv[1:], __name__, helper.VALUE)\n"
        "sys.exit(3)\n"
    )
    (tmp_path / "helper.py").write_text("VALUE = 7\n")
    done = subprocess.run(
        [sys.executable, "-m", "gpucore", "profile", "-o", str(tmp_path / "t.json"), str(script), "--fast", "2"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "arguments ['--fast', '2'] __main__ 7" in done.stdout
    assert "copy to host" in done.stdout
    trace = json.loads((tmp_path / "t.json").read_text("utf-8"))["traceEvents"]
    assert {"fill", "copy to host"} <= {event["name"] for event in trace}


def test_the_command_shows_a_scripts_error_as_python_does(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import gpucore as gc\n\ndef work():\n    raise gc.LaunchError('no')\n\nwork()\n")
    done = subprocess.run(
        [sys.executable, "-m", "gpucore", "profile", "-o", str(tmp_path / "t.json"), str(script)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("Traceback") and lines[1] == f'  File "{script}", line 6, in <module>'
    assert lines[-1] == "gpucore.errors.LaunchError: no"
    assert (tmp_path / "t.json").exists()


@pytest.mark.parametrize("event", ["call", "return"])
@pytest.mark.parametrize(
    "where",
    [
        "__enter__",
        "_attach",
        "begin_profile",
        "end_profile",
        "_switch",
        "finish",
        "_detach",
        "_leave",
        "__exit__",
    ],
)
def test_an_interrupt_of_beginning_or_ending_a_profile_leaves_none_that_runs(ctx, launch, where, event):
    def interrupt(frame, what, _):
        if (
            what == event
            and frame.f_code.co_name == where
            and "/gpucore/runtime/" in frame.f_code.co_filename
        ):
            sys.setprofile(None)
            raise KeyboardInterrupt

    def measure():
        sys.setprofile(interrupt)
        with gc.profile(ctx):
            ctx.zeros(8, gc.i32)

    hooks = ctx._state.hooks
    with pytest.raises(KeyboardInterrupt):
        try:
            measure()
        finally:
            sys.setprofile(None)
    if where not in (
        "__enter__",
        "__exit__",
    ):  # there Python itself loses the block, and the next profile tidies up
        assert ctx._state.hooks is hooks
    with gc.profile(ctx) as profile:
        ctx.zeros(8, gc.i32).fill(1)
    assert profile.events
    assert ctx._state.hooks is hooks
