"""An HTTP server that speaks OpenAI's protocol: one model, requests in turn, a queue with a bound.

Names and shapes of requests and answers are those of OpenAI's API reference for ``/v1/models``, ``/v1/completions`` and
``/v1/chat/completions``, as far as they are supported; what would change the answer and is not supported is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gpucore import GpucoreError
from gpucore_worker.errors import ContextError, WorkerError, worker_error
from gpucore_worker.inference import Text
from gpucore_worker.model import Model
from gpucore_worker.sampling import Sampling

T = TypeVar("T")
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


class RequestError(Exception):
    """A request that is answered with a status and a message."""

    def __init__(
        self, status: int, message: str, *, retry: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry = retry
        self.code = code


class GoneError(Exception):
    """The client has left."""


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


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was understood."""

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]
    stream: bool
    usage: bool


class _Figures:
    """What ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gpucore_requests", "Requests by path and status", ["path", "status"], registry=self.registry
        )
        self.tokens = Counter("gpucore_tokens", "Tokens by kind", ["kind"], registry=self.registry)
        self.waiting = Gauge(
            "gpucore_waiting_requests", "Requests that wait for their turn", registry=self.registry
        )
        self.memory = Gauge(
            "gpucore_memory_bytes", "Bytes on the device by purpose", ["purpose"], registry=self.registry
        )
        self.first = Histogram(
            "gpucore_first_token_seconds", "From a request's turn to its first token", registry=self.registry
        )


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
    """

    def __init__(
        self, model: Model, name: str, *, api_key: str | None = None, limits: Limits | None = None
    ) -> None:
        self.model = model
        self.name = name
        self._key = api_key
        self._limits = limits or Limits()
        self.turn = asyncio.Semaphore(1)
        self.waiting = 0
        self.figures = _Figures()
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
                if path != "/health":
                    self._authorise(request)
                response = await answer(request)
            except RequestError as error:
                response = _failure(error.status, str(error), retry=error.retry, code=error.code)
            except GoneError:
                # nobody reads it; the status is the one that nginx counts under
                response = _failure(499, "the client has left")
            except ContextError as error:
                response = _failure(error.http_status, str(error), code="context_length_exceeded")
            except WorkerError as error:
                response = _failure(error.http_status, str(error))
            except Exception as error:  # noqa: BLE001 - a server must go on after any request
                coded = worker_error(error)
                response = _failure(coded.http_status, str(coded))
            self.figures.requests.labels(path, str(response.status_code)).inc()
            return response

        return endpoint

    def _authorise(self, request: Request) -> None:
        if self._key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, self._key.encode()):
            raise RequestError(401, "the API key is missing or wrong; send 'Authorization: Bearer KEY'")

    async def _health(self, request: Request) -> Response:
        """Whether the device works and the model is on it: 200 or 503, with the figures that can be had."""
        device = self.model.context.device
        found: dict[str, Any] = {
            "status": "ok", "model": self.name, "device": device.name, "waiting": self.waiting,
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
            self.figures.memory.labels(purpose).set(nbytes)
        return Response(generate_latest(self.figures.registry), media_type=CONTENT_TYPE_LATEST)

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
        if body.get("model", self.name) != self.name:
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

    def check_queue(self) -> None:
        """Refuse a request where the queue is full; nothing may be awaited between this and the counting of the request."""
        if self.turn.locked() and self.waiting >= self._limits.queue:
            raise RequestError(429, f"{self.waiting} requests wait already; try again later", retry=1)

    # --- answers
    async def _complete(self, request: Request) -> Response:
        chat = request.url.path.startswith("/v1/chat")
        body = await self._body(request)
        asked = await asyncio.to_thread(self._read, body, chat)
        answer = _Answer(self, asked, chat)
        if asked.stream:
            # the first event comes before the answer begins, so that an error still has a status of its own
            events = answer.events()
            first = await _unless_gone(request, anext(events))
            return StreamingResponse(
                _after(first, events), media_type="text/event-stream", headers={"cache-control": "no-cache"}
            )
        return JSONResponse(answer.whole(await _unless_gone(request, answer.text())))


class _Answer:
    """The answer to one request."""

    def __init__(self, server: Server, asked: Asked, chat: bool) -> None:
        self._server = server
        self._asked = asked
        self._chat = chat
        self._id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._finish = "length"
        self._prompt_tokens = 0
        self._tokens = 0

    async def text(self) -> str:
        """The whole text."""
        async with aclosing(self.pieces()) as found:
            return "".join([piece async for piece in found])

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Pieces of the text, in this request's turn."""
        server = self._server
        server.check_queue()
        server.waiting += 1
        server.figures.waiting.set(server.waiting)
        waits = True
        try:
            async with server.turn:
                waits = False
                server.waiting -= 1
                server.figures.waiting.set(server.waiting)
                async with aclosing(self._generate()) as found:
                    async for piece in found:
                        yield piece
        finally:
            if waits:
                server.waiting -= 1
                server.figures.waiting.set(server.waiting)

    async def _generate(self) -> AsyncGenerator[str, None]:
        server, asked = self._server, self._asked
        model = server.model
        begin = time.perf_counter()
        self._prompt_tokens = len(asked.prompt)
        text = Text(model.vocabulary, asked.stop)
        inference = await asyncio.to_thread(model.start, asked.prompt, asked.max_tokens, asked.sampling)
        try:
            yield ""
            while not text.stopped:
                token = await asyncio.to_thread(inference.next_token)
                if token is None:
                    break
                if not self._tokens:
                    server.figures.first.observe(time.perf_counter() - begin)
                self._tokens += 1
                piece = text.add(token)
                if piece:
                    yield piece
            rest = text.end()
            self._finish = "stop" if text.stopped or inference.finish == "stop" else "length"
            if rest:
                yield rest
        finally:
            server.figures.tokens.labels("prompt").inc(self._prompt_tokens)
            server.figures.tokens.labels("answer").inc(self._tokens)
            # where a thread computes for it still, that thread ends soon; the loop goes on meanwhile
            inference.close(wait=False)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events."""
        first = True
        async with aclosing(self.pieces()) as found:
            async for piece in found:
                if piece or first:
                    yield self._event(piece, None, first)
                first = False
        yield self._event("", self._finish, False)
        if self._asked.usage:
            yield _data({**self._head(True), "choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def _event(self, piece: str, finish: str | None, first: bool) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self._chat:
            choice["delta"] = (
                {"role": "assistant", "content": piece}
                if first
                else {"content": piece}
                if finish is None
                else {}
            )
        else:
            choice["text"] = piece
        return _data({**self._head(True), "choices": [choice]})

    def whole(self, text: str) -> dict[str, Any]:
        """The answer in one piece."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": self._finish, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {**self._head(False), "choices": [choice], "usage": self._usage()}

    def _head(self, piece: bool) -> dict[str, Any]:
        kind = f"chat.completion{'.chunk' if piece else ''}" if self._chat else "text_completion"
        return {"id": self._id, "object": kind, "created": self._created, "model": self._server.name}

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._tokens,
            "total_tokens": self._prompt_tokens + self._tokens,
        }


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of some work, which is cancelled when the client leaves.

    Raises
    ------
    GoneError
    """

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(leaves())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise GoneError
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _no_such_page(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else str(error)
    return _failure(status, f"{request.method} {request.url.path}: {detail}")


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


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def _after(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest) as events:
        yield first
        try:
            async for event in events:
                yield event
        except Exception as error:  # noqa: BLE001 - the status was sent: whatever it is must be told in an event
            coded = worker_error(error)
            yield _data({"error": {"message": str(coded), "type": "server_error", "code": coded.code}})


def _failure(status: int, message: str, *, retry: int | None = None, code: str | None = None) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    headers = {} if retry is None else {"retry-after": str(retry)}
    return JSONResponse(
        {"error": {"message": message, "type": kind, "code": code or status, "param": None}}, status, headers
    )


__all__ = ["Limits", "Server"]
