"""A Vulkan device for tests, under the validation layer where it is installed, with no message left
unread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

TOLERATED = ("VUID-VkShaderModuleCreateInfo-pCode-01091", "shaderDenormPreserveFloat")
"""DenormPreserve on drivers that keep denormals without advertising it: the one thing that may be said."""


def unexpected(messages: list[str]) -> list[str]:
    """The messages that nothing excuses."""
    return [m for m in messages if not (TOLERATED[1] in m or (TOLERATED[0] in m and "(DenormPreserve)" in m))]


@pytest.fixture(scope="session")
def layered() -> bool:
    """Whether the validation layer is there."""
    from gpucore_vulkan.instance import instance
    from gpucore_vulkan.loader import Unavailable

    try:
        instance(True)
    except Unavailable:
        return False
    return True


@pytest.fixture(scope="session")
def vulkan_device(layered: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Device 0, or the one that ``GPUCORE_VULKAN_TEST_DEVICE`` numbers."""
    import gpucore_vulkan as plugin

    found = plugin.probe()
    if not found.available:
        if os.environ.get("GPUCORE_REQUIRE_VULKAN"):
            pytest.fail(f"{found.reason} {found.fix}")
        pytest.skip(f"{found.reason} {found.fix}")
    ordinal = int(os.environ.get("GPUCORE_VULKAN_TEST_DEVICE", "0"))
    device = plugin.open_device(ordinal, {"validation": layered})
    yield device
    plugin.close_device(device)
    assert not unexpected(device.instance.messages)


@pytest.fixture
def bench(vulkan_device: Any) -> Iterator[Any]:
    """Runs modules on the device; the validation layer must stay silent."""
    from bench import Bench

    before = len(vulkan_device.instance.messages)
    made = Bench(vulkan_device)
    yield made
    import gpucore_vulkan as plugin

    plugin.destroy_stream(vulkan_device, made.stream)
    assert not unexpected(vulkan_device.instance.messages[before:])
