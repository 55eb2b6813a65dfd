"""The fourteen functions, called from C."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from gpucore_worker import api
from gpucore_worker.c_api.build import DONE
from gpucore_worker.errors import CODES, OK, UNKNOWN, ParameterError, worker_error
from gpucore_worker.model import Model

T = TypeVar("T")
Pointer = Any
"""A pointer of cffi's, whose class depends on the declarations."""


class Binding(Protocol):
    """What is used of cffi's ``ffi``."""

    NULL: Pointer

    def def_extern(self, name: str = ...) -> Callable[[Callable[..., Any]], Any]:
        """Let C call a function."""

    def new(self, kind: str, value: bytes) -> Pointer:
        """Memory that lives as long as what is returned."""

    def string(self, pointer: Pointer) -> bytes:
        """Bytes up to the zero byte."""

    def memmove(self, target: Pointer, source: bytes, size: int) -> None:
        """Copy bytes."""


class Handles:
    """Objects by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._objects: dict[int, object] = {}

    def add(self, thing: object) -> int:
        """A new number for an object."""
        with self._lock:
            number = next(self._numbers)
            self._objects[number] = thing
            return number

    def get(self, number: int, kind: type[T], name: str) -> T:
        """The object of a number.

        Raises
        ------
        ParameterError
            There is none, or it is something else.
        """
        with self._lock:
            found = self._objects.get(number)
        if not isinstance(found, kind):
            raise ParameterError(f"{number} is no handle of {name}, or was given back")
        return found

    def drop(self, number: int) -> None:
        """Forget a number."""
        with self._lock:
            self._objects.pop(number, None)


class _Piece:
    """An inference, and the text that did not fit the caller's buffer."""

    def __init__(self, generation: api.Generation) -> None:
        self.generation = generation
        self.kept: bytes | None = None

    def next(self) -> bytes | None:
        """The text that is kept, or what the next token adds; None behind the last."""
        if self.kept is None:
            piece = api.next_token(self.generation)
            self.kept = None if piece is None else piece.encode()
        return self.kept


class Functions:
    """What C calls; each method is the function ``gcw_`` and its name."""

    def __init__(self, ffi: Binding) -> None:
        self._ffi = ffi
        self._handles = Handles()

    def _text(self, pointer: Pointer, name: str) -> str:
        if pointer == self._ffi.NULL:
            raise ParameterError(f"{name} is NULL; a text was expected")
        try:
            return self._ffi.string(pointer).decode()
        except UnicodeDecodeError as error:
            raise ParameterError(f"{name} is no UTF-8: {error.reason} at byte {error.start}") from error

    def _out(self, **pointers: Pointer) -> None:
        for name, pointer in pointers.items():
            if pointer == self._ffi.NULL:
                raise ParameterError(f"{name} is NULL; the address of a variable was expected")

    def _session(self, number: int) -> api.Session:
        return self._handles.get(number, api.Session, "a session")

    def _model(self, number: int) -> Model:
        return self._handles.get(number, Model, "a model")

    def init(self, device: Pointer, session: Pointer) -> None:
        self._out(session=session)
        selector = None if device == self._ffi.NULL else self._text(device, "device")
        session[0] = self._handles.add(api.init(selector))

    def destroy(self, session: int) -> None:
        api.destroy(self._session(session))
        self._handles.drop(session)

    def device_count(self, count: Pointer) -> None:
        self._out(count=count)
        count[0] = api.device_count()

    def load_model(self, session: int, path: Pointer, model: Pointer, nbytes: Pointer) -> None:
        self._out(model=model, nbytes=nbytes)
        loaded, size = api.load_model(self._session(session), self._text(path, "path"))
        model[0], nbytes[0] = self._handles.add(loaded), size

    def unload_model(self, model: int) -> None:
        api.unload_model(self._model(model))
        self._handles.drop(model)

    def model_memory(self, model: int, memory: Pointer) -> None:
        self._out(memory=memory)
        for purpose, nbytes in api.model_memory(self._model(model)).by_purpose().items():
            setattr(memory, purpose, nbytes)

    def inference_start(
        self, model: int, prompt: Pointer, max_tokens: int, temperature: float, seed: int, inference: Pointer
    ) -> None:
        self._out(inference=inference)
        begun = api.inference_start(
            self._model(model), self._text(prompt, "prompt"), max_tokens, temperature, seed
        )
        inference[0] = self._handles.add(_Piece(begun))

    def next_token(
        self, inference: int, text: Pointer, capacity: int, length: Pointer, done: Pointer
    ) -> None:
        self._out(text=text, length=length, done=done)
        piece = self._handles.get(inference, _Piece, "an inference")
        found = piece.next()
        length[0], done[0] = len(found or b""), found is None
        if len(found or b"") >= capacity:
            raise ParameterError(
                f"the buffer holds {capacity} bytes; {len(found or b'') + 1} are needed, with the zero byte"
            )
        piece.kept = None
        raw = (found or b"") + b"\0"
        self._ffi.memmove(text, raw, len(raw))

    def inference_free(self, inference: int) -> None:
        piece = self._handles.get(inference, _Piece, "an inference")
        api.inference_free(piece.generation)
        self._handles.drop(inference)

    def check_residency(self, model: int) -> None:
        api.check_residency(self._model(model))

    def memory_used(self, session: int, nbytes: Pointer) -> None:
        self._out(nbytes=nbytes)
        nbytes[0] = api.memory_used(self._session(session))

    def process_memory(self, session: int, nbytes: Pointer) -> None:
        self._out(nbytes=nbytes)
        nbytes[0] = api.process_memory(self._session(session))

    def device_health(self, session: int, ok: Pointer) -> None:
        self._out(ok=ok)
        ok[0] = api.device_health(self._session(session)).ok


_NAMES = [
    "init", "destroy", "device_count", "load_model", "unload_model", "model_memory", "inference_start", "next_token",
    "inference_free", "check_residency", "memory_used", "process_memory", "device_health",
]  # fmt: skip


def define(ffi: Binding) -> None:
    """Let C call the functions."""
    functions = Functions(ffi)
    last = threading.local()
    texts = {code: ffi.new("char[]", meaning.text.encode()) for code, meaning in CODES.items()}

    def coded(function: Callable[..., None]) -> Callable[..., int]:
        @functools.wraps(function)
        def call(*arguments: Any) -> int:
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 - nothing may pass to C but a code
                found = worker_error(error)
                last.text = ffi.new("char[]", str(found).encode(errors="replace").replace(b"\0", b" "))
                return DONE + found.code
            return DONE + OK

        return call

    for name in _NAMES:
        ffi.def_extern(f"gcwpy_{name}")(coded(getattr(functions, name)))

    def error_message(code: int) -> Pointer:
        return texts.get(code, texts[UNKNOWN])

    def last_error() -> Pointer:
        return getattr(last, "text", texts[OK])

    ffi.def_extern("gcwpy_error_message")(error_message)
    ffi.def_extern("gcwpy_last_error")(last_error)
