"""The server: OpenAI's protocol, each answer equal to its lone one, refusals, a bounded queue, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from click.testing import CliRunner
from gguf_writer import TinyModel
from test_chat import CHATML

from gpucore.cli.app import app
from gpucore_worker import load_model
from gpucore_worker.server import Limits, Server


@pytest.fixture
def model(gpucore_context, tmp_path):
    path = TinyModel(1).write(tmp_path / "tiny.gguf", tokenizer__chat_template=("str", CHATML))
    with load_model(path, context=gpucore_context) as loaded:
        yield loaded


@contextlib.contextmanager
def served(model, **options):
    """A client of a server that runs in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        made = Server(model, "tiny", **options)
        server = uvicorn.Server(uvicorn.Config(made.app(), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


ASK = {"prompt": "the other", "max_tokens": 6, "temperature": 0}


def test_answers_are_those_of_the_model(model):
    with served(model) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
        whole = client.post("/v1/completions", json=ASK).json()
        expected = "".join(model.generate("the other", max_tokens=6))
        assert whole["choices"][0]["text"] == expected and whole["choices"][0]["finish_reason"] == "length"
        assert whole["usage"] == {"prompt_tokens": 2 + len(model.tokenize(" other")) - 1, "completion_tokens": 6,
                                  "total_tokens": 6 + len(model.tokenize("the other"))}  # fmt: skip
        messages = [{"role": "user", "content": "and"}]
        answer = client.post("/v1/chat/completions", json={**ASK, "messages": messages}).json()
        assert answer["choices"][0]["message"]["content"] == "".join(model.chat(messages, max_tokens=6))
        health = client.get("/health").json()
        assert health["status"] == "ok" and health["memory"]["weights"] > 0
        metrics = client.get("/metrics").text
        assert 'gpucore_requests_total{path="/v1/completions",status="200"} 1.0' in metrics
        assert 'gpucore_tokens_total{kind="answer"} 12.0' in metrics


def events(response):
    return [line.removeprefix("data: ") for line in response.text.splitlines() if line]


def test_streams_are_the_same_text_in_events(model):
    with served(model) as client:
        found = events(
            client.post(
                "/v1/completions", json={**ASK, "stream": True, "stream_options": {"include_usage": True}}
            )
        )
        assert found[-1] == "[DONE]"
        parsed = [json.loads(event) for event in found[:-1]]
        text = "".join(e["choices"][0]["text"] for e in parsed if e["choices"])
        assert text == "".join(model.generate("the other", max_tokens=6))
        assert (
            parsed[-2]["choices"][0]["finish_reason"] == "length"
            and parsed[-1]["usage"]["completion_tokens"] == 6
        )


def test_seeds_and_stops_work_as_in_the_model(model):
    with served(model) as client:
        ask = {**ASK, "temperature": 1.2, "seed": 5, "top_k": 40, "max_tokens": 12}
        text = client.post("/v1/completions", json=ask).json()["choices"][0]["text"]
        assert text == "".join(model.generate("the other", max_tokens=12, temperature=1.2, seed=5, top_k=40))
        stop = text[2:4]
        found = client.post("/v1/completions", json={**ask, "stop": stop}).json()["choices"][0]
        assert found["text"] == text[: text.index(stop)] and found["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "no JSON"), (b"[]", 400, "object"), ({}, 400, "prompt"), ({**ASK, "prompt": ["a"]}, 400, "prompt"),
        ({**ASK, "model": "gpt-4"}, 404, "gpt-4"), ({**ASK, "n": 2}, 400, "'n' is not supported"),
        ({**ASK, "logprobs": 3}, 400, "logprobs"), ({**ASK, "max_tokens": 0}, 400, "max_tokens"),
        ({**ASK, "max_tokens": 10**9}, 400, "max_tokens"), ({**ASK, "temperature": -1}, 400, "temperature"),
        ({**ASK, "stop": [""]}, 400, "stop"), ({**ASK, "prompt": "1" * 300}, 500, "context"),
        ({**ASK, "prompt": "1" * 5000}, 413, "larger"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_with_a_reason(model, body, status, says):
    with served(model, limits=Limits(max_tokens=100, nbytes=2000)) as client:
        content = body if isinstance(body, bytes) else json.dumps(body)
        answer = client.post("/v1/completions", content=content)
        assert answer.status_code == status and says in answer.json()["error"]["message"]


def test_an_api_key_is_asked_for(model):
    with served(model, api_key="secret") as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get("/health").status_code == 200


def test_many_clients_at_once_get_their_lone_answers_or_429(model):
    prompts = [f"{i} the" for i in range(12)]
    alone = {p: "".join(model.generate(p, max_tokens=5)) for p in prompts}

    async def ask(url):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            calls = [
                client.post("/v1/completions", json={**ASK, "prompt": p, "max_tokens": 5}) for p in prompts
            ]
            return await asyncio.gather(*calls)

    with served(model, limits=Limits(queue=4)) as client:
        answers = asyncio.run(ask(str(client.base_url)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429} and statuses.count(200) >= 4
        for prompt, answer in zip(prompts, answers, strict=True):
            if answer.status_code == 200:
                assert answer.json()["choices"][0]["text"] == alone[prompt]
            else:
                assert answer.headers["retry-after"]


def test_clients_that_leave_end_their_answers(model):
    with served(model) as client:
        for _ in range(3):
            with client.stream(
                "POST", "/v1/completions", json={**ASK, "max_tokens": 200, "stream": True}
            ) as response:
                next(response.iter_lines())
        assert client.post("/v1/completions", json=ASK).status_code == 200
        assert model.memory().kv_cache == 0
        used = client.get("/metrics").text.split('gpucore_tokens_total{kind="answer"} ')[1].split()[0]
        assert float(used) < 3 * 200


def test_others_are_not_served_without_a_key(tiny_path):
    done = CliRunner().invoke(app, ["serve", str(tiny_path), "--host", "0.0.0.0"])
    assert done.exit_code == 2 and "--api-key" in done.output
