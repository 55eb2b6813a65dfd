"""Which version of the IR a module needs: a plugin made for an earlier one still compiles what needs no more.

``IR_VERSION`` rises by one when the IR gets a node or an operation that a renderer has to know, and the new thing gets its
version in :data:`SINCE`. What core lowers away before a renderer sees it needs no version.
"""

from __future__ import annotations

from gpucore.ir.nodes import IR_VERSION, Module, walk

__all__ = ["IR_VERSION", "SINCE", "newest_part"]

SINCE: dict[type | str, int] = {}
"""Statements by their class, and operations by their name, that came after version 1."""


def newest_part(module: Module) -> tuple[int, str]:
    """The version of the IR that a low-level module needs, and the statement or operation that needs it."""
    newest, part = 1, ""
    for function in (module.kernel, *module.functions):
        for statement in walk(function.body):
            for what in (type(statement), getattr(statement, "op", "")):
                since = SINCE.get(what, 1)
                if since > newest:
                    newest, part = since, what if isinstance(what, str) else what.__name__
    return newest, part
