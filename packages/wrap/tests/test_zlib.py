"""zlib through its generated package, beside the zlib and gzip modules of Python."""

from __future__ import annotations

import gc
import gzip
import os
import zlib
from pathlib import Path
from types import ModuleType

import pytest

SPEC = Path(__file__).parent.parent / "examples" / "zlib.yaml"
DATA = b"gpucore " * 5000 + os.urandom(1000)


@pytest.fixture(scope="module")
def bindings(load: object) -> ModuleType:
    return load(SPEC, "zlib_bindings")


def test_checksums(bindings: ModuleType) -> None:
    assert bindings.crc32(DATA) == zlib.crc32(DATA)
    assert bindings.crc32(DATA[9:], bindings.crc32(DATA[:9])) == zlib.crc32(DATA)
    assert bindings.adler32(bytearray(DATA)) == zlib.adler32(DATA)
    assert bindings.runtime_version() == zlib.ZLIB_RUNTIME_VERSION


def test_compression_in_one_call(bindings: ModuleType) -> None:
    compressed = bindings.compress(DATA, level=9)
    assert zlib.decompress(compressed) == DATA and len(compressed) < len(DATA)
    assert bindings.decompress(zlib.compress(DATA), len(DATA)) == DATA
    assert bindings.decompress(zlib.compress(DATA), 10 * len(DATA)) == DATA
    with pytest.raises(bindings.ZlibError, match="buffer error") as caught:
        bindings.decompress(compressed, 10)
    assert caught.value.code == -5
    with pytest.raises(bindings.ZlibError, match="data error"):
        bindings.decompress(b"no zlib data", 10)


def test_streams(bindings: ModuleType) -> None:
    with bindings.Deflater(level=6, strategy=bindings.Strategy.FILTERED) as deflater:
        parts = [deflater.add(DATA[i : i + 1000]) for i in range(0, len(DATA), 1000)]
        assert deflater.total_in == len(DATA)
        parts.append(deflater.finish())
    assert zlib.decompress(b"".join(parts)) == DATA
    with bindings.Inflater() as inflater:
        assert inflater.add(b"".join(parts)) == DATA
    with pytest.raises(bindings.StreamError, match="data error"), bindings.Inflater() as inflater:
        inflater.add(b"nonsense")
    with pytest.raises(bindings.ZlibError, match="stream error"):
        bindings.Deflater(level=77)
    with pytest.raises(bindings.ClosedError):
        inflater.add(b"")


def test_files(bindings: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "äöü.gz"
    with bindings.GzFile(str(path), "wb9") as file:
        assert file.write(DATA) == len(DATA) == file.tell()
    assert gzip.decompress(path.read_bytes()) == DATA
    with bindings.GzFile(str(path)) as file:
        assert file.read(8) + file.read(10**6) == DATA
        assert file.read(5) == b""
    with pytest.raises(bindings.NullError, match="no GzFile"):
        bindings.GzFile("/nonexistent/file")
    path.write_bytes(path.read_bytes()[:-20])
    file = bindings.GzFile(str(path))
    while file.read(100_000):
        pass
    with pytest.raises(bindings.ZlibError, match="buffer error"):  # zlib tells of it when the file is closed
        file.close()
    assert file.closed


def test_lost_objects_are_freed(bindings: ModuleType) -> None:
    for _ in range(300):  # each holds 256 KiB: lost ones would show
        bindings.Deflater()
    gc.collect()
    page = os.sysconf("SC_PAGE_SIZE")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * page
    for _ in range(1000):
        bindings.Deflater().add(b"abc")
    after = int(Path("/proc/self/statm").read_text().split()[1]) * page
    assert after - before < 20_000_000
