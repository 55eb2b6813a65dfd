"""The context that a program shares which opens none of its own."""

from __future__ import annotations

import threading

from gpucore.runtime.context import Context

__all__ = ["default_context"]


class _Default:
    """The memoised default context."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.context: Context | None = None

    def get(self) -> Context:
        with self.lock:
            if self.context is None or self.context._state.closed:
                self.context = Context()
            return self.context


_default = _Default()


def default_context() -> Context:
    """The context that configuration and priorities choose, opened at the first call and kept."""
    return _default.get()
