"""Captured constants: which are taken, how they are typed, that a changed one is seen."""

import enum
import types

import numpy as np
import pytest
from lang_helpers import compiled, run, statements

import gpucore as gc
from gpucore.errors import KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import f32, f64, i32, u32
from gpucore.ir.interpreter import interpret
from gpucore.lang import ArrayType, ConstValue, ScalarType, build, capture, portability, traits

SCALE = 3
SMALL = (1, 2, 3)
WORDS = (0, 0xA2F9836E)
HALVES = (0.5, 0.25)
EXACT = tuple(gc.f64(v) for v in (0.1, 0.2))
GRID = ((1, 2, 3), (4, 5, 6))


class Mode(enum.IntEnum):
    FAST = 4


def test_numbers_enums_attributes_and_closures():
    inner = 10
    settings = types.SimpleNamespace(radius=100)

    def kernel(y):
        y[0] = SCALE + inner + settings.radius + Mode.FAST * 1000

    y = np.zeros(1, np.int32)
    run(kernel, y)
    assert y[0] == 4113


@pytest.mark.parametrize(
    ("table", "dtype"),
    [(SMALL, i32), (WORDS, u32), (HALVES, f32), (EXACT, f64)],
    ids=["i32", "u32", "f32", "f64"],
)
def test_tuples_indexed_at_run_time_become_tables(table, dtype):
    def kernel(y, i):
        y[0] = table[i]

    (memory,) = compiled(kernel, f32, ScalarType(i32)).kernel.memories
    assert (memory.space, memory.dtype) == ("const", dtype)
    assert memory.values == tuple(v.item() if hasattr(v, "item") else v for v in table)


def test_tables_of_rows():
    def kernel(y, i):
        y[0] = GRID[i][2] * 10 + GRID[0][i] + GRID[1][1] * 100

    y = np.zeros(1, np.int32)
    run(kernel, y, 1)
    assert y[0] == 562


def test_constant_indices_of_tuples_are_folded():
    def kernel(y):
        y[0] = SMALL[-1] + len(SMALL)

    assert not compiled(kernel, i32).kernel.memories


def test_a_changed_constant_changes_the_fingerprint_and_the_module():
    value = 1

    def kernel(y):
        y[0] = value

    captured = capture(kernel)
    seen = set()
    for value in (1, 1.0, True, 2, 0.0, -0.0, np.float32(1), (1, 2), (1.0, 2)):
        fingerprint = captured.constants()
        assert hash(fingerprint) == hash(captured.constants())
        seen.add(fingerprint)
    assert len(seen) == 9


def test_a_constant_of_a_device_function_is_the_kernel_s_too():
    value = 1

    @gc.func
    def scaled(x):
        return x * value

    def kernel(y):
        y[0] = scaled(y[0])

    captured = capture(kernel)
    before = captured.constants()
    value = 2
    assert captured.constants() != before


def test_compile_time_parameters_are_constants():
    def kernel(y, n: gc.constexpr, dtype: gc.constexpr, name: gc.constexpr):
        tile = gc.shared(n, dtype)
        tile[0] = n
        if name == "double":
            y[0] = tile[0] * 2
        else:
            y[0] = nonsense  # noqa: F821

    module = build(capture(kernel), [ArrayType(i32), ConstValue(4), ConstValue(gc.i32), ConstValue("double")])
    assert [p.name for p in module.kernel.params] == ["y"]
    assert [(m.shape, m.dtype) for m in module.kernel.memories] == [((4,), i32)]


@pytest.mark.parametrize("mode", [3, 2.5, True, gc.i32, np.int64(3)])
def test_a_constant_that_is_no_word_differs_from_every_word(mode):
    def kernel(y, mode: gc.constexpr):
        if mode == "double":
            y[0] = nonsense  # noqa: F821
        if mode != "double":
            y[0] = 7

    module = build(capture(kernel), [ArrayType(i32), ConstValue(mode)])
    y = np.zeros(1, np.int32)
    interpret(module, (1,), (1,), (y,))
    assert y[0] == 7


def test_a_tuple_of_other_things_is_no_table():
    names = ("a", "b")

    def kernel(y, i):
        y[0] = names[i]

    with pytest.raises(KernelTypeError, match="tuple of constants"):
        compiled(kernel, i32, ScalarType(i32))


# --- traits ------------------------------------------------------------------------------------------------
def plain(x):
    i = gc.global_id(0)
    x[i] = x[i] * 2.0


def adds_floats(x):
    gc.atomic_add(x, 0, 1.0)


def counts(x: gc.Array[gc.i32]):
    gc.atomic_add(x, 0, 1)


def uses_old(x: gc.Array[gc.i32]):
    old = gc.atomic_add(x, 0, 1)
    x[1] = old


def sums(x):
    x[0] = gc.subgroup_sum(x[0])


@pytest.mark.parametrize(
    ("kernel", "dtype", "options", "portable", "word"),
    [
        (plain, f32, {}, True, ""),
        (adds_floats, f32, {}, False, "atomic_add"),
        (counts, i32, {}, True, ""),
        (uses_old, i32, {}, False, "order"),
        (sums, f32, {}, False, "width"),
        (sums, f32, {"subgroup": 32}, True, ""),
        (plain, f32, {"math": "fast"}, False, "fast"),
    ],
)
def test_portability_and_its_reason(kernel, dtype, options, portable, word):
    found = traits(compiled(kernel, dtype, **options))
    assert found.portable is portable
    assert word in found.note
    assert bool(found.note) is not portable


def test_the_note_names_the_line():
    note = traits(compiled(uses_old, i32)).note
    assert f"line {uses_old.__code__.co_firstlineno + 1}" in note


def test_portability_is_known_before_the_first_launch():
    def kernel(x: gc.Array[gc.f32], n: gc.constexpr):
        x[gc.global_id(0)] = n

    assert portability(capture(kernel), None, None) == (True, "")


def test_traits_say_what_a_kernel_uses():
    def kernel(x):
        tile = gc.shared(4, gc.f32)
        tile[gc.thread_id(0)] = gc.subgroup_sum(1.0)
        gc.barrier()
        gc.atomic_add(x, 0, tile[0])

    found = traits(compiled(kernel, f32))
    uses = (
        found.uses_thread_ids,
        found.uses_shared,
        found.uses_barriers,
        found.uses_subgroups,
        found.uses_atomics,
    )
    assert uses == (True,) * 5
    assert not any(
        (lambda t: (t.uses_thread_ids, t.uses_shared, t.uses_barriers, t.uses_subgroups, t.uses_atomics))(
            traits(compiled(plain, f32))
        )
    )
    assert statements(compiled(kernel, f32), ir.Barrier)


TILE = np.int64(4)
HALF = np.int32(2)
AXIS = np.uint8(0)


def test_numpy_integers_are_constants_wherever_one_is_wanted():
    def kernel(y, n: gc.constexpr):
        tile = gc.shared((TILE, TILE // HALF + n), gc.i32)
        own = gc.local(HALF**2, gc.i32)
        tile[0, 0] = 1
        own[HALF] = gc.i32(y.shape[AXIS])
        total = 0
        for step in gc.static_range(HALF):
            total += step + 1
        y[gc.global_id(AXIS)] = total * 100 + own[2] * 10 + tile[0, 0]

    constant = ConstValue(np.int16(3))
    module = build(capture(kernel), (ArrayType(i32, 1), constant), ndim=1, math="strict", subgroup=None)
    assert sorted(memory.shape for memory in module.kernel.memories if memory.shape) == [(4,), (4, 5)]
    y = np.zeros(1, np.int32)
    interpret(module, (1,), (1,), [y], detect_races=False)
    assert y[0] == 311


def test_a_numpy_integer_keeps_its_dtype_in_arithmetic():
    def kernel(y):
        y[0] = gc.i64(HALF * 2**30 * 2)

    y = np.zeros(1, np.int64)
    run(kernel, y)
    assert y[0] == 0  # an i32 wraps, a weak int would not fit


def test_a_numpy_integer_that_is_no_index_harms_nothing_where_nobody_goes():
    nothing = np.int64(0)

    def kernel(y):
        if nothing > 0:
            y[nothing - 1] = 5

    y = np.zeros(1, np.int32)
    run(kernel, y)
    assert y[0] == 0
