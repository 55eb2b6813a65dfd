"""Contenders in processes of their own, which may crash without taking the others along."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpucore_bench.model import Arrays, Maker, MissingPeerError, PeerError, Runner, Work

PATIENCE: Final = 120.0
"""Seconds that one answer may take."""


class Remote:
    """A runner whose work is done by :mod:`gpucore_bench.peers.worker`."""

    def __init__(self, request: dict[str, Any], inputs: Arrays) -> None:
        self.patience = PATIENCE
        self._folder = tempfile.TemporaryDirectory(prefix="gpucore-bench-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._result = folder / "result.npy"
        self._errors = (folder / "errors.txt").open("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gpucore_bench.peers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        try:
            paths = {}
            for name, values in inputs.items():
                paths[name] = str(folder / f"{name}.npy")
                np.save(paths[name], values)
            self._ask(request | {"inputs": paths})
        except BaseException:
            self.close()
            raise

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        overdue = threading.Event()

        def stop() -> None:
            overdue.set()
            process.kill()

        timer = threading.Timer(self.patience, stop)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if overdue.is_set():
            raise PeerError(f"no answer in {self.patience:g} s")
        if not line:
            raise PeerError(self._epitaph())
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise MissingPeerError(answer["missing"])
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _epitaph(self) -> str:
        """How the process ended, and the last that it said."""
        status = self._process.wait()
        self._errors.seek(0)
        said = [line.strip() for line in self._errors if line.strip()]
        ended = (
            f"its process ended with signal {-status}"
            if status < 0
            else f"its process ended with status {status}"
        )
        return f"{ended}: {said[-1]}" if said else ended

    def run(self, repeats: int) -> float:
        """Seconds by the worker's own timer."""
        return float(self._ask({"run": repeats})["seconds"])

    def result(self) -> npt.NDArray[Any] | None:
        """What one run gives there."""
        found: npt.NDArray[Any] | None = None
        if self._ask({"result": str(self._result)})["found"]:
            found = np.load(self._result)
        return found

    def close(self) -> None:
        """End the process, by force where asking does not help."""
        if self._process.poll() is None:
            try:
                self._ask({"close": True})
                self._process.wait(self.patience)
            except (MissingPeerError, PeerError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what it was still to be told
                    continue
        self._errors.close()
        self._folder.cleanup()


def peer(label: str, package: str, module: str, name: str, **options: Any) -> dict[str, Maker]:
    """A contender made by ``make(name, size, inputs, device, options)`` of a module of this folder.

    ``package`` is what must be installed for it.
    """

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        if importlib.util.find_spec(package) is None:
            raise MissingPeerError("not installed")
        device = context.device
        return Remote(
            {
                "module": f"gpucore_bench.peers.{module}", "name": name, "size": work.size, "options": options,
                "device": {"name": device.name, "uuid": device.uuid, "kind": device.kind},
            },
            inputs,
        )  # fmt: skip

    return {label: make}
