"""Real wheels of small plugins, written by hand so that each can be broken in one way."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path


def make_wheel(
    folder: Path,
    distribution: str,
    *,
    module: str,
    code: str,
    backend: str,
    requires: str = "gpucore",
    version: str = "1.0",
    group: str = "gpucore.backends",
) -> Path:
    """Write a wheel with one module and one entry point of the group."""
    safe = distribution.replace("-", "_")
    info = f"{safe}-{version}.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\nRequires-Dist: {requires}\n"
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{group}]\n{backend} = {module}\n",
    }
    path = folder / f"{safe}-{version}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            data = text.encode()
            archive.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}")
        record.append(f"{info}/RECORD,,")
        archive.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
    return path


def install(wheels: list[Path], target: Path) -> None:
    """Install wheels with pip into a folder that can go on ``PYTHONPATH``."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
    ]
    subprocess.run([*command, *map(str, wheels)], check=True, capture_output=True, timeout=120)
