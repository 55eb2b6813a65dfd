"""How a process ends that lent memory to another library: quietly, whoever holds the view and whatever is torn down first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpucore.backends import discovery

PROGRAM = """
import builtins, ctypes, sys, threading, time
import numpy as np
import gpucore as gc

ctx = gc.Context(BACKEND)
x = ctx.array(np.arange(100_000, dtype=np.float32))
view = np.from_dlpack(x)
assert view[7] == 7
HOLD
print("held", flush=True)
"""
HOLDERS = {
    "the module": "",
    "sys": "sys.view = view",
    "numpy": "np.view = view",
    "ctypes": "ctypes.view = view",
    "builtins": "builtins.view = view",
    "gpucore": "gc.errors.view = view",
    "a cycle": """
class Cycle: pass
cycle = Cycle()
cycle.itself, cycle.view = cycle, view
sys.cycle = cycle
""",
    "sys, of a context that is closed": "sys.view = view; ctx.close()",
    "a capsule that nobody took": "sys.capsule = x.__dlpack__()",
    "a capsule that was taken": """
capsule = x.__dlpack__()
class Once:
    def __dlpack__(self, **options): return capsule
    def __dlpack_device__(self): return x.__dlpack_device__()
sys.capsule, sys.view = capsule, np.from_dlpack(Once())
""",
    "an object that exports while the interpreter ends": """
class Late:
    def __del__(self): self.view = np.from_dlpack(x); sys.view = self.view
sys.late = Late()
""",
    "a daemon thread": """
threading.excepthook = lambda args: None  # at the end its context is closed, which it is told
def loop():
    while True: held = np.from_dlpack(x); held[0].item()
threading.Thread(target=loop, daemon=True).start()
time.sleep(0.05)
""",
    "ours over theirs": """
theirs = np.zeros(1000, np.float32)
sys.ours = gc.from_dlpack(theirs, context=ctx, copy=False)
""",
    "theirs over ours over theirs": """
theirs = np.zeros(1000, np.float32)
sys.view = np.from_dlpack(gc.from_dlpack(theirs, context=ctx, copy=False))
""",
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_process_ends_quietly_while_a_view_is_alive(holder, gpucore_context, gpucore_backend, tmp_path):
    if gpucore_context.device.capabilities.dlpack != (1, 0):
        pytest.skip("the device's memory is no host memory that NumPy could view")
    if discovery.installed()[gpucore_backend][0].distribution is None:
        pytest.skip("the backend is registered in this process alone")
    script = tmp_path / "program.py"
    program = PROGRAM.replace("BACKEND", repr(gpucore_backend)).replace("HOLD", HOLDERS[holder])
    script.write_text(program, "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "held", ""), done
