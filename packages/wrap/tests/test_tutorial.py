"""The tutorial does what it says."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gpucore_wrap import SpecError, load_spec

PAGE = (Path(__file__).parent.parent.parent.parent / "docs" / "wrap.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("## zlib in ten minutes") : PAGE.index("## Types")]
FIRST, ERRORS, COMPRESS, OBJECTS, OWN = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)


def test_the_tutorials_specification_works(
    project: Callable[..., Path], load_from: Callable[..., object], tmp_path: Path
) -> None:
    z = load_from(project(FIRST + COMPRESS + ERRORS + OBJECTS + OWN), "zlib_bindings")
    assert z.crc32(b"hello") == 907060870 and str(907060870) in SECTION
    assert zlib.decompress(z.compress(b"data" * 100)) == b"data" * 100
    path = tmp_path / "data.gz"
    with z.GzFile(str(path), "wb9") as file:
        file.write(b"data")
    with pytest.raises(z.ClosedError, match="this GzFile is closed") as caught:
        file.write(b"more")
    assert str(caught.value) in SECTION
    assert gzip.decompress(path.read_bytes()) == b"data"
    with z.GzFile(str(path)) as file:
        assert file.read(100) == b"data" and file.direct() is False and file.offset() > 0
    with pytest.raises(z.NullError):
        z.GzFile("/nonexistent/file")


def test_the_tutorials_message_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zlib.yaml").write_text(FIRST.replace("type: bytes", "type: byts"))
    with pytest.raises(SpecError) as caught:
        load_spec("zlib.yaml")
    assert str(caught.value) in SECTION
