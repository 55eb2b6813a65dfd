"""Devices that end loops without an error: what core does with what their kernels report."""

import dataclasses
import json
import re
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import gpucore as gc
from gpucore.cli.app import app
from gpucore.ir import Break, Const, For, GetVar, If, Load, Op, SetVar, Store, Value, Var, While, walk
from gpucore.ir.dtypes import bool_, i32, u32
from gpucore.ir.passes.checks import ANY_LOOP, ERROR_ARRAY, RECORD_WORDS
from gpucore.testing import null

LIMIT = 100
MANY = 1000


@gc.func
def summed(n: gc.i32) -> gc.i32:
    s = 0
    for k in range(n):
        s += k
    return s


@gc.kernel
def total(x: gc.Array[gc.i32], n: gc.i32):
    s = 0
    for k in range(n):  # total
        s += k
    x[gc.global_id(0)] = s


@gc.kernel
def counted(x: gc.Array[gc.i32], n: gc.i32):
    s = summed(3)
    while s < n:  # counted
        s += 1
    x[gc.global_id(0)] = s


@gc.kernel
def nested(x: gc.Array[gc.i32], n: gc.i32):
    s = 0
    for i in range(3):
        for j in range(n):  # nested
            s += i + j
    x[gc.global_id(0)] = s


@gc.kernel
def of_four_axes(x: gc.Array[gc.i32, 4], n: gc.i32):
    s = 0
    for k in range(n):  # of_four_axes
        s += k
    x[gc.global_id(0), gc.global_id(1), gc.global_id(2), gc.global_id(3)] = s


@gc.kernel
def short(x: gc.Array[gc.i32], n: gc.i32):
    for k in range(4):
        for j in range(3):
            x[gc.global_id(0)] += n * k * j


@gc.kernel
def straight(x: gc.Array[gc.i32], n: gc.i32):
    x[gc.global_id(0)] = n


def line_of(kernel):
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {kernel.__name__}"))


def ended_early(module, word):
    """The kernel as the device runs it: a thread's loops end after LIMIT iterations, and tell what ``word`` gives."""
    if not any(isinstance(s, (For, While)) and s.site for s in walk(module.kernel.body)):
        return module
    count, one, zero, limit = Var("$count", u32), *(Value(f"${n}", u32) for n in (1, 0, LIMIT))
    place = Value("$place", i32)

    def statement(s):
        if isinstance(s, If):
            return dataclasses.replace(s, then=block(s.then), orelse=block(s.orelse))
        if not isinstance(s, (For, While)):
            return s
        site, now, more, found = (Value(f"${s.site}.{n}", u32) for n in range(4))
        over, free = (Value(f"${s.site}.{n}", bool_) for n in (4, 5))
        report = (
            Load(found, ERROR_ARRAY, (place,)),
            Op(free, "eq", (found, zero)),
            Const(site, word(s.site)),
            If(free, (Store(ERROR_ARRAY, (place,), site),)),
            Break(),
        )
        check = (
            GetVar(now, count),
            Op(more, "add", (now, one)),
            SetVar(count, more),
            Op(over, "gt", (more, limit)),
            If(over, report),
        )
        return dataclasses.replace(s, body=(*check, *block(s.body)), site=0)

    def block(statements):
        return tuple(map(statement, statements))

    kernel = module.kernel
    start = (Const(one, 1), Const(zero, 0), Const(limit, LIMIT), Const(place, 0), SetVar(count, zero))
    body = (*start, *block(kernel.body))
    kernel = dataclasses.replace(kernel, variables=(*kernel.variables, count), body=body)
    return dataclasses.replace(module, kernel=kernel)


class Device:
    """The hooks of a null backend whose device ends loops; ``compiled`` are the modules it was given."""

    def __init__(self, limit=LIMIT):
        self.limit = limit
        self.word = lambda site: site
        self.compiled = []
        self.before_launch = lambda: None
        self.after_reading = lambda: None

    def hooks(self):
        def target(device):
            return dataclasses.replace(null.target(device), loop_limit=self.limit)

        def capabilities(device):
            return dataclasses.replace(null.capabilities(device), loop_limit=self.limit)

        def compile(target, module, options):
            self.compiled.append(module)
            return null.compile(target, module, options)

        def prepare(device, executable, config):
            run = null.prepare(device, null.Executable(ended_early(executable.module, self.word)), config)

            def call(stream, *slots):
                self.before_launch()
                run(stream, *slots)

            return call

        def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
            null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)
            if nbytes == 4 * RECORD_WORDS:
                self.after_reading()

        return {f.__name__: f for f in (target, capabilities, compile, prepare, copy)}


@pytest.fixture
def ending(backend):
    device = Device()
    backend("ending", **device.hooks())
    return device


@pytest.fixture
def ectx(ending):
    with gc.Context("ending") as context:
        yield context


def errors(*calls):
    """What the calls raised of loops that were ended."""
    raised = []
    for call in calls:
        try:
            call()
        except gc.KernelRuntimeError as error:
            raised.append(error)
    return raised


# --- the error
@pytest.mark.parametrize("kernel", [total, counted, nested], ids=lambda k: k.__name__)
def test_a_loop_that_was_ended_is_an_error_with_its_line_and_advice(ectx, kernel):
    x = ectx.zeros(2, gc.i32)
    kernel[1, 2](x, MANY)
    with pytest.raises(gc.KernelRuntimeError) as caught:
        x.numpy()
    error = caught.value
    assert type(error) is gc.KernelRuntimeError
    assert (error.kernel, error.filename, error.lineno) == (kernel.__name__, __file__, line_of(kernel))
    assert str(error).startswith(
        f"kernel {kernel.__name__!r}: the loop at {__file__}, line {line_of(kernel)} was ended by the device"
    )
    assert "100 iterations" in str(error)
    assert "split the work over more threads or launches, or use another backend" in str(error)


def test_loops_that_ran_to_their_end_raise_nothing(ectx):
    x = ectx.zeros(2, gc.i32)
    total[1, 2](x, LIMIT)
    assert list(x.numpy()) == [4950, 4950]


def test_a_loop_that_the_backend_made_has_no_line(ending, ectx):
    ending.word = lambda site: ANY_LOOP
    x = ectx.zeros(1, gc.i32)
    total[1, 1](x, MANY)
    with pytest.raises(
        gc.KernelRuntimeError, match="kernel 'total': the loop was ended by the device"
    ) as caught:
        x.numpy()
    assert (caught.value.filename, caught.value.lineno) == (None, None)


def test_a_kernel_from_the_disk_cache_still_knows_its_lines(ending):
    for _ in range(2):
        with gc.Context("ending") as context:
            x = context.zeros(1, gc.i32)
            total[1, 1](x, MANY)
            with pytest.raises(gc.KernelRuntimeError) as caught:
                x.numpy()
            assert caught.value.lineno == line_of(total)
    assert len(ending.compiled) == 1


def test_a_checked_kernel_reports_ended_loops_beside_its_checks(ectx):
    x = ectx.options(check=True).zeros(2, gc.i32)
    total[1, 2](x, MANY)
    with pytest.raises(gc.KernelRuntimeError, match="was ended by the device"):
        x.numpy()
    total[1, 3](x, 5)
    with pytest.raises(gc.KernelBoundsError):
        x.numpy()


# --- when it is raised
@pytest.mark.parametrize("waiting", ["context", "stream", "event", "numpy", "close"])
def test_whatever_waits_raises_it_once(ending, waiting):
    context = gc.Context("ending")
    x, stream = context.zeros(1, gc.i32), context.stream()
    total[1, 1, stream](x, MANY)
    wait = {
        "context": context.synchronize,
        "stream": stream.synchronize,
        "event": stream.record().synchronize,
        "numpy": x.numpy,
        "close": context.close,
    }[waiting]
    assert len(errors(wait, wait)) == 1
    assert not errors(context.close)


def test_range_launches_and_bound_launches_raise_it_each_time(ectx):
    x, y = ectx.zeros(4, gc.i32), ectx.zeros((1, 2, 1, 2), gc.i32)
    stream = ectx.stream()
    launches = [
        lambda: total.over(4)(x, MANY),
        lambda: of_four_axes.over((1, 2, 1, 2))(y, MANY),
        lambda: total[2, 2, stream](x, MANY),
        total[2, 2].bind(x, MANY),
        total.over(4).bind(x, MANY),
        of_four_axes.over(y.shape).bind(y, MANY),
        total[2, 2, stream].bind(x, MANY),
    ]
    for launch in launches:
        for _ in range(2):
            launch()
            assert len(errors(ectx.synchronize, ectx.synchronize)) == 1


def test_the_first_of_several_is_raised_and_the_context_works_on(ectx):
    x = ectx.zeros(1, gc.i32)
    counted[1, 1](x, MANY)
    total[1, 1](x, MANY)
    (error,) = errors(ectx.synchronize, ectx.synchronize)
    assert error.kernel == "counted"
    total[1, 1](x, 10)
    assert x.numpy()[0] == 45


def test_what_a_stream_left_behind_is_raised_by_the_next_wait(ectx):
    x, y, stream = ectx.zeros(1, gc.i32), ectx.zeros(1, gc.i32), ectx.stream()
    total[1, 1, stream](x, MANY)
    del x, stream
    assert len(errors(y.numpy, y.numpy, ectx.synchronize)) == 1


# --- threads
def test_a_thread_that_waits_while_another_launches_loses_nothing(ending, ectx):
    x = ectx.zeros(1, gc.i32)
    total[1, 1](x, 1)
    raised = []
    thread = threading.Thread(target=lambda: raised.extend(errors(ectx.synchronize)))

    def before_launch():
        ending.before_launch = lambda: None
        thread.start()
        # it finishes where nothing holds it up: before the kernel has run
        thread.join(0.05)

    ending.before_launch = before_launch
    total[1, 1](x, MANY)
    thread.join()
    raised += errors(ectx.synchronize, ectx.synchronize)
    assert len(raised) == 1


def test_a_launch_while_another_thread_reads_an_error_loses_nothing(ending, ectx):
    x = ectx.zeros(1, gc.i32)
    total[1, 1](x, MANY)
    thread = threading.Thread(target=total[1, 1], args=(x, MANY))

    def after_reading():
        ending.after_reading = lambda: None
        thread.start()
        thread.join(0.05)

    ending.after_reading = after_reading
    raised = errors(ectx.synchronize)
    thread.join()
    raised += errors(ectx.synchronize, ectx.synchronize)
    assert len(raised) == 2


def test_who_listens_to_launches_may_wait_for_the_stream(ending, ectx):
    x = ectx.zeros(1, gc.i32)
    for launch in (lambda: total[1, 1](x, MANY), total[1, 1].bind(x, MANY)):
        ending.before_launch = ectx.synchronize
        launch()
        ending.before_launch = lambda: None
        assert len(errors(ectx.synchronize, ectx.synchronize)) == 1


# --- what it costs others
def test_kernels_whose_loops_are_short_carry_no_record(ending, ectx):
    x = ectx.zeros(1, gc.i32)
    for kernel in (short, straight):
        kernel[1, 1](x, 1)
    for module in ending.compiled:
        assert [p.name for p in module.kernel.params] == ["x", "n"]
        assert not any(isinstance(s, (For, While)) and s.site for s in walk(module.kernel.body))


def test_a_device_without_a_limit_gets_the_same_code_and_the_same_launches(ending, backend, monkeypatch):
    """As kernels without loops: neither a hidden parameter nor a step of the launch is there for the limit."""
    import gpucore._generated as generate

    sources = []

    def exec_(code, names):
        exec(code, names)

    def compile_(source, name, mode):
        sources.append(source)
        return compile(source, name, mode)

    monkeypatch.setattr(generate, "compile", compile_, raising=False)
    unlimited = Device(None)
    backend("unlimited", **unlimited.hooks())

    def launched(name, known):
        kernel = gc.kernel(known.__wrapped__)  # one that was never launched
        sources.clear()
        with gc.Context(name) as context:
            x = context.zeros(2, gc.i32)
            kernel[1, 2](x, 5)
            kernel[1, 2].bind(x, 5)()
        named = [re.sub(rf"\b{kernel.__name__}\b", "kernel", source) for source in sources]
        return [re.sub(r" +and 'range' not in GLOBALS\n", "", source) for source in named]

    plain = launched("unlimited", straight)
    assert launched("unlimited", total) == launched("ending", straight) == launched("ending", short) == plain
    assert launched("ending", total) != plain
    limited, unlimited_ = (
        next(m for m in device.compiled if m.kernel.name == "total") for device in (ending, unlimited)
    )
    assert " site " in str(limited)
    assert str(unlimited_) == str(limited).replace(" site 1", "").replace(", &$error: u32[?]", "")


# --- where a user reads it
def test_the_limit_is_a_capability_that_info_and_doctor_show(backend, ectx, monkeypatch):
    assert ectx.device.capabilities.loop_limit == LIMIT
    backend("unlimited", **Device(None).hooks())
    with gc.Context("unlimited") as other:
        assert other.device.capabilities.loop_limit is None
    monkeypatch.setenv("GPUCORE_BACKEND", "ending")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")

    def run(*command):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    for command in ("info", "doctor"):
        assert " ".join(run(command).split()).count("ends loops after 100 iterations") == 1
    assert json.loads(run("info", "--json"))["selected"]["loop_limit"] == LIMIT
    backends = json.loads(run("doctor", "--json"))["backends"]
    (checks,) = (b["checks"] for b in backends if b["name"] == "ending")
    assert [check["loop_limit"] for check in checks] == [LIMIT]
