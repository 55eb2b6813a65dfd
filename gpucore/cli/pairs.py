"""What is known of pairs of devices: how they exchange data, and which are one card shown by two backends."""

from __future__ import annotations

import itertools
from typing import Any

import gpucore
from gpucore.backends import discovery
from gpucore.config import load
from gpucore.errors import GpucoreError
from gpucore.runtime import peer

__all__ = ["found_pairs", "pair_lines", "same_cards"]


def found_pairs() -> list[dict[str, Any]]:
    """The pairs of devices of each backend that has several, and what trying them found: None before they are tried."""
    try:
        settings = load()
    except GpucoreError:
        return []  # the choice says what is wrong
    pairs: list[dict[str, Any]] = []
    for a, b in itertools.combinations(gpucore.devices(), 2):
        if a.backend != b.backend:
            continue
        versions = discovery.bind(a.backend, discovery.load(a.backend)).backend_info().versions
        found = peer.known(a, b, versions, settings)
        pairs.append({
            "devices": [f"{d.backend}:{d.ordinal}" for d in (a, b)],
            "access": None if found is None else found.kind,
            "reason": "" if found is None else found.reason,
        })  # fmt: skip
    return pairs


def same_cards() -> list[list[str]]:
    """The devices of several backends that are one card: they have one UUID."""
    cards: dict[str, list[str]] = {}
    for device in gpucore.devices():
        if device.uuid:
            cards.setdefault(device.uuid, []).append(f"{device.backend}:{device.ordinal}")
    return [selectors for selectors in cards.values() if len(selectors) > 1]


def pair_lines(pairs: list[dict[str, Any]], cards: list[list[str]]) -> list[str]:
    """The same for readers; pairs that were not tried are counted."""
    lines = [f"{' and '.join(selectors)} are one card" for selectors in cards]
    untried: dict[str, list[list[str]]] = {}
    for pair in pairs:
        a, b = pair["devices"]
        if pair["access"] is None:
            untried.setdefault(a.partition(":")[0], []).append([a, b])
        elif pair["access"] == "direct":
            lines.append(f"{a} and {b}: copies are direct")
        else:
            lines.append(f"{a} and {b}: copies go through the host, because {pair['reason']}")
    for some in untried.values():
        a, b = some[0]
        how_many = "not tried yet" if len(some) == 1 else f"not tried yet, as {len(some) - 1} other pairs"
        lines.append(f"{a} and {b}: {how_many}; gpucore.peer_access({a!r}, {b!r}) tries copies between them")
    return lines
