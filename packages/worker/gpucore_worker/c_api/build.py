"""Builds the shared library: C functions that start Python, with cffi's embedding behind them."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

HEADER = Path(__file__).with_name("gpucore_worker.h")
_BEGIN, _END = "/* --- declarations */", "/* --- end of declarations */"
DONE = 1000
"""What Python's functions add to a code: where cffi cannot start, it gives 0 by itself, which no caller may take for success."""
_INIT = """\
from gpucore_worker.c_api.functions import define
from gpucore_worker_c import ffi
define(ffi)
"""
_START = """\
#include "gpucore_worker.h"
#include <pthread.h>

static pthread_once_t gcw_once = PTHREAD_ONCE_INIT;

/* Python of the environment that the library was built in; a host that has started Python before keeps its own. */
static void gcw_start(void)
{
    PyConfig config;
    PyStatus status;
    if (Py_IsInitialized())
        return;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    status = PyConfig_SetBytesString(&config, &config.program_name, PROGRAM);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        fprintf(stderr, "gpucore_worker: Python cannot start: %s\\n", status.err_msg ? status.err_msg : "");
    else
        PyEval_SaveThread();
}

static int gcw_started(void)
{
    pthread_once(&gcw_once, gcw_start);
    return Py_IsInitialized();
}
"""
_CODE = """\
extern int32_t gcwpy_{name}({parameters});
CFFI_DLLEXPORT int32_t gcw_{name}({parameters})
{{
    int32_t code = gcw_started() ? gcwpy_{name}({arguments}) : 0;
    return code >= DONE ? code - DONE : 99;
}}
"""
_TEXT = """\
extern const char *gcwpy_{name}({parameters});
CFFI_DLLEXPORT const char *gcw_{name}({parameters})
{{
    const char *text = gcw_started() ? gcwpy_{name}({arguments}) : NULL;
    return text ? text : "Python, or gpucore_worker in it, could not be started; stderr says why";
}}
"""


def declarations() -> str:
    """What the header declares."""
    text = HEADER.read_text("utf-8")
    return text[text.index(_BEGIN) + len(_BEGIN) : text.index(_END)]


def source() -> str:
    """The C functions that callers see."""
    parts = [f"#define PROGRAM {json.dumps(sys.executable)}\n#define DONE {DONE}\n", _START]
    for result, name, parameters in re.findall(
        r"(int32_t |const char \*)gcw_(\w+)\(([^)]*)\);", declarations()
    ):
        arguments = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters)) if parameters != "void" else ""
        text = _CODE if result == "int32_t " else _TEXT
        parts.append(text.format(name=name, parameters=parameters, arguments=arguments))
    return "\n".join(parts)


def build(folder: Path) -> Path:
    """Build ``libgpucore_worker`` and put the header beside it.

    The library runs the Python that builds it, with the packages that are installed there.

    Returns
    -------
    pathlib.Path
        Of the library.

    Raises
    ------
    ModuleNotFoundError
        cffi or setuptools is not installed.
    """
    from cffi import FFI

    folder.mkdir(parents=True, exist_ok=True)
    ffi = FFI()
    ffi.embedding_api(re.sub(r"\bgcw_(\w+)\(", r"gcwpy_\1(", declarations()))
    ffi.set_source("gpucore_worker_c", source(), include_dirs=[str(HEADER.parent)])
    ffi.embedding_init_code(_INIT)
    shutil.copy(HEADER, folder / HEADER.name)
    with tempfile.TemporaryDirectory() as work:
        made = ffi.compile(tmpdir=work, target="libgpucore_worker.*")
        return Path(shutil.copy(made, folder))
