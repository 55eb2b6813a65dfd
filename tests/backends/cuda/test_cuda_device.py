"""Every hook on the device itself, without core: the checks of ``device_check.py``."""

import device_check
import pytest

NOT_A_TEST = {"launch_cost", "bandwidth"}  # figures, for people


@pytest.mark.parametrize(
    "function", [f for f in device_check.checks if f.__name__ not in NOT_A_TEST], ids=lambda f: f.__name__
)
def test_hooks_on_the_device(fixture, function):
    fixture.notes.clear()
    try:
        function(fixture)
    finally:
        fixture.tidy()
