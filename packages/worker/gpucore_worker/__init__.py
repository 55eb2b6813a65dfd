"""A worker for language models: GGUF files, loaded and run through gpucore, with the same logits on every device.

    from gpucore_worker import load_model

    with load_model("model.gguf") as model:
        for piece in model.generate("The capital of France is", max_tokens=16):
            ...

:mod:`gpucore_worker.api` has the fourteen functions of a worker, with codes for errors.
"""

from __future__ import annotations

from gpucore_worker.errors import WorkerError
from gpucore_worker.model import Model, load_model

__all__ = ["Model", "WorkerError", "load_model"]
