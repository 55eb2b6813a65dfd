"""Where packed arguments have the numbers that a graph knows by name.

A launch whose arguments change is checked and packed as any launch is. A float that takes the place of a float comes out of that
unchanged, at the same place, and decides nothing else: which place that is, is seen once, and later updates put the number there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpucore.runtime.graph_nodes import RecordedLaunch, RecordedNode

__all__ = ["FloatSlots"]


class FloatSlots:
    """The places of a graph's floats in its launches, as far as they were seen."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # by name: the number of each launch that has it, and the places in its packed arguments
        self._known: dict[str, list[tuple[int, list[int]]]] = {}

    def learn(
        self, name: str, value: float, numbers: Sequence[int], before: Sequence[RecordedNode], now: Sequence[RecordedNode]
    ) -> None:  # fmt: skip
        """Look at what an update of one name to a float changed in the nodes that have it."""
        found: list[tuple[int, list[int]]] = []
        for number, old, new in zip(numbers, before, now, strict=True):
            if not isinstance(old, RecordedLaunch) or not isinstance(new, RecordedLaunch):
                return
            if new.takes_stream or new.launcher.reads_scalars or old.call != new.call:
                return
            if len(old.packed) != len(new.packed):
                return
            pairs = enumerate(zip(old.packed, new.packed, strict=True))
            places = [at for at, (then, packed) in pairs if packed is value and then is not value]
            # as many as arguments of that name, or the number came there some other way
            if len(places) != [other for _, other in new.named].count(name):
                return
            found.append((number, places))
        self._known[name] = found

    def packed(
        self, values: Mapping[str, Any], nodes: Sequence[RecordedNode]
    ) -> dict[int, tuple[Any, ...]] | None:
        """The packed arguments of the launches that change; None where a value is no float, or its places were not seen."""
        changed: dict[int, list[Any]] = {}
        for name, value in values.items():
            found = self._known.get(name)
            if found is None or value.__class__ is not float:
                return None
            for number, places in found:
                node = nodes[number]
                assert isinstance(node, RecordedLaunch)
                packed = changed.get(number)
                if packed is None:
                    packed = changed[number] = list(node.packed)
                for at in places:
                    packed[at] = value
        return {number: tuple(packed) for number, packed in changed.items()}
