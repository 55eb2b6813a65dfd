"""A pytest plugin: as if the processor had less than it has.  ``GPUCORE_TEST_PROCESSOR`` names one."""

import os

import llvmlite.binding as llvm

WITHOUT = {
    "skylake-avx512": (
        "avx512vnni",
        "avx512vbmi",
        "avx512bf16",
        "avx512fp16",
        "avx512bitalg",
        "avxvnni",
        "avx10",
        "amx",
    ),
    "haswell": ("avx512", "avx10", "evex512", "amx", "avxvnni", "avxifma", "avxneconvert"),
    "x86-64": (
        "avx",
        "amx",
        "evex512",
        "fma",
        "f16c",
        "xsave",
        "vaes",
        "vpclmulqdq",
        "bmi",
        "lzcnt",
        "popcnt",
    ),
}
"""What LLVM's name of a processor lacks, by the beginning of the feature."""

_name = os.environ["GPUCORE_TEST_PROCESSOR"]
_flags = {
    feature: on and not feature.startswith(WITHOUT[_name])
    for feature, on in llvm.get_host_cpu_features().items()
}

llvm.get_host_cpu_features = lambda: dict(_flags)
llvm.get_host_cpu_name = lambda: _name
