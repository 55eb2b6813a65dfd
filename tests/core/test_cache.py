"""The disk cache: whole entries or nothing, whatever happens."""

import importlib
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest

import gpucore as gc
from gpucore.compile import cache as disk_cache
from gpucore.compile.cache import DiskCache, Entry


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "c")


def entry(size=10, name="k"):
    return Entry(
        {"name": name, "entry": name, "format": "x", "metadata": {}, "params": [], "parts": {}}, b"d" * size
    )


KEY = "ab" + "0" * 62


def test_an_entry_comes_back_as_it_was(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, entry())
    assert cache.get(KEY) == entry()
    assert cache.stats() | {"bytes": 0} == {"hits": 1, "misses": 1, "entries": 1, "bytes": 0}


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "garbage", "directory"])
def test_a_damaged_entry_is_a_miss_and_is_written_anew(cache, damage):
    cache.put(KEY, entry(1000))
    (file,) = cache.directory.rglob("*.gpu")
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "flip":
        file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "garbage":
        file.write_bytes(os.urandom(500))
    else:
        file.unlink()
        file.mkdir()
    assert cache.get(KEY) is None
    if damage != "directory":
        cache.put(KEY, entry(1000))
        assert cache.get(KEY) == entry(1000)


@pytest.mark.skipif(os.name == "nt", reason="directories are not made read-only this way here")
def test_a_directory_that_cannot_be_written_means_memory_and_one_warning(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    cache = DiskCache(blocker / "below")  # a file is in the way, for root too
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache.put(KEY, entry())
        cache.put("cd" + KEY[2:], entry())
    assert [str(w.message).startswith("compiled kernels are kept in memory only") for w in caught] == [True]
    assert cache.get(KEY) == entry()


def test_no_directory_means_memory(tmp_path):
    cache = DiskCache(None)
    cache.put(KEY, entry())
    assert cache.get(KEY) == entry()
    cache.clear()
    assert cache.get(KEY) is None


def test_the_entries_used_longest_ago_go_first(tmp_path):
    cache = DiskCache(tmp_path / "c", limit=5000)
    for number in range(10):
        cache.put(f"{number:02x}" + "0" * 62, entry(1000))
        (file,) = (cache.directory / f"{number:02x}").glob("*.gpu")
        os.utime(file, (number, number))
    cache._shrink()
    assert cache.stats()["bytes"] <= 5000
    assert cache.peek("09" + "0" * 62) is not None and cache.peek("00" + "0" * 62) is None


def test_temporary_files_of_killed_processes_are_removed_in_time(cache):
    cache.put(KEY, entry())
    folder = cache.directory / KEY[:2]
    old, young = folder / ".old.tmp", folder / ".young.tmp"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache._shrink()
    assert not old.exists() and young.exists()


def test_clear_removes_everything(cache):
    cache.put(KEY, entry())
    own, other = cache.folder_of("some") / "probed.json", cache.directory / "notes" / "mine.txt"
    for file in (own, other):
        file.parent.mkdir(parents=True)
        file.write_text("x")
    cache.clear()
    assert cache.stats()["entries"] == 0
    assert not own.exists() and other.exists()


def test_threads_write_one_entry_at_once(cache):
    threads = [threading.Thread(target=cache.put, args=(KEY, entry(100_000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get(KEY) == entry(100_000)
    assert len(list(cache.directory.rglob("*"))) == 2


def test_processes_share_a_cache_and_one_may_be_killed_in_the_middle(tmp_path):
    code = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from gpucore.compile.cache import DiskCache, Entry
        cache = DiskCache(Path({str(tmp_path / "c")!r}))
        expected = Entry({{"name": "k"}}, b"d" * 300_000)
        for turn in range(40):
            for number in range(4):
                key = f"{{number:02x}}" + "0" * 62
                found = cache.get(key)
                assert found is None or found == expected
                cache.put(key, expected)
        """
    )
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(6)]
    time.sleep(0.3)
    processes[0].kill()
    assert [p.wait() for p in processes][1:] == [0] * 5
    cache = DiskCache(tmp_path / "c")
    assert all(cache.peek(f"{n:02x}" + "0" * 62) is not None for n in range(4))


def test_32_cold_processes_share_a_cache_with_one_killed_in_the_middle(tmp_path):
    """Whole processes on one directory: each compiles or finds the kernel, and all get the right numbers."""
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            import gpucore as gc
            from gpucore.backends import discovery
            from gpucore.testing import null

            @gc.kernel
            def triple(x: gc.Array[gc.f32]):
                x[gc.global_id(0)] *= 3.0

            with discovery.register("null", null), gc.Context("null") as ctx:
                x = ctx.array(np.arange(8, dtype=np.float32))
                triple.over(8)(x)
                assert x.numpy().tolist() == [0, 3, 6, 9, 12, 15, 18, 21]
            """
        ),
        "utf-8",
    )
    env = os.environ | {"GPUCORE_CACHE_DIR": str(tmp_path / "cache")}
    processes = [
        subprocess.Popen([sys.executable, script], env=env, stderr=subprocess.PIPE) for _ in range(32)
    ]
    time.sleep(0.5)
    processes[7].kill()
    answers = [(p.communicate(timeout=120)[1].decode(), p.returncode) for p in processes]
    assert [code for _, code in answers[:7] + answers[8:]] == [0] * 31, answers
    assert not any(error for error, _ in answers[:7] + answers[8:])
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(left) >= 1


# --- kernels through the cache
def launch(saxpy, **options):
    with gc.Context("null", **options) as ctx:
        x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
        saxpy[1, 8](x, y, 1.0)
        return y.numpy()[0], gc.cache.explain(saxpy, x, y, 1.0)


def counts():
    stats = gc.cache.stats()
    return stats["hits"], stats["misses"], stats["entries"]


def test_a_second_context_finds_what_the_first_compiled(backend, saxpy):
    backend("null")
    assert launch(saxpy)[0] == 2
    assert counts() == (0, 1, 1)
    assert launch(saxpy)[0] == 2
    assert counts() == (1, 1, 1)
    assert launch(saxpy, math="fast")[0] == 2
    assert launch(saxpy, check=True)[0] == 2
    assert counts() == (1, 3, 3)
    assert launch(saxpy, check=True)[0] == 2
    assert counts() == (2, 3, 3)


def test_clearing_the_public_cache(backend, saxpy):
    backend("null")
    launch(saxpy)
    gc.cache.clear()
    assert gc.cache.stats()["entries"] == 0


def test_a_cache_that_is_off_stays_off_the_disk(backend, saxpy, monkeypatch, tmp_path):
    backend("null")
    monkeypatch.setenv("GPUCORE_CACHE_DIR", "off")
    monkeypatch.setattr(disk_cache, "_caches", disk_cache._Caches())
    assert launch(saxpy)[0] == 2
    assert not (tmp_path / "kernel-cache").exists() and not Path("off").exists()


def test_explain_says_hit_miss_and_why(backend, saxpy, monkeypatch):
    from gpucore.testing import null

    backend("null")
    with gc.Context("null") as ctx:
        x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
        assert "miss: no kernel of that name" in gc.cache.explain(saxpy, x, y, 1.0)
        saxpy[1, 8](x, y, 1.0)
        assert "has it loaded already" in gc.cache.explain(saxpy, x, y, 1.0)
    with gc.Context("null") as ctx:
        x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
        assert "hit: entry" in gc.cache.explain(saxpy, x, y, 1.0)
        checked = ctx.options(check=True)
        why = gc.cache.explain(saxpy, checked.ones(8, gc.f32), y, 1.0)
        assert "miss" in why and "checked mode" in why and "target" not in why
    del null


def test_explain_says_that_a_launch_would_be_refused(backend):
    @gc.kernel
    def clear(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = 0.0

    backend("null")
    with gc.Context("null") as ctx:
        small, big = ctx.ones(10, gc.f32), ctx.ones(1000, gc.f32)
        clear.over(1000)(big)
        text = gc.cache.explain(clear, small)
        assert "refused before it runs" in text and "index 999 is out of bounds" in text
        with pytest.raises(gc.KernelBoundsError) as caught:
            clear.over(1000)(small)
        inside = [entry for entry in caught.traceback if "/gpucore/" in str(entry.path)]
        assert len(inside) <= 1, "the frames below the launch say nothing to the user"


def test_a_key_depends_on_versions_and_target(backend, saxpy):
    from dataclasses import replace

    from gpucore.testing import null

    backend("a", target=lambda device: null.target(None))
    backend("b", target=lambda device: replace(null.target(None), features=frozenset({"new"})))
    backend("c", backend_info=lambda: replace(null.backend_info(), versions={"compiler": "2"}))
    for number, name in enumerate("abc"):
        with gc.Context(name) as ctx:
            saxpy[1, 8](ctx.ones(8, gc.f32), ctx.ones(8, gc.f32), 1.0)
        assert counts() == (0, number + 1, number + 1)


def test_what_the_driver_does_not_take_from_the_cache_is_compiled_anew(backend, saxpy):
    from gpucore.testing import null

    state = {"refuse": False, "compiled": 0}

    def compile(target, module, options):
        state["compiled"] += 1
        return null.compile(target, module, options)

    def load(device, object_code):
        if state["refuse"]:
            state["refuse"] = False
            raise gc.CompileError("made by another driver")
        return null.load(device, object_code)

    backend("picky", compile=compile, load=load)
    for refuse in (False, True):
        state["refuse"] = refuse
        with gc.Context("picky") as ctx:
            y = ctx.ones(8, gc.f32)
            saxpy[1, 8](ctx.ones(8, gc.f32), y, 1.0)
            assert y.numpy()[0] == 2
    assert state["compiled"] == 2


def test_what_is_known_of_accesses_is_kept_with_the_code(backend, monkeypatch):
    """A later process neither analyses nor lowers a kernel again, until there is an error to explain."""
    from gpucore.ir.bounds import analysis

    lowering = importlib.import_module("gpucore.ir.passes.lower")

    def gather(x: gc.Array[gc.f32], index: gc.Array[gc.i32], y: gc.Array[gc.f32]) -> None:
        i = gc.global_id(0)
        y[i] = x[index[i]]

    backend("null")
    with gc.Context("null", check="auto") as ctx:
        x, index, y = ctx.ones(4, gc.f32), ctx.zeros(4, gc.i32), ctx.zeros(4, gc.f32)
        gc.kernel(gather).over(4)(x, index, y)
        ctx.synchronize()
        later = gc.kernel(gather)  # as another process has it
        with monkeypatch.context() as forbidden:
            forbidden.setattr(analysis, "analyse", None)
            forbidden.setattr(lowering, "checks", None)
            later.over(4)(x, index, y)
            assert y.numpy().tolist() == [1, 1, 1, 1]
        later.over(4)(x, ctx.full(4, 7, gc.i32), y)
        with pytest.raises(gc.KernelBoundsError, match=r"index 7 .* line \d+"):
            ctx.synchronize()
        with pytest.raises(gc.KernelBoundsError, match="nothing was launched"):
            later.over(5)(x, index, y)


def test_a_checked_kernel_is_one_file_in_the_cache(backend, monkeypatch):
    """A first launch reads what it runs, and nothing else, also where an unchecked launch left code of the same kernel."""
    from gpucore.compile import cache

    def gather(x: gc.Array[gc.f32], index: gc.Array[gc.i32], y: gc.Array[gc.f32]) -> None:
        i = gc.global_id(0)
        y[i] = x[index[i]]

    def shift(x: gc.Array[gc.f32], y: gc.Array[gc.f32]) -> None:
        i = gc.global_id(0)
        if i > 0:
            y[i] = x[i - 1]

    backend("null")
    read = []
    plain = cache.read_regular
    with gc.Context("null", check="auto") as ctx:
        x, index, y = ctx.ones(4, gc.f32), ctx.zeros(4, gc.i32), ctx.zeros(4, gc.f32)
        for function, given in ((gather, (x, index, y)), (shift, (x, y))):
            for mode in (False, "auto"):
                other = ctx.options(check=mode)
                gc.kernel(function).over(4)(*(other.array(array.numpy()) for array in given))
            with monkeypatch.context() as watched:
                watched.setattr(cache, "read_regular", lambda file: read.append(file) or plain(file))
                gc.kernel(function).over(4)(*given)
            assert len(read) == 1, function
            read.clear()


def test_code_that_an_unchecked_context_compiled_gets_what_is_known(backend, saxpy, monkeypatch):
    from gpucore.ir.bounds import analysis

    backend("null")
    plain, _ = launch(saxpy, check=False)
    launch(saxpy, check="auto")
    monkeypatch.setattr(analysis, "analyse", None)
    source = saxpy.kernel_source
    source._specializations.clear()
    saxpy.launchers._by_key.clear()
    with gc.Context("null", check="auto") as ctx:
        x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
        saxpy[1, 8](x, y, 1.0)
        assert y.numpy()[0] == plain
