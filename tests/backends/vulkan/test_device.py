"""Opening, probing, memory, loss and reset of devices; native SPIR-V."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

import gpucore_vulkan as plugin
from gpucore.errors import (
    BackendUnavailableError,
    CompileError,
    DeviceLostError,
    LaunchError,
    NotSupportedError,
    OutOfMemoryError,
)  # fmt: skip
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions
from gpucore.ir import Memory, Value, f32, u8
from gpucore.ir.ops import BASELINE


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PROBE = "import gpucore_vulkan as p; r = p.probe(); print(r.available, '|', r.reason, '|', r.fix, '|', len(r.devices))"


# --- probing -----------------------------------------------------------------------------------------
def test_probing_finds_the_device(bench):
    found = plugin.probe()
    assert found.available and found.devices[0].backend == "vulkan"
    info = found.devices[0]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", info.uuid)
    assert ("llvmpipe" in info.name) == (info.kind == "software")


def test_without_a_loader_the_probe_says_what_to_install():
    out = run_python(PROBE, GPUCORE_VULKAN_LOADER="/nowhere/libvulkan.so.1")
    assert (
        out.startswith("False | No Vulkan loader was found (tried /nowhere/libvulkan.so.1)")
        and "nstall" in out
    )


def test_without_a_driver_the_probe_names_the_variable_that_hides_it():
    out = run_python(PROBE, VK_DRIVER_FILES="/nowhere/icd.json", VK_ICD_FILENAMES="/nowhere/icd.json")
    assert (
        out.startswith("False | ")
        and "driver" in out
        and "VK_DRIVER_FILES is set to '/nowhere/icd.json'" in out
    )


def test_without_the_binding_the_probe_names_the_package():
    code = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'vulkan' else f(n, *a)\n"
    out = run_python(code + PROBE)
    assert out.startswith(
        "False | The Python package vulkan is not installed. | Install it: pip install vulkan"
    )


def test_a_device_with_too_little_is_refused_by_name():
    from gpucore_vulkan.device_features.physical_device import _problem

    whole = frozenset({"bufferDeviceAddress", "timelineSemaphore", "synchronization2", "shaderInt64"})
    assert _problem(1 << 22 | 2 << 12, whole, True, "GPU") is None
    old = _problem(1 << 22 | 1 << 12, whole, True, "GPU")
    assert old is not None and "Vulkan 1.1, 1.2 is needed" in old[0] and "driver" in old[1]
    less = _problem(1 << 22 | 3 << 12, whole - {"timelineSemaphore"}, True, "GPU")
    assert less is not None and "lacks the Vulkan feature timelineSemaphore" in less[0]


def test_opening_what_is_not_there_fails_with_the_cause():
    with pytest.raises(BackendUnavailableError, match="there is no number 99"):
        plugin.open_device(99, {})


def test_importing_and_describing_touches_no_driver():
    code = (
        "import sys, gpucore_vulkan as p; p.backend_info(); p.target(None)\n"
        "assert not any(m.startswith(('vulkan', '_gpucore_vulkan_headers', 'cffi')) for m in sys.modules)"
    )
    run_python(code)


# --- capabilities ------------------------------------------------------------------------------------
def test_the_target_travels_and_claims_only_what_was_proven(bench):
    target = plugin.target(bench.device)
    assert pickle.loads(pickle.dumps(target)) == target
    if bench.device.physical.info.kind == "software":
        # lavapipe rounds twice and does not fuse
        assert not target.native & {"fma.f32", "fma.f64", "cast.f64.f16"}
    assert not target.native & BASELINE


def test_strict_is_a_capability_or_its_lack_is_explained(bench):
    capabilities = plugin.capabilities(bench.device)
    assert ("strict" in capabilities.names) == (capabilities.strict_missing == "")
    assert capabilities.max_grid == (65535, 65535, 2**31 - 1)
    assert capabilities.shared_memory >= 16 << 10


def test_features_decide_what_a_dtype_can_do(bench):
    from dataclasses import replace

    from gpucore_vulkan.device_features.capabilities import dtype_table
    from gpucore_vulkan.device_features.targets import native_atomics

    physical = bench.device.physical
    bare = replace(physical, features=frozenset({"shaderInt64"}))
    table = dtype_table(bare, False)
    assert "f64" not in table and "i8" not in table and "f16" not in table
    assert table["f32"] >= {"storage", "arithmetic", "shared", "atomic"} and "subgroup" not in table["f32"]
    assert "atomic" not in table["i64"] and not any(key.endswith("64") for key in native_atomics(bare))


def test_sums_of_blocks_are_shuffles_where_these_are_faster(bench):
    from dataclasses import replace

    from gpucore_vulkan.device_features.targets import chosen_code

    physical, lanes = bench.device.physical, {"sums=lanes", "scans=lanes"}
    nvidia = replace(physical, driver="NVIDIA 580.159", subgroup_sizes=(32,))
    assert chosen_code(nvidia) == lanes
    assert not chosen_code(replace(nvidia, driver="llvmpipe Mesa 22.3.6"))
    assert not chosen_code(replace(nvidia, subgroup_sizes=(8, 16, 32)))
    asked = bench.device.target.features & lanes
    assert asked == chosen_code(physical)


def test_what_probing_found_is_kept_for_the_next_process(tmp_path):
    code = (
        "import gpucore_vulkan as p, gpucore_vulkan.device_features.probes as n\n"
        "d = p.open_device(0, {}); t = p.target(d); p.close_device(d); print(sorted(t.native | t.features), t.loop_limit)"
    )
    first = run_python(code, GPUCORE_CACHE_DIR=str(tmp_path))
    assert list((tmp_path / "gpucore-plugins" / "vulkan").glob("probed-*.json"))
    refuse = "import gpucore_vulkan.device_features.probes as n\ndef no(*a): raise SystemExit('probed again')\nn.explore = no\n"
    assert run_python(refuse + code, GPUCORE_CACHE_DIR=str(tmp_path)) == first
    for file in (tmp_path / "gpucore-plugins" / "vulkan").iterdir():
        file.write_bytes(file.read_bytes()[:-3])  # a damaged file is a miss
    assert run_python(code, GPUCORE_CACHE_DIR=str(tmp_path)) == first


def test_the_folder_is_that_of_the_settings_and_is_emptied_with_the_cache(tmp_path, monkeypatch):
    from gpucore import cache
    from gpucore_vulkan import storage

    monkeypatch.delenv("GPUCORE_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpucore.toml").write_text(f'cache_dir = "{(tmp_path / "kept").as_posix()}"\n')
    storage.write("probed-x.json", b"{}", storage.folder())
    assert storage.read("probed-x.json") == b"{}"
    assert len([f for f in (tmp_path / "kept").rglob("*") if f.is_file()]) == 1
    cache.clear()
    assert storage.read("probed-x.json") is None
    (tmp_path / "gpucore.toml").write_text('cache_dir = "off"\n')
    assert storage.folder() is None


def test_a_cache_that_is_off_writes_nothing(tmp_path):
    code = "import gpucore_vulkan as p; d = p.open_device(0, {}); p.target(d); p.close_device(d)"
    run_python(code, GPUCORE_CACHE_DIR="off", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    # the driver may have files of its own
    assert not list(tmp_path.rglob("pipelines-*")) and not list(tmp_path.rglob("probed-*"))


# --- memory ------------------------------------------------------------------------------------------
def test_allocations_are_aligned_apart_and_given_back(bench):
    device = bench.device
    used = sum(device.memory.used)
    pieces = [plugin.alloc(device, n, "device", None) for n in (1, 255, 256, 257, 100_000, 20 << 20)]
    assert all(piece.address % 256 == 0 and piece.host is None for piece in pieces)
    spans = sorted((p.address, p.address + p.nbytes) for p in pieces)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    for piece in pieces:
        plugin.free(device, piece, None)
    assert sum(device.memory.used) <= used + (64 << 20)


def test_ranges_of_a_block_join_again():
    from gpucore_vulkan.memory import Block, Piece

    block = Block("device", 0, 1024)
    taken = [Piece(256, 256) for _ in range(4)]
    assert all(block.take(piece) for piece in taken)
    assert sorted(piece.offset for piece in taken) == [0, 256, 512, 768]
    assert not block.take(Piece(1, 1))
    for piece in (taken[1], taken[3], taken[0], taken[2], taken[2]):  # twice does nothing
        block.give(piece)
    assert block.free == [(0, 1024)] and block.pieces == 0


def test_running_out_of_memory_is_told_and_survived(bench):
    device = bench.device
    total = plugin.memory_info(device).total
    with pytest.raises(OutOfMemoryError) as caught:
        plugin.alloc(device, total + (1 << 30), "device", None)
    assert caught.value.requested >= total
    piece = plugin.alloc(device, 1 << 20, "device", None)
    plugin.free(device, piece, None)


def test_memory_figures_follow_allocations(bench):
    device = bench.device
    before = plugin.memory_info(device)
    piece = plugin.alloc(device, 200 << 20, "device", None)
    after = plugin.memory_info(device)
    plugin.free(device, piece, None)
    assert before.total == after.total and before.free > after.free
    if "process_memory" in plugin.capabilities(device).names:
        assert plugin.process_memory(device) >= 0
    else:
        with pytest.raises(NotSupportedError, match="VK_EXT_memory_budget"):
            plugin.process_memory(device)


# --- the end of a device -----------------------------------------------------------------------------
@pytest.fixture
def doomed(layered):
    device = plugin.open_device(0, {"validation": layered})
    yield device
    plugin.close_device(device)


def test_a_lost_device_says_what_ran_last_and_fails_fast(doomed, monkeypatch):
    from gpucore_vulkan.routines import fill_module

    stream = plugin.create_stream(doomed, StreamOptions())
    piece = plugin.alloc(doomed, 256, "device", stream)
    target = plugin.target(doomed)
    executable = plugin.load(doomed, plugin.compile(target, fill_module(32), CompileOptions()))
    call = plugin.prepare(doomed, executable, LaunchConfig((1,), (64,)))
    call(stream, piece, 0, 64, 7)
    plugin.synchronize_stream(doomed, stream)
    monkeypatch.setattr(stream, "_submit", lambda *a: -4)
    with pytest.raises(DeviceLostError, match="the last launches were: .*fill_u32") as caught:
        call(stream, piece, 0, 64, 7)
        plugin.synchronize_stream(doomed, stream)
    assert caught.value.code == -4 and caught.value.name == "VK_ERROR_DEVICE_LOST"
    monkeypatch.undo()
    for attempt in (
        lambda: plugin.synchronize_stream(doomed, stream), lambda: plugin.alloc(doomed, 4, "device", None),
        lambda: plugin.create_stream(doomed, StreamOptions()), lambda: plugin.memory_info(doomed),
        lambda: plugin.fill(doomed, piece, 0, 4, b"\0", stream), lambda: call(stream, piece, 0, 64, 7),
    ):  # fmt: skip
        with pytest.raises(DeviceLostError):
            attempt()
    plugin.destroy_stream(doomed, stream)
    plugin.unload(doomed, executable)
    plugin.reset_device(doomed)
    fresh = plugin.create_stream(doomed, StreamOptions())
    piece = plugin.alloc(doomed, 256, "device", fresh)
    plugin.fill(doomed, piece, 0, 256, b"\5", fresh)
    out = np.zeros(256, np.uint8)
    plugin.copy(doomed, memoryview(out), 0, piece, 0, 256, fresh)
    assert (out == 5).all()


def test_two_devices_opened_from_one_card_are_apart(bench, doomed):
    assert doomed.logical.handle != bench.device.logical.handle
    stream = plugin.create_stream(doomed, StreamOptions())
    plugin.synchronize_stream(doomed, stream)


def test_closing_twice_is_harmless(layered):
    device = plugin.open_device(0, {"validation": layered})
    plugin.close_device(device)
    plugin.close_device(device)


# --- native SPIR-V -----------------------------------------------------------------------------------
def native_words() -> bytes:
    """A module that keeps to the ABI of native kernels: ``y[i] += a`` on a fixed block of 4."""
    from gpucore_vulkan.spirv.assembler import Assembler

    asm = Assembler()
    for capability in ("Shader", "Int64", "PhysicalStorageBufferAddresses"):
        asm.capability(capability)
    word, long, real = asm.uint(32), asm.uint(64), asm.float_type(32)
    pushed = asm.struct(long, real)
    asm.decorate(pushed, "Block")
    asm.decorate_member(pushed, 0, "Offset", 0)
    asm.decorate_member(pushed, 1, "Offset", 8)
    constants = asm.variable("PushConstant", pushed)
    ids = asm.variable("Input", word)
    asm.decorate_builtin(ids, "LocalInvocationIndex")
    buffer = asm.struct(asm.runtime_array(real, 4))
    asm.decorate(buffer, "Block")
    asm.decorate_member(buffer, 0, "Offset", 0)
    main, words = asm.id(), asm.functions
    void = asm.type("OpTypeVoid")
    asm.put(words, "OpFunction", void, main, 0, asm.type("OpTypeFunction", void))
    asm.put(words, "OpLabel", asm.id())
    index = asm.result(words, "OpLoad", word, ids)
    at = asm.result(words, "OpAccessChain", asm.pointer("PushConstant", long), constants, asm.word(0))
    address = asm.result(words, "OpLoad", long, at)
    base = asm.result(words, "OpConvertUToPtr", asm.pointer("PhysicalStorageBuffer", buffer), address)
    at = asm.result(words, "OpAccessChain", asm.pointer("PushConstant", real), constants, asm.word(1))
    a = asm.result(words, "OpLoad", real, at)
    place = asm.result(
        words, "OpAccessChain", asm.pointer("PhysicalStorageBuffer", real), base, asm.word(0), index
    )
    value = asm.result(words, "OpLoad", real, place, 2, 4)
    asm.put(words, "OpStore", place, asm.result(words, "OpFAdd", real, value, a), 2, 4)
    asm.put(words, "OpReturn")
    asm.put(words, "OpFunctionEnd")
    asm.entry_point(main, "shift", [constants, ids])
    asm.mode(main, "LocalSize", 4, 1, 1)
    return asm.assemble()


SIGNATURE = {"shift": [Memory("y", f32, "global"), Value("a", f32)]}


def test_native_spirv_runs_with_its_declared_arguments(bench):
    device = bench.device
    made = plugin.compile_source(bench.target, native_words(), "spirv", SIGNATURE, CompileOptions())
    executable = plugin.load(device, made["shift"])
    y = np.arange(4, dtype=np.float32)
    piece = bench.upload(y)
    plugin.launch(device, executable, LaunchConfig((1,), (4,)), bench.stream, (piece, 0, 4, 0.5))
    bench.download(piece, y)
    assert y.tolist() == [0.5, 1.5, 2.5, 3.5]
    with pytest.raises(LaunchError, match="fixes the block"):
        plugin.prepare(device, executable, LaunchConfig((1,), (8,)))
    plugin.free(device, piece, None)
    plugin.unload(device, executable)


def test_native_scalars_keep_their_own_size():
    from gpucore_vulkan.spirv.layout import native_layout

    layout = native_layout((Value("a", u8), Memory("y", f32, "global"), Value("b", f32)))
    assert [(f.code, f.offset, f.parameter) for f in layout.fields] == [
        ("B", 0, 0),
        ("Q", 8, 1),
        ("f", 16, 2),
    ]


@pytest.mark.parametrize(
    ("source", "language", "error", "words"),
    [
        (b"not spirv", "spirv", CompileError, "SPIR-V"),
        ("OpCapability Shader", "spirv", CompileError, "bytes"),
        (None, "spirv", CompileError, "no compute entry point 'absent'"),
        (b"", "ptx", NotSupportedError, "not 'ptx'"),
    ],
)
def test_bad_native_code_is_refused_with_the_reason(source, language, error, words):
    signature = {"absent": []} if source is None else SIGNATURE
    with pytest.raises(error, match=words) as caught:
        plugin.compile_source(
            plugin.target(None),
            native_words() if source is None else source,
            language,
            signature,
            CompileOptions(),
        )
    if source is None:
        assert "entry points of the module: shift" in caught.value.log
