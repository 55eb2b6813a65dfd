"""Why a driver does not start, and what to do: importable where there is no driver."""

from __future__ import annotations

DRIVER_NEEDED = (13, 0)
_UPDATE = "install an NVIDIA driver of version 580 or later (CUDA 13)"

OLD_DRIVER = ("the NVIDIA driver is older than CUDA 13", _UPDATE)

KNOWN: dict[int, tuple[str, str]] = {
    100: (
        "the driver finds no CUDA device",
        "attach an NVIDIA GPU, or check CUDA_VISIBLE_DEVICES and nvidia-smi",
    ),
    35: ("the NVIDIA driver is too old", _UPDATE),
    3: ("the NVIDIA driver is not initialised", "check nvidia-smi; in a container, start it with GPU access"),
    34: ("a stub libcuda was loaded instead of the driver", "take the toolkit's stubs off the library path"),
    46: ("every CUDA device is busy or in exclusive mode", "free the device: nvidia-smi shows who holds it"),
    802: (
        "the system is not ready to start CUDA",
        "start nvidia-fabricmanager, or wait until it has started",
    ),
    803: (
        "libcuda and the kernel driver are of different versions",
        "reboot, or reinstall the NVIDIA driver",
    ),
    804: ("the compatibility libcuda does not work on this hardware", "use the driver's own libcuda"),
    999: (
        "the driver failed to start",
        "check nvidia-smi and dmesg; often a reboot after a driver update is due",
    ),
}


def explain(code: int | None, error: BaseException | None) -> tuple[str, str]:
    """The reason and the fix for a driver that does not start."""
    if code is not None:
        if code in KNOWN:
            reason, fix = KNOWN[code]
            return f"{reason} (CUDA error {code})", fix
        return f"the NVIDIA driver does not start (CUDA error {code})", "check nvidia-smi"
    first = str(error).strip().split("\n")[0]
    return (
        f"the NVIDIA driver library (libcuda) is not there: {first}",
        "install the NVIDIA driver 580 or later; in a container, start it with GPU access (--gpus all)",
    )
