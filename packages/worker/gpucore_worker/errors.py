"""What goes wrong, by number: the codes of the worker's functions, each with an exception of its own."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import (
    BackendNotFoundError,
    BackendUnavailableError,
    CompileError,
    ConfigError,
    DeviceError,
    GpucoreError,
    LaunchError,
    OutOfMemoryError,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says.

    Attributes
    ----------
    text : str
    retriable : bool
        Whether the same call may succeed later with nothing changed.
    http_status : int
        What a server answers.
    """

    text: str
    retriable: bool
    http_status: int


OK, INVALID_DEVICE, OUT_OF_MEMORY, MODEL_LOAD, INFERENCE, INVALID_PARAMETER, LAUNCH, RESIDENCY, NO_DEVICE = (
    range(9)
)
UNKNOWN = 99

CODES = {
    OK: Meaning("no error", False, 200),
    INVALID_DEVICE: Meaning("invalid device: no device has that selector, or it was closed", False, 400),
    OUT_OF_MEMORY: Meaning("out of memory: of the device, or of the limit that was set", True, 503),
    MODEL_LOAD: Meaning("the model cannot be loaded: the file is damaged, or holds what is not supported", False, 422),
    INFERENCE: Meaning("inference failed: the context is full, or the inference has ended", False, 500),
    INVALID_PARAMETER: Meaning("invalid parameter", False, 400),
    LAUNCH: Meaning("a kernel could not be launched, or failed on the device", True, 500),
    RESIDENCY: Meaning("the weights are not where they were put, or no longer those of the file", False, 500),
    NO_DEVICE: Meaning("no device can be used", False, 503),
    UNKNOWN: Meaning("unknown error", False, 500),
}  # fmt: skip


class WorkerError(GpucoreError):
    """An error of the worker.

    Attributes
    ----------
    code : int
        Of :data:`CODES`.
    retriable : bool
    http_status : int
    """

    code = UNKNOWN

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later."""
        return CODES[self.code].retriable

    @property
    def http_status(self) -> int:
        """What a server answers."""
        return CODES[self.code].http_status


class InvalidDeviceError(WorkerError, LookupError):
    """No device has that selector, or the session was closed."""

    code = INVALID_DEVICE


class WorkerMemoryError(WorkerError, MemoryError):
    """Memory ran out."""

    code = OUT_OF_MEMORY


class ModelError(WorkerError, ValueError):
    """A model's file is damaged or holds what is not supported."""

    code = MODEL_LOAD


class InferenceError(WorkerError, RuntimeError):
    """Inference cannot go on: the context is full, or the inference has ended."""

    code = INFERENCE


class ContextError(InferenceError):
    """A text does not fit the model's context. Whoever asked for it is to shorten it, so that a server answers 400."""

    @property
    def http_status(self) -> int:
        """What a server answers."""
        return CODES[INVALID_PARAMETER].http_status


class ParameterError(WorkerError, ValueError):
    """An argument that no call can take."""

    code = INVALID_PARAMETER


class WorkerLaunchError(WorkerError, RuntimeError):
    """A kernel could not be launched, or failed on the device."""

    code = LAUNCH


class ResidencyError(WorkerError, RuntimeError):
    """The weights are not where they were put, or are no longer those of the file."""

    code = RESIDENCY


class NoDeviceError(WorkerError, LookupError):
    """No device can be used."""

    code = NO_DEVICE


class UnknownError(WorkerError):
    """An error that has no code of its own."""


_CLASSES: tuple[tuple[type[BaseException], type[WorkerError]], ...] = (
    (OutOfMemoryError, WorkerMemoryError),
    (BackendNotFoundError, InvalidDeviceError),
    (BackendUnavailableError, NoDeviceError),
    (ConfigError, ParameterError),  # a selector that is none, or a variable of the environment
    (CompileError, WorkerLaunchError),
    (LaunchError, WorkerLaunchError),
    (DeviceError, WorkerLaunchError),
    (GpucoreError, WorkerLaunchError),
    (MemoryError, WorkerMemoryError),
    (OSError, ModelError),
)


def worker_error(error: BaseException) -> WorkerError:
    """The error with a code for any that was raised; its cause is left to ``raise ... from``."""
    if isinstance(error, WorkerError):
        return error
    for known, cls in _CLASSES:
        if isinstance(error, known):
            return cls(str(error))
    return UnknownError(f"{type(error).__name__}: {error}")
