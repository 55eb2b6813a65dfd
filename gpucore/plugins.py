"""Backends as plugins: what is installed, and backends that a program registers itself."""

from __future__ import annotations

from gpucore.backends.discovery import (
    Candidate,
    Hooks,
    bind,
    check,
    load,
    names,
    not_found,
    register,
    wrappers,
)

__all__ = ["Candidate", "Hooks", "bind", "check", "load", "names", "not_found", "register", "wrappers"]
