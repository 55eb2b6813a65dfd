"""A kernel that was compiled by other sources is not taken from the cache."""

import importlib
import sys

import gpucore as gc
from gpucore.compile.cache import fingerprint, sources_of


def test_the_fingerprint_of_a_folder_changes_with_any_file_in_it(tmp_path):
    place = tmp_path / "package"
    (place / "inner").mkdir(parents=True)
    (place / "__init__.py").write_text("")
    seen = set()
    for text in ("a = 1\n", "a = 2\n", "a = 2\nb = 3\n"):
        (place / "inner" / "code.py").write_text(text)
        fingerprint.cache_clear()
        seen.add(fingerprint(place))
    (place / "inner" / "code.py").rename(place / "code.py")
    fingerprint.cache_clear()
    seen.add(fingerprint(place))
    fingerprint.cache_clear()
    assert len(seen) == 4
    assert fingerprint(tmp_path / "nowhere.py") == ""


def test_packages_modules_and_objects_have_the_fingerprint_of_their_files(tmp_path, monkeypatch):
    (tmp_path / "lonely_backend.py").write_text("class Backend:\n    pass\n\n\nbackend = Backend()\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("lonely_backend")
    try:
        assert sources_of(module) == sources_of(module.backend) == fingerprint(tmp_path / "lonely_backend.py")
    finally:
        del sys.modules["lonely_backend"]
    from gpucore import ir

    assert sources_of(ir) == fingerprint(tmp_path.__class__(ir.__path__[0]))
    assert sources_of(object()) == ""


def test_other_sources_of_the_backend_are_a_miss_that_is_explained(backend, saxpy, monkeypatch):
    backend("null")

    for sources, misses in (("old", 1), ("old", 1), ("new", 2)):
        monkeypatch.setattr("gpucore.runtime.device.sources_of", lambda plugin, sources=sources: sources)
        with gc.Context("null") as ctx:
            x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
            if sources == "new":
                said = gc.cache.explain(saxpy, x, y, 1.0)
            saxpy[1, 8](x, y, 1.0)
        assert gc.cache.stats()["misses"] == misses
    assert "sources of the backend" in said
