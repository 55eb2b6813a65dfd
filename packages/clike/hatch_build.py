"""Build hook: version and pin on gpucore in lockstep with ``gpucore/_version.py`` of the checkout, or, in a source
distribution, with the ``PKG-INFO`` written when that was made; and the folder of gpucore that this distribution carries."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class LockstepMetadataHook(MetadataHookInterface):
    """Sets ``project.version`` and ``project.dependencies``."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        checkout = root.parent.parent / "gpucore" / "_version.py"
        if checkout.is_file():
            version = runpy.run_path(str(checkout))["__version__"]
        else:
            found = re.search(r"^Version: (\S+)$", (root / "PKG-INFO").read_text("utf-8"), re.MULTILINE)
            if found is None:
                raise RuntimeError("PKG-INFO gives no version; build from a checkout of the repository")
            version = found.group(1)
        table = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
        metadata["version"] = version
        metadata["dependencies"] = [f"gpucore=={version}", *table["tool"]["gpucore-lockstep"]["dependencies"]]


class CarriedHook(BuildHookInterface):
    """Packs a folder of gpucore that the core's own wheel leaves out: ``carries`` in the table ``tool.gpucore-lockstep``.

    An editable install needs nothing: there gpucore is the checkout.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard":
            return
        root = Path(self.root)
        folder = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["gpucore-lockstep"][
            "carries"
        ]
        checkout = root.parent.parent / folder
        build_data["force_include"][str(checkout if checkout.is_dir() else root / folder)] = folder
