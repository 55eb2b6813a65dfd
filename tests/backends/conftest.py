"""Tests in a backend's own folder run on that backend alone, whichever others are installed or asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the cases of other backends."""

    def elsewhere(item: pytest.Item) -> bool:
        parameters = getattr(item, "callspec", None)
        if parameters is None or "gpucore_backend" not in parameters.params or HERE not in item.path.parents:
            return False
        folder = item.path.relative_to(HERE).parts[0]
        return folder != "shared" and parameters.params["gpucore_backend"] != folder

    others = [item for item in items if elsewhere(item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
