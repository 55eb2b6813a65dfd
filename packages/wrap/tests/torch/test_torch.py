"""libtorch through its generated package, beside PyTorch; on a machine with a GPU with a stream, too."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gpucore_wrap import generate, load_spec
from gpucore_wrap.output import compare, write

SPEC = Path(__file__).parent.parent.parent / "examples" / "torch.yaml"


@pytest.fixture(scope="session")
def t(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("torch")
    write(compare(generate(load_spec(SPEC), folder).files, folder), folder)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "CFLAGS": "-O1 -g0 -Wall -Wextra -Werror"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder / "src"))
    return importlib.import_module("torch_direct")


def test_tensors_are_computed_without_importing_torch(t: ModuleType) -> None:
    assert "torch" not in sys.modules
    a, b = t.ones([2, 3]), t.randn([3, 4])
    assert (a.shape(), b.shape(), a.matmul(b).shape()) == ((2, 3), (3, 4), (2, 4))
    assert list(a.add(a).floats()) == [2] * 6 and a.device() == "cpu"
    x = t.from_floats([-1, 0.5], [2])
    assert list(x.relu().floats()) == [0, 0.5] and list(x.mul(x).floats()) == [1, 0.25]
    assert list(x.tanh().floats()) == pytest.approx([math.tanh(-1), math.tanh(0.5)])
    assert list(x.sigmoid().floats()) == pytest.approx([1 / (1 + math.exp(1)), 1 / (1 + math.exp(-0.5))])
    assert list(t.zeros([2], t.Kind.LONG).cpu().floats()) == [0, 0]
    assert a.matmul(t.ones([3, 1])).add(t.ones([2, 1])).mul(t.ones([2, 1])).shape() == (2, 1)


def test_numbers_are_torchs(t: ModuleType) -> None:
    t.manual_seed(7)
    mine = list(t.randn([4, 4]).floats())
    code = "import torch; torch.manual_seed(7); print(torch.randn(4, 4).flatten().tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert mine == pytest.approx(eval(done.stdout), abs=0)


def test_errors_are_torchs_own(t: ModuleType) -> None:
    a = t.ones([2, 3])
    with pytest.raises(t.TorchError, match="mat1 and mat2 shapes cannot be multiplied"):
        a.matmul(a)
    with pytest.raises(t.TorchError, match="non-negative"):
        t.zeros([-1])
    with pytest.raises(t.TorchError, match="device type"):
        t.stream("nonsense")
    a.close()
    with pytest.raises(t.ClosedError):
        a.shape()


def test_streams(t: ModuleType) -> None:
    device = "cuda" if t.available() else "cpu"
    print(f"streams of {device}")
    stream = t.stream(device)
    x = t.from_floats([1, 2, 3], [3])
    if device == "cuda":
        assert not stream.is_current()
        x = x.cuda()
        assert x.device() == "cuda:0"
    y = x.to_stream(stream)
    stream.sync()
    assert stream.query() and list(y.add(y).cpu().floats()) == [2, 4, 6]
    if device == "cuda":
        assert not stream.is_current()  # to_stream changed it and put it back
        m = t.randn([512, 512]).cuda()
        got = m.matmul(m).relu().cpu().floats()
        want = m.cpu().matmul(m.cpu()).relu().floats()
        assert max(abs(a - b) for a, b in zip(got, want, strict=True)) < 1e-2 * 512**0.5


def test_without_a_gpu_torch_says_so(t: ModuleType) -> None:
    if t.available():
        pytest.skip("there is a GPU")
    with pytest.raises(t.TorchError, match="CUDA|cuda"):
        t.ones([1]).cuda()


def test_lost_tensors_are_freed(t: ModuleType) -> None:
    def memory() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(20):
        t.ones([1 << 18])
    before = memory()
    for _ in range(300):
        t.ones([1 << 18])
    assert memory() - before < 50_000_000
