"""The interpreter under kernels as users write them, debuggers included."""

import bdb
import inspect

import numpy as np
import pytest

import gpucore as gc
from gpucore.ir import nodes as ir
from gpucore.ir.text import parse, print_module
from gpucore.lang.builder import rename_values


@gc.func
def twice(value):
    if value > 100.0:
        return value
    return value * 2.0


@gc.kernel
def smooth(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    tile = gc.shared(8, gc.f32)
    t = gc.thread_id(0)
    weight = 1.0
    tile[t] = twice(x[t])
    gc.barrier()
    left = tile[max(t - 1, 0)]
    total = 0.0
    for k in range(2):
        total += left
    y[t] = total * weight + tile[t]  # BREAK


@gc.kernel
def block_sum(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    tile = gc.shared(64, gc.f32)
    t = gc.thread_id(0)
    tile[t] = x[gc.global_id(0)]
    gc.barrier()
    step = 32
    while step > 0:
        if t < step:
            tile[t] += tile[t + step]
        gc.barrier()
        step = step // 2
    if t == 0:
        y[gc.block_id(0)] = tile[0]


@gc.kernel
def block_sum_without_barrier(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    tile = gc.shared(64, gc.f32)
    t = gc.thread_id(0)
    tile[t] = x[gc.global_id(0)]
    gc.barrier()
    step = 32
    while step > 0:
        if t < step:
            tile[t] += tile[t + step]  # RACE
        step = step // 2
    if t == 0:
        y[gc.block_id(0)] = tile[0]


@gc.kernel
def stencil(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    i, j = gc.global_id(0), gc.global_id(1)
    y[i, j] = x[i, j] + x[i, j + 1]  # BOUNDS


def line_of(kernel, mark):
    """The line of a mark in this file."""
    with open(__file__) as file:
        lines = file.read().split("\n")
    start = next(n for n, text in enumerate(lines) if text.startswith(f"def {kernel.__name__}("))
    return next(n + 1 for n in range(start, len(lines)) if f"# {mark}" in lines[n])


class Stopper(bdb.Bdb):
    def __init__(self):
        super().__init__()
        self.seen = []

    def user_line(self, frame):
        if self.get_breaks(self.canonic(frame.f_code.co_filename), frame.f_lineno):
            self.seen.append((frame.f_lineno, dict(frame.f_locals)))
        self.set_continue()


def test_a_breakpoint_in_a_kernel_shows_its_variables_by_name():
    stopper = Stopper()
    where = line_of(smooth, "BREAK")
    assert stopper.set_break(inspect.getsourcefile(smooth_body), where) is None
    x, y = np.arange(1, 4, dtype=np.float32), np.zeros(3, np.float32)
    stopper.runcall(smooth.interpret, 1, 3, x, y)
    assert [line for line, _ in stopper.seen] == [where] * 3
    first, _, last = (names for _, names in stopper.seen)
    assert (first["t"], first["left"], first["total"], first["weight"]) == (0, 2.0, 4.0, 1.0)
    assert (last["t"], last["left"], last["total"], last["k"]) == (2, 4.0, 8.0, 1)
    assert last["tile"][:3] == [2.0, 4.0, 6.0] and last["x"] is x
    assert y.tolist() == [6.0, 8.0, 14.0]


def smooth_body():
    """Stands in this file, so that its source file is this one's."""


@pytest.mark.parametrize("races", [True, False])
def test_a_tree_reduction_is_right_and_free_of_races(races):
    x, y = np.random.default_rng(0).random(256).astype(np.float32), np.zeros(4, np.float32)
    block_sum.interpret(4, 64, x, y, detect_races=races)
    expected = x.reshape(4, 64).copy()
    step = 32
    while step:
        expected[:, :step] += expected[:, step : 2 * step]
        step //= 2
    np.testing.assert_array_equal(y, expected[:, 0])


def test_the_same_reduction_without_its_barrier_races_on_its_line():
    x, y = np.ones(64, np.float32), np.zeros(1, np.float32)
    with pytest.raises(gc.DataRaceError) as caught:
        block_sum_without_barrier.interpret(1, 64, x, y)
    e = caught.value
    where = line_of(block_sum_without_barrier, "RACE")
    assert (e.lineno, e.other_lineno, e.array, e.kernel) == (
        where,
        where,
        "tile",
        "block_sum_without_barrier",
    )
    assert e.filename == __file__
    block_sum_without_barrier.interpret(1, 64, x, y, detect_races=False)


def test_an_index_past_the_end_names_the_line_and_the_index_of_each_axis():
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(gc.KernelBoundsError) as caught:
        stencil.interpret((1, 1), (2, 3), x, y)
    e = caught.value
    assert (e.filename, e.lineno) == (__file__, line_of(stencil, "BOUNDS"))
    assert (e.array, e.index, e.shape, e.thread) == ("x", (0, 3), (2, 3), (0, 2))


def test_the_text_of_a_users_kernel_reads_back():
    module = smooth.ir(np.zeros(1, np.float32), np.zeros(1, np.float32))
    typed = module if isinstance(module, ir.Module) else module.module
    assert parse(str(typed)) == typed and parse(print_module(typed, locations=True)) == typed
    assert "%left: f32 = load &tile" in str(typed) and "%t: index = thread_id 0" in str(typed)


def test_renaming_values_reaches_definitions_uses_and_nested_blocks():
    text = """module ir=1 ndim=1 math=strict
kernel @k(&x: i32[?]) {
  %1: index = global_id 0
  %2: bool = eq %1, %1
  if %2 {
    %3: i32 = load &x[%1]
    while {
      %4: bool = eq %3, %3
    } do %4 {
      store &x[%1], %3
    }
  }
}
"""
    module = parse(text)
    body = rename_values(module.kernel.body, {"1": "i", "4": "again"})
    renamed = text.replace("%1", "%i").replace("%4", "%again")
    assert parse(renamed).kernel.body == body
    assert rename_values(body, {}) == body
