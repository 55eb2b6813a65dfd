"""Finalizers may use a context, whatever call of the library the collector runs them in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpucore.errors import DeviceError

HEAD = """
import faulthandler, gc as collector, sys, threading
faulthandler.dump_traceback_later(220, exit=True)
import gpucore as gc

@gc.kernel
def add(x: gc.Array[gc.i32], a: gc.i32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a

ctx = gc.Context("cpu")
y = ctx.zeros(64, gc.i32)
add.over(64)(y, 1)  # imports and compiles
"""

# a collection at nearly every allocation, so that finalizers run within the library's own sections
USE = """
errors, ends = [], 0
sys.unraisablehook = lambda what: errors.append(what.exc_value)

class Resource:
    def __init__(self):
        self.ring = self
        self.x, self.stream = ctx.zeros(64, gc.i32), ctx.stream()

    def __del__(self):
        global ends
        ends += 1
        add.over(64, stream=self.stream)(self.x, 2)
        assert self.x.numpy()[0] == 2
        if ends % 5 == 0:
            with gc.Context("cpu") as other:
                assert other.ones(3, gc.i32).numpy()[0] == 1

collector.set_threshold(20, 2, 2)
for number in range(300):
    Resource()
    y.fill(number)
    add.over(64)(y, 1)
    assert y.numpy()[0] == number + 1
collector.set_threshold(0)
print(ends > 100, *errors[:3])
"""

WITHIN = """
NAMES = sys.argv[1].split()
results = []

@gc.kernel
def soft(x: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += gc.exp(a) + gc.sin(a)

def use():
    with gc.Context("cpu") as other:
        z = other.zeros(64, gc.f32)
        soft.over(64, stream=other.stream())(z, 0.5)
        results.append(float(z.numpy()[0]))
    z = ctx.zeros(64, gc.f32)
    soft.over(64, stream=ctx.stream())(z, 0.5)
    results.append(float(z.numpy()[0]))

def finalize(frame, event, arg):
    if event != "call" or frame.f_code.co_name != NAMES[0] or results:
        return
    if NAMES[1] in frame.f_code.co_filename or frame.f_back.f_code.co_name == NAMES[1]:
        sys.setprofile(None)
        use()

sys.setprofile(finalize)
use()
sys.setprofile(None)
print(len(results), len(set(results)))
"""


def run(tmp_path, program, *arguments):
    script = tmp_path / "program.py"
    script.write_text(HEAD + program, "utf-8")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.split()


def test_finalizers_launch_copy_wait_and_open_contexts(tmp_path):
    assert run(tmp_path, USE) == ["True"]


@pytest.mark.parametrize(
    "where",
    ["build_function lang", "compile_program pipeline.py", "add create_stream"],
)
def test_a_finalizer_within_the_librarys_own_sections_does_what_the_call_does(tmp_path, where):
    """Within the compilation of the kernel that it wants itself, and the creation of a stream."""
    assert run(tmp_path, WITHIN, where) == ["4", "1"]


def test_a_finalizer_in_a_thread_of_streams_cannot_wait_and_hears_why():
    from gpucore_cpu.runtime.streams import Stream

    stream, found = Stream(), []

    def finalizer():
        try:
            stream.submit(lambda: None)
            stream.synchronize()
        except DeviceError as error:
            found.append(str(error))

    stream.submit(finalizer)
    stream.synchronize()
    assert found
    assert "cannot wait" in found[0]
    stream.close()
    stream.join()


@pytest.fixture
def default():
    from gpucore.runtime.context_options import _Default

    made = _Default()
    yield made
    made.context.close()


def test_a_finalizer_asks_for_the_default_context_while_it_is_opened(default, monkeypatch):
    import gpucore.runtime.context as module

    opened, inner = module.Context, []

    def open_slowly():
        if not inner:
            inner.append(None)
            inner[0] = default.get()
        return opened("cpu")

    monkeypatch.setattr(module, "Context", open_slowly)
    assert default.get() is inner[0] is default.get()
