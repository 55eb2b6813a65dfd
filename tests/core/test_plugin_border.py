"""What a plugin does against the contract is an error that names the plugin, the hook and what to do."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import gpucore as gc
from gpucore.compile import capabilities
from gpucore.hookspecs import ObjectCode, hookimpl
from gpucore.ir import nodes
from gpucore.testing import null


def raising(error):
    def hook(*args):
        raise error

    return hook


def with_parameters_of(name, function):
    """``function`` with the parameters of a hook, which are part of the contract."""
    import inspect

    names = ", ".join(inspect.signature(getattr(null, name)).parameters)
    space = {"function": function}
    exec(f"def {name}({names}): return function({names})", space)
    return space[name]


def use(context):
    """Everything that a small program does: memory, copies, streams, events, a kernel."""
    x = context.array(np.arange(8, dtype=np.float32))
    y = context.zeros(8, gc.f32)
    y.copy_from(x)
    stream = context.stream()
    start, end = context.event(timing=True), context.event(timing=True)
    stream.record(start)
    stream.wait(start)
    stream.record(end)
    end.synchronize()
    start.elapsed_time(end)
    context.device.memory_info()
    double.over(8)(x)
    x.numpy()


@gc.kernel
def double(x: gc.Array[gc.f32]) -> None:
    x[gc.global_id(0)] *= 2.0


RAISING = (
    "open_device", "capabilities", "target", "alloc", "memory_info", "copy", "fill", "create_stream", "synchronize_stream",
    "create_event", "record_event", "wait_event", "synchronize_event", "elapsed_time", "compile", "load", "prepare",
)  # fmt: skip


@pytest.mark.parametrize("hook", RAISING)
def test_a_hook_that_raises_what_is_not_in_the_contract_is_named(backend, hook):
    backend("made", **{hook: with_parameters_of(hook, raising(TypeError("an integer is required")))})
    with pytest.raises(gc.PluginError) as caught, gc.Context("made") as context:
        use(context)
    message = str(caught.value)
    assert "the backend 'made' (made_for_a_test) breaks the contract" in message
    assert f"its hook {hook} raised TypeError: an integer is required" in message
    assert "gpucore.errors" in message
    assert isinstance(caught.value.__cause__, TypeError)


def refuse(stream, *arguments):
    raise OverflowError("the queue is full")


class Refusing:
    """A prepared launch that is an object and packs its arguments."""

    def __call__(self, stream, *arguments):
        refuse(stream)

    def bind(self, *arguments):
        return refuse


@pytest.mark.parametrize("prepared", [refuse, Refusing()], ids=["function", "object"])
@pytest.mark.parametrize("bound", [False, True], ids=["called", "bound"])
def test_a_prepared_launch_that_raises_what_is_not_in_the_contract_is_named(backend, prepared, bound):
    backend("made", prepare=with_parameters_of("prepare", lambda *args: prepared))
    with gc.Context("made") as context:
        x = context.zeros(8, gc.f32)
        launch = double.over(8).bind(x) if bound else lambda: double.over(8)(x)
        for _ in range(4):  # the first launch, the next ones, the packed one
            with pytest.raises(gc.PluginError) as caught:
                launch()
            assert isinstance(caught.value.__cause__, OverflowError)
            message = str(caught.value)
            assert (
                "the backend 'made' (made_for_a_test) breaks the contract: a launch of double that its hook prepare"
                in message
            )
            assert "raised OverflowError: the queue is full" in message


@pytest.mark.parametrize("prepared", [refuse, Refusing()], ids=["function", "object"])
@pytest.mark.parametrize("looks", ["profiler", "recording thread", "graph", "profiled graph"])
def test_a_prepared_launch_is_named_where_somebody_looks_at_launches(backend, prepared, looks):
    backend("made", prepare=with_parameters_of("prepare", lambda *args: prepared))
    with gc.Context("made") as context, contextlib.ExitStack() as stack:
        x = context.zeros(8, gc.f32)
        launch = functools.partial(double.over(8), x)
        if "graph" in looks:
            with context.graph() as graph:
                x.fill(1.0)
                launch()
            launch = graph.launch
        if "profile" in looks:
            stack.enter_context(gc.profile(context))
        if looks == "recording thread":
            stack.enter_context(recording_elsewhere(context))
        for _ in range(3):
            with pytest.raises(gc.PluginError) as caught:
                launch()
            assert isinstance(caught.value.__cause__, OverflowError)
            assert "contract: a launch of double that its hook prepare made raised" in str(caught.value)


@contextlib.contextmanager
def recording_elsewhere(context):
    """Another thread records a graph meanwhile."""
    begun, over = threading.Event(), threading.Event()

    def record():
        with context.graph():
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=record)
    thread.start()
    begun.wait(60)
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("profiled", [False, True], ids=["plain", "profiled"])
def test_a_hook_that_a_graph_calls_is_named(backend, profiled):
    works = [True]

    def fill(*args):
        return null.fill(*args) if works else raising(TypeError("no pattern"))()

    backend("made", fill=with_parameters_of("fill", fill))
    with gc.Context("made") as context, contextlib.ExitStack() as stack:
        x = context.zeros(8, gc.f32)
        with context.graph() as graph:
            x.fill(1.0)
        works.clear()
        if profiled:
            stack.enter_context(gc.profile(context))
        with pytest.raises(gc.PluginError, match="its hook fill raised TypeError: no pattern"):
            graph.launch()


def test_an_error_of_the_contract_in_a_prepared_launch_passes_as_it_is(backend):
    error = gc.DeviceError("the driver said no")
    backend("made", prepare=with_parameters_of("prepare", lambda *args: raising(error)))
    with gc.Context("made") as context:
        x = context.zeros(8, gc.f32)
        with pytest.raises(gc.DeviceError) as caught:
            double.over(8)(x)
        assert caught.value is error


RETURNING = (
    "open_device", "capabilities", "target", "alloc", "memory_info", "create_stream", "create_event", "elapsed_time",
    "compile", "load", "prepare",
)  # fmt: skip


@pytest.mark.parametrize("hook", RETURNING)
def test_a_hook_that_returns_nothing_is_named_with_what_it_should_return(backend, hook):
    backend("made", **{hook: with_parameters_of(hook, lambda *args: None)})
    with pytest.raises(
        gc.PluginError, match=rf"made_for_a_test.*its hook {hook} returned None; it returns an? "
    ) as caught:
        with gc.Context("made") as context:
            use(context)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("hook", "value", "expected"),
    [
        ("compile", b"machine code", "returned bytes b'machine code'; it returns a ObjectCode"),
        ("alloc", 4096, "returned int 4096; it returns an allocation"),
        ("prepare", "the launch", "returned str 'the launch'; it returns a callable"),
    ],
)
def test_a_result_of_another_type_is_shown(backend, hook, value, expected):
    backend("made", **{hook: with_parameters_of(hook, lambda *args: value)})
    with pytest.raises(gc.PluginError, match=expected), gc.Context("made") as context:
        use(context)


def test_pinned_memory_that_the_host_cannot_reach_is_refused(backend):
    def alloc(device, nbytes, kind, stream):
        made = null.alloc(device, nbytes, kind, stream)
        return (
            made
            if kind == "device"
            else dataclasses.make_dataclass("A", ["nbytes", "address", "host"])(nbytes, 1, None)
        )

    backend("made", alloc=alloc)
    with gc.Context("made") as context, pytest.raises(gc.PluginError, match="alloc returned A .* host"):
        context.pinned(8, gc.f32)


def test_errors_of_the_contract_pass_as_they_are(backend):
    def alloc(device, nbytes, kind, stream):
        raise gc.OutOfMemoryError("the device is full")

    backend("made", alloc=alloc)
    with gc.Context("made") as context, pytest.raises(gc.OutOfMemoryError, match="the device is full"):
        context.zeros(8, gc.f32)


def test_an_interrupt_in_a_hook_is_an_interrupt(backend):
    backend("made", compile=with_parameters_of("compile", raising(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt), gc.Context("made") as context:
        use(context)


def test_a_wrapper_that_raises_is_named_beside_the_plugin(backend):
    backend("null")

    class Broken:
        @hookimpl(wrapper=True)
        def alloc(self, nbytes):
            yield
            raise ZeroDivisionError("in the profiler")

    with gc.Context("null", wrappers=[Broken()]) as context:
        with pytest.raises(
            gc.PluginError,
            match=r"or a wrapper around it,.* alloc raised ZeroDivisionError",
        ):
            context.zeros(8, gc.f32)


# --- what a device says it can do
@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        (
            "names",
            lambda names: names | {"pinned_memmory"},
            "'pinned_memmory' .*, did you mean 'pinned_memory'",
        ),
        ("names", lambda names: names | {"source_spriv"}, "'source_spriv' .*, did you mean 'source_spirv'"),
        ("names", lambda names: names | {"warp_drive"}, "'warp_drive' .*; known: .*strict"),
        ("dtypes", lambda dtypes: {**dtypes, "f33": frozenset()}, "'f33' in DeviceCapabilities.dtypes"),
        (
            "dtypes",
            lambda dtypes: {**dtypes, "f32": frozenset({"storrage"})},
            "'storrage' .*, did you mean 'storage'",
        ),
        ("atomics", lambda atomics: atomics | {"addd.f32"}, "'addd' .*, did you mean 'add'"),
    ],
)
def test_a_misspelt_word_of_the_capabilities_is_refused_with_the_right_one(backend, field, change, message):
    def capabilities(device):
        found = null.capabilities(device)
        return dataclasses.replace(found, **{field: change(getattr(found, field))})

    backend("made", capabilities=capabilities)
    with pytest.raises(gc.PluginError, match=rf"made_for_a_test.*hook capabilities lists {message}"):
        gc.Context("made")


def test_a_language_of_the_plugins_own_is_a_capability(backend):
    def capabilities(device):
        found = null.capabilities(device)
        return dataclasses.replace(found, names=found.names | {"source_opencl_c"})

    def compile_source(target, source, language, signature, options):
        return {"other": ObjectCode(b"", "other", "c")}

    backend("made", capabilities=capabilities, compile_source=compile_source)
    with gc.Context("made") as context:
        assert "source_opencl_c" in context.device.capabilities
        with pytest.raises(
            gc.PluginError, match="compile_source returned dict .* one ObjectCode for each kernel"
        ):
            context.module("", language="opencl-c", signatures={"scale": [gc.Array[gc.f32]]})


# --- a distribution of its own
@pytest.fixture
def outside(tmp_path):
    """Install a plugin as pip would, and run code beside it in a process of its own."""

    def run(entry_point, code, module=""):
        (tmp_path / "gpucore_outside.py").write_text(
            "from gpucore.testing import null\nfrom gpucore.hookspecs import BackendInfo, hookimpl\n"
            "for name in dir(null):\n    if not name.startswith('__'):\n        globals()[name] = getattr(null, name)\n"
            + textwrap.dedent(module)
        )
        info = tmp_path / "gpucore_outside-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gpucore-outside\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[gpucore.backends]\n{entry_point} = gpucore_outside\n")
        script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + textwrap.dedent(code)
        return subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
        )

    return run


NAMED = """
@hookimpl
def backend_info():
    return BackendInfo("outside", "an outside plugin", priority=1, versions={"gpucore-outside": "1.0"})
"""
OPEN = "import gpucore\nprint(gpucore.Context('outside').backend)"


def test_a_plugin_that_calls_itself_otherwise_than_its_entry_point_is_refused(outside):
    done = outside("outside", OPEN, NAMED.replace('"outside", "an', '"inside", "an'))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "PluginError" in last, done.stderr
    for part in (
        "'outside' from gpucore-outside 1.0",
        "backend_info says the name 'inside'",
        "entry point",
        "same name",
    ):
        assert part in last
    assert outside("outside", OPEN, NAMED).stdout == "outside\n"


# --- versions
@pytest.mark.parametrize("api", [(1, capabilities.IR_VERSION + 1), (2, 1)])
def test_a_plugin_made_for_a_newer_gpucore_says_to_update_gpucore(backend, api):
    backend("made", GPUCORE_API=api)
    with pytest.raises(
        gc.PluginError,
        match=r"was built for .*; update gpucore: pip install --upgrade gpucore$",
    ):
        gc.Context("made")


@pytest.mark.parametrize("api", [(1,), (1, "1"), (1, 2, 3), "11", (True, True)])
def test_an_interface_version_that_is_not_two_numbers_is_named(backend, api):
    backend("made", GPUCORE_API=api)
    with pytest.raises(gc.PluginError, match=r"it is \(API_VERSION, IR_VERSION\)"):
        gc.Context("made")


@pytest.fixture
def newer_ir(monkeypatch):
    """This gpucore with a newer IR, in which barriers are new."""
    from gpucore import hookspecs

    for module in (nodes, capabilities, hookspecs):
        monkeypatch.setattr(module, "IR_VERSION", 2)
    monkeypatch.setitem(capabilities.SINCE, nodes.Barrier, 2)


@gc.kernel
def meet(x: gc.Array[gc.f32]) -> None:
    tile = gc.shared(8, gc.f32)
    tile[gc.thread_id(0)] = x[gc.global_id(0)]
    gc.barrier()
    x[gc.global_id(0)] = tile[7 - gc.thread_id(0)]


def test_a_plugin_made_for_an_older_ir_runs_kernels_that_need_no_more(backend, newer_ir):
    backend("made", GPUCORE_API=(1, 1))
    with gc.Context("made") as context:
        x = context.ones(8, gc.f32)
        double.over(8)(x)
        assert x.numpy().tolist() == [2.0] * 8


def test_a_kernel_that_needs_a_newer_ir_than_the_plugin_knows_is_refused(backend, newer_ir):
    backend("made", GPUCORE_API=(1, 1))
    with gc.Context("made") as context, pytest.raises(gc.NotSupportedError) as caught:
        meet[1, 8](context.ones(8, gc.f32))
    message = str(caught.value)
    for part in ("kernel 'meet'", "Barrier", "IR 2", "made", "IR 1", "update the plugin"):
        assert part in message, message
