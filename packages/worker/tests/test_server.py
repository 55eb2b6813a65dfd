"""The server: OpenAI's protocol, each answer equal to its lone one, refusals, a bounded queue, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from click.testing import CliRunner
from gguf_writer import TinyModel
from test_chat import CHATML

import gpucore as gc
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
        (b"{", 400, "no JSON"), (b"[]", 400, "object"), ({}, 400, "prompt"), ({**ASK, "prompt": [True]}, 400, "prompt"),
        ({**ASK, "model": "gpt-4"}, 404, "gpt-4"), ({**ASK, "n": 2}, 400, "'n' is not supported"),
        ({**ASK, "logprobs": 3}, 400, "logprobs"), ({**ASK, "max_tokens": 0}, 400, "max_tokens"),
        ({**ASK, "max_tokens": 10**9}, 400, "max_tokens"), ({**ASK, "temperature": -1}, 400, "temperature"),
        ({**ASK, "stop": [""]}, 400, "stop"), ({**ASK, "prompt": "1" * 300}, 400, "context"),
        ({**ASK, "prompt": "1" * 250, "max_tokens": 50}, 400, "at most 6"),
        ({**ASK, "prompt": "1" * 5000}, 413, "larger"), (b"[" * 1999, 400, "no JSON"),
        ({**ASK, "top_p": "x"}, 400, "top_p"), ({**ASK, "min_p": []}, 400, "min_p"), ({**ASK, "stop": 5}, 400, "'stop'"),
        ({**ASK, "stop": {"a": 1}}, 400, "'stop'"), ({**ASK, "stop": ["a"] * 100}, 400, "'stop'"),
        ({**ASK, "stream": "no"}, 400, "'stream'"), ({**ASK, "stream_options": 1}, 400, "'stream_options'"),
        ({**ASK, "prompt": [1, 320]}, 400, "vocabulary"), ({**ASK, "prompt": ["a", "b"]}, 400, "one of them"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_with_a_reason(model, body, status, says):
    with served(model, limits=Limits(max_tokens=100, nbytes=2000)) as client:
        content = body if isinstance(body, bytes) else json.dumps(body)
        answer = client.post("/v1/completions", content=content)
        assert answer.status_code == status and says in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "messages", [5, "x", {"role": "user"}, [], [5], [{"role": "user", "content": None}],
                 [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]],
)  # fmt: skip
def test_messages_that_are_none_are_refused(model, messages):
    with served(model) as client:
        answer = client.post("/v1/chat/completions", json={**ASK, "messages": messages})
        assert answer.status_code == 400 and "message" in answer.json()["error"]["message"]


def test_prompts_come_in_the_forms_of_the_protocol(model):
    def text(**body):
        return client.post("/v1/completions", json={**ASK, **body}).json()["choices"][0]["text"]

    def said(content):
        body = {**ASK, "messages": [{"role": "user", "content": content}]}
        return client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]

    tokens = model.tokenize("the other")
    with served(model) as client:
        assert client.post("/v1/completions", json={**ASK, "model": None}).status_code == 200
        assert text() == text(prompt=["the other"]) == text(prompt=tokens) == text(prompt=[tokens])
        assert said("the other") == said(
            [{"type": "text", "text": "the "}, {"type": "text", "text": "other"}]
        )
        assert text(max_tokens=2) == text(max_completion_tokens=2, max_tokens=None)
        assert text(max_tokens=2) == text(max_completion_tokens=None, max_tokens=2)


def test_what_does_not_fit_the_context_says_so_in_the_protocol(model):
    with served(model) as client:
        for stream in (False, True):
            answer = client.post("/v1/completions", json={**ASK, "prompt": "1" * 300, "stream": stream})
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_model_and_what_there_is_not_are_answered_in_json(model):
    with served(model) as client:
        assert client.get("/v1/models/tiny").json()["id"] == "tiny"
        for path, status in (("/v1/models/gpt-4", 404), ("/nowhere", 404), ("/v1/completions", 405)):
            answer = client.get(path)
            assert answer.status_code == status and answer.json()["error"]["message"]


def test_health_is_that_of_the_device(model, monkeypatch):
    with served(model) as client:
        assert client.get("/health").status_code == 200
        monkeypatch.setattr(type(model.context.device), "is_lost", True)
        answer = client.get("/health")
        assert answer.status_code == 503 and "lost" in answer.json()["error"]
        monkeypatch.undo()
        assert client.get("/health").status_code == 200
        model.close()
        answer = client.get("/health")
        assert answer.status_code == 503 and "unloaded" in answer.json()["error"]


def test_a_device_lost_while_answering_is_told_in_the_stream(model, monkeypatch):
    advance, calls = model.network.advance, []

    def lost(*args, **options):
        calls.append(1)
        if len(calls) > 3:
            raise gc.DeviceLostError("the device was lost")
        return advance(*args, **options)

    with served(model) as client:
        monkeypatch.setattr(model.network, "advance", lost)
        found = events(client.post("/v1/completions", json={**ASK, "stream": True}))
        assert json.loads(found[-1])["error"]["code"] == 6
        answer = client.post("/v1/completions", json=ASK)
        assert answer.status_code == 500 and "device was lost" in answer.json()["error"]["message"]
        monkeypatch.undo()
        assert client.post("/v1/completions", json=ASK).status_code == 200
        assert model.memory().kv_cache == 0


def held(model, monkeypatch):
    """Make each piece that is computed wait for an event."""
    advance, go, begun = model.network.advance, threading.Event(), threading.Event()

    def waits(*args, **options):
        begun.set()
        assert go.wait(60)
        return advance(*args, **options)

    monkeypatch.setattr(model.network, "advance", waits)
    return go, begun


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_leave_the_queue_give_their_places_back(model, monkeypatch, stream):
    go, begun = held(model, monkeypatch)
    with served(model, limits=Limits(queue=2)) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/v1/completions", json=ASK)
        assert begun.wait(60)
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/completions", json={**ASK, "stream": stream}, timeout=0.3)
        until(lambda: client.get("/health").json()["waiting"] == 0)
        later = pool.submit(client.post, "/v1/completions", json=ASK)
        go.set()
        assert first.result().json()["choices"] == later.result().json()["choices"]
        assert 'status="499"} 2.0' in client.get("/metrics").text


def test_a_client_that_leaves_ends_the_reading_of_its_prompt(model, monkeypatch):
    go, begun = held(model, monkeypatch)
    with served(model) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json={**ASK, "prompt": "1" * 200}, timeout=0.3)
        assert begun.is_set()
        until(lambda: 'status="499"} 1.0' in client.get("/metrics").text)
        go.set()
        assert client.post("/v1/completions", json=ASK).status_code == 200
        until(lambda: model.memory().kv_cache == 0)
        assert 'gpucore_tokens_total{kind="answer"} 6.0' in client.get("/metrics").text


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_fifty_clients_of_whom_every_other_leaves(model):
    prompts = [f"{i} the" for i in range(50)]
    alone = {p: "".join(model.generate(p, max_tokens=5)) for p in prompts[::2]}

    async def stays(client, prompt):
        answer = await client.post("/v1/completions", json={**ASK, "prompt": prompt, "max_tokens": 5})
        return answer.json()["choices"][0]["text"]

    async def leaves(client, prompt, number):
        body = {**ASK, "prompt": prompt, "max_tokens": 200, "stream": number % 4 == 1}
        with contextlib.suppress(httpx.TimeoutException):
            async with client.stream("POST", "/v1/completions", json=body, timeout=0.05 * number) as answer:
                await anext(answer.aiter_lines())

    async def ask(url):
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
            return await asyncio.gather(
                *(leaves(client, p, i) if i % 2 else stays(client, p) for i, p in enumerate(prompts))
            )

    with served(model, limits=Limits(queue=50)) as client:
        answers = asyncio.run(ask(str(client.base_url)))
        assert dict(zip(prompts[::2], answers[::2], strict=True)) == alone
        until(lambda: client.get("/health").json()["waiting"] == 0 and model.memory().kv_cache == 0)
        assert client.post("/v1/completions", json=ASK).status_code == 200


def test_the_client_of_openai_is_served(model):
    openai = pytest.importorskip("openai")
    with served(model, api_key="secret", limits=Limits(max_tokens=50)) as client:
        them = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="secret", max_retries=0)
        assert [m.id for m in them.models.list()] == ["tiny"] and them.models.retrieve("tiny").id == "tiny"
        messages = [{"role": "user", "content": "and"}]
        ask = {"model": "tiny", "max_tokens": 6, "temperature": 0}
        expected = "".join(model.chat(messages, max_tokens=6))
        whole = them.chat.completions.create(messages=messages, **ask)
        assert whole.choices[0].message.content == expected and whole.usage.completion_tokens <= 6
        pieces = them.chat.completions.create(messages=messages, stream=True, **ask)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected
        assert them.completions.create(prompt="the other", **ask).choices[0].text
        with pytest.raises(openai.BadRequestError) as caught:
            them.completions.create(prompt="1" * 300, **ask)
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.NotFoundError):
            them.completions.create(prompt="a", **{**ask, "model": "gpt-4"})
        with pytest.raises(openai.AuthenticationError):
            them.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize("key", ["secret", "s\u00e9cret"])
def test_an_api_key_is_asked_for(model, key):
    def status(path, given):
        headers = {b"authorization": f"Bearer {given}".encode()}
        return (client.post if path.endswith("completions") else client.get)(
            path, headers=headers
        ).status_code

    with served(model, api_key=key) as client:
        for path in ("/v1/models", "/v1/models/tiny", "/metrics", "/v1/completions", "/v1/chat/completions"):
            assert status(path, "wrong") == status(path, "x") == 401
            assert status(path, key) in (200, 400)
        assert client.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200


def test_a_name_made_to_stand_for_this_machine_is_refused_without_a_key(model):
    def status(host, path="/v1/models"):
        return client.get(path, headers={"host": host}).status_code

    with served(model, hosts=("proxy.example", "other.example:81")) as client:
        port = client.base_url.port
        for name in ("localhost", "LOCALHOST", "127.0.0.1", "[::1]"):
            assert status(f"{name}:{port}") == 200
            assert status(f"{name}:{port + 1}") == status(name) == 421
        assert status("proxy.example") == status(f"proxy.example:{port}") == status("other.example:81") == 200
        for name in (
            "evil.example",
            f"evil.example:{port}",
            "other.example:82",
            f"127.0.0.1.evil.example:{port}",
            "",
        ):
            for path in ("/v1/models", "/v1/models/tiny", "/metrics", "/health"):
                assert status(name, path) == 421
        asked = client.post("/v1/completions", json=ASK, headers={"host": "evil.example"})
        assert asked.status_code == 421
        assert "'evil.example'" in asked.json()["error"]["message"] and "--allow-host" in asked.text
        for site, expected in (("cross-site", 403), ("same-site", 200), ("none", 200)):
            # as a page may send it, without asking first
            headers = {"sec-fetch-site": site, "content-type": "text/plain"}
            assert client.post("/v1/completions", json=ASK, headers=headers).status_code == expected
    with served(model, hosts=(), api_key="secret") as client:
        headers = {"host": "evil.example", "authorization": "Bearer secret"}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_many_clients_at_once_get_their_lone_answers_or_429(model, monkeypatch):
    prompts = [f"{i} the" for i in range(12)]
    alone = {p: "".join(model.generate(p, max_tokens=5)) for p in prompts}

    async def ask(url):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            calls = [
                client.post("/v1/completions", json={**ASK, "prompt": p, "max_tokens": 5}) for p in prompts
            ]
            return await asyncio.gather(*calls)

    go, _ = held(model, monkeypatch)
    with served(model, limits=Limits(queue=4)) as client, ThreadPoolExecutor() as pool:
        asked = pool.submit(asyncio.run, ask(str(client.base_url)))
        # one is answered, four wait
        until(lambda: 'status="429"} 7.0' in client.get("/metrics").text)
        go.set()
        answers = asked.result()
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) == 5 and statuses.count(429) == 7
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


def test_a_client_that_leaves_before_its_body_is_whole_is_no_error_of_the_server(model):
    with served(model) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as leaving:
            leaving.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
            )
        while 'path="/v1/completions",status=' not in (text := client.get("/metrics").text):
            time.sleep(0.01)
    assert 'status="499"' in text and 'status="500"' not in text


@contextlib.contextmanager
def endless(model, monkeypatch, **options):
    """A server that can be told to end, whose answers never do; with an event of the first one's beginning."""
    from gpucore_worker.ending import EndingServer

    answering, start = threading.Event(), model.start

    def token():
        answering.set()
        time.sleep(0.05)
        return 5

    def begin(*args, **kwargs):
        inference = start(*args, **kwargs)
        inference.next_token = token
        return inference

    monkeypatch.setattr(model, "start", begin)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(Server(model, "tiny").app(), log_level="critical", lifespan="off", **options)
        server = EndingServer(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            yield server, thread, client, answering


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_server_whatever_it_answers(model, monkeypatch, kind):
    with (
        endless(model, monkeypatch) as (server, thread, client, answering),
        contextlib.suppress(httpx.HTTPError),
        client.stream("POST", "/v1/completions", json={**ASK, "stream": True}) as response,
    ):
        pieces = response.iter_text()
        next(pieces)
        assert answering.wait(60)
        server.handle_exit(kind, None)
        time.sleep(0.3)
        assert thread.is_alive()  # for the first one answers are finished
        server.handle_exit(kind, None)
        thread.join(60)
        assert not thread.is_alive()


def test_whom_a_server_that_ends_cannot_answer_any_more_is_told_so(model, monkeypatch):
    with endless(model, monkeypatch, timeout_graceful_shutdown=1) as (server, thread, client, answering):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.post, "/v1/completions", json=ASK)
            assert answering.wait(60)
            server.handle_exit(signal.SIGTERM, None)
            assert asked.result().status_code == 503
            assert "ends" in asked.result().json()["error"]["message"]
        thread.join(60)


def test_others_are_not_served_without_a_key(tiny_path):
    done = CliRunner().invoke(app, ["serve", str(tiny_path), "--host", "0.0.0.0"])
    assert done.exit_code == 2 and "--api-key" in done.output


def test_a_server_that_is_told_to_end_finishes_its_answers(tmp_path, gpucore_context):
    path = TinyModel(1).write(tmp_path / "tiny.gguf")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gpucore",
        "serve",
        str(path),
        "--port",
        str(port),
        "--allow-host",
        "proxy.example",
        "-b",
        gpucore_context.backend,
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: answers(client))
            assert client.get("/v1/models", headers={"host": "proxy.example"}).status_code == 200
            assert client.get("/v1/models", headers={"host": f"evil.example:{port}"}).status_code == 421
            ask = {**ASK, "max_tokens": 60, "stream": True}
            with client.stream("POST", "/v1/completions", json=ask) as answer:
                lines = answer.iter_lines()
                next(lines)
                server.terminate()
                assert [line for line in lines if line][-1] == "data: [DONE]"
        errors = server.communicate(timeout=60)[1]
        assert server.returncode == 0 and "Traceback" not in errors, errors
    finally:
        server.kill()


def answers(client):
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False
