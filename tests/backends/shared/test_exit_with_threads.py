"""Processes that end, and contexts that are closed, while threads launch and copy: no crash, no hang."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpucore.backends import discovery

PROGRAM = """
import sys, threading, time
import numpy as np
import gpucore as gc

@gc.kernel
def scale(y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * y[i]

threading.excepthook = lambda args: None if args.exc_type is gc.LaunchError else sys.__excepthook__(*args[:3])
N = 1 << 20
ctx = gc.Context(BACKEND)
y = ctx.ones(N, gc.f32)
host = np.ones(N, np.float32)
launch = scale.over(N)
launch(y, 1.0)
y.numpy()

def loop():
    mine, stream = ctx.ones(N, gc.f32), ctx.stream()
    while True:
        WORK

for _ in range(2):
    threading.Thread(target=loop, daemon=True).start()
time.sleep(0.1)
END
print("end", flush=True)
"""
WORK = {
    "numpy()": "mine.numpy()",
    "copy_from": "mine.copy_from(host)",
    "launches": "launch(mine, 1.0); ctx.synchronize()",
    "launches on a stream": "scale.over(N, stream=stream)(mine, 1.0); stream.synchronize()",
    "allocations": "ctx.ones(N // 8, gc.f32)",
}
ENDS = {"exit": "", "close": "ctx.close(); time.sleep(0.1)"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("work", WORK)
def test_threads_at_work_when_it_ends(work, end, gpucore_backend, tmp_path):
    if discovery.installed()[gpucore_backend][0].distribution is None:
        pytest.skip("the backend is registered in this process alone")
    script = tmp_path / "program.py"
    program = PROGRAM.replace("BACKEND", repr(gpucore_backend)).replace("WORK", WORK[work])
    script.write_text(program.replace("END", ENDS[end]), "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "end", ""), done
