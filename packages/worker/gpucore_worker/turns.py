"""Answers of a server in turn: a queue with a bound, and the text of each answer, whole or in events."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request

from gpucore_worker.errors import worker_error
from gpucore_worker.inference import Text
from gpucore_worker.model import Model
from gpucore_worker.sampling import Sampling

__all__ = ["Answer", "Asked", "Figures", "GoneError", "Queue", "RequestError", "unless_gone", "with_first"]

T = TypeVar("T")


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
class Asked:
    """A request that was understood."""

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...]
    stream: bool
    usage: bool


class Figures:
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


class Queue:
    """Lets one request in at a time, and so many wait.

    Attributes
    ----------
    waiting : int
        Requests that wait for their turn.

    Parameters
    ----------
    most : int
        Requests that may wait.
    figures : Figures
    """

    def __init__(self, most: int, figures: Figures) -> None:
        self.waiting = 0
        self._most = most
        self._figures = figures
        self._turn = asyncio.Semaphore(1)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """A request's turn, once it has come.

        Raises
        ------
        RequestError
            As many wait as may.
        """
        if self._turn.locked() and self.waiting >= self._most:
            raise RequestError(429, f"{self.waiting} requests wait already; try again later", retry=1)
        # nothing is awaited before the request is counted
        self._count(1)
        waits = True
        try:
            async with self._turn:
                waits = False
                self._count(-1)
                yield
        finally:
            if waits:
                self._count(-1)

    def _count(self, more: int) -> None:
        self.waiting += more
        self._figures.waiting.set(self.waiting)


class Answer:
    """The answer to one request."""

    def __init__(
        self, model: Model, name: str, queue: Queue, figures: Figures, asked: Asked, chat: bool
    ) -> None:
        self._model = model
        self._name = name
        self._queue = queue
        self._figures = figures
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
        async with self._queue.turn(), aclosing(self._generate()) as found:
            async for piece in found:
                yield piece

    async def _generate(self) -> AsyncGenerator[str, None]:
        model, asked = self._model, self._asked
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
                    self._figures.first.observe(time.perf_counter() - begin)
                self._tokens += 1
                piece = text.add(token)
                if piece:
                    yield piece
            rest = text.end()
            self._finish = "stop" if text.stopped or inference.finish == "stop" else "length"
            if rest:
                yield rest
        finally:
            self._figures.tokens.labels("prompt").inc(self._prompt_tokens)
            self._figures.tokens.labels("answer").inc(self._tokens)
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
        return {"id": self._id, "object": kind, "created": self._created, "model": self._name}

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._tokens,
            "total_tokens": self._prompt_tokens + self._tokens,
        }


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
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


async def with_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest) as events:
        yield first
        try:
            async for event in events:
                yield event
        except Exception as error:  # noqa: BLE001 - the status was sent: whatever it is must be told in an event
            coded = worker_error(error)
            yield _data({"error": {"message": str(coded), "type": "server_error", "code": coded.code}})


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
