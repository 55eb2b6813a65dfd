"""What the backend does and says where there is no device: no GPU is needed for these."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys

import numpy as np
import pytest

from gpucore.errors import (
    BackendUnavailableError,
    CompileError,
    DeviceError,
    DeviceLostError,
    NotSupportedError,
    OutOfMemoryError,
)  # fmt: skip
from gpucore.hookspecs import CompileOptions
from gpucore.ir import Memory, Value, dtype, f32, i32
from gpucore.ir.rounding import bf16_bits

cu = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")

import gpucore_cuda  # noqa: E402
from gpucore_cuda.compiler import compile_native, max_threads  # noqa: E402
from gpucore_cuda.launching import Frame, packer_of  # noqa: E402
from gpucore_cuda.targets import make_target  # noqa: E402


# --- probing -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "reason", "fix"),
    [
        (100, "finds no CUDA device", "CUDA_VISIBLE_DEVICES"),
        (35, "too old", "580"),
        (802, "not ready", "fabricmanager"),
        (803, "different versions", "reboot"),
        (999, "failed to start", "nvidia-smi"),
        (12, "CUDA error 12", "nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_start_gives_reason_and_fix(monkeypatch, code, reason, fix):
    monkeypatch.setattr(cu, "cuInit", lambda flags: (code,))
    found = gpucore_cuda.probe()
    assert not found.available
    assert reason in found.reason
    assert fix in found.fix
    with pytest.raises(BackendUnavailableError, match="CUDA error"):
        gpucore_cuda.open_device(0, {})


def test_no_driver_library_is_a_reason_not_an_exception(monkeypatch):
    def missing(flags):
        raise RuntimeError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(cu, "cuInit", missing)
    found = gpucore_cuda.probe()
    assert not found.available
    assert "libcuda" in found.reason
    assert "install the NVIDIA driver" in found.fix


def test_an_old_driver_is_named_with_what_it_offers(monkeypatch):
    monkeypatch.setattr(cu, "cuInit", lambda flags: (cu.CUresult.CUDA_SUCCESS,))
    monkeypatch.setattr(cu, "cuDriverGetVersion", lambda: (cu.CUresult.CUDA_SUCCESS, 12040))
    found = gpucore_cuda.probe()
    assert not found.available
    assert "12.4" in found.reason
    assert "580" in found.fix


def test_a_missing_compiler_is_named_with_the_package(monkeypatch):
    def absent():
        raise NotSupportedError("the NVRTC library cannot be loaded (x); install it", capability="nvrtc")

    monkeypatch.setattr(cu, "cuInit", lambda flags: (cu.CUresult.CUDA_SUCCESS,))
    monkeypatch.setattr(cu, "cuDriverGetVersion", lambda: (cu.CUresult.CUDA_SUCCESS, 13000))
    monkeypatch.setattr("gpucore_cuda.compiler.nvrtc_version", absent)
    found = gpucore_cuda.probe()
    assert not found.available
    assert "NVRTC" in found.reason
    assert "nvidia-cuda-nvrtc" in found.fix


def test_probing_never_raises(monkeypatch):
    monkeypatch.setattr(cu, "cuInit", lambda flags: (cu.CUresult.CUDA_SUCCESS,))
    monkeypatch.setattr(cu, "cuDriverGetVersion", lambda: 1 / 0)
    found = gpucore_cuda.probe()
    assert not found.available
    assert "ZeroDivisionError" in found.reason


def test_importing_the_plugin_loads_neither_the_bindings_nor_the_work():
    code = (
        "import sys, gpucore_cuda; print([m for m in sys.modules if m.startswith(('cuda', 'gpucore_cuda.'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_default_target_needs_no_driver():
    assert gpucore_cuda.target(None).arch == "sm_75"


# --- errors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ILLEGAL_ADDRESS", DeviceLostError),
        ("LAUNCH_FAILED", DeviceLostError),
        ("MISALIGNED_ADDRESS", DeviceLostError),
        ("INVALID_VALUE", DeviceError),
        ("OUT_OF_MEMORY", OutOfMemoryError),
    ],
)
def test_driver_errors_become_the_contract_s(monkeypatch, name, kind):
    from gpucore_cuda.driver import make_error

    monkeypatch.setattr(cu, "cuGetErrorString", lambda code: (cu.CUresult.CUDA_SUCCESS, b"what it means"))
    code = int(getattr(cu.CUresult, f"CUDA_ERROR_{name}"))
    error = make_error(code, "cuSomething", "saxpy")
    assert type(error) is kind
    assert f"CUDA_ERROR_{name} ({code})" in str(error)
    assert "what it means" in str(error)
    if kind is not OutOfMemoryError:
        assert (error.code, error.name) == (code, f"CUDA_ERROR_{name}")
    if kind is DeviceLostError:
        assert "saxpy" in str(error)


# --- packing ---------------------------------------------------------------------------------------------
def test_parameters_lie_where_the_c_abi_puts_them():
    params = [["scalar", "bool"], ["array", 2, [[0, "i32"], [1, "i64"]]], ["scalar", "i8"], ["scalar", "f64"],
              ["scalar", "u16"], ["scalar", "f32"], ["array", 1, []], ["scalar", "f16"]]  # fmt: skip
    layout = packer_of(params)
    assert layout.offsets == (0, 8, 16, 24, 32, 40, 48, 52, 56, 64)
    assert layout.arguments == (
        "scalar0",
        "array1",
        "offset1",
        "extent1_0",
        "extent1_1",
        "scalar2",
        "scalar3",
        "scalar4",
        "scalar5",
        "array6",
        "offset6",
        "extent6_0",
        "scalar7",
    )
    frame = Frame(layout)
    pointers = (ctypes.c_void_p * len(layout.offsets)).from_address(frame.address)
    base = ctypes.addressof(frame.buffer)
    assert [p - base for p in pointers] == list(layout.offsets)


class Recorder:
    """Stands where ``cuLaunchKernel`` stands and reads the parameters as the driver would."""

    def __init__(self, formats: str) -> None:
        self.formats, self.calls = formats, []

    def __call__(self, function, gx, gy, gz, bx, by, bz, shared, stream, address, extra):
        pointers = (ctypes.c_void_p * len(self.formats)).from_address(address)
        values = [struct.unpack(f"={f}", ctypes.string_at(p, struct.calcsize(f"={f}")))[0]
                  for f, p in zip(self.formats, pointers, strict=True)]  # fmt: skip
        self.calls.append(((gx, gy, gz), (bx, by, bz), stream, values))
        return (0,)


class Thing:
    def __init__(self, **fields):
        self.__dict__.update(fields)


def prepared(monkeypatch, formats, params, grid, block):
    from gpucore.hookspecs import LaunchConfig
    from gpucore_cuda import launching

    recorder = Recorder(formats)
    monkeypatch.setattr(launching.cu, "cuLaunchKernel", recorder)
    executable = Thing(
        params=params,
        block=None,
        dynamic_shared=0,
        name="k",
        function_for=lambda threads: "function",
        launch_class=None,
    )
    return recorder, launching.prepare(None, executable, LaunchConfig(grid, block))


def test_a_launch_packs_slots_and_puts_the_last_axis_on_x(monkeypatch):
    params = [["array", 2, [[1, "i32"]]], ["scalar", "f32"], ["array", 1, [[0, "i64"]]]]
    recorder, call = prepared(monkeypatch, "QifQq", params, (2, 3), (4, 5))
    stream = Thing(handle="stream", last="")
    call(stream, Thing(address=1000), 24, 6, 7, 0.5, None, 0, 0)
    assert recorder.calls == [((3, 2, 1), (5, 4, 1), "stream", [1024, 7, 0.5, 0, 0])]
    assert stream.last == "k"


def test_a_bound_launch_repeats_what_it_was_given(monkeypatch):
    recorder, call = prepared(monkeypatch, "Qi", [["array", 1, []], ["scalar", "i32"]], (9,), (8,))
    bound = call.bind(Thing(address=64), 0, 1, 5)
    other = call.bind(Thing(address=128), 4, 1, 6)
    stream = Thing(handle="stream", last="")
    for each in (bound, other, bound):
        each(stream)
    assert [values for *_, values in recorder.calls] == [[64, 5], [132, 6], [64, 5]]


def test_a_kernel_compiled_for_one_block_refuses_another():
    from gpucore.errors import LaunchError
    from gpucore.hookspecs import LaunchConfig
    from gpucore_cuda.launching import prepare

    executable = Thing(params=[], block=(8, 32), dynamic_shared=0, name="k", launch_class=None)
    with pytest.raises(LaunchError, match=r"blocks of \(8, 32\)"):
        prepare(None, executable, LaunchConfig((1, 1), (32, 8)))


def test_bf16_arguments_are_rounded_once_to_even():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = [
        0.0,
        -0.0,
        1.0,
        1.0 + 2**-8,
        1.0 + 2**-8 + 2**-40,
        1 + 3 * 2**-8,
        1e-40,
        3.4e38,
        float("inf"),
        -2.5,
    ]
    want = [0x0000, 0x8000, 0x3F80, 0x3F80, 0x3F81, 0x3F82]
    assert [bf16_bits(v) for v in values[:6]] == want
    for v in values[6:]:
        assert bf16_bits(v) == int(np.array(v, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16))
    assert bf16_bits(float("nan")) == 0x7FC0


def test_the_largest_block_follows_from_the_registers():
    assert [max_threads(n) for n in (32, 64, 65, 72, 128, 255)] == [1024, 1024, 896, 896, 512, 256]


# --- native code --------------------------------------------------------------------------------------
def test_native_source_gives_one_object_a_kernel_and_no_extents():
    source = "__global__ void twice(float* x, int n) { if (threadIdx.x < n) x[threadIdx.x] *= 2; }"
    signature = {"twice": [Memory("x", f32, "global", 1), Value("n", i32)]}
    code = compile_native(make_target("sm_90"), source, "cuda-c++", signature, CompileOptions())["twice"]
    assert code.metadata["params"] == [["array", 1, []], ["scalar", "i32"]]
    assert code.entry == "_Z5twicePfi"
    again = compile_native(make_target("sm_90"), code.data, "cubin", signature, CompileOptions())["twice"]
    assert again.data == code.data


def test_a_compile_error_carries_source_log_and_line():
    source = "__global__ void bad(float* x) {\n  x[0] = nothing;\n}"
    with pytest.raises(CompileError) as caught:
        compile_native(make_target("sm_90"), source, "cuda-c++", {"bad": []}, CompileOptions())
    assert caught.value.source == source
    assert "module.cu(2)" in caught.value.log
    assert "nothing" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "language", "said"),
    [(".version 8.0", "ptx", "no kernel"), (b"not an elf", "cubin", "ELF"), ("text", "cubin", "bytes")],
)
def test_code_that_cannot_be_is_refused(source, language, said):
    with pytest.raises(CompileError, match=said):
        compile_native(make_target("sm_90"), source, language, {"k": []}, CompileOptions())


def test_another_language_is_not_supported():
    with pytest.raises(NotSupportedError, match="spirv"):
        compile_native(make_target("sm_90"), b"", "spirv", {}, CompileOptions())


def test_an_architecture_newer_than_the_compiler_gets_ptx():
    from gpucore_cuda.compiler import run_nvrtc, supported_architectures

    assert 90 in supported_architectures()
    built = run_nvrtc("__global__ void k() {}", "sm_199", ("--std=c++17",))
    assert built.form == "ptx"
    assert b".entry" in built.data


def test_dtypes_of_scalars_all_pack():
    for name in ("bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "f32", "f64", "bf16"):
        layout = packer_of([["scalar", name]])
        assert layout.size == dtype(name).itemsize
