"""What probing found of a device, kept on disk, so that a warm start neither probes nor loads what would."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpucore.hookspecs import Target
from gpucore_vulkan import storage

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["Findings", "probe_target"]


@dataclass(frozen=True)
class Findings:
    """What probing found.

    Attributes
    ----------
    native : frozenset[str]
        Operation keys that are exact beyond the baseline.
    features : frozenset[str]
        Float controls to ask for.
    wrong : tuple[str, ...]
        Keys of the baseline that are not exact, hence the lack of ``strict``.
    inexact_atomics : frozenset[str]
        Float atomics that lose bits (NVIDIA's flush denormals in global memory); core builds them of
        compare-and-swap instead.
    subgroups : bool
        Whether lanes are consecutive threads, as the language wants.
    loop_limit : int | None
        The iterations after which the driver ends a thread's loops without an error.
    """

    native: frozenset[str]
    features: frozenset[str]
    wrong: tuple[str, ...]
    inexact_atomics: frozenset[str]
    subgroups: bool
    loop_limit: int | None


def _sources() -> str:
    """A hash of what emits and what probes: results of another emitter say nothing of this one."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    probes = [
        here / f"{name}.py"
        for name in ("findings", "native", "exactness", "sequences", "launching", "looping")
    ]
    for file in [*probes, *sorted((here / "spirv").glob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def findings(device: Device, base: Target) -> Findings:
    """What probing found, from disk where it was found before."""
    name = f"probed-{storage.device_key(device.physical)}-{_sources()}.json"
    known: dict[str, Findings] = device.instance.findings
    if name in known:
        return known[name]
    kept = storage.read(name)
    if kept is not None:
        data = json.loads(kept)
        known[name] = Findings(
            frozenset(data["native"]), frozenset(data["features"]), tuple(data["wrong"]),
            frozenset(data["inexact_atomics"]), data["subgroups"], data["loop_limit"],
        )  # fmt: skip
        return known[name]
    from gpucore_vulkan.native import explore

    found = known[name] = explore(device, base)
    storage.write(name, json.dumps({
        "native": sorted(found.native), "features": sorted(found.features), "wrong": found.wrong,
        "inexact_atomics": sorted(found.inexact_atomics), "subgroups": found.subgroups,
        "loop_limit": found.loop_limit,
    }).encode(), storage.folder())  # fmt: skip
    return found


def probe_target(device: Device, base: Target) -> Target:
    """The target with what was proven, and word of what stands in the way of strict arithmetic."""
    found = findings(device, base)
    device.lanes_in_order = found.subgroups
    if found.wrong:
        device.strict_missing = (
            f"{device.physical.info.name} ({device.physical.driver}) does not compute "
            f"{', '.join(found.wrong)} exactly as IEEE-754 wants"
        )
    return dataclasses.replace(
        base, native=base.native | found.native, features=found.features,
        atomics=base.atomics - found.inexact_atomics, loop_limit=found.loop_limit,
    )  # fmt: skip
