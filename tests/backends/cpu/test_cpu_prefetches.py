"""Loops whose rounds read several cache lines in a row ask for them ahead, where the processor has AVX-512; others do not."""

import numpy as np
import pytest

import gpucore as gc
from gpucore_cpu.prefetches import add_prefetches

CALL = "call void @llvm.prefetch.p0("


def module(steps, loop=True, root="%base"):
    """A loop that reads vectors at these places, in elements; each begins where its own sum ends."""
    reads = "".join(
        f"  %at.{n} = add i32 {root}, {step}\n  %wide.{n} = sext i32 %at.{n} to i64\n"
        f"  %p.{n} = getelementptr i32, ptr %m0, i64 %wide.{n}\n  %v.{n} = load <16 x i32>, ptr %p.{n}, align 4\n"
        for n, step in enumerate(steps)
    )
    end = "br i1 %more, label %round, label %end" if loop else "br label %end"
    return f"""
define void @f(ptr %m0, i32 %base, i1 %more) {{
entry:
  br label %round

round:
{reads}  {end}

end:
  ret void
}}
"""


def test_each_of_five_lines_in_a_row_is_asked_for_ahead():
    found = add_prefetches(module([16, 32, 48, 64, 80]))
    assert found.count(CALL) == 5
    assert "  %v.3 = load" in found.split("%p.3, i64 4096\n")[1].split("\n")[1]
    assert found.count("declare void @llvm.prefetch.p0(") == 1


@pytest.mark.parametrize(
    "text",
    [
        module([16, 32, 48, 64]),
        module([1, 2, 3, 4, 5, 6]),
        module([32, 64, 96, 128, 160]),
        module([16, 32, 48, 64, 80], loop=False),
    ],
    ids=["four lines", "neighbours that overlap", "gaps", "no loop"],
)
def test_what_reads_otherwise_stays_as_it_is(text):
    assert add_prefetches(text) == text


def test_a_lone_line_beside_a_row_is_not_asked_for():
    found = add_prefetches(module([16, 32, 48, 64, 80, 400]))
    assert found.count(CALL) == 5
    assert "ptr %p.5, i64" not in found


@gc.kernel
def rows(x: gc.Array[gc.u32], o: gc.Array[gc.u32], blocks: gc.i32) -> None:
    lane = gc.thread_id(0)
    total = gc.u32(0)
    for block in range(blocks):
        base = block * 128 + lane
        for j in gc.static_range(8):
            total = total * gc.u32(3) + x[base + j * 16]
    o[lane] = total


def test_a_kernel_whose_last_rounds_ask_beyond_the_array_is_right():
    words = np.random.default_rng(1).integers(0, 2**32, (40, 8, 16), dtype=np.uint32)
    expected = np.zeros(16, np.uint32)
    for row in words.reshape(-1, 16):
        expected = expected * np.uint32(3) + row
    with gc.Context("cpu") as ctx:
        out = ctx.zeros(16, gc.u32)
        rows[1, 16](ctx.array(words.reshape(-1)), out, 40)
        assert (out.numpy() == expected).all()
