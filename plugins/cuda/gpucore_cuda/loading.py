"""Compiled code onto a device."""

from __future__ import annotations

import threading
from typing import Any

from cuda.bindings import driver as cu

from gpucore.errors import CompileError, LaunchError
from gpucore.hookspecs import ObjectCode
from gpucore_cuda.device import CudaDevice
from gpucore_cuda.driver import SUCCESS, error_name, make_error

_LOG_BYTES = 16384
_BAD_CODE_NAMES = (
    "INVALID_IMAGE", "INVALID_PTX", "INVALID_SOURCE", "JIT_COMPILATION_DISABLED", "JIT_COMPILER_NOT_FOUND",
    "NOT_FOUND", "NO_BINARY_FOR_GPU", "UNSUPPORTED_DEVSIDE_SYNC", "UNSUPPORTED_PTX_VERSION",
)  # fmt: skip
_BAD_CODE = {
    int(getattr(cu.CUresult, f"CUDA_ERROR_{name}"))
    for name in _BAD_CODE_NAMES
    if hasattr(cu.CUresult, f"CUDA_ERROR_{name}")
}
_MAX_THREADS = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
_DYNAMIC_SHARED = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SIZES = {"bool": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4, "u32": 4, "f32": 4}


class CudaExecutable:
    """A loaded kernel: its variants, from the freest in registers to the one that the largest block can run.

    Attributes
    ----------
    name : str
    params : list
        The layout from the object code's metadata.
    dynamic_shared : int
    block : tuple[int, ...] | None
        The only block that it may be launched with, or None.
    launch_class : type or None
        Of its prepared launches, once there are any.
    """

    __slots__ = (
        "_code",
        "_device",
        "_functions",
        "_lock",
        "_modules",
        "block",
        "dynamic_shared",
        "launch_class",
        "name",
        "native",
        "params",
    )

    def __init__(self, device: CudaDevice, code: ObjectCode) -> None:
        metadata = code.metadata
        self.name = code.entry
        self.params: list[Any] = list(metadata["params"])
        self.launch_class: Any = None
        self.dynamic_shared = int(metadata["dynamic_shared"])
        self.native = bool(metadata.get("native"))
        block = metadata.get("block")
        self.block = None if block is None else tuple(block)
        self._device, self._code, self._lock = device, code, threading.RLock()
        self._modules: list[Any] = []
        self._functions: list[tuple[Any, int]] = []  # function, largest block
        self._load_next()

    def _load_next(self) -> None:
        sizes, index = self._code.metadata["sizes"], len(self._modules)
        begin = sum(sizes[:index])
        module = load_module(self._device, self._code.data[begin : begin + sizes[index]], self._code)
        call = self._device.call
        answer = self._device.attempt(cu.cuModuleGetFunction, module, self._code.entry.encode())
        if answer[0] != SUCCESS:
            self._device.quiet(cu.cuModuleUnload, module)
            if int(answer[0]) in _BAD_CODE:
                raise CompileError(f"the module has no kernel {self._code.entry!r} ({error_name(answer[0])})")
            raise self._device.error(answer[0], "cuModuleGetFunction")
        function = answer[1]
        if self.dynamic_shared:
            call(cu.cuFuncSetAttribute, function, _DYNAMIC_SHARED, self.dynamic_shared)
        self._modules.append(module)
        self._functions.append((function, int(call(cu.cuFuncGetAttribute, _MAX_THREADS, function))))
        if self.native:
            self._check_signature(function)

    def _check_signature(self, function: Any) -> None:
        """Compare a native kernel's parameters with the declared ones, where the driver can say (CUDA
        12.4)."""
        get = getattr(cu, "cuFuncGetParamInfo", None)
        if get is None:
            return
        declared = [8 if p[0] == "array" else _SIZES.get(p[1], 8) for p in self.params]
        found: list[int] = []
        while len(found) <= 4096:
            answer = self._device.attempt(get, function, len(found))
            if answer[0] != SUCCESS:
                break
            found.append(int(answer[2]))
        if found and len(found) != len(declared):
            raise LaunchError(
                f"the native kernel {self.name!r} takes {len(found)} parameters, "
                f"its signature declares {len(declared)}"
            )
        for number, (size, said) in enumerate(zip(found, declared, strict=False)):
            if size != said:
                raise LaunchError(
                    f"parameter {number} of the native kernel {self.name!r} has {size} bytes, "
                    f"its signature declares {said}"
                )

    def function_for(self, threads: int) -> Any:
        """The first variant that a block of so many threads can run.

        Raises
        ------
        LaunchError
            When there is none.
        """
        with self._lock:
            for function, largest in self._functions:
                if threads <= largest:
                    return function
            while len(self._modules) < len(self._code.metadata["sizes"]):
                self._load_next()
                function, largest = self._functions[-1]
                if threads <= largest:
                    return function
        most = max(largest for _, largest in self._functions)
        raise LaunchError(
            f"a block of the kernel {self.name!r} has at most {most} threads on this device, not {threads}"
        )

    def unload(self) -> None:
        """Release the modules."""
        modules, self._modules, self._functions = self._modules, [], []
        for module in modules:
            self._device.quiet(cu.cuModuleUnload, module)


def load_module(device: CudaDevice, data: bytes, code: ObjectCode) -> Any:
    """Load a cubin, or have the driver compile PTX.

    Raises
    ------
    CompileError
        With the driver's log, when it refuses the code.
    """
    log = bytearray(_LOG_BYTES)
    options = [cu.CUjit_option.CU_JIT_ERROR_LOG_BUFFER, cu.CUjit_option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
    if code.format == "ptx":
        answer = device.attempt(
            cu.cuModuleLoadDataEx, data.rstrip(b"\0") + b"\0", 2, options, [log, _LOG_BYTES]
        )
    else:
        answer = device.attempt(cu.cuModuleLoadData, data)
    if answer[0] == SUCCESS:
        return answer[1]
    if int(answer[0]) in _BAD_CODE:
        said = bytes(log).split(b"\0")[0].decode(errors="replace").strip()
        source = data.decode(errors="replace") if code.format == "ptx" else ""
        about = make_error(answer[0], f"loading {code.format} of the kernel {code.entry!r}")
        raise CompileError(f"{about}\n{said}".strip(), source=source, log=said)
    raise device.error(answer[0], "cuModuleLoadData")


def load(device: CudaDevice, code: ObjectCode) -> CudaExecutable:
    """Bring compiled code onto the device."""
    if code.format not in ("cubin", "ptx"):
        raise CompileError(f"{code.entry}: a cubin or PTX was expected, not the format {code.format!r}")
    return CudaExecutable(device, code)
