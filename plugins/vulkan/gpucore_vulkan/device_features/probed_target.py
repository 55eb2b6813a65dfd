"""What code for an opened device is compiled for, its answers to probes included.

The answers are kept on disk, so that a warm start neither probes nor loads what would.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from gpucore.hookspecs import Target
from gpucore_vulkan import storage
from gpucore_vulkan.device_features.probe_answers import ProbeAnswers
from gpucore_vulkan.device_features.targets import advertised_target

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["device_target", "probe_answers"]


@functools.cache
def _sources() -> str:
    """A hash of what emits and what probes: answers to another emitter say nothing of this one."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    files = [package / "launching.py", *package.glob("device_features/*.py"), *package.glob("spirv/*.py")]
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def probe_answers(device: Device) -> ProbeAnswers:
    """What probing found, from disk where it was found before."""
    name = f"probed-{storage.device_key(device.physical)}-{_sources()}.json"
    known = device.instance.answers
    if name in known:
        return known[name]
    kept = storage.read(name)
    if kept is not None:
        known[name] = ProbeAnswers.from_json(kept)
        return known[name]
    from gpucore_vulkan.device_features.probes import explore

    found = known[name] = explore(device, advertised_target(device.physical))
    storage.write(name, found.to_json(), storage.folder())
    return found


def device_target(device: Device) -> Target:
    """What code for the device is compiled for."""
    if device.target is None:
        device.target = probe_answers(device).target(advertised_target(device.physical))
    return device.target
