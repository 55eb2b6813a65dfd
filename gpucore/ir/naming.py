"""Giving values other names: the front end calls them as the user does, for debuggers and readers of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any

from gpucore.ir import nodes as ir

__all__ = ["rename_values"]


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    names = (f.name for f in fields(kind))
    return tuple(name for name in names if name not in ("loc", "op", "memory", "var", "axis"))


def rename_values(block: ir.Block, names: Mapping[str, str]) -> ir.Block:
    """The block with values renamed; the new names must be free in the whole function.

    Parameters
    ----------
    block : Block
    names : Mapping[str, str]
        From old name to new.
    """
    return tuple(_renamed(statement, names) for statement in block)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, ir.Value):
        name = names.get(node.name)
        return node if name is None else ir.Value(name, node.dtype)
    if isinstance(node, tuple):
        found = tuple(_renamed(item, names) for item in node)
        return node if all(a is b for a, b in zip(found, node, strict=True)) else found
    if not isinstance(node, ir.Stmt):
        return node
    changed = {}
    kind: Any = type(node)
    for name in _fields(kind):
        before = getattr(node, name)
        after = _renamed(before, names)
        if after is not before:
            changed[name] = after
    return replace(node, **changed) if changed else node
