"""What is trusted: settings from files, the cache's folder, its entries, and the key that signs them.

Root stands for an attacker where it can: chown gives a file another owner.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

import gpucore as gc
from gpucore import config, plugin_api
from gpucore._files import distrust, read_regular, secret_key, user_folder
from gpucore.compile import cache as disk_cache
from gpucore.compile.cache import DiskCache, Entry

pytestmark = pytest.mark.skipif(os.name == "nt", reason="owners and modes are POSIX's")
KEY = "ab" + "0" * 62


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user with a home of their own."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name, folder in (("HOME", "."), ("XDG_STATE_HOME", ".local/state"), ("XDG_CONFIG_HOME", ".config"),
                         ("XDG_CACHE_HOME", ".cache")):  # fmt: skip
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.delenv("GPUCORE_CACHE_DIR", raising=False)
    monkeypatch.setattr(disk_cache, "_caches", disk_cache._Caches())
    return home


def entry(name: str = "k") -> Entry:
    return Entry(
        {"name": name, "entry": name, "format": "x", "metadata": {}, "params": [], "parts": {}}, b"code"
    )


def as_another_user(home: Path, code: str) -> None:
    """Run code as a user with another home, and so with another key."""
    home.mkdir(mode=0o700, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "GPUCORE_"))} | {
        "HOME": str(home)
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# --- settings from files ---------------------------------------------------------------------------------
def test_a_cache_dir_from_ones_own_file_is_taken():
    Path("gpucore.toml").write_text("cache_dir = '/tmp/mine'\n")
    assert config.load(environ={}).cache_dir == "/tmp/mine"


def spoil(what: str) -> None:
    """Make the file or its folder somebody else's to write."""
    folder, file = Path.cwd(), Path("gpucore.toml")
    if what == "a file that others may write":
        file.chmod(0o666)
    elif what == "a folder that others may write":
        folder.chmod(0o777)
    elif what == "a folder that is open to all, sticky as /tmp is":
        folder.chmod(0o1777)
    elif what == "a folder above that others may write":
        folder.parent.chmod(0o777)
    elif what == "a file of another user":
        os.chown(file, 12345, 12345)
    else:
        os.chown(folder, 12345, 12345)


SPOILT = ["a file that others may write", "a folder that others may write",
          "a folder that is open to all, sticky as /tmp is", "a folder above that others may write"]  # fmt: skip
FOREIGN = ["a file of another user", "a folder of another user"]


@pytest.mark.parametrize("what", SPOILT + FOREIGN)
def test_a_cache_dir_from_a_file_that_others_may_change_is_not_taken(what):
    if what in FOREIGN and os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    Path("gpucore.toml").write_text("cache_dir = '/tmp/planted'\nmath = 'fast'\n")
    spoil(what)
    with pytest.warns(RuntimeWarning, match=r"cache_dir is not taken .*gpucore\.toml sets it, but .*"):
        settings = config.load(environ={})
    assert (settings.cache_dir, settings.math) == (None, "fast")
    assert "cache_dir" in dict(settings.ignored)


def test_such_a_file_is_warned_of_once_however_many_read_it(backend):
    backend()
    Path("gpucore.toml").write_text("cache_dir = '/tmp/planted'\n")
    spoil(SPOILT[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        with gc.Context("null"):
            gc.devices()
            gc.cache.stats()
    assert len([w for w in caught if "cache_dir is not taken" in str(w.message)]) == 1


def test_the_environment_over_such_a_file_needs_no_warning():
    Path("gpucore.toml").write_text("cache_dir = '/tmp/planted'\n")
    Path("gpucore.toml").chmod(0o666)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert config.load(environ={"GPUCORE_CACHE_DIR": "/tmp/mine"}).cache_dir == "/tmp/mine"


def test_the_users_file_stands_below_the_projects_and_that_below_the_environment(user):
    folder = user / ".config" / "gpucore"
    folder.mkdir(parents=True)
    (folder / "gpucore.toml").write_text("math = 'fast'\nlog = 'debug'\nbackend = 'a'\n")
    Path("pyproject.toml").write_text("[tool.gpucore]\nlog = 'info'\nbackend = 'b'\n")
    settings = config.load(environ={"GPUCORE_BACKEND": "c"})
    assert (settings.math, settings.log, settings.backend) == ("fast", "info", "c")
    assert settings.source_of("math") == str(folder / "gpucore.toml")


# --- the cache's folder ----------------------------------------------------------------------------------
def test_the_cache_is_made_for_the_user_alone(tmp_path):
    old = os.umask(0)
    try:
        cache = DiskCache(tmp_path / "deep" / "c")
        cache.put(KEY, entry())
        plugin_folder = cache.folder_of("some")
        assert plugin_folder is not None
        plugin_api.write_kept(plugin_folder / "probed", b"x")
    finally:
        os.umask(old)
    made = [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]
    assert len(made) == 7
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


@pytest.mark.parametrize("fault", ["mode", "mode above", "owner"])
def test_a_cache_that_others_may_write_is_refused_with_the_reason(tmp_path, fault):
    if fault == "owner" and os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    folder = tmp_path / "above" / "c"
    cache = DiskCache(folder)
    cache.put(KEY, entry())
    if fault == "mode":
        folder.chmod(0o775)
    elif fault == "mode above":
        folder.parent.chmod(0o777)
    else:
        os.chown(folder, 12345, -1)
    cache = DiskCache(folder)
    reason = "belongs to" if fault == "owner" else "others may write"
    with pytest.warns(RuntimeWarning, match=rf"kept in memory only: .*{reason}"):
        assert cache.get(KEY) is None
    cache.put(KEY, entry("other"))
    assert cache.get(KEY) == entry("other")
    cache.clear()
    assert len(list(folder.rglob("*.gpu"))) == 1, "nothing there is touched"


def test_plugins_keep_nothing_in_a_cache_that_others_may_write(tmp_path, monkeypatch):
    (tmp_path / "c").mkdir()
    (tmp_path / "c").chmod(0o777)
    monkeypatch.setenv("GPUCORE_CACHE_DIR", str(tmp_path / "c"))
    assert plugin_api.plugin_folder("some") is None


# --- entries ---------------------------------------------------------------------------------------------
def test_an_entry_that_another_user_made_is_refused(tmp_path, user):
    """The cache of a cloned repository: right owner, right mode, right format, and not this user's."""
    as_another_user(
        tmp_path / "attacker",
        f"""
        from pathlib import Path
        from gpucore.compile.cache import DiskCache, Entry
        cache = DiskCache(Path({str(tmp_path / "c")!r}))
        cache.put({KEY!r}, Entry({{"name": "k"}}, b"planted"))
        assert cache.get({KEY!r}) is not None
        """,
    )
    cache = DiskCache(tmp_path / "c")
    assert len(list(cache.directory.rglob("*.gpu"))) == 1
    assert cache.get(KEY) is None and list(cache.entries()) == []
    assert cache.misses == 1


def test_an_entry_with_a_checksum_of_the_former_format_is_refused(tmp_path):
    cache = DiskCache(tmp_path / "c")
    cache.put(KEY, entry())
    (file,) = cache.directory.rglob("*.gpu")
    header = json.dumps({"name": "k"}).encode()
    body = len(header).to_bytes(8, "little") + header + b"planted"
    for magic in (b"gpucore cache 1\n", b"gpucore cache 2\n"):
        file.write_bytes(magic + hashlib.sha256(body).digest() + body)
        assert cache.get(KEY) is None


def test_an_entry_under_the_name_of_another_is_refused(tmp_path):
    cache = DiskCache(tmp_path / "c")
    cache.put(KEY, entry())
    (file,) = cache.directory.rglob("*.gpu")
    other = "cd" + KEY[2:]
    cache._file(other).parent.mkdir()
    cache._file(other).write_bytes(file.read_bytes())
    assert cache.get(other) is None and cache.get(KEY) == entry()


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"name": "k"},
        {"params": 3},
        {**entry().header, "params": [["x"]]},
        {**entry().header, "metadata": None},
    ],
    ids=["empty", "name alone", "params no list", "param short", "metadata none"],
)
def test_a_signed_entry_with_bad_content_is_a_miss_and_is_written_anew(backend, saxpy, header):
    """What an interrupted write, another version, or a broken plugin may leave behind."""
    backend("null")
    check_bad_content(saxpy, lambda good: Entry(header, good.data))


def test_a_signed_entry_whose_code_the_backend_cannot_read_is_compiled_anew(backend, saxpy):
    backend("null")
    check_bad_content(saxpy, lambda good: Entry(good.header, b"\xff\x00 no code"))


def check_bad_content(saxpy, spoil_entry):
    for run in range(2):
        with gc.Context("null") as ctx:
            y = ctx.ones(8, gc.f32)
            saxpy[1, 8](ctx.ones(8, gc.f32), y, 1.0)
            assert y.numpy()[0] == 2
            cache = disk_cache.current()
            if run == 0:
                (file,) = cache.directory.rglob("*.gpu")
                key = file.parent.name + file.stem
                cache.put(key, spoil_entry(cache.peek(key)))
    assert cache.peek(key).header["name"] == "saxpy"


def test_a_planted_kernel_does_not_run(tmp_path, user, backend, saxpy, monkeypatch):
    """The attack of the first round: a configuration file names a cache with code in it."""
    backend("null")
    planted = tmp_path / "planted"
    program = textwrap.dedent(
        f"""
        import os
        os.environ["GPUCORE_CACHE_DIR"] = {str(planted)!r}
        import gpucore as gc
        from gpucore.backends import discovery
        from gpucore.compile.cache import Entry, current
        from gpucore.testing import null

        @gc.kernel(source='''
        def double(x: gc.Array[gc.f32]):
            x[gc.global_id(0)] *= {{factor}}
        ''')
        def double(x: gc.Array[gc.f32]): ...
        """
    )
    run = textwrap.dedent(
        """
        with discovery.register("null", null), gc.Context("null") as ctx:
            x = ctx.ones(8, gc.f32)
            double[1, 8](x)
            print(x.numpy()[0])
        """
    )
    plant = textwrap.dedent(
        """
        cache = current()
        (file,) = cache.directory.rglob("*.gpu")
        key = file.parent.name + file.stem
        found = cache.peek(key)
        cache.put(key, Entry(found.header, found.data.replace(b"mul", b"add")))
        """
    )
    good = program.replace("{factor}", "2.0")
    as_another_user(tmp_path / "attacker", good + run + plant)
    # the attacker's own process runs it ...
    script = tmp_path / "victim.py"
    script.write_text(good + run)

    def output(home: Path) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "GPUCORE_"))} | {
            "HOME": str(home)
        }
        return subprocess.run(
            [sys.executable, script], env=environment, capture_output=True, text=True
        ).stdout.strip()

    assert output(tmp_path / "attacker") != "2.0"
    # ... the user's compiles its own
    assert output(user) == "2.0"


# --- special files ---------------------------------------------------------------------------------------
def test_special_files_in_the_cache_are_ignored(tmp_path):
    cache = DiskCache(tmp_path / "c")
    cache.put(KEY, entry())
    (file,) = cache.directory.rglob("*.gpu")
    content = file.read_bytes()
    file.unlink()
    elsewhere = tmp_path / "elsewhere.gpu"
    elsewhere.write_bytes(content)
    file.symlink_to(elsewhere)
    assert cache.get(KEY) is None, "a link"
    file.unlink()
    os.mkfifo(file)
    assert cache.get(KEY) is None, "a pipe, which would wait for a writer"
    cache.clear()
    cache._shrink()
    assert cache.stats()["entries"] == 0 and stat.S_ISFIFO(file.lstat().st_mode)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert cache.get(KEY) is None, "a device"


def test_clearing_and_shrinking_follow_no_links_and_remove_only_entries(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    names = ["0" * 62 + ".gpu", ".old.tmp", "thesis.txt"]
    for name in names:
        (precious / name).write_bytes(b"gpucore cache 2\n and more")
        os.utime(precious / name, (1, 1))
    cache = DiskCache(tmp_path / "c", limit=1)
    cache.put(KEY, entry())
    (cache.directory / "cd").symlink_to(precious)
    plugins = cache.directory / "gpucore-plugins"
    plugins.mkdir()
    (plugins / "some").symlink_to(precious)
    mine = cache.directory / "ab" / ("1" * 62 + ".gpu")
    mine.write_bytes(b"not an entry")
    notes = cache.directory / "ab" / "notes.gpu"
    notes.write_bytes(b"gpucore cache 2\n")
    cache._shrink()
    cache.clear()
    assert sorted(path.name for path in precious.iterdir()) == sorted(names)
    assert mine.exists() and notes.exists()
    assert not cache._file(KEY).exists()
    with pytest.warns(RuntimeWarning, match="is a symbolic link"):
        cache.put("cd" + KEY[2:], entry())  # into the link: kept in memory instead
    assert sorted(path.name for path in precious.iterdir()) == sorted(names)


def test_only_regular_files_of_the_user_are_read(tmp_path):
    assert read_regular(tmp_path) is None
    assert read_regular(Path("/dev/null")) is None
    assert read_regular(tmp_path / "missing") is None


# --- the key ---------------------------------------------------------------------------------------------
def test_the_key_is_the_users_alone_and_stays(user):
    key = secret_key()
    (file,) = user.rglob("cache.key")
    assert file.read_bytes() == key and len(key) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert secret_key() == key


def test_a_key_that_others_could_read_is_replaced(user, tmp_path):
    folder = user / ".local" / "state" / "gpucore"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "cache.key").write_bytes(b"k" * 32)
    (folder / "cache.key").chmod(0o644)
    assert secret_key() != b"k" * 32


def test_without_a_key_entries_stay_in_memory_with_the_reason(user, tmp_path):
    (user / ".local").write_text("in the way")
    cache = DiskCache(tmp_path / "c")
    with pytest.warns(RuntimeWarning, match="kept in memory only"):
        cache.put(KEY, entry())
    assert cache.get(KEY) == entry() and not list(tmp_path.rglob("*.gpu"))


def test_processes_that_start_at_once_agree_on_the_key(user, tmp_path):
    code = "from gpucore._files import secret_key; print(secret_key().hex())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(6)]
    assert len({process.communicate()[0] for process in running}) == 1


def test_what_a_plugin_keeps_is_signed(tmp_path):
    file = tmp_path / "p" / "probed"
    plugin_api.write_kept(file, b"data")
    assert plugin_api.read_kept(file) == b"data"
    file.write_bytes(hashlib.sha256(b"evil").digest() + b"evil")
    assert plugin_api.read_kept(file) is None


# --- odd paths -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["~nobody-of-that-name/x"])
def test_a_folder_that_cannot_be_found_is_a_configuration_error(path):
    with pytest.raises(gc.ConfigError, match="GPUCORE_CACHE_DIR wants a folder that can be found"):
        config.load(environ={"GPUCORE_CACHE_DIR": path})


def test_a_path_of_4000_characters_means_memory_and_a_short_warning(backend, saxpy, monkeypatch):
    backend("null")
    monkeypatch.setenv("GPUCORE_CACHE_DIR", "/tmp/" + "x" * 4000)
    with gc.Context("null") as ctx, pytest.warns(RuntimeWarning, match="kept in memory only") as caught:
        y = ctx.ones(8, gc.f32)
        saxpy[1, 8](ctx.ones(8, gc.f32), y, 1.0)
        assert y.numpy()[0] == 2
    assert len(caught) == 1 and len(str(caught[0].message)) < 500
    assert gc.cache.stats()["entries"] == 1
    gc.cache.clear()


@pytest.mark.parametrize("digits", ["9" * 400, "1" + "0" * 30 + " TiB"])
def test_a_size_past_all_memory_is_a_configuration_error_in_few_words(digits):
    with pytest.raises(
        gc.ConfigError, match="GPUCORE_MEMORY_LIMIT wants a positive number of bytes"
    ) as caught:
        config.load(environ={"GPUCORE_MEMORY_LIMIT": digits})
    assert len(str(caught.value)) < 300


def test_a_tool_that_is_no_table_is_a_configuration_error():
    Path("pyproject.toml").write_text("tool = 3  # tool.gpucore\n")
    with pytest.raises(gc.ConfigError, match=r"\[tool.gpucore\] is not a table"):
        config.load(environ={})


def test_what_is_trusted_is_trusted(tmp_path):
    assert distrust(tmp_path, folder=True) is None and distrust(tmp_path / "not" / "there") is None
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert distrust(shared / "to-be-made", folder=True) is None
    assert "others may write" in str(distrust(shared, folder=True))
    assert "others may write" in str(distrust(shared / "file"))


@pytest.mark.skipif(sys.platform == "darwin", reason="asks platformdirs itself")
@pytest.mark.parametrize("kind", ["cache", "config", "state"])
@pytest.mark.parametrize("variable", ["/somewhere/else", "", None])
def test_the_users_folders_are_those_of_platformdirs(kind, variable, monkeypatch):
    import platformdirs

    name = f"XDG_{kind.upper()}_HOME"
    monkeypatch.delenv(name) if variable is None else monkeypatch.setenv(name, variable)
    assert str(user_folder(kind)) == getattr(platformdirs, f"user_{kind}_dir")("gpucore", appauthor=False)


def test_an_entry_that_has_grown_past_all_bounds_is_a_miss_and_is_not_read(tmp_path, monkeypatch):
    cache = DiskCache(tmp_path / "cache")
    cache.put(KEY, Entry({}, b"code"))
    (file,) = (tmp_path / "cache").glob("*/*")
    assert DiskCache(tmp_path / "cache").get(KEY) is not None
    os.truncate(file, 3 << 30)  # a sparse file
    read = []
    monkeypatch.setattr(os, "read", lambda handle, nbytes: read.append(nbytes) or b"")
    assert DiskCache(tmp_path / "cache").get(KEY) is None
    assert read == []


@pytest.mark.skipif(sys.platform == "win32", reason="users have numbers")
@pytest.mark.parametrize("named", [True, False], ids=["a cache that is named", "the user's cache"])
def test_without_a_home_folder_nothing_is_kept_in_the_working_folder(
    named, backend, saxpy, monkeypatch, tmp_path
):
    import pwd

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "GPUCORE_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if named:
        monkeypatch.setenv("GPUCORE_CACHE_DIR", str(tmp_path / "kept"))
    backend("null")
    with gc.Context("null") as ctx:
        x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
        with pytest.warns(RuntimeWarning, match="in memory only: .*no home folder is known") as seen:
            saxpy.over(8)(x, y, 2.0)
        assert [one.filename for one in seen] == [__file__]
        assert y.numpy()[0] == 3
    assert os.listdir(".") == []
