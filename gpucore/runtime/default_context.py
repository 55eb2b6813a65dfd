"""The context that a program shares which opens none of its own."""

from __future__ import annotations

import threading

from gpucore.runtime.context import Context

__all__ = ["default_context"]


class _Default:
    """The memoised default context."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.context: Context | None = None

    def get(self) -> Context:
        with self.lock:
            if not self._is_open():
                made = Context()
                if self._is_open():
                    made.close()  # a finalizer or signal handler asked for it meanwhile
                else:
                    self.context = made
            assert self.context is not None
            return self.context

    def _is_open(self) -> bool:
        return self.context is not None and not self.context._state.closed


_default = _Default()


def default_context() -> Context:
    """The context that configuration and priorities choose, opened at the first call and kept."""
    return _default.get()
