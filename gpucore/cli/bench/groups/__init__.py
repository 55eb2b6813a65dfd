"""The groups of benchmarks, each a module with ``works(context, quick) -> list[Work]``."""

from __future__ import annotations

import importlib
from typing import Any

from gpucore.cli.bench.model import Work

NAMES = ("launch", "stream", "compute", "transfer", "compile", "memory", "start")


def works(group: str, context: Any, quick: bool) -> list[Work]:
    """The works of a group at the sizes that fit the device."""
    module = importlib.import_module(f"gpucore.cli.bench.groups.{group}")
    result: list[Work] = module.works(context, quick)
    return result
