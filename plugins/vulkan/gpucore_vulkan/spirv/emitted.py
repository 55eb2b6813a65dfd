"""What emitting gives, and what it reads of a target."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore.hookspecs import Target
from gpucore_vulkan.spirv.layout import ArgumentLayout

__all__ = ["Emitted", "feature_number"]


def feature_number(target: Target, name: str, default: int) -> int:
    """The number behind a feature such as ``"SubgroupSize32"``."""
    for feature in target.features:
        if feature.startswith(name) and feature[len(name) :].isdigit():
            return int(feature[len(name) :])
    return default


@dataclass(frozen=True, slots=True)
class Emitted:
    """An assembled module and what a launch must know of it.

    Attributes
    ----------
    indirect : bool
        The arguments lie in a buffer whose address is pushed.
    fold_offset : int
        Where in the pushed constants the words of a folded grid stand.
    linear : bool
        Blocks run on one axis of the device (kernels with subgroups).
    subgroup : int
        The width compiled for, 0 where none is needed.
    shared : int
        Bytes of shared memory.
    """

    words: bytes
    layout: ArgumentLayout
    indirect: bool
    fold_offset: int
    linear: bool
    subgroup: int
    shared: int
    ndim: int
