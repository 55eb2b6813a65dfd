"""The counter of the cost tests counts what the action does, and nothing that happens to run meanwhile."""

from __future__ import annotations

import gc as collector

import pytest


class Left:
    """What is left behind in a cycle."""

    def __init__(self) -> None:
        self.myself = self

    def __del__(self) -> None:
        pass


@pytest.fixture
def eager_collector():
    """A collection at every allocation, as one may fall anywhere in a long run."""
    before = collector.get_threshold()
    collector.set_threshold(1)
    yield
    collector.set_threshold(*before)


def test_finalizers_that_a_collection_runs_are_not_counted(count, eager_collector):
    def action():
        Left()
        return [[] for _ in range(50)]

    assert "__del__" not in count.calls(action).python
    assert collector.isenabled()
