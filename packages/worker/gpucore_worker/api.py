"""The fourteen functions of a worker: handles in, numbers and text out, errors with codes.

====================  ==========================================================================
``init``              open a device
``destroy``           close it, with all that is on it
``device_count``      how many devices there are
``load_model``        a GGUF file onto a device
``unload_model``      give its memory back
``model_memory``      bytes of a model, by purpose
``inference_start``   a prompt, to be continued
``next_token``        a piece of the answer
``inference_free``    give an inference's memory back
``check_residency``   whether the weights on the device are those of the file
``memory_used``       bytes that a session holds
``process_memory``    bytes of the device's memory that this process holds
``device_health``     whether the device works, with figures
``error_message``     what a code means
====================  ==========================================================================

Each raises :class:`gpucore_worker.WorkerError` with ``code`` (of :data:`gpucore_worker.errors.CODES`), ``retriable``
and ``http_status``. A number that
cannot be had is an error, never 0. A session is given where there are several; where one is open it may be left out.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

import gpucore as gc
from gpucore_worker.errors import (
    CODES,
    UNKNOWN,
    InvalidDeviceError,
    NoDeviceError,
    ParameterError,
    worker_error,
)
from gpucore_worker.inference import Inference, Text
from gpucore_worker.memory import Memory
from gpucore_worker.model import Model
from gpucore_worker.model import load_model as _load_model
from gpucore_worker.sampling import Sampling

__all__ = [
    "Generation", "Session", "check_residency", "destroy", "device_count", "device_health", "error_message", "inference_free",
    "inference_start", "init", "load_model", "memory_used", "model_memory", "next_token", "process_memory", "unload_model",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Path = str | os.PathLike[str]


def _coded(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with every error turned into one that has a code."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            coded = worker_error(error)
            if coded is error:
                raise
            raise coded from error

    return call


class Session:
    """An open device, and the models on it.

    Attributes
    ----------
    context : gpucore.Context
    models : list[Model]
    closed : bool
    """

    def __init__(self, context: gc.Context) -> None:
        self.context = context
        self.models: list[Model] = []
        self.closed = False

    def __repr__(self) -> str:
        return f"<Session on {self.context.device.name}, {'closed' if self.closed else f'{len(self.models)} models'}>"


class Generation:
    """An inference with its text."""

    def __init__(self, inference: Inference, text: Text) -> None:
        self.inference = inference
        self.text = text
        self._ended = False

    def next_piece(self) -> str | None:
        """The text that the next token makes sure; None after the last."""
        if self._ended and not self.inference.closed:
            return None
        token = self.inference.next_token()
        if token is not None:
            return self.text.add(token)
        self._ended = True
        return self.text.end() or None


class _Sessions:
    """The sessions that are open in this process.

    Each change is one step of a list, which neither threads nor an interrupt cut in two: a lock could be left held by one.
    """

    def __init__(self) -> None:
        self._open: list[Session] = []

    def add(self, session: Session) -> None:
        self._open.append(session)

    def remove(self, session: Session) -> bool:
        return _taken(self._open, session)

    def forget(self, model: Model) -> None:
        """Strike a model off its session."""
        for session in tuple(self._open):
            _taken(session.models, model)

    def the(self, session: Session | None) -> Session:
        """That session, or the only one."""
        if session is not None:
            if not isinstance(session, Session):
                raise ParameterError(f"{session!r} is no session; init() gives one")
            if session.closed:
                raise InvalidDeviceError("the session was destroyed; call init() again")
            return session
        sessions = tuple(self._open)
        if not sessions:
            raise InvalidDeviceError("no session is open; call init() first")
        if len(sessions) > 1:
            raise ParameterError(f"{len(sessions)} sessions are open; say which one is meant")
        return sessions[0]


def _taken(members: list[T], one: T) -> bool:
    """Take one out of a list; whether it was in it."""
    try:
        members.remove(one)
    except ValueError:
        return False
    return True


_sessions = _Sessions()


@_coded
def init(device: int | str | None = None) -> Session:
    """Open a device.

    Parameters
    ----------
    device : int or str, optional
        Its number in ``gpucore.devices()``, or a selector such as ``"cuda:0"``; by default what ``gpucore.Context()`` chooses.

    Raises
    ------
    InvalidDeviceError
        Code 1: there is no such device.
    NoDeviceError
        Code 8: it is there and cannot be opened.
    """
    if isinstance(device, bool) or not (device is None or isinstance(device, (int, str))):
        raise ParameterError(
            f"device is {device!r}; a number, a selector such as 'cuda:0', or None was expected"
        )
    if isinstance(device, int):
        found = gc.devices()
        if not found:
            raise NoDeviceError("no device can be used; 'gpucore doctor' says why")
        if not 0 <= device < len(found):
            raise InvalidDeviceError(
                f"device {device} does not exist; there are {len(found)}, numbered from 0"
            )
        session = Session(gc.Context(found[device]))
    else:
        session = Session(_open(device))
    _sessions.add(session)
    return session


def _open(selector: str | None) -> gc.Context:
    try:
        return gc.Context(selector)
    except gc.BackendUnavailableError as error:
        if selector is not None and ":" in selector:
            raise InvalidDeviceError(str(error)) from error
        raise


@_coded
def destroy(session: Session | None = None) -> None:
    """Close a session: its inferences and models end, and the device is given back. A second time it does nothing."""
    if session is not None and isinstance(session, Session) and session.closed:
        return
    chosen = _sessions.the(session)
    _sessions.remove(chosen)
    chosen.closed = True
    for model in chosen.models:
        model.close()
    chosen.models.clear()
    chosen.context.close()


@_coded
def device_count() -> int:
    """How many devices there are, over all backends.

    Raises
    ------
    NoDeviceError
        Code 8: none.
    """
    count = len(gc.devices())
    if not count:
        raise NoDeviceError("no device can be used; 'gpucore doctor' says why")
    return count


@overload
def load_model(session: Session, path: Path, /) -> tuple[Model, int]: ...
@overload
def load_model(path: Path, session: Session | None = None, /) -> tuple[Model, int]: ...
@_coded
def load_model(first: Session | Path, second: Session | Path | None = None, /) -> tuple[Model, int]:
    """Load a GGUF file onto a session's device: ``load_model(path)``, or with a session before or behind it.

    Returns
    -------
    model : Model
    nbytes : int
        Of its weights on the device.

    Raises
    ------
    ModelError
        Code 3: the file cannot be read, is damaged, or holds what is not supported.
    WorkerMemoryError
        Code 2.
    """
    session, path = (first, second) if isinstance(first, Session) else (second, first)
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ParameterError(f"path is {path!r}; that of a GGUF file was expected")
    if not (session is None or isinstance(session, Session)):
        raise ParameterError(f"{session!r} is no session; init() gives one")
    chosen = _sessions.the(session)
    model = _load_model(path, context=chosen.context)
    chosen.models.append(model)
    return model, model.memory().weights


def _model(model: Model) -> Model:
    if not isinstance(model, Model):
        raise ParameterError(f"{model!r} is no model; load_model() gives one")
    return model


@_coded
def unload_model(model: Model) -> None:
    """End a model's inferences and give its memory back. A second time it does nothing."""
    _model(model).close()
    _sessions.forget(model)


@_coded
def model_memory(model: Model) -> Memory:
    """Bytes of a model on its device: a number, with ``weights``, ``kv_cache`` and ``activations``."""
    return _model(model).memory()


@_coded
def inference_start(
    model: Model, prompt: str, max_tokens: int = 128, temperature: float = 0.0, seed: int = 0
) -> Generation:
    """Begin to continue a text.

    Raises
    ------
    ParameterError
        Code 5.
    InferenceError
        Code 4: prompt and answer do not fit the context, or the model was unloaded.
    """
    if not isinstance(prompt, str) or not prompt:
        raise ParameterError(f"prompt is {prompt!r}; a string that is not empty was expected")
    chosen = _model(model)
    return Generation(chosen.start(prompt, max_tokens, Sampling(temperature, seed)), Text(chosen.vocabulary))


@_coded
def next_token(inference: Generation) -> str | None:
    """The text that the next token adds; None at the end.

    It may be "" where a character is not whole yet.

    Raises
    ------
    InferenceError
        Code 4: the inference was freed.
    """
    if not isinstance(inference, Generation):
        raise ParameterError(f"{inference!r} is no inference; inference_start() gives one")
    return inference.next_piece()


@_coded
def inference_free(inference: Generation) -> None:
    """Give an inference's memory back. A second time it does nothing."""
    if not isinstance(inference, Generation):
        raise ParameterError(f"{inference!r} is no inference; inference_start() gives one")
    inference.inference.close()


@_coded
def check_residency(model: Model) -> bool:
    """Read every weight where it is, on the device, and compare it with the file: True.

    Raises
    ------
    ResidencyError
        Code 7, naming the tensor and the row that differ.
    """
    _model(model).check_residency()
    return True


@_coded
def memory_used(session: Session | None = None) -> int:
    """Bytes of the device's memory that a session's arrays take."""
    return int(_sessions.the(session).context.pool.stats()["used"])


@_coded
def process_memory(session: Session | None = None) -> int:
    """Bytes of the device's memory that this process holds, as the driver counts them.

    Raises
    ------
    WorkerLaunchError
        Code 6: the driver does not say.
    """
    return _sessions.the(session).context.device.process_memory()


@_coded
def device_health(session: Session | None = None) -> gc.DeviceHealth:
    """Whether the device works, with the figures that say so.

    Raises
    ------
    WorkerLaunchError
        Code 6: the driver does not say.
    """
    return _sessions.the(session).context.device.health()


def error_message(code: int) -> str:
    """What a code means.

    Raises
    ------
    ParameterError
        Code 5: it is no number.
    """
    if isinstance(code, bool) or not isinstance(code, int):
        raise ParameterError(f"code is {code!r}; a number was expected")
    return CODES.get(code, CODES[UNKNOWN]).text
