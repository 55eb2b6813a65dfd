"""Choosing a backend: the selector grammar, priorities, kept reasons, loud failures."""

import logging

import pytest

import gpucore as gc
from gpucore.backends import discovery, selection
from gpucore.hookspecs import BackendInfo, DeviceInfo, ProbeResult


@pytest.fixture(autouse=True)
def only_these(monkeypatch):
    """Installed plugins do not matter here."""

    def candidates(group):
        return dict(discovery._registry.registered) if group == discovery.GROUP else {}

    monkeypatch.setattr(discovery._registry, "candidates", candidates)


@pytest.fixture
def install(backend):
    def add(name, priority=0, kinds=("cpu",), available=True, names=None, uuids=None, opens=True):
        found = tuple(
            DeviceInfo(n, (names or [f"{name} device {n}"] * 9)[n], (uuids or [None] * 9)[n], kind)
            for n, kind in enumerate(kinds)
        )

        def probe():
            return ProbeResult(
                available, "" if available else "no driver", "install one", found if available else ()
            )

        def backend_info():
            return BackendInfo(name, "", priority, {})

        def open_device(ordinal, options):
            if not opens:
                raise gc.BackendUnavailableError("the driver said no; ask it nicely")
            from gpucore.testing import null

            return null.Device(ordinal)

        return backend(name, probe=probe, backend_info=backend_info, open_device=open_device)

    return add


def chosen(selector=None):
    with gc.Context(selector) as ctx:
        return f"{ctx.backend}:{ctx.device.ordinal}"


def test_the_grammar():
    assert [str(c) for c in selection.parse("a, b:1 ,c:Some Card")] == ["a", "b:1", "c:Some Card"]


@pytest.mark.parametrize("selector", ["", ",", "a,", "a:", ":1", "a b"])
def test_a_malformed_selector_is_a_config_error(selector):
    with pytest.raises(gc.ConfigError, match="selector"):
        selection.parse(selector)


def test_an_ordinal_a_name_and_a_uuid_select_a_device(install):
    uuid = "0123abcd-0000-0000-0000-00000000beef"
    install("a", kinds=("discrete",) * 3, names=["X100", "Y200", "Y300"], uuids=[None, None, uuid])
    assert chosen("a:1") == "a:1"
    assert chosen("a:y2") == "a:1"
    assert chosen(f"a:{uuid.upper()}") == "a:2"
    assert chosen("a:" + uuid.replace("-", "")) == "a:2"


def test_a_device_that_is_not_there_lists_those_that_are(install):
    install("a", names=["X100"])
    with pytest.raises(gc.BackendUnavailableError, match=r"no device '7'; it has a:0 \(X100\)"):
        gc.Context("a:7")


def test_an_unknown_backend_names_what_is_installed_and_a_close_one(install):
    install("apple")
    with pytest.raises(gc.BackendNotFoundError) as caught:
        gc.Context("aple")
    message = str(caught.value)
    assert "did you mean 'apple'" in message and "installed: apple" in message
    assert "pip install" not in message  # nothing of that name is known to be on any index
    assert isinstance(caught.value, LookupError)


def test_an_explicit_choice_fails_loudly_with_cause_and_fix(install, monkeypatch):
    install("a", available=False)
    install("b")
    with pytest.raises(gc.BackendUnavailableError, match="no driver.*install one"):
        gc.Context("a")
    monkeypatch.setenv("GPUCORE_BACKEND", "a")
    with pytest.raises(gc.BackendUnavailableError, match="GPUCORE_BACKEND says 'a', but .*no driver"):
        gc.Context()


def test_a_choice_that_does_not_open_fails_loudly(install):
    install("a", opens=False)
    install("b")
    with pytest.raises(gc.BackendUnavailableError, match="ask it nicely"):
        gc.Context("a")


def test_a_list_falls_back_and_keeps_the_reasons(install):
    install("a", available=False)
    install("b", opens=False)
    install("c")
    with gc.Context("missing,a,b,c") as ctx:
        assert ctx.backend == "c"
        assert [reason.split(":")[0] for reason in ctx.passed_over] == ["missing", "a", "b"]
        assert "no driver" in ctx.passed_over[1]


def test_a_list_of_which_nothing_works_says_why_for_each(install):
    install("a", available=False)
    with pytest.raises(gc.BackendUnavailableError) as caught:
        gc.Context("a,nothere")
    assert "no driver" in str(caught.value) and "nothere" in str(caught.value)


def test_nothing_selected_takes_the_highest_priority_that_works(install):
    install("low", priority=1)
    install("high", priority=9, available=False)
    install("middle", priority=5)
    with gc.Context() as ctx:
        assert ctx.backend == "middle"
        assert "no driver" in ctx.passed_over[0]


def test_software_is_never_chosen_over_a_processor_whatever_the_priority(install):
    install("raster", priority=200, kinds=("software",))
    install("processor", priority=100, kinds=("cpu",))
    assert chosen() == "processor:0"


def test_software_is_better_than_nothing(install):
    install("raster", priority=200, kinds=("software",))
    install("processor", priority=100, available=False)
    assert chosen() == "raster:0"


def test_within_a_backend_a_real_device_comes_before_software(install):
    install("mixed", kinds=("software", "integrated"))
    assert chosen() == "mixed:1"
    assert chosen("mixed") == "mixed:1"


def test_disabled_backends_are_passed_over_and_refused_when_named(install, monkeypatch):
    install("a", priority=9)
    install("b")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "a")
    assert chosen() == "b:0"
    with pytest.raises(
        gc.BackendUnavailableError, match="disabled by the environment variable GPUCORE_DISABLE_BACKENDS"
    ):
        gc.Context("a")
    assert gc.backends()["a"].available is False


def test_no_plugin_at_all_says_so():
    with pytest.raises(gc.BackendNotFoundError, match="no backend is installed"):
        gc.Context()


def test_the_status_of_backends_never_raises(install, backend):
    install("a", available=False)

    def explode():
        raise RuntimeError("boom")

    backend("b", probe=explode)
    status = gc.backends()
    assert (status["a"].available, status["a"].reason, status["a"].fix) == (False, "no driver", "install one")
    assert "boom" in status["b"].reason


def test_devices_of_all_backends_real_ones_first(install):
    install("raster", priority=200, kinds=("software",))
    install("processor", priority=100)
    assert [device.backend for device in gc.devices()] == ["processor", "raster"]


def test_the_log_says_backend_device_and_why(install, caplog):
    install("a")
    with caplog.at_level(logging.INFO, logger="gpucore"):
        gc.Context("a").close()
    assert "backend a, device 0 (a device 0, cpu): it was asked for" in caplog.text


def test_the_default_context_is_made_once(install, monkeypatch):
    install("a")
    first = gc.default_context()
    assert gc.default_context() is first
    first.close()
    second = gc.default_context()
    assert second is not first
    second.close()
