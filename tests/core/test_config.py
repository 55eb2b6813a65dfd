"""Configuration: environment over gpucore.toml over pyproject.toml, and mistakes in them."""

from pathlib import Path

import pytest

import gpucore as gc
from gpucore import config
from gpucore.plugin_api import plugin_settings


def test_the_environment_wins_over_gpucore_toml_which_wins_over_pyproject():
    Path("pyproject.toml").write_text("[tool.gpucore]\nbackend = 'a'\nmath = 'fast'\ncheck = true\n")
    Path("gpucore.toml").write_text("backend = 'b'\nmath = 'strict'\n")
    settings = config.load(environ={"GPUCORE_BACKEND": "c"})
    assert (settings.backend, settings.math, settings.check) == ("c", "strict", True)
    assert settings.source_of("backend") == "the environment variable GPUCORE_BACKEND"
    assert settings.source_of("check").endswith("pyproject.toml")


def test_files_are_found_upwards_from_the_working_directory(monkeypatch):
    Path("gpucore.toml").write_text("memory_limit = '2 GiB'\n")
    deep = Path("a/b")
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert config.load(environ={}).memory_limit == 2 << 30


def test_a_pyproject_without_our_table_is_passed_over(monkeypatch):
    Path("pyproject.toml").write_text("[tool.gpucore]\ncheck = true\n")
    Path("inner").mkdir()
    Path("inner/pyproject.toml").write_text("[project]\nname = 'x'\n")
    monkeypatch.chdir("inner")
    assert config.load(environ={}).check is True


def test_an_unknown_key_is_an_error_with_a_suggestion():
    Path("gpucore.toml").write_text("backnd = 'a'\n")
    with pytest.raises(
        gc.ConfigError, match=r"gpucore\.toml: unknown key 'backnd', did you mean 'backend'\?"
    ):
        config.load(environ={})


def test_a_mistyped_environment_variable_is_an_error_with_a_suggestion():
    with pytest.raises(gc.ConfigError, match="did you mean 'GPUCORE_BACKEND'"):
        config.load(environ={"GPUCORE_BACKND": "x"})


def test_variables_of_others_with_our_prefix_are_let_be():
    assert config.load(environ={"GPUCORE_SOMEPLUGIN_THREADS": "2"}) == config.Settings()


@pytest.mark.parametrize(
    "variable, value",
    [
        ("GPUCORE_MATH", "sloppy"),
        ("GPUCORE_CHECK", "maybe"),
        ("GPUCORE_MEMORY_LIMIT", "-1"),
        ("GPUCORE_LOG", "loud"),
    ],
)
def test_a_bad_value_names_its_place(variable, value):
    with pytest.raises(gc.ConfigError, match=f"{variable} wants .* not '{value}'"):
        config.load(environ={variable: value})


def test_a_file_that_is_no_toml_is_one_clear_error():
    Path("gpucore.toml").write_text("backend = \n")
    with pytest.raises(gc.ConfigError, match=r"gpucore\.toml cannot be read"):
        config.load(environ={})


def test_a_config_error_is_a_value_error():
    assert issubclass(gc.ConfigError, ValueError)


def test_a_context_from_a_file(backend, tmp_path):
    backend("null")
    file = tmp_path / "mine.toml"
    file.write_text("backend = 'null'\ncheck = true\nmemory_limit = 4096\n")
    with gc.Context.from_config(file) as ctx:
        assert (ctx.backend, ctx.check, ctx.pool.limit) == ("null", True, 4096)


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(gc.ConfigError, match="there is no configuration file"):
        gc.Context.from_config(tmp_path / "nowhere.toml")


def test_the_environment_chooses_math_and_checks_unless_the_call_says_otherwise(backend, monkeypatch):
    backend("null")
    monkeypatch.setenv("GPUCORE_MATH", "fast")
    monkeypatch.setenv("GPUCORE_CHECK", "1")
    with gc.Context("null") as ctx:
        assert (ctx.math, ctx.check) == ("fast", True)
    with gc.Context("null", math="strict", check=False) as ctx:
        assert (ctx.math, ctx.check) == ("strict", False)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("0", False), ("'1'", True), ("true", True)])
def test_check_is_a_boolean_or_one_or_zero_in_a_file_too(text, value):
    Path("gpucore.toml").write_text(f"check = {text}\n")
    assert config.load(environ={}).check is value


def test_check_is_no_other_number():
    Path("gpucore.toml").write_text("check = 2\n")
    with pytest.raises(gc.ConfigError, match="check wants a boolean"):
        config.load(environ={})


# --- settings of plugins ---
def test_keys_that_begin_with_an_installed_backends_name_are_its_plugins(monkeypatch):
    import importlib.metadata

    point = importlib.metadata.EntryPoint("far-away", "nowhere", "gpucore.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: (point,))
    Path("gpucore.toml").write_text("far_away_threads = 3\n")
    assert plugin_settings("far-away", ["threads"])["threads"].value == 3
    assert "gpucore.toml: far_away_threads" in plugin_settings("far-away", ["threads"])["threads"].source
    monkeypatch.setenv("GPUCORE_FAR_AWAY_THREADS", "4")
    setting = plugin_settings("far-away", ["threads"])["threads"]
    assert (setting.value, setting.source) == ("4", "the environment variable GPUCORE_FAR_AWAY_THREADS")
    with pytest.raises(gc.ConfigError, match="unknown key 'far_away_threads'.*far-away has: far_away_speed"):
        plugin_settings("far-away", ["speed"])
    Path("gpucore.toml").write_text("near_threads = 3\n")
    with pytest.raises(gc.ConfigError, match="unknown key 'near_threads'"):
        plugin_settings("far-away", ["threads"])


def test_settings_of_plugins_come_from_trusted_files_alone(monkeypatch):
    import importlib.metadata

    point = importlib.metadata.EntryPoint("far", "nowhere", "gpucore.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: (point,))
    Path("gpucore.toml").write_text("far_threads = 3\n")
    monkeypatch.setattr(config, "distrust", lambda file: "it belongs to somebody else")
    with pytest.warns(RuntimeWarning, match="far_threads is not taken.*set GPUCORE_FAR_THREADS instead"):
        assert plugin_settings("far", ["threads"]) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "too deep"),
        ("memory_limit = " + "9" * 10_000, "4300 digits"),
        ("#" * (5 << 20), "longer than 4,194,304 bytes"),
    ],
    ids=["deep", "digits", "long"],
)
def test_a_file_that_python_cannot_take_in_is_named(text, message):
    Path("gpucore.toml").write_text(text)
    with pytest.raises(gc.ConfigError, match=rf"gpucore\.toml.*{message}"):
        config.load(environ={})
