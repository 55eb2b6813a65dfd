"""A contender for a process of its own that can be told to fail in every way."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from gpucore_bench.model import MissingPeerError, Simple


def make(name: str, size: int, inputs: Any, device: Any, options: dict[str, Any]) -> Simple:
    print("chatter that must not reach the answers", flush=True)
    if name == "missing":
        raise MissingPeerError("not here")
    if name == "refuses":
        raise ValueError("cannot do this\nsecond line")

    def timed(repeats: int) -> float:
        if name == "crashes":
            os.write(2, b"about to fall\n")
            os.kill(os.getpid(), signal.SIGABRT)
        if name == "sleeps":
            time.sleep(60)
        return repeats * 0.5

    return Simple(once=lambda: None, fetch=lambda: inputs["x"] * options["scale"], timed=timed)
