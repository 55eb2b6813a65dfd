"""Products of tiles: an instruction where the target has it, else the code that they carry."""

from __future__ import annotations

from dataclasses import replace

from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import Block, For, Function, If, TileProduct, While, memories_of, walk

__all__ = ["TILE_FEATURES", "elements_of_word", "expand_tiles"]

TILE_FEATURES = frozenset({"tile.f16", "tile.bf16", "tile.i8", "tile=lanes"})
"""Features of a :class:`gpucore.hookspecs.Target` that has products of tiles of these dtypes, or else cheap shuffles in
subgroups that have 32 threads unless a kernel asks for others.
"""


def elements_of_word(factor: DType) -> int:
    """Elements of factors in a word of 32 bits."""
    return 32 // factor.bits


def expand_tiles(kernel: Function, features: frozenset[str] = frozenset()) -> Function:
    """Leave of each product of tiles the instruction, where the target has it, or the code for those without.

    Parameters
    ----------
    kernel : Function
        High level.
    features : frozenset[str]
        Those of ``TILE_FEATURES`` that the target has.
    """
    if not any(type(s) is TileProduct for s in walk(kernel.body)):
        return kernel
    body = _block(kernel.body, features)
    before, after = ({m.name for s in walk(block) for m in memories_of(s)} for block in (kernel.body, body))
    memories = tuple(m for m in kernel.memories if m.name in after or m.name not in before)
    return replace(kernel, memories=memories, body=body)


def _block(block: Block, features: frozenset[str]) -> Block:
    out: Block = ()
    for s in block:
        match s:
            case TileProduct() if f"tile.{s.factor.name}" in features:
                out += (replace(s, plain=(), by_lanes=()),)
            case TileProduct(plain=plain, by_lanes=by_lanes):
                out += by_lanes if "tile=lanes" in features else plain
            case If(then=then, orelse=orelse):
                out += (replace(s, then=_block(then, features), orelse=_block(orelse, features)),)
            case For(body=body):
                out += (replace(s, body=_block(body, features)),)
            case While(header=header, body=body):
                out += (replace(s, header=_block(header, features), body=_block(body, features)),)
            case _:
                out += (s,)
    return out
