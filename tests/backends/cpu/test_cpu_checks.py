"""Checked accesses on the CPU: which thread of a gang is reported, with its own index, and what the code is like."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpucore as gc
from gpucore import ir
from gpucore.errors import KernelBoundsError
from gpucore.ir.passes.lower import LowerOptions, lower
from gpucore.math import library


@gc.kernel
def pick(
    x: gc.Array2[gc.f32], row: gc.Array1[gc.i64], column: gc.Array1[gc.i16], y: gc.Array1[gc.f32]
) -> None:
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = x[row[i], column[i]]


@pytest.mark.parametrize("wrong", [(0,), (63,), (5, 6, 7), (17, 3, 40), (16, 31, 47, 62), tuple(range(64))])
@pytest.mark.parametrize("threads", [64, 61])
def test_the_first_wrong_thread_is_reported_with_its_own_index(wrong: tuple[int, ...], threads: int) -> None:
    wrong = tuple(min(i, threads - 1) for i in wrong)
    rows, columns = np.arange(64, dtype=np.int64) % 5, np.arange(64, dtype=np.int16) % 7
    for i in wrong:
        if i % 2:
            rows[i] = -(2**40) - i
        else:
            columns[i] = 7 + i
    x = np.arange(35, dtype=np.float32).reshape(5, 7) + 1
    with gc.Context("cpu") as ctx:
        y = ctx.empty(threads, gc.f32)
        pick.over(64)(ctx.array(x), ctx.array(rows), ctx.array(columns), y)
        with pytest.raises(KernelBoundsError) as error:
            ctx.synchronize()
        first = min(wrong)
        assert (error.value.thread, error.value.shape) == ((first,), (5, 7))
        assert error.value.index == (rows[first], columns[first])
        expected = [0 if i in wrong else x[rows[i], columns[i]] for i in range(threads)]
        assert y.numpy().tolist() == expected


GATHER = """
module ir=1 ndim=1 math=strict noalias

kernel @gather(&x: f32[?], &at: i32[?], &y: f32[?]) {
  %i: index = global_id 0
  %n: index = extent &y, 0
  %c: bool = lt %i, %n
  if %c {
    %a: i32 = load &at[%i]
    %j: index = cast %a
    %v: f32 = load &x[%j] loc("kernel.py", 7, 4)
    store &y[%i], %v loc("kernel.py", 8, 4)
  }
}
"""


@pytest.fixture
def checked_text(cpu: Any) -> Callable[[str], str]:
    def render(source: str) -> str:
        target = cpu.target
        options = LowerOptions(
            native=target.native, library=library, fast_native=frozenset(), atomics=target.atomics,
            check="device", range_launch=None, small=True, noalias=True, speculates=target.speculates,
        )  # fmt: skip
        text = cpu.render(lower(ir.parse(source), options).module)
        assert isinstance(text, str)
        return text

    return render


def test_an_index_is_compared_once_and_reported_in_scalars(checked_text: Callable[[str], str]) -> None:
    """What the loop over gangs holds costs each element; its reports must hold no loop, which LLVM takes for the work itself."""
    text = checked_text(GATHER)
    body = text[text.index("define internal void @body") : text.index("define dso_local")]
    assert re.search(r"icmp u(lt|ge) <\d+ x i32>", body)
    assert "lane." not in body
    assert "!prof" in body
