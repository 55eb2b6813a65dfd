"""The command line: subcommands are entry points, and say where they are to be had."""

from __future__ import annotations

import importlib.metadata
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from gpucore.cli import app as module

CORE = ("cache", "conformance", "demo", "doctor", "info", "profile")


def point(name: str, value: str, distribution: str) -> importlib.metadata.EntryPoint:
    made = importlib.metadata.EntryPoint(name, value, module.GROUP)
    vars(made)["dist"] = SimpleNamespace(name=distribution)
    return made


@pytest.fixture
def points(monkeypatch):
    """The installed entry points: those of the core, and what a test adds."""
    given = [point(name, f"gpucore.cli.commands:{name}", "gpucore") for name in CORE]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: list(given))
    module.entry_points.cache_clear()
    yield given
    module.entry_points.cache_clear()


def say(*arguments: str):
    return CliRunner().invoke(module.app, arguments)


def test_the_cores_own_commands_are_entry_points_of_its_distribution():
    owned = {
        p.name for p in importlib.metadata.distribution("gpucore").entry_points if p.group == module.GROUP
    }
    assert owned == set(CORE)
    assert all(isinstance(p.load(), click.Command) for p in importlib.metadata.entry_points(group=module.GROUP)
               if p.value.startswith("gpucore."))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("bench", "bench"), ("fuzz", "fuzz"), ("wrap", "wrap"), ("generate", "worker"), ("chat", "worker"), ("serve", "worker"),
     ("verify", "worker")],
)  # fmt: skip
def test_a_command_of_a_distribution_that_is_not_installed_says_which_one(points, name, distribution):
    answer = say(name, "--whatever")
    assert answer.exit_code == 1
    assert f"gpucore-{distribution}" in answer.output
    assert f"pip install -e packages/{distribution}" in answer.output


def test_a_command_of_another_distribution_is_listed_and_runs(points, monkeypatch):
    @click.command()
    def greet() -> None:
        """Say hello."""
        click.echo("hello")

    monkeypatch.setattr(module, "greet", greet, raising=False)
    points.append(point("greet", "gpucore.cli.app:greet", "elsewhere"))
    assert "Say hello." in say("--help").output
    assert say("greet").output == "hello\n"


@pytest.mark.parametrize("value", ["no_such_module:command", "gpucore.cli.app:GROUP"])
def test_a_broken_command_takes_no_other_with_it(points, value):
    points.append(point("greet", value, "elsewhere"))
    shown = say("--help")
    assert shown.exit_code == 0
    assert "cannot be loaded" in shown.output
    answer = say("greet", "--option")
    assert answer.exit_code == 1
    assert "Install elsewhere again" in answer.output


def test_nobody_takes_the_place_of_a_command_of_the_core(points):
    points.insert(0, point("info", "no_such_module:command", "elsewhere"))
    assert "versions, backends, devices" in say("info", "--help").output


def test_a_misspelt_command_names_the_near_ones(points):
    answer = say("benhc")
    assert answer.exit_code == 2
    assert "Did you mean 'bench'?" in answer.output


def test_metadata_older_than_the_code_say_so(points):
    points.clear()
    assert "install gpucore again" in say("info").output


def test_the_demo_says_which_distribution_brings_it(monkeypatch):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "gpucore.cli.demo":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.startswith("gpucore.cli.demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    answer = say("demo")
    assert answer.exit_code == 1
    assert "pip install gpucore-bench" in answer.output
