"""The wheels as built: versions in lockstep, pins, entry points, typing markers, nothing that does not belong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

WHEELS = os.environ.get("GPUCORE_TEST_WHEELS")
pytestmark = pytest.mark.skipif(
    WHEELS is None, reason="GPUCORE_TEST_WHEELS names no folder of built wheels (tox -e wheels)"
)

NAMES = (
    "gpucore",
    "gpucore_cpu",
    "gpucore_cuda",
    "gpucore_vulkan",
    "gpucore_bench",
    "gpucore_clike",
    "gpucore_fuzz",
)
CORE_BYTES = 650_000
"""The core's wheel holds what users run: no benchmarks, no peers, no fuzzer."""
CARRIED = {"gpucore_bench": "gpucore/cli/demo/", "gpucore_clike": "gpucore/ir/clike/"}
"""Folders of gpucore that travel in another wheel, with those who need them."""


def wheel(name: str) -> Path:
    (path,) = Path(str(WHEELS)).glob(f"{name}-[0-9]*.whl")
    return path


def metadata(path: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(path) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        message = Parser().parsestr(archive.read(name).decode())
    return {key: message.get_all(key) or [] for key in set(message.keys())}


def test_all_versions_are_one() -> None:
    assert len({metadata(wheel(name))["Version"][0] for name in NAMES}) == 1


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_plugin_or_package_pins_the_core_it_is_released_with(name: str) -> None:
    found = metadata(wheel(name))
    assert f"gpucore=={found['Version'][0]}" in found["Requires-Dist"]


def test_the_extras_pin_the_plugins() -> None:
    found = metadata(wheel("gpucore"))
    version = found["Version"][0]
    for extra in ("bench", "cpu", "cuda", "fuzz", "vulkan"):
        assert any(
            re.match(rf"gpucore-{extra}(\[plot\])?=={re.escape(version)};", r) for r in found["Requires-Dist"]
        ), found["Requires-Dist"]


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_is_typed_and_holds_only_its_package(name: str) -> None:
    with zipfile.ZipFile(wheel(name)) as archive:
        names = archive.namelist()
    carried = CARRIED.get(name)
    own = {n.split("/")[0] for n in names if carried is None or not n.startswith(carried)}
    (information,) = {n.split("/")[0] for n in names if ".dist-info/" in n}
    if name == "gpucore_clike":  # all of it is gpucore's, whose wheel has the mark
        assert own == {information}
    else:
        assert f"{name}/py.typed" in names
        assert own == {name, information}


def test_the_wheel_of_the_core_is_small() -> None:
    assert wheel("gpucore").stat().st_size <= CORE_BYTES


def test_the_wheel_of_the_core_holds_what_users_run() -> None:
    with zipfile.ZipFile(wheel("gpucore")) as archive:
        assert not [name for name in archive.namelist() if re.search(r"bench|peers|fuzz", name)]


def test_what_the_core_leaves_out_is_in_the_wheel_that_carries_it() -> None:
    checkout = Path(__file__).parents[2]
    sources = {path.relative_to(checkout).as_posix() for path in (checkout / "gpucore").rglob("*.py")}
    found: list[str] = []
    for name in ("gpucore", *CARRIED):
        with zipfile.ZipFile(wheel(name)) as archive:
            found += [n for n in archive.namelist() if n.startswith("gpucore/") and n.endswith(".py")]
    assert len(found) == len(set(found))
    assert set(found) == sources


def test_an_index_shows_the_example_as_it_stands_in_the_readme() -> None:
    with zipfile.ZipFile(wheel("gpucore")) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        shown = archive.read(name).decode().partition("\n\n")[2]
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n.*?```", readme, re.DOTALL)
    assert shown.startswith("# gpucore\n")
    assert example in shown
    assert "](" not in shown.replace(example, "")  # a link into the checkout leads nowhere


def test_the_extra_of_the_demo_brings_the_wheel_that_carries_it() -> None:
    found = metadata(wheel("gpucore"))
    assert f"gpucore-bench=={found['Version'][0]}; extra == 'demo'" in found["Requires-Dist"]


def test_the_wheel_of_a_backend_with_a_c_like_language_brings_the_renderer() -> None:
    found = metadata(wheel("gpucore_cuda"))
    assert f"gpucore-clike=={found['Version'][0]}" in found["Requires-Dist"]


def test_the_renderer_for_c_like_languages_is_part_of_gpucore_once_it_is_installed() -> None:
    from gpucore.ir import clike

    assert Path(clike.__file__).is_relative_to(sys.prefix)
    assert clike.Dialect.__name__ in clike.__all__


def test_the_suite_runs_against_the_installed_wheel_and_not_the_checkout() -> None:
    import gpucore

    assert Path(gpucore.__file__).is_relative_to(sys.prefix)


def test_the_command_is_installed() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("gpucore"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().startswith("gpucore, version ")
