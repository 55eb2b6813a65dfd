"""Looking for devices without opening them."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from gpucore.hookspecs import BackendInfo, ProbeResult
from gpucore.plugin_api import distribution_version

__all__ = ["info", "probe"]


@functools.cache
def _emitter() -> str:
    """A hash of the emitter's sources: words of another emitter are other words."""
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parent.parent / "spirv").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def info() -> BackendInfo:
    """What the backend says of itself; touches no driver."""
    return BackendInfo(
        name="vulkan",
        description="Vulkan 1.2 compute, SPIR-V straight from the IR",
        priority=200,
        versions={
            "gpucore-vulkan": distribution_version("gpucore-vulkan"),
            "vulkan": distribution_version("vulkan"),
            "emitter": _emitter(),
        },
        install_hint="pip install gpucore-vulkan",
    )


def probe() -> ProbeResult:
    """The devices that can be used, or why there is none; never raises."""
    from gpucore_vulkan.device_features.physical_device import inspect
    from gpucore_vulkan.instance import instance
    from gpucore_vulkan.loader import Unavailable

    try:
        made = instance()
        found = [inspect(made, handle, number) for number, handle in enumerate(made.physical_devices())]
    except Unavailable as error:
        return ProbeResult(False, error.reason, error.fix)
    except Exception as error:  # noqa: BLE001 - the hook promises never to raise, whatever a driver does
        return ProbeResult(
            False, f"Looking for Vulkan devices failed: {type(error).__name__}: {error}",
            "Run vulkaninfo --summary to see whether the driver works.",
        )  # fmt: skip
    usable = tuple(p.info for p in found if p.problem is None)
    if usable:
        return ProbeResult(True, devices=usable)
    problems = [p.problem for p in found if p.problem is not None]
    return ProbeResult(False, " ".join(reason for reason, _ in problems), problems[0][1] if problems else "")
