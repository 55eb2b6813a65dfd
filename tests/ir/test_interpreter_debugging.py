"""The generated code stands on the user's own lines: breakpoints, stepping, pdb, tracebacks."""
# ruff: noqa: E501 - tables, one row a line

import bdb
import os
import subprocess
import sys
import textwrap
import traceback

import numpy as np
import pytest

import gpucore
from gpucore.errors import KernelBoundsError
from gpucore.ir.interpreter import interpret
from gpucore.ir.text import parse

USER = """\
import gpucore as gc                                # 1


@gc.kernel
def smooth(x, y):                                   # 5
    tile = gc.shared(4, gc.f32)                     # 6
    t = gc.thread_id(0)                             # 7
    tile[t] = twice(x[t])                           # 8
    gc.barrier()                                    # 9
    left = tile[max(t - 1, 0)]                      # 10
    y[t] = left + tile[t]                           # 11


def twice(value):
    return value * 2.0                              # 15
"""
IR = """
module ir=1 ndim=1 math=strict

func @twice(%value: f32) -> f32 {{
  %two: f32 = const 2.0 loc({file}, 15, 0)
  %0: f32 = mul %value, %two loc({file}, 15, 0)
  return %0 loc({file}, 15, 0)
}}

kernel @smooth(&x: f32[?], &y: f32[?]) {{
  memory &tile: shared f32[4]
  var !t: index
  var !left: f32
  %0: index = thread_id 0 loc({file}, 7, 0)
  set !t, %0 loc({file}, 7, 0)
  %1: f32 = load &x[%0] loc({file}, 8, 0)
  %2: f32 = call @twice(%1) loc({file}, 8, 0)
  store &tile[%0], %2 loc({file}, 8, 0)
  barrier loc({file}, 9, 0)
  %3: index = const 1 loc({file}, 10, 0)
  %4: index = const 0 loc({file}, 10, 0)
  %5: index = sub %0, %3 loc({file}, 10, 0)
  %6: index = max %5, %4 loc({file}, 10, 0)
  %7: f32 = load &tile[%6] loc({file}, 10, 0)
  set !left, %7 loc({file}, 10, 0)
  %8: f32 = get !left loc({file}, 11, 0)
  %9: f32 = load &tile[%0] loc({file}, 11, 0)
  %10: f32 = add %8, %9 loc({file}, 11, 0)
  store &y[%0], %10 loc({file}, 11, 0)
}}
"""


@pytest.fixture
def user(tmp_path):
    """The user's file, and the module that the front end would make of it."""
    path = tmp_path / "user.py"
    path.write_text(USER)
    import json

    return str(path), parse(IR.format(file=json.dumps(str(path))))


class Recorder(bdb.Bdb):
    """Stops at breakpoints, or at every line of a file, and notes where and what the variables are."""

    def __init__(self, step_in=None):
        super().__init__()
        self.step_in = step_in
        self.stops = []

    def user_line(self, frame):
        file = self.canonic(frame.f_code.co_filename)
        if self.step_in is None or file == self.step_in:
            if self.step_in is not None or self.get_breaks(file, frame.f_lineno):
                self.stops.append((frame.f_code.co_name, frame.f_lineno, dict(frame.f_locals)))
        if self.step_in is None:
            self.set_continue()


def run(debugger, module, n=3, races=True):
    x, y = np.arange(1, n + 1, dtype=np.float32), np.zeros(n, np.float32)
    debugger.runcall(interpret, module, 1, n, (x, y), detect_races=races)
    np.testing.assert_array_equal(y, [4.0, 6.0, 10.0])


@pytest.mark.parametrize("races", [True, False])
def test_a_breakpoint_on_a_kernel_line_stops_once_in_every_thread(user, races):
    file, module = user
    debugger = Recorder()
    assert debugger.set_break(file, 11) is None
    run(debugger, module, races=races)
    assert [(name, line) for name, line, _ in debugger.stops] == [("smooth", 11)] * 3
    assert [frame["t"] for _, _, frame in debugger.stops] == [0, 1, 2]
    assert [frame["left"] for _, _, frame in debugger.stops] == [2.0, 2.0, 4.0]
    assert debugger.stops[0][2]["tile"][:3] == [2.0, 4.0, 6.0]
    assert isinstance(debugger.stops[0][2]["x"], np.ndarray)


def test_a_breakpoint_in_a_device_function_stops_too(user):
    file, module = user
    debugger = Recorder()
    debugger.set_break(file, 15)
    run(debugger, module)
    assert [(n, line, f["value"]) for n, line, f in debugger.stops] == [
        ("twice", 15, v) for v in (1.0, 2.0, 3.0)
    ]


def test_stepping_goes_line_by_line_and_threads_change_at_the_barrier(user):
    file, module = user
    debugger = Recorder(step_in=file)
    x, y = np.arange(1, 3, dtype=np.float32), np.zeros(2, np.float32)
    debugger.runcall(interpret, module, 1, 2, (x, y), detect_races=False)
    lines = [line for name, line, _ in debugger.stops if line not in (1, 5)]
    half, rest = lines.index(10), lines[lines.index(10) :]
    assert [line for line in lines[:half] if line != 6] == [7, 8, 15, 9] * 2
    assert rest == [10, 11] * 2


def test_pdb_prints_variables_at_the_users_line(user, tmp_path):
    file, module = user
    script = tmp_path / "debug.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import pdb
            import numpy as np
            from gpucore.ir.interpreter import interpret
            from gpucore.ir.text import parse
            module = parse(open({str(tmp_path / "k.ir")!r}).read())
            x, y = np.arange(1, 4, dtype=np.float32), np.zeros(3, np.float32)
            debugger = pdb.Pdb(nosigint=True)
            debugger.rcLines = []
            debugger.runcall(interpret, module, 1, 3, (x, y))
            print("result", y.tolist())
            """
        )
    )
    from gpucore.ir.text import print_module

    (tmp_path / "k.ir").write_text(print_module(module, locations=True))
    commands = f"break {file}:10\ncontinue\np t, 'tile is', tile\nwhere\nnext\np left\nclear 1\ncontinue\n"
    root = os.path.dirname(os.path.dirname(gpucore.__file__))
    done = subprocess.run(
        [sys.executable, str(script)],
        input=commands,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root, "HOME": str(tmp_path)},
    )
    assert f"{file}(10)smooth()" in done.stdout, done.stdout + done.stderr
    assert "left = tile[max(t - 1, 0)]" in done.stdout, "the user's own source line is shown"
    assert "(0, 'tile is', [2.0, 4.0, 6.0, None])" in done.stdout
    assert f"{file}(11)smooth()" in done.stdout
    assert "result [4.0, 6.0, 10.0]" in done.stdout


def test_the_traceback_of_an_error_ends_on_the_kernels_line(user):
    file, module = user
    x, y = np.zeros(2, np.float32), np.zeros(3, np.float32)
    with pytest.raises(KernelBoundsError) as caught:
        interpret(module, 1, 3, (x, y))
    assert (caught.value.filename, caught.value.lineno) == (file, 8)
    frames = [f for f in traceback.extract_tb(caught.value.__traceback__) if f.filename == file]
    assert [(f.name, f.lineno) for f in frames] == [("smooth", 8)]
    assert "tile[t] = twice(x[t])" in frames[0].line


def test_equal_modules_from_different_places_keep_their_own_lines(user, tmp_path):
    file, module = user
    other_file = tmp_path / "other.py"
    other_file.write_text(USER)
    import json

    other = parse(IR.format(file=json.dumps(str(other_file))))
    assert other == module
    for m, where in ((module, file), (other, str(other_file)), (module, file)):
        with pytest.raises(KernelBoundsError) as caught:
            interpret(m, 1, 3, (np.zeros(2, np.float32), np.zeros(3, np.float32)))
        assert caught.value.filename == where


def test_names_that_python_or_the_machine_needs_do_not_clash():
    module = parse(
        """module ir=1 ndim=1 math=strict
        func @range(%range: i32) -> i32 {
          %float: i32 = add %range, %range
          return %float
        }
        kernel @abs(&abs: i32[?], %lambda: i32, %_gc_m_0: i32) {
          var !lambda: i32
          var !float: i32
          memoryless
        }
        """.replace(
            "          memoryless\n",
            """
          %i: index = global_id 0
          %one: index = const 1
          set !lambda, %lambda
          set !float, %_gc_m_0
          for %range: index = %i to %one step %one {
            %0: i32 = get !lambda
            %1: i32 = call @range(%0)
            %2: i32 = abs %1
            %3: i32 = get !float
            %4: i32 = add %2, %3
            store &abs[%range], %4
          }
        """,
        )
    )
    out = np.zeros(1, np.int32)
    interpret(module, 1, 1, (out, -4, 100))
    assert out[0] == 108
