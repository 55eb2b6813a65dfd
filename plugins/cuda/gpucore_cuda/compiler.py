"""CUDA C++ to cubins with NVRTC; needs no device and no driver."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from gpucore.errors import CompileError, NotSupportedError
from gpucore.hookspecs import CompileOptions, ObjectCode, Target
from gpucore.ir import Memory, Module, Value
from gpucore_cuda.assembler import faults
from gpucore_cuda.renderer import Rendered, capability_number, render_module

MAX_THREADS = 1024
_STRICT = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
_FAST = ("--fmad=true", "--ftz=true", "--prec-div=false", "--prec-sqrt=false")
_MINIMAL = (12, 4)
"""The first NVRTC that can leave out what is for texture and device-side launches, a quarter of the time of a small kernel."""
LANGUAGES = ("cuda-c++", "ptx", "cubin")


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise NotSupportedError(
            f"compiling for CUDA needs cuda-python ({error}); install it with: pip install gpucore-cuda",
            capability="nvrtc",
        ) from error
    return nvrtc


@cache
def nvrtc_version() -> tuple[int, int]:
    """The version of the NVRTC library that is found.

    Raises
    ------
    NotSupportedError
        When there is none.
    """
    nvrtc = _nvrtc()
    try:
        result, major, minor = nvrtc.nvrtcVersion()
    except Exception as error:  # the bindings' loader raises types of its own, which change between versions
        raise NotSupportedError(
            f"the NVRTC library cannot be loaded ({_first_line(error)}); "
            "install it with: pip install nvidia-cuda-nvrtc",
            capability="nvrtc",
        ) from error
    if int(result):
        raise NotSupportedError(f"NVRTC does not work: {result.name}", capability="nvrtc")
    return int(major), int(minor)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


@cache
def supported_architectures() -> tuple[int, ...]:
    """The architectures that NVRTC compiles for, as numbers such as 90."""
    nvrtc_version()
    result, numbers = _nvrtc().nvrtcGetSupportedArchs()
    if int(result):
        raise NotSupportedError(f"NVRTC does not list its architectures: {result.name}", capability="nvrtc")
    return tuple(sorted(int(n) for n in numbers))


class _Compiled:
    """The products of one NVRTC run."""

    def __init__(self, data: bytes, ptx: bytes, form: str, log: str, lowered: dict[str, str]) -> None:
        self.data, self.ptx, self.form, self.log, self.lowered = data, ptx, form, log, lowered

    @property
    def registers(self) -> int:
        """The most registers that a kernel of it uses, as ptxas said; 0 where it did not say."""
        return max((int(n) for n in re.findall(r"Used (\d+) registers", self.log)), default=0)


def run_nvrtc(
    source: str, arch: str, flags: Sequence[str], *, name: str = "kernel.cu", kernels: Sequence[str] = ()
) -> _Compiled:
    """Compile CUDA C++ to a cubin, or to PTX where NVRTC does not know the architecture yet.

    Raises
    ------
    CompileError
        With the source and NVRTC's log.
    """
    known, wanted = supported_architectures(), capability_number(arch)
    form = "cubin"
    if wanted < known[0]:
        raise NotSupportedError(
            f"this NVRTC compiles for sm_{known[0]} and later, not for {arch}",
            capability="nvrtc",
        )
    if wanted > known[-1]:
        form, arch = "ptx", f"compute_{known[-1]}"
    nvrtc = _nvrtc()
    options = [o.encode() for o in (f"--gpu-architecture={arch}", *flags)]
    result, program = nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), 0, [], [])
    _ok(nvrtc, result, source)
    try:
        for kernel in kernels:
            (result,) = nvrtc.nvrtcAddNameExpression(program, kernel.encode())
            _ok(nvrtc, result, source)
        (outcome,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        log = _text(nvrtc, program, "ProgramLog")
        if int(outcome):
            first = next((line for line in log.splitlines() if "error" in line), outcome.name)
            raise CompileError(f"NVRTC refused the source: {first.strip()}\n{log}", source=source, log=log)
        ptx = _bytes(nvrtc, program, "PTX")
        data = _bytes(nvrtc, program, "CUBIN") if form == "cubin" else ptx
        lowered: dict[str, str] = {}
        for kernel in kernels:
            result, symbol = nvrtc.nvrtcGetLoweredName(program, kernel.encode())
            _ok(nvrtc, result, source)
            lowered[kernel] = symbol.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return _Compiled(data, ptx, form, log, lowered)


def _ok(nvrtc: Any, result: Any, source: str) -> None:
    if int(result):
        raise CompileError(f"NVRTC failed: {result.name}", source=source, log=result.name)


def _bytes(nvrtc: Any, program: Any, what: str) -> bytes:
    result, size = getattr(nvrtc, f"nvrtcGet{what}Size")(program)
    _ok(nvrtc, result, "")
    buffer = bytearray(size)
    (result,) = getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    _ok(nvrtc, result, "")
    return bytes(buffer)


def _text(nvrtc: Any, program: Any, what: str) -> str:
    return _bytes(nvrtc, program, what).rstrip(b"\0").decode(errors="replace").strip()


def _flags(module_math: str, debug: bool) -> tuple[str, ...]:
    flags: tuple[str, ...] = (
        *(_FAST if module_math == "fast" else _STRICT),
        "--std=c++17",
        "--disable-warnings",
    )
    if nvrtc_version() >= _MINIMAL:
        flags = (*flags, "--minimal")
    return (*flags, "--generate-line-info") if debug else flags


def max_threads(registers: int) -> int:
    """The largest block whose registers fit: 16,384 for each of four partitions, handed out 256 to a warp
    at a time."""
    if not registers:
        return MAX_THREADS
    a_warp = -(-registers * 32 // 256) * 256
    return min(MAX_THREADS, 16384 // a_warp * 4 * 32)


def compile_module(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    """Render and compile a low-level module.

    Where the block is not known and the registers would not do for the largest one, a second variant is
    compiled that keeps to them; ``prepare`` takes the first that the block fits.
    """
    rendered, compiled = _assembled(target, module, options)
    variants = [compiled]
    if options.block is None and (not compiled.registers or max_threads(compiled.registers) < MAX_THREADS):
        variants.append(_assembled(target, module, options, MAX_THREADS)[1])
    return ObjectCode(
        data=b"".join(v.data for v in variants),
        entry=rendered.entry,
        format=variants[0].form,
        metadata=_metadata(rendered, [len(v.data) for v in variants], options),
    )


def _assembled(
    target: Target, module: Module, options: CompileOptions, threads: int | None = None
) -> tuple[Rendered, _Compiled]:
    """Render and compile, guarded where ptxas may assemble the plain program wrongly, and then, where it still may,
    without its optimisations."""
    flags = (*_flags(module.math, options.debug), "--ptxas-options=-v")
    capability = capability_number(target.arch)
    for guarded, more in ((False, ()), (True, ()), (True, ("--ptxas-options=-O0",))):
        rendered = render_module(target, module, options, threads=threads, guarded=guarded)
        compiled = run_nvrtc(rendered.source, target.arch, (*flags, *more), name=f"{rendered.entry}.cu")
        if not faults(compiled.ptx.decode(), capability):
            break
    return rendered, compiled


def _metadata(rendered: Rendered, sizes: list[int], options: CompileOptions) -> Mapping[str, Any]:
    params = [
        ["array", p[1], [[axis, dtype] for axis, dtype in p[2]]] if p[0] == "array" else ["scalar", p[1]]
        for p in rendered.params
    ]
    return {
        "params": params,
        "dynamic_shared": rendered.dynamic_shared,
        "sizes": sizes,
        "block": None if options.block is None else list(options.block),
        "native": False,
    }


def compile_native(
    target: Target,
    source: str | bytes,
    language: str,
    signature: Mapping[str, Sequence[Any]],
    options: CompileOptions,
) -> Mapping[str, ObjectCode]:
    """Native kernels: CUDA C++ is compiled here, PTX when it is loaded, a cubin is taken as it is.

    Raises
    ------
    CompileError
        With the source and the compiler's log.
    NotSupportedError
        For another language.
    """
    if language not in LANGUAGES:
        raise NotSupportedError(
            f"the CUDA backend takes native kernels in {', '.join(LANGUAGES)}, not in {language!r}",
            capability=f"source_{language}",
        )
    symbols = {name: name for name in signature}
    if language == "cuda-c++":
        text = source if isinstance(source, str) else source.decode()
        flags = ("--std=c++17", *(("--generate-line-info",) if options.debug else ()))
        built = run_nvrtc(text, target.arch, flags, name="module.cu", kernels=tuple(signature))
        data, form, symbols = built.data, built.form, built.lowered
    elif language == "ptx":
        data, form = (
            (source.encode() if isinstance(source, str) else bytes(source)).rstrip(b"\0") + b"\0",
            "ptx",
        )
        for name in signature:
            if re.search(rb"\.entry\s+" + re.escape(name.encode()) + rb"\s*[({]", data) is None:
                raise CompileError(
                    f"the PTX has no kernel (.entry) {name!r}", source=data.decode(errors="replace")
                )
    else:
        if isinstance(source, str) or not bytes(source[:4]) == b"\x7fELF":
            raise CompileError("a cubin is bytes that begin with the ELF magic", source="", log="")
        data, form = bytes(source), "cubin"
    made: dict[str, ObjectCode] = {}
    for name, parameters in signature.items():
        params = [
            ["array", p.rank, []] if isinstance(p, Memory) else ["scalar", p.dtype.name]
            for p in parameters
            if isinstance(p, (Memory, Value))
        ]
        made[name] = ObjectCode(
            data=data,
            entry=symbols[name],
            format=form,
            metadata={
                "params": params,
                "dynamic_shared": 0,
                "sizes": [len(data)],
                "block": None,
                "native": True,
            },
        )
    return made
