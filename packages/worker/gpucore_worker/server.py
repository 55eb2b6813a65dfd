"""An HTTP server that speaks OpenAI's protocol: its pages, and how requests are read and refused.

Names and shapes of requests and answers are those of OpenAI's API reference for ``/v1/models``, ``/v1/completions`` and
``/v1/chat/completions``, as far as they are supported; what would change the answer and is not supported is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gpucore import GpucoreError
from gpucore_worker.errors import ContextError, WorkerError, worker_error
from gpucore_worker.inference import Text
from gpucore_worker.model import Model
from gpucore_worker.sampling import Sampling
from gpucore_worker.turns import (
    Answer,
    Asked,
    Figures,
    GoneError,
    Queue,
    RequestError,
    unless_gone,
    with_first,
)

MOST_BYTES = 1 << 20
"""Of a request's body, unless something else is said."""
MOST_STOPS = 16
"""Stop strings of a request."""
_REFUSED: dict[str, tuple[object, ...]] = {
    "n": (1,), "best_of": (1,), "logprobs": (False, 0), "top_logprobs": (0,), "echo": (False,), "logit_bias": ({},),
    "suffix": ("",), "frequency_penalty": (0,), "presence_penalty": (0,), "tools": ([],), "functions": ([],),
    "response_format": ({"type": "text"},),
}  # fmt: skip
"""What would change the answer and is not supported, with the values that ask for nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes.

    Attributes
    ----------
    queue : int
        Requests that may wait while one is answered; more are refused with 429.
    max_tokens : int
        Of an answer, where the request does not say; and the most that it may ask for.
    nbytes : int
        Of a request's body.
    """

    queue: int = 8
    max_tokens: int = 1024
    nbytes: int = MOST_BYTES


_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Server:
    """Answers requests with a model.

    Parameters
    ----------
    model : Model
    name : str
        Of the model, in requests and answers.
    api_key : str, optional
        What requests must carry as ``Authorization: Bearer``.
    limits : Limits
    hosts : Collection of str, optional
        Where there is no API key: what requests may name as ``Host``, ``NAME:PORT`` or ``NAME`` for any port, beside this machine
        with the server's port. By default they may name any, so that a web page whose name is made to stand for 127.0.0.1 (DNS
        rebinding) could read answers.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        *,
        api_key: str | None = None,
        limits: Limits | None = None,
        hosts: Collection[str] | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self._key = api_key
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._limits = limits or Limits()
        self._figures = Figures()
        self._queue = Queue(self._limits.queue, self._figures)
        self._begun = int(time.time())

    def app(self) -> Any:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/health", self._handled(self._health), methods=["GET"]),
                Route("/metrics", self._handled(self._metrics), methods=["GET"]),
                Route("/v1/models", self._handled(self._models), methods=["GET"]),
                Route("/v1/models/{name:path}", self._handled(self._model), methods=["GET"]),
                Route("/v1/completions", self._handled(self._complete), methods=["POST"]),
                Route("/v1/chat/completions", self._handled(self._complete), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _no_such_page},
        )

    # --- requests
    def _handled(self, answer: Any) -> Any:
        """The endpoint, with errors turned into answers, counted."""

        async def endpoint(request: Request) -> Response:
            path = request.url.path
            if path.startswith("/v1/models/"):
                path = "/v1/models/"  # one line of figures, whatever is asked for
            try:
                self._check_host(request)
                if path != "/health":
                    self._authorise(request)
                response = await answer(request)
            except RequestError as error:
                response = _failure(error.status, str(error), retry=error.retry, code=error.code)
            except (GoneError, ClientDisconnect):
                # nobody reads it; the status is the one that nginx counts under
                response = _failure(499, "the client has left")
            except ContextError as error:
                response = _failure(error.http_status, str(error), code="context_length_exceeded")
            except WorkerError as error:
                response = _failure(error.http_status, str(error))
            except asyncio.CancelledError:
                # by uvicorn alone, when the time to finish answers is over
                response = _failure(503, "the server ends", retry=1)
            except Exception as error:  # noqa: BLE001 - a server must go on after any request
                coded = worker_error(error)
                response = _failure(coded.http_status, str(coded))
            self._figures.requests.labels(path, str(response.status_code)).inc()
            return response

        return endpoint

    def _authorise(self, request: Request) -> None:
        if self._key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, self._key.encode()):
            raise RequestError(401, "the API key is missing or wrong; send 'Authorization: Bearer KEY'")

    def _check_host(self, request: Request) -> None:
        """Refuse what a browser sends for another site's page, or to a name that was made to stand for this machine."""
        if self._hosts is None or self._key is not None:
            return
        if request.method == "POST" and request.headers.get("sec-fetch-site", "").lower() == "cross-site":
            raise RequestError(
                403,
                "pages of other sites get no answers from a server without an API key; start it with --api-key",
            )
        given = request.headers.get("host", "").lower()
        name, port = _name_and_port(given)
        own = request.scope.get("server")
        here = name in _THIS_MACHINE and (own is None or (port or "80") == str(own[1]))
        if not here and name not in self._hosts and given not in self._hosts:
            raise RequestError(
                421,
                f"requests for the host {given!r:.80} are not answered: without an API key this server is for localhost, "
                "with its own port; start it with --allow-host or with --api-key",
            )

    async def _health(self, request: Request) -> Response:
        """Whether the device works and the model is on it: 200 or 503, with the figures that can be had."""
        device = self.model.context.device
        found: dict[str, Any] = {
            "status": "ok", "model": self.name, "device": device.name, "waiting": self._queue.waiting,
        }  # fmt: skip
        try:
            found["memory"] = self.model.memory().by_purpose()
            if "device_health" in device.capabilities:
                health = await asyncio.to_thread(device.health)
                found["details"] = {key: str(value) if not isinstance(value, (int, float)) else value
                                    for key, value in health.details.items()}  # fmt: skip
                if not health.ok:
                    found["status"] = "failing"
            if device.is_lost:
                found |= {
                    "status": "failing",
                    "error": f"the device {device.name} was lost; start the server again",
                }
        except GpucoreError as error:
            found |= {"status": "failing", "error": str(error)}
        return JSONResponse(found, 200 if found["status"] == "ok" else 503)

    async def _metrics(self, request: Request) -> Response:
        for purpose, nbytes in self.model.memory().by_purpose().items():
            self._figures.memory.labels(purpose).set(nbytes)
        return Response(generate_latest(self._figures.registry), media_type=CONTENT_TYPE_LATEST)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._entry()]})

    async def _model(self, request: Request) -> Response:
        if request.path_params["name"] != self.name:
            raise self._not_served(request.path_params["name"])
        return JSONResponse(self._entry())

    def _entry(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self._begun, "owned_by": "gpucore"}

    def _not_served(self, name: object) -> RequestError:
        return RequestError(
            404, f"the model {name!r:.80} is not served here; {self.name!r} is", code="model_not_found"
        )

    async def _body(self, request: Request) -> dict[str, Any]:
        raw = b""
        async for piece in request.stream():
            raw += piece
            if len(raw) > self._limits.nbytes:
                raise RequestError(413, f"the body is larger than {self._limits.nbytes:,} bytes")
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise RequestError(400, f"the body is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise RequestError(400, "the body is no JSON object")
        return found

    def _read(self, body: dict[str, Any], chat: bool) -> Asked:
        if _given(body, "model", self.name) != self.name:
            raise self._not_served(body["model"])
        for key, nothing in _REFUSED.items():
            if body.get(key) is not None and body[key] not in nothing:
                raise RequestError(400, f"{key!r} is not supported")
        prompt = self._prompt(body, chat)
        room = self.model.architecture.context - len(prompt)
        if room < 1:
            raise ContextError(
                f"the prompt has {len(prompt):,} tokens; the context of {self.model.architecture.context:,} leaves no room for "
                "an answer: shorten it"
            )
        limit = _given(body, "max_completion_tokens", body.get("max_tokens"))
        if limit is None:
            limit = min(self._limits.max_tokens, room)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= self._limits.max_tokens:
            raise RequestError(
                400, f"'max_tokens' must be a whole number from 1 to {self._limits.max_tokens:,}"
            )
        if limit > room:
            raise ContextError(
                f"{len(prompt):,} tokens of the prompt and {limit:,} new ones do not fit the context of "
                f"{self.model.architecture.context:,}; ask for at most {room:,}"
            )
        stop = _given(body, "stop", [])
        stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else None
        if stops is None or len(stops) > MOST_STOPS:
            raise RequestError(400, f"'stop' must be a string or a list of at most {MOST_STOPS} strings")
        sampling = Sampling(
            _given(body, "temperature", 1.0), _given(body, "seed", uuid.uuid4().int & ((1 << 63) - 1)), _given(body, "top_k", 0),
            _given(body, "top_p", 1.0), _given(body, "min_p", 0.0), _given(body, "repetition_penalty", 1.0),
        )  # fmt: skip
        options = _given(body, "stream_options", {})
        if not isinstance(options, dict):
            raise RequestError(400, "'stream_options' must be an object")
        Text(self.model.vocabulary, stops)
        return Asked(
            prompt, limit, sampling, stops, _flag(body, "stream"), _flag(options, "include_usage")
        )  # fmt: skip

    def _prompt(self, body: dict[str, Any], chat: bool) -> list[int]:
        """The tokens of what is to be continued."""
        model = self.model
        if chat:
            return model.prompt_tokens(model.chat_prompt(_messages(_given(body, "messages", []))))
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
            prompt = prompt[0]
        if isinstance(prompt, str) and prompt:
            return model.prompt_tokens(prompt)
        if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
            size = len(model.vocabulary)
            if all(0 <= token < size for token in prompt):
                return prompt
            raise RequestError(400, f"'prompt' has a token that is not in the vocabulary of {size:,}")
        raise RequestError(
            400, "'prompt' must be a string that is not empty, or a list of tokens; one of them"
        )

    # --- answers
    async def _complete(self, request: Request) -> Response:
        chat = request.url.path.startswith("/v1/chat")
        body = await self._body(request)
        asked = await asyncio.to_thread(self._read, body, chat)
        answer = Answer(self.model, self.name, self._queue, self._figures, asked, chat)
        if asked.stream:
            # the first event comes before the answer begins, so that an error still has a status of its own
            events = answer.events()
            first = await unless_gone(request, anext(events))
            return StreamingResponse(
                with_first(first, events),
                media_type="text/event-stream",
                headers={"cache-control": "no-cache"},
            )
        return JSONResponse(answer.whole(await unless_gone(request, answer.text())))


async def _no_such_page(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else str(error)
    return _failure(status, f"{request.method} {request.url.path}: {detail}")


def _name_and_port(host: str) -> tuple[str, str]:
    """Of a ``Host`` header; an IPv6 address stands in brackets."""
    if host.endswith("]") or ":" not in host:
        return host, ""
    name, _, port = host.rpartition(":")
    return name, port


def _messages(messages: object) -> Any:
    """Messages with contents in one piece: OpenAI allows a list of parts, of which those of text are supported."""
    if not isinstance(messages, list):
        raise RequestError(400, "'messages' must be a list of messages")
    return [
        {**message, "content": _content(message["content"])}
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _content(parts: list[Any]) -> str:
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise RequestError(400, "contents of messages must be text")
        texts.append(text)
    return "".join(texts)


def _flag(body: dict[str, Any], key: str) -> bool:
    value = _given(body, key, False)
    if not isinstance(value, bool):
        raise RequestError(400, f"{key!r} must be true or false")
    return value


def _given(body: dict[str, Any], key: str, default: Any) -> Any:
    return default if body.get(key) is None else body[key]


def _failure(status: int, message: str, *, retry: int | None = None, code: str | None = None) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    headers = {} if retry is None else {"retry-after": str(retry)}
    return JSONResponse(
        {"error": {"message": message, "type": kind, "code": code or status, "param": None}}, status, headers
    )


__all__ = ["Limits", "Server"]
