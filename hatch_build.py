"""Build hooks: the extras pin the plugins of this repository to the version of the core they are released with, an index shows
the README's beginning, and the wheel is packed as tightly as its format allows."""

from __future__ import annotations

import re
import runpy
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

TEST = ["hypothesis>=6.100", "ml_dtypes>=0.4", "mpmath>=1.3", "pytest>=8.0", "z3-solver>=4.12"]


DOCS = [
    "furo", "matplotlib>=3.8", "myst-nb>=1.3", "numpydoc>=1.8", "pillow>=10.0", "pytest>=8.0", "scikit-learn>=1.5", "sphinx>=8.2",
    "sphinx-copybutton", "sphinx-design", "sphinx-gallery>=0.18",
]  # fmt: skip


class LockstepMetadataHook(MetadataHookInterface):
    """Adds ``project.optional-dependencies``, the plugins pinned to ``gpucore/_version.py``, and ``project.readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        version = runpy.run_path(str(Path(self.root) / "gpucore" / "_version.py"))["__version__"]
        readme = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": index_page(readme)}
        metadata["optional-dependencies"] = {
            "bf16": ["ml_dtypes>=0.4"],
            "cpu": [f"gpucore-cpu=={version}"],
            "cuda": [f"gpucore-cuda=={version}"],
            "demo": ["matplotlib>=3.8", "pillow>=10.0"],
            "docs": DOCS,
            "bench": [f"gpucore-bench[plot]=={version}"],
            "plot": ["matplotlib>=3.8"],
            "fuzz": [f"gpucore-fuzz=={version}"],
            "test": TEST,
            "vulkan": [f"gpucore-vulkan=={version}"],
        }


def index_page(readme: str) -> str:
    """What a package index shows: what gpucore is and the example, without what needs a checkout or links into one."""
    beginning, *sections = re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    (example,) = (section for section in sections if section.startswith("## Ten lines"))
    return re.sub(r"\[([^]]+)\]\((?!https?:)[^) ]*/[^) ]*\)", r"\1", beginning + example)


class CompactWheelHook(BuildHookInterface):
    """Compresses the files of the wheel again, by zopfli, which looks longer for a short encoding than zlib.

    The extra ``demo`` of a wheel brings the distribution that carries the demo; an editable install has it in the checkout.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            release = self.metadata.version
            build_data["dependencies"].append(f"gpucore-bench=={release}; extra == 'demo'")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version == "standard":
            pack(Path(artifact_path))


def pack(path: Path) -> None:
    """Write a ZIP file again, with the same members in the same order (APPNOTE.TXT of PKWARE, 4.3)."""
    from zopfli.zlib import compress

    local, central = bytearray(), bytearray()
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    for info, content in members:
        packed, method = compress(content)[2:-4], zipfile.ZIP_DEFLATED  # without the frame of zlib
        if len(packed) >= len(content):
            packed, method = content, zipfile.ZIP_STORED
        year, month, day, hour, minute, second = info.date_time
        date, time = ((year - 1980) << 9) | (month << 5) | day, (hour << 11) | (minute << 5) | (second // 2)
        name = info.filename.encode()
        flags = 0 if info.filename.isascii() else 0x800
        common = struct.pack(
            "<5H3I2H",
            20,
            flags,
            method,
            time,
            date,
            zlib.crc32(content),
            len(packed),
            len(content),
            len(name),
            0,
        )
        start = len(local)
        local += struct.pack("<I", 0x04034B50) + common + name + packed
        central += struct.pack("<IH", 0x02014B50, (info.create_system << 8) | 20) + common
        central += struct.pack("<3H2I", 0, 0, 0, info.external_attr, start) + name
    end = struct.pack("<I4H2IH", 0x06054B50, 0, 0, len(members), len(members), len(central), len(local), 0)
    path.write_bytes(local + central + end)
