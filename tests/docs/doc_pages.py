"""The programs in the documents: what is run of them, and what type checkers read.

The Python blocks of a lesson are one program, in order. On the other pages each block stands alone, after lines that say what the
page takes for granted. A comment above a block says what is different about it::

    <!-- not run: CuPy -->          another library's program, or no program: the reason is in the list below; programs of
                                    other libraries are run by test_other_libraries.py, where those are
    <!-- inside a kernel -->        statements of a kernel, not of a program
    <!-- tests/... runs this block -->
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REASONS = (
    "CuPy", "Numba", "PyTorch", "Warp", "a signature", "a part of a generated file", "a generated package", "wants CUDA",
    "wants two GPUs",
)  # fmt: skip
BLOCK = re.compile(r"(?:^<!-- (?P<note>.+?) -->\n)?^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)

REFERENCE = """\
import numpy as np
import gpucore as gc
import gpucore
ctx = gc.Context()
stream = ctx.stream()
x = ctx.ones(1000, gc.f32)
samples, weights = np.ones((8, 4), np.float32), np.ones(4, np.float32)
@gc.kernel
def gradient(x: gc.Array2[gc.f32], w: gc.Array[gc.f32], g: gc.Array[gc.f32]) -> None:
    i, j = gc.global_ids(2)
    gc.atomic_add(g, j, x[i, j] * w[j])
image, result = ctx.ones((8, 8), gc.f32), ctx.ones((8, 8), gc.f32)
index = ctx.zeros(1000, gc.i32)
y, other, pinned = ctx.zeros(1000, gc.f32), ctx.zeros(1000, gc.f32), ctx.pinned(1000, gc.f32)
"""
SCALE = """\
@gc.kernel
def scale(x: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    x[i] = a * x[i]
"""
KERNEL = """\
@gc.kernel
def statements(part: gc.Array[gc.i32], ticket: gc.Array[gc.i32]) -> None:
    last = gc.shared(1, gc.i32)
    total = gc.i32(1)
"""
KERNEL_LAUNCH = "statements[4, 32](ctx.zeros(8, gc.i32), ctx.zeros(1, gc.i32))\nctx.synchronize()\n"
PLUGIN = """\
import sys, types
import gpucore
from gpucore import plugins
from gpucore.hookspecs import BackendInfo, hookimpl
from gpucore.testing import null
my_module = types.ModuleType("mydevice")
my_module.__dict__.update(vars(null))
my_module.backend_info = hookimpl(lambda: BackendInfo("mydevice", "for a test", priority=1, versions={}))
"""
"""What the blocks of a page take for granted."""


@dataclass(frozen=True)
class Block:
    """A block of Python of a page, with the comment above it."""

    page: str
    number: int
    note: str
    code: str

    @property
    def excuse(self) -> str:
        """Why it is not run; empty where it is."""
        return self.note.removeprefix("not run: ") if self.note.startswith("not run: ") else ""

    @property
    def elsewhere(self) -> str:
        """The test that runs it, where that is another one."""
        return self.note.removesuffix(" runs this block") if self.note.endswith(" runs this block") else ""


def pages() -> list[str]:
    """Every page with a block of Python, as a path from the root of the repository."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [file.relative_to(ROOT).as_posix() for file in files]
    return [name for name in names if "_build" not in name and blocks(name)]


def blocks(page: str) -> list[Block]:
    """The blocks of Python of a page."""
    found = BLOCK.finditer((ROOT / page).read_text("utf-8"))
    return [Block(page, n, match["note"] or "", match["code"]) for n, match in enumerate(found)]


def is_lesson(page: str) -> bool:
    """Whether the blocks of a page are one program."""
    return page.startswith(("docs/tutorial/", "docs/howto/", "docs/index"))


def programs(page: str) -> dict[str, str]:
    """What there is to run of a page, by name."""
    ours = [block for block in blocks(page) if not block.excuse and not block.elsewhere]
    stem = page.removeprefix("docs/").removesuffix(".md").replace("/", "_").replace("-", "_").lower()
    if is_lesson(page):
        return {stem: "\n\n".join(block.code for block in ours)} if ours else {}
    result = {}
    for block in ours:
        if block.note == "inside a kernel":
            code = REFERENCE + KERNEL + textwrap.indent(block.code, "    ") + KERNEL_LAUNCH
        elif page == "docs/plugin-authors.md":
            code = PLUGIN + register_first(block.code)
        elif page == "README.md":
            code = block.code
        else:
            code = REFERENCE + ("" if "def scale" in block.code else SCALE) + block.code
        result[f"{stem}_{block.number}"] = code
    return result


def register_first(code: str) -> str:
    """The code with its backend registered, where it does not do that itself."""
    if "plugins.register" in code or "gpucore.Context" not in code:
        return code
    return 'with plugins.register("mydevice", my_module):\n' + textwrap.indent(code, "    ")
