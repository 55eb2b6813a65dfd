"""How a process ends that used the CPU backend and closed nothing."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, sys, time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's own threads are not counted

def threads_left():
    # registered first, so run last: after everything that ends threads at the exit
    time.sleep(0.05)  # a thread that was joined is listed until the kernel has put it away
    print(len(os.listdir("/proc/self/task")), flush=True)

atexit.register(threads_left)
import gpucore as gc

@gc.kernel
def ones(y: gc.Array[gc.f32]):
    y[gc.global_id(0)] = 1.0

ctx = gc.Context("cpu")
y = ctx.zeros(1 << 22, gc.f32)
ones.over(1 << 22)(y)
ctx.synchronize()
FORK
"""
FORK = """
if os.fork() == 0:
    sys.exit(0)
os.wait()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize("fork", ["", FORK], ids=["alone", "with a forked child"])
def test_workers_end_before_the_code_they_run_is_freed(fork, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace("FORK", fork), "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"1"}
