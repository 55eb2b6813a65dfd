"""Build hook: the version in lockstep with ``gpucore/_version.py`` of the checkout, or, in a source distribution, with the
``PKG-INFO`` written when that was made."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class LockstepMetadataHook(MetadataHookInterface):
    """Sets ``project.version``."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        checkout = root.parent.parent / "gpucore" / "_version.py"
        if checkout.is_file():
            metadata["version"] = runpy.run_path(str(checkout))["__version__"]
            return
        found = re.search(r"^Version: (\S+)$", (root / "PKG-INFO").read_text("utf-8"), re.MULTILINE)
        if found is None:
            raise RuntimeError("PKG-INFO gives no version; build from a checkout of the repository")
        metadata["version"] = found.group(1)
