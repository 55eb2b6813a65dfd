"""Models by name: a distribution with a file, or with one in parts that others bring."""

from __future__ import annotations

import base64
import hashlib

import pytest

from gpucore_worker.errors import ModelError
from gpucore_worker.find import find_model


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution of some files."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def add(name, files, requires=()):
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        lines = "".join(f"Requires-Dist: {required}\n" for required in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{lines}")
        record = ""
        for path, raw in files.items():
            target = site / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(raw)
            digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(raw)}\n"
        (info / "RECORD").write_text(record)
        return site

    return add


def test_a_distribution_brings_a_file(install):
    site = install("some-model", {"some/m.gguf": b"GGUF", "some/x.txt": b""})
    assert find_model("some-model") == site / "some" / "m.gguf"


def test_parts_that_required_distributions_bring_are_joined_once(install):
    install(
        "whole", {"whole/x.txt": b""}, ["part-b==1.0", "part-a>=1", "not-there; extra == 'more'", "absent"]
    )
    install("part-a", {"a/m.gguf.part00": b"GGUF one, "})
    site = install("part-b", {"b/m.gguf.part01": b"two"})
    found = find_model("whole")
    assert found.name == "m.gguf" and found.read_bytes() == b"GGUF one, two"
    assert find_model("whole") == found and len(list(found.parent.iterdir())) == 1
    found.unlink()
    (site / "b" / "m.gguf.part01").write_bytes(b"twO")
    with pytest.raises(ModelError, match="part01 is damaged"):
        find_model("whole")
    assert not list(found.parent.iterdir())


@pytest.mark.parametrize(
    "names", [["m.gguf.part00", "m.gguf.part02"], ["m.gguf.part02"], ["m.gguf.part00", "n.gguf.part01"]]
)
def test_parts_that_are_no_whole_are_refused(install, names):
    install("broken", {f"broken/{name}": b"GGUF" for name in names})
    with pytest.raises(ModelError, match="no whole"):
        find_model("broken")


def test_what_brings_none_is_refused(install):
    install("empty", {"empty/x.txt": b""})
    with pytest.raises(ModelError, match="no files"):
        find_model("empty")
    install("two", {"two/a.gguf": b"", "two/b.gguf": b""})
    with pytest.raises(ModelError, match="2 files"):
        find_model("two")
