"""The CPU shown as several devices, so that what is for several devices runs anywhere."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import gpucore as gc
from gpucore.hookspecs import StreamOptions


@gc.kernel
def add(x: gc.Array[gc.f32], a: gc.f32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a


@pytest.fixture(autouse=True)
def away_from_configuration_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCORE_CPU_DEVICES", raising=False)


def shown() -> list[Any]:
    return [device for device in gc.devices() if device.backend == "cpu"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_as_many_devices_are_shown_as_asked_for(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    (usual,) = shown()
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", str(count))
    devices = shown()
    assert [device.ordinal for device in devices] == list(range(count))
    assert len({device.uuid for device in devices}) == count
    assert devices[0] == usual  # whoever knows it by name or uuid finds it still
    assert [device.name for device in devices] == [usual.name] + [
        f"{usual.name} #{n}" for n in range(1, count)
    ]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_device_computes_and_hands_its_arrays_to_the_others(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", str(count))
    contexts = [gc.Context(f"cpu:{number}") for number in range(count)]
    try:
        assert len({id(context.device) for context in contexts}) == count
        x = contexts[0].zeros(100_000, gc.f32)
        for number, context in enumerate(contexts):
            assert context.device.uuid == shown()[number].uuid
            x = x.to(context)
            assert x.context is context
            add.over(x.size)(x, float(number + 1))
        y = contexts[0].zeros(100_000, gc.f32)
        y.copy_from(x)
        assert (y.numpy() == sum(range(1, count + 1))).all()
        if count > 1:
            with pytest.raises(gc.LaunchError, match="cpu:1"):
                add.over(x.size, stream=contexts[1].stream())(y, 1.0)
    finally:
        for context in contexts:
            context.close()


def test_devices_are_chosen_by_number_and_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    for selector in ("cpu:1", f"cpu:{shown()[1].uuid}", "cpu:#1"):
        with gc.Context(selector) as context:
            assert context.device.ordinal == 1
    with pytest.raises(gc.BackendUnavailableError, match="cpu:0.*cpu:1"):
        gc.Context("cpu:2")


def test_a_device_with_a_full_hand_does_not_hold_up_another(
    cpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    plugin = cpu.plugin
    first, second = (plugin.open_device(number, {}) for number in range(2))
    here, there = (plugin.create_stream(device, StreamOptions()) for device in (first, second))
    go = threading.Event()
    here.submit(go.wait)
    memory = plugin.alloc(second, 1 << 20, "device", None)
    plugin.fill(second, memory, 0, 1 << 20, b"\5", there)
    plugin.synchronize_stream(second, there)
    assert not plugin.query_stream(first, here)
    assert plugin.process_memory(second) == 1 << 20
    assert plugin.process_memory(first) == 0
    go.set()
    for device in (first, second):
        plugin.close_device(device)


def test_a_copy_from_another_device_comes_in_the_order_of_its_stream(
    cpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    plugin, size = cpu.plugin, 1 << 20
    first, second = (plugin.open_device(number, {}) for number in range(2))
    assert "peer_copy" in plugin.capabilities(first).names
    assert plugin.can_access_peer(first, second)
    stream = plugin.create_stream(second, StreamOptions())
    source, target = plugin.alloc(first, size, "device", None), plugin.alloc(second, size, "device", None)
    plugin.copy(
        first, source, 0, memoryview(b"\7" * size), 0, size, plugin.create_stream(first, StreamOptions())
    )
    for value in (b"\1", b"\2"):
        plugin.fill(second, target, 0, size, value, stream)
        plugin.copy_peer(second, target, 256, first, source, 0, size - 256, stream)
    seen = bytearray(size)
    plugin.copy(second, memoryview(seen), 0, target, 0, size, stream)
    assert seen == b"\2" * 256 + b"\7" * (size - 256)
    for device in (first, second):
        plugin.close_device(device)


def test_one_device_closed_leaves_the_others_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    with gc.Context("cpu:0") as context:
        x = context.zeros(1 << 20, gc.f32)
        with gc.Context("cpu:1") as other:
            y = other.zeros(1 << 20, gc.f32)
            for array in (x, y):
                add.over(array.size)(array, 1.0)
        for _ in range(3):
            add.over(x.size)(x, 1.0)
        assert (x.numpy() == 4).all()


# --- the setting ---
@pytest.mark.parametrize("text", ["0", "-1", "65", "two", "1.5", "9" * 400])
def test_a_bad_number_is_the_reason_why_the_backend_is_not_available(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", text)
    status = gc.backends()["cpu"]
    assert not status.available
    assert "GPUCORE_CPU_DEVICES wants a whole number from 1 to 64" in status.reason
    with pytest.raises(gc.BackendUnavailableError, match="GPUCORE_CPU_DEVICES wants"):
        gc.Context("cpu")


def test_a_bad_number_is_an_error_where_no_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cuda")
    Path("gpucore.toml").write_text("cpu_devices = 99999999999", "utf-8")
    with pytest.raises(gc.ConfigError, match=r"gpucore.toml: cpu_devices wants a whole number"):
        gc.Context()


@pytest.mark.parametrize("device", ["\u00b2", "9" * 5000])
def test_a_digit_that_is_no_number_names_no_device(device: str) -> None:
    with pytest.raises(gc.BackendUnavailableError, match="has no device"):
        gc.Context(f"cpu:{device}")


def test_the_number_may_stand_in_a_file_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gpucore.toml").write_text("cpu_devices = 3\n", "utf-8")
    assert len(shown()) == 3
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "2")
    assert len(shown()) == 2
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", " ")
    assert len(shown()) == 3


@pytest.mark.parametrize("line", ["cpu_devices = 'many'", "cpu_devices = true", "cpu_devices = [2]"])
def test_a_bad_number_in_a_file_is_named_with_the_file(line: str) -> None:
    Path("gpucore.toml").write_text(line, "utf-8")
    reason = gc.backends()["cpu"].reason
    assert "gpucore.toml: cpu_devices wants a whole number" in reason


def test_a_slip_in_a_key_of_the_plugin_is_found() -> None:
    Path("gpucore.toml").write_text("cpu_device = 2\n", "utf-8")
    assert "unknown key 'cpu_device', did you mean 'cpu_devices'?" in gc.backends()["cpu"].reason
