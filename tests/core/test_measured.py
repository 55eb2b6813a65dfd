"""The committed evidence: complete, without a failure, and about these sources."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

MEASURED = Path(__file__).parents[2] / "docs" / "measured"
REPORTS = sorted(MEASURED.glob("conformance-*.json"))


@pytest.mark.parametrize("path", REPORTS, ids=lambda p: p.stem)
def test_a_report_is_complete_and_has_no_failed_case(path: Path) -> None:
    report = json.loads(path.read_text("utf-8"))
    assert report["conforms"] is True
    assert report["counts"]["failed"] == 0
    assert report["semantics"]["failed"] == 0
    assert report["semantics"]["passed"] > 200_000
    for field in ("device", "driver", "versions", "date", "source_hash"):
        assert report[field]


def test_all_devices_gave_the_same_bits() -> None:
    digests = {p.stem: json.loads(p.read_text("utf-8"))["semantics"]["portable_digest"] for p in REPORTS}
    assert len(set(digests.values())) <= 1, digests


def test_devices_gave_the_same_bits_for_the_parts_that_they_share() -> None:
    digests: dict[str, dict[str, str]] = {}
    for path in REPORTS:
        parts = json.loads(path.read_text("utf-8"))["semantics"].get("parts", {})
        for name, part in parts.items():
            assert part["failed"] == 0, (path.stem, name)
            digests.setdefault(name, {})[path.stem] = part["portable_digest"]
    for name, found in digests.items():
        assert len(set(found.values())) == 1, (name, found)


@pytest.mark.parametrize("path", REPORTS, ids=lambda p: p.stem)
def test_a_report_is_about_these_sources(path: Path) -> None:
    from gpucore.backends import discovery
    from gpucore.testing.conformance import source_hash

    report = json.loads(path.read_text("utf-8"))
    package = f"gpucore_{report['backend']}"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed, so its sources cannot be compared with {path.name}")
    now = source_hash(discovery.load(report["backend"]))
    if now != report["source_hash"]:
        pytest.skip(
            f"{path.name} was measured on other sources ({report['date']}); "
            f"repeat: gpucore conformance --backend {report['backend']} --report {path}"
        )
