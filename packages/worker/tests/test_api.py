"""The fourteen functions: what they give, their codes, and memory that returns to where it was."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from gc import collect

import pytest
from click.testing import CliRunner

import gpucore as gc
from gpucore.cli.app import app
from gpucore_worker import WorkerError, api, load_model
from gpucore_worker.errors import CODES, worker_error

FUNCTIONS = (
    "init destroy device_count load_model unload_model model_memory inference_start next_token inference_free check_residency "
    "memory_used process_memory device_health error_message"
).split()


@pytest.fixture
def session(gpucore_context):
    opened = api.init(gpucore_context.backend)
    yield opened
    api.destroy(opened)


def code_of(call, *args, **kwargs):
    with pytest.raises(WorkerError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_there_are_fourteen_functions():
    assert len(FUNCTIONS) == 14
    for name in FUNCTIONS:
        assert inspect.isfunction(getattr(api, name)) and name in api.__all__


def test_codes_have_texts_of_their_own():
    assert sorted(CODES) == [*range(9), 99]
    assert len({api.error_message(code) for code in CODES}) == 10
    assert (
        worker_error(gc.OutOfMemoryError("full")).code == 2
        and worker_error(gc.OutOfMemoryError("full")).retriable
    )
    assert worker_error(gc.LaunchError("no")).code == 6
    assert worker_error(RuntimeError("what")).code == 99


def test_a_model_answers(session, tiny_path):
    before = api.memory_used(session)
    model, nbytes = api.load_model(session, tiny_path)
    memory = api.model_memory(model)
    assert memory == memory.weights + memory.kv_cache + memory.activations
    assert memory.weights == nbytes <= api.memory_used(session) - before
    assert api.check_residency(model) is True
    inference = api.inference_start(model, "the other", 10, 0.0, 0)
    pieces = list(iter(lambda: api.next_token(inference), None))
    assert "".join(pieces) == "".join(model.generate("the other", max_tokens=10))
    assert api.next_token(inference) is None
    assert api.model_memory(model).kv_cache > 0
    api.inference_free(inference)
    assert api.model_memory(model).kv_cache == 0
    assert code_of(api.next_token, inference) == 4
    api.unload_model(model)
    api.unload_model(model)
    assert api.memory_used(session) == before
    assert code_of(api.inference_start, model, "a", 1, 0.0, 0) == 4


def test_errors_have_their_codes(session, tiny_path, tmp_path):
    assert code_of(api.init, "no-such-backend") == 1
    assert code_of(api.init, 10_000) == 1
    assert code_of(api.init, -1) == 1
    for none in (1.5, "", "a\0", "cpu:"):
        assert code_of(api.init, none) == 5
    assert code_of(api.load_model, session, tmp_path / "none") == 3
    assert code_of(api.load_model, session, "") == 5
    assert code_of(api.model_memory, "model") == 5
    model, _ = api.load_model(tiny_path, session)
    assert code_of(api.inference_start, model, "", 1, 0.0, 0) == 5
    assert code_of(api.inference_start, model, "a", 0, 0.0, 0) == 5
    assert code_of(api.inference_start, model, "a", 1, -1.0, 0) == 5
    assert code_of(api.inference_start, model, "a", 1, 0.0, -1) == 5
    assert code_of(api.inference_start, model, "1" * 300, 1, 0.0, 0) == 4
    assert code_of(api.next_token, None) == 5


def test_memory_that_is_too_small_is_code_2(gpucore_context, tiny_path):
    session = api.Session(gc.Context(gpucore_context.backend, memory_limit=100_000))
    assert code_of(api.load_model, session, tiny_path) == 2
    api_used = session.context.pool.stats()["used"]
    session.context.close()
    assert api_used < 100_000


def test_a_destroyed_session_is_code_1(gpucore_context, tiny_path):
    session = api.init(gpucore_context.backend)
    model, _ = api.load_model(session, tiny_path)
    api.destroy(session)
    api.destroy(session)
    assert code_of(api.memory_used, session) == 1
    assert code_of(api.load_model, session, tiny_path) == 1
    assert code_of(api.check_residency, model) == 4


def test_changed_weights_are_code_7_and_named(session, tiny_path):
    model, _ = api.load_model(session, tiny_path)
    matrix = model.network.weights.matrices["blk.1.ffn_up.weight"]
    words = matrix.words.numpy()
    words[35] ^= 1
    matrix.words.copy_from(words)
    with pytest.raises(WorkerError, match="blk.1.ffn_up.weight.*row 3") as caught:
        api.check_residency(model)
    assert caught.value.code == 7


def test_figures_of_the_device_are_numbers_or_errors(session, tiny_path):
    assert api.device_count() >= 1
    model, _ = api.load_model(session, tiny_path)
    for function in (api.process_memory, api.device_health):
        try:
            assert function(session)
        except WorkerError as error:
            assert error.code == 6 and "lacks the capability" in str(error)


def test_many_requests_leave_memory_flat(session, tiny_path):
    model, _ = api.load_model(session, tiny_path)
    before = api.memory_used(session)
    for i in range(200):
        inference = api.inference_start(model, "the other", 2, 1.0, i)
        api.next_token(inference)
        api.inference_free(inference)
    assert api.memory_used(session) == before


def test_threads_take_turns(session, tiny_path):
    model, _ = api.load_model(session, tiny_path)
    prompts = ["the", "and 12", "an other", "1 2 3"]
    alone = ["".join(model.generate(p, max_tokens=8)) for p in prompts]
    found = [""] * 4

    def work(i):
        found[i] = "".join(model.generate(prompts[i], max_tokens=8))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == alone


def test_the_command_generates(gpucore_context, tiny_path):
    done = CliRunner().invoke(
        app, ["generate", str(tiny_path), "the other", "-n", "5", "-b", gpucore_context.backend]
    )
    assert done.exit_code == 0, done.output
    assert "5 tokens" in done.stderr and "ended by length" in done.stderr
    wrong = CliRunner().invoke(app, ["generate", "no-such-model", "the other"])
    assert wrong.exit_code == 1 and "neither a file nor an installed distribution" in wrong.output


def test_a_load_that_is_broken_off_gives_its_memory_back(session, tiny_path):
    def stops(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    before = api.memory_used(session)
    with pytest.raises(KeyboardInterrupt):
        load_model(tiny_path, context=session.context, progress=stops)
    collect()
    assert api.memory_used(session) == before
    with load_model(tiny_path, context=session.context) as model:
        model.check_residency()


def test_after_a_process_was_killed_while_loading_the_next_one_loads(gpucore_context, tiny_path, tmp_path):
    program = (
        "import sys\nfrom gpucore_worker import load_model\n"
        "with load_model(sys.argv[1], sys.argv[2], progress=lambda *n: print(*n, flush=True)) as model:\n"
        "    model.check_residency()\n    print('all', flush=True)\n"
    )
    call = [sys.executable, "-c", program, str(tiny_path), gpucore_context.backend]
    environment = {**os.environ, "GPUCORE_CACHE_DIR": str(tmp_path / "cache")}
    for pieces in (1, 3):
        process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(pieces):
            assert process.stdout.readline()
        process.kill()
        process.communicate()
    done = subprocess.run(call, capture_output=True, text=True, env=environment)
    assert done.stdout.endswith("all\n"), done.stderr


def test_a_device_lost_while_decoding_is_code_6(session, tiny_path, monkeypatch):
    model, _ = api.load_model(session, tiny_path)
    inference = api.inference_start(model, "the", 9, 0.0, 0)
    api.next_token(inference)

    def lost(*args, **options):
        raise gc.DeviceLostError("the device was lost")

    monkeypatch.setattr(model.network, "advance", lost)
    assert code_of(api.next_token, inference) == 6
    monkeypatch.undo()
    api.inference_free(inference)
    assert api.model_memory(model).kv_cache == 0
