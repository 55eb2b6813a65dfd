"""Loops over what Python loops over: the kernel and the same function run by Python store the same."""

import collections
import dataclasses
import enum

import numpy as np
import pytest
from lang_helpers import compiled, run, statements

import gpucore as gc
from gpucore.errors import KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import i32

OFFSETS = ((-1, 0), (1, 0), (0, -1), (0, 1))
WEIGHTS = (3, 5, 7)
Limits = collections.namedtuple("Limits", "low high")
LIMITS = Limits(2, 9)


@dataclasses.dataclass(frozen=True)
class Filter:
    radius: int
    taps: tuple[int, ...]


class Mode(enum.Enum):
    FAST = 4
    SLOW = 8


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 6


FILTER = Filter(2, (1, 2, 1))


def over_a_tuple(y, n):
    for w in WEIGHTS:
        y[w] = w + n


def over_a_tuple_of_values(y, n):
    for v in (n, n + 1, y[3]):
        y[v] += 1


def over_pairs(y, n):
    for dy, dx in OFFSETS:
        y[5 + 2 * dy + dx] += dy + 10 * dx


def over_nested_pairs(y, n):
    for k, (dy, dx) in enumerate(OFFSETS):
        y[k] += dy + 10 * dx


def enumerated(y, n):
    for k, w in enumerate(WEIGHTS):
        y[k] = w


def enumerated_from(y, n):
    for k, w in enumerate(WEIGHTS, start=n):
        y[k] = w
    for k, w in enumerate(WEIGHTS, 1):
        y[k] += w


def enumerated_range(y, n):
    for k, i in enumerate(range(2, n, 3)):
        y[k] = 100 + i


def enumerated_range_downwards(y, n):
    for k, i in enumerate(range(n, 1, -2), 1):
        y[k] = 100 + i


def zipped(y, n):
    for w, k in zip(WEIGHTS, (8, 9, 10, 11)):  # noqa: B905
        y[k] = w


def zipped_with_a_known_range(y, n):
    for w, k in zip(WEIGHTS, range(4, 9)):  # noqa: B905
        y[k] = w


def zipped_ranges(y, n):
    for i, j, k in zip(range(n), range(10, 0, -2), range(3, 99)):  # noqa: B905
        y[i] = 100 * j + k


def reversed_range(y, n):
    last = 0
    for i in reversed(range(n)):
        y[i] = last
        last += i + 1


def reversed_range_with_steps(y, n):
    last = 1
    for i in reversed(range(1, n, 3)):
        y[i] = last
        last *= 2
    for i in reversed(range(n, 2, -2)):
        y[i] += last
        last *= 2


def reversed_empty(y, n):
    for i in reversed(range(n, n)):
        y[i] = 7
    for i in reversed(range(n, 1, 2)):
        y[i] = 8
    for i in reversed(range(n - 9)):
        y[0] = 9


def reversed_tuple(y, n):
    last = 1
    for w in reversed(WEIGHTS):
        y[w] = last
        last += 1


def reversed_enumerate_of_a_range(y, n):
    total = 0
    for w in reversed(WEIGHTS):
        for k, i in enumerate(reversed(range(w))):
            total += k * i
    y[0] = total


def left_early(y, n):
    for k, w in enumerate(WEIGHTS):
        if w == n:
            continue
        if w == 7:
            break
        y[k] = w


def left_early_over_a_range(y, n):
    for k, i in enumerate(range(5, 50)):
        if i == 7:
            continue
        if k == n:
            break
        y[k] = i


def read_after_the_loop(y, n):
    k = 0
    w = 0
    for k, w in enumerate(WEIGHTS):  # noqa: B007
        y[0] += 1
    y[1] = k
    y[2] = w


def changed_within(y, n):
    for w in WEIGHTS:
        w = w + 1  # noqa: PLW2901
        y[w] = w
    for i in range(3):
        i = i + 1  # noqa: PLW2901
        y[i] += i


def contained(y, n):
    for i in range(8):
        if i in WEIGHTS or i in (n, 4):
            y[i] = 1
        if i not in WEIGHTS:
            y[i] += 2


def quotients(y, n):
    for i in range(-4, 4):
        q, r = divmod(i, n - 3)
        y[i + 4] = 100 * q + r
    q, r = divmod(-7, 3)
    y[9] = 100 * q + r


def tuple_again(y, n):
    t = (n, 1)
    for _ in range(6):
        t = (t[1], t[0] + t[1])
    y[0], y[1] = t


def tuple_of_tuples_again(y, n):
    t = ((n, 1), 2)
    if n > 3:
        t = ((t[0][1], t[1]), t[0][0])
    (a, b), c = t
    y[0], y[1], y[2] = a, b, c


def tuple_by_steps(y, n):
    low, high = 0, n
    pair = (low, high)
    while pair[1] - pair[0] > 1:
        middle = (pair[0] + pair[1]) // 2
        if middle * middle <= n:
            pair = (middle, pair[1])
        else:
            pair = (pair[0], middle)
    y[0] = pair[0]


def named_tuple(y, n):
    y[0] = LIMITS.low + 10 * LIMITS[1]
    for k in range(LIMITS.low, LIMITS.high):
        y[k] += 1
    low, high = LIMITS
    y[1] = low * high


def frozen_dataclass(y, n):
    for k, t in enumerate(FILTER.taps, FILTER.radius):
        y[k] = t


def enums(y, n):
    y[Mode.FAST.value] = Mode.SLOW.value
    y[Level.HIGH] = Level.LOW.value


FORMS = [
    f for f in list(globals().values())
    if getattr(f, "__module__", None) == __name__ and getattr(getattr(f, "__code__", None), "co_varnames", ())[:2] == ("y", "n")
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_a_kernel_does_what_python_does(form):
    for n in (4, 5, 9):
        wanted, found = np.zeros(16, np.int64), np.zeros(16, np.int32)
        form(wanted, n)
        run(form, found, n)
        assert found.tolist() == wanted.tolist()


def test_there_are_forms():
    assert len(FORMS) >= 25


def test_a_function_may_return_from_a_loop_over_a_tuple():
    @gc.func
    def first_above(n):
        for w in WEIGHTS:
            if w > n:
                return w
        return 0

    def kernel(y, n):
        y[0] = first_above(n)

    for n, wanted in ((2, 3), (4, 5), (8, 0)):
        y = np.zeros(1, np.int32)
        run(kernel, y, n)
        assert y[0] == wanted


def test_a_loop_over_arrays():
    def kernel(x, y):
        total = 0
        for a in (x, y):
            for i in range(a.shape[0]):
                total += a[i]
        y[0] = total

    x, y = np.array([1, 2], np.int32), np.array([3, 4, 5], np.int32)
    run(kernel, x, y)
    assert y[0] == 15


def test_a_counted_loop_is_one_loop_however_it_is_written():
    def kernel(y, n):
        for k, (i, j) in enumerate(zip(range(n), reversed(range(n)))):  # noqa: B905
            y[k] = i * j

    assert len(statements(compiled(kernel, i32, gc.lang.ScalarType(i32)), ir.For)) == 1


def test_nested_unrolled_loops_have_a_bound_on_all_copies():
    def kernel(y):
        for i in gc.static_range(16):
            for j in gc.static_range(16):
                for k in gc.static_range(64):
                    y[i] = j + k

    compiled(kernel, i32)

    def more(y):
        for i in gc.static_range(17):
            for j in gc.static_range(16):
                for k in gc.static_range(64):
                    y[i] = j + k

    with pytest.raises(KernelTypeError, match="repeat this body 17408 times; at most 16384"):
        compiled(more, i32)


def test_constants_that_change_are_seen_inside_frozen_dataclasses_and_enums():
    from gpucore.lang import capture

    scope = {"gc": gc, "CONFIG": Filter(1, (1, 1))}
    text = "def kernel(y):\n    y[0] = CONFIG.radius\n"
    exec(text, scope)
    captured = capture(scope["kernel"], source=text)
    before = captured.constants()
    scope["CONFIG"] = Filter(1, (1, 1))
    assert captured.constants() == before
    scope["CONFIG"] = Filter(2, (1, 1))
    assert captured.constants() != before
    text = "def whole(y):\n    y[0] = radius_of(CONFIG)\n"
    scope["radius_of"] = gc.func(_radius_of)
    exec(text, scope)
    captured = capture(scope["whole"], source=text)
    before = captured.constants()
    hash(before)
    scope["CONFIG"] = Filter(True + 1, (1, 1))
    assert captured.constants() == before
    scope["CONFIG"] = Filter(2, (1, 1.0))
    assert captured.constants() != before


def _radius_of(config):
    return config.radius
