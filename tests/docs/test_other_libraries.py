"""The programs of CuPy, Numba, PyTorch and Warp in the documents run and say the same as NumPy, where those libraries are."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import doc_pages
import pytest

import gpucore as gc


@dataclass(frozen=True)
class Programs:
    """The blocks of a page that are run as one program, and what is known of their results.

    Attributes
    ----------
    library : str
        The module that is to be installed.
    excuse : str
        Why the other tests do not run the blocks.
    checks : tuple[str, ...]
        A program behind each block; what the next one takes for granted stands there, too.
    without_gpu : tuple[tuple[str, str], ...] | None
        What to write for what, where there is no GPU; None where one is needed.
    """

    page: str
    library: str
    excuse: str
    checks: tuple[str, ...]
    before: str = ""
    without_gpu: tuple[tuple[str, str], ...] | None = None


CUPY = Programs(
    "docs/howto/from-cupy.md", "cupy", "CuPy",
    (
        "assert (cp.asnumpy(y) == np.arange(n, dtype=np.float32) * 2 + 1).all()",
        "assert (cp.asnumpy(z) == np.square(cp.asnumpy(x) - cp.asnumpy(y))).all()\n"
        "wanted = np.fft.rfft(cp.asnumpy(signal)).real.sum() / 2",
        "assert abs(float(theirs.sum()) - wanted) < 1e-2",
    ),
    before="""\
import numpy as np
import cupy as cp
import gpucore as gc
signal = cp.random.default_rng(0).random(4096, dtype=cp.float32)
ctx = gc.Context("cuda")
@gc.kernel
def scale(x: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    x[i] = a * x[i]
""",
)  # fmt: skip
NUMBA = Programs(
    "docs/howto/from-numba.md", "numba", "Numba",
    (
        "inner = (picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:]) / 4\n"
        "assert np.allclose(result[1:-1, 1:-1], inner)",
        "points = np.random.default_rng(1).random((1000, 3), dtype=np.float32)\n"
        "assert np.allclose(norms(points), np.linalg.norm(points, axis=1))",
    ),
    # the simulator makes a Python thread of each of the kernel's
    without_gpu=(("(480, 640)", "(48, 64)"), ("(30, 40)", "(3, 4)")),
)  # fmt: skip
PYTORCH = Programs(
    "docs/howto/from-pytorch.md", "torch", "PyTorch",
    (
        """\
@gc.kernel
def derivative(x: gc.Array[gc.f32], dy: gc.Array[gc.f32], out: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    s = 1.0 / (1.0 + gc.exp(-x[i]))
    out[i] = dy[i] * s * (1.0 + x[i] * (1.0 - s))
def swish_gradient_of(x, dy):
    out = torch.empty_like(x)
    ours = [gc.from_dlpack(t.detach().contiguous().view(-1), context=ctx) for t in (x, dy, out)]
    derivative.over(x.numel(), stream=stream)(*ours)
    return out
x = torch.linspace(-4, 4, 1000, device="cuda:0", requires_grad=True)
assert torch.allclose(swish_of(x), torch.nn.functional.silu(x), rtol=1e-5, atol=1e-6)""",
        """\
(theirs,) = torch.autograd.grad(torch.nn.functional.silu(x).sum(), x)
(ours,) = torch.autograd.grad(Swish.apply(x).sum(), x)
assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)""",
    ),
)  # fmt: skip
WARP = Programs(
    "docs/howto/from-warp.md", "warp", "Warp",
    ("assert np.allclose(result, np.exp(-((np.linspace(-2, 2, 1000) - 0.5) ** 2)), rtol=1e-5)",),
    without_gpu=(('"cuda:0"', '"cpu"'),),
)  # fmt: skip
CUDA = Programs(
    "docs/howto/from-cupy.md", "gpucore_cuda", "wants CUDA",
    ("assert (y.numpy() == np.arange(n, dtype=np.float32) * 2 + 1).all()",),
    before='''\
import numpy as np
import gpucore as gc
source = r"""extern "C" __global__ void saxpy(const float* x, float* y, float a, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}"""
n = 1_000_000
ctx = gc.Context("cuda")
x, y = ctx.arange(n, dtype=gc.f32), ctx.ones(n, gc.f32)
''',
)  # fmt: skip


def has_gpu() -> bool:
    return any(device.backend == "cuda" for device in gc.devices())


@pytest.mark.parametrize("programs", [CUPY, NUMBA, PYTORCH, WARP, CUDA], ids=lambda p: p.excuse)
def test_the_programs_of_another_library_say_the_same(programs: Programs, tmp_path: Path) -> None:
    if importlib.util.find_spec(programs.library) is None:
        pytest.skip(f"{programs.library} is not installed")
    if programs.without_gpu is None and not has_gpu():
        pytest.skip("no CUDA device")
    blocks = [block.code for block in doc_pages.blocks(programs.page) if block.excuse == programs.excuse]
    code = programs.before + "".join(
        f"{block}\n{check}\n" for block, check in zip(blocks, programs.checks, strict=True)
    )
    env = dict(os.environ)
    env["NUMBA_ENABLE_CUDASIM"] = "1"  # its compiler wants a toolkit beside the driver
    if not has_gpu() or programs.library == "numba":
        for old, new in programs.without_gpu or ():
            assert old in code
            code = code.replace(old, new)
    file = tmp_path / "program.py"
    file.write_text(code, "utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
