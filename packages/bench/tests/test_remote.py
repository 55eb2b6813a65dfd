"""Contenders in processes of their own: what they answer, and how their end is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpucore_bench.model import MissingPeerError, PeerError
from gpucore_bench.peers.remote import Remote

DEVICE = {"name": "d", "uuid": "u", "kind": "cpu"}


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    made = []

    def remote(name: str) -> Remote:
        request = {
            "module": "fragile_peer",
            "name": name,
            "size": 3,
            "options": {"scale": 2.0},
            "device": DEVICE,
        }
        made.append(Remote(request, {"x": np.arange(3.0)}))
        return made[-1]

    yield remote
    for each in made:
        each.close()


def test_a_contender_elsewhere_runs_and_gives_its_result(start: Any):
    remote = start("fine")
    np.testing.assert_array_equal(remote.result(), [0.0, 2.0, 4.0])
    assert remote.run(3) == 1.5
    remote.close()
    remote.close()


def test_what_it_refuses_is_raised_here(start: Any):
    with pytest.raises(MissingPeerError, match="not here"):
        start("missing")
    with pytest.raises(PeerError, match="^ValueError: cannot do this$"):
        start("refuses")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_crash_is_an_error_with_its_last_words(start: Any):
    remote = start("crashes")
    with pytest.raises(PeerError, match="signal 6: about to fall"):
        remote.run(1)
    with pytest.raises(PeerError, match="signal 6"):
        remote.run(1)


def test_a_contender_that_hangs_is_ended(start: Any):
    remote = start("sleeps")
    remote.patience = 0.3
    with pytest.raises(PeerError, match="no answer in 0.3 s"):
        remote.run(1)
