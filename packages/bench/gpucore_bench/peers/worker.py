"""A process for one contender: it reads requests as lines of JSON and answers each with a line.

Peers that might take the interpreter down, or do not share a process with others, run here.  What they print goes to the
standard error; the process ends without destructors, for some peers fail there.

``{"module", "name", "size", "options", "device", "inputs"}`` makes a runner, ``{"run": n}`` gives ``seconds``, ``{"result":
path}`` leaves the result as a .npy file, ``{"close": true}`` ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpucore_bench.measure import first_line
from gpucore_bench.model import MissingPeerError, Runner


class Worker:
    """Answers requests with the one runner that it was asked to make."""

    def __init__(self) -> None:
        self.runner: Runner | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a request asks for; whatever a peer raises is an answer, too."""
        try:
            return self._answer(request)
        except MissingPeerError as missing:
            return {"missing": str(missing)}
        except Exception as error:  # noqa: BLE001 - told to the process that asked
            return {"error": first_line(error)}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "module" in request:
            inputs = {name: np.load(path) for name, path in request["inputs"].items()}
            module = importlib.import_module(request["module"])
            device = SimpleNamespace(**request["device"])
            self.runner = module.make(request["name"], request["size"], inputs, device, request["options"])
            return {}
        if self.runner is None:
            return {"error": "nothing was made"}
        if "run" in request:
            return {"seconds": self.runner.run(request["run"])}
        if "result" in request:
            found = self.runner.result()
            if found is not None:
                np.save(request["result"], found)
            return {"found": found is not None}
        self.runner.close()
        return {}


def main() -> None:
    """Serve until told to close or the pipe ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(worker.answer(request)) + "\n")
        answers.flush()
        if "close" in request:
            break
    os._exit(0)


if __name__ == "__main__":
    main()
