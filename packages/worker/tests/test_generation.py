"""Tokens and text: greedy ids as NumPy's logits say, seeds, stop strings, whole characters, ends."""

from __future__ import annotations

import threading
from gc import collect as gc_collect

import numpy as np
import pytest
from gguf_writer import TinyModel
from reference import logits as reference

import gpucore as gc
from gpucore_worker import load_model
from gpucore_worker.errors import InferenceError, ParameterError
from gpucore_worker.inference import Text
from gpucore_worker.network import CHUNK
from gpucore_worker.sampling import Sampling


@pytest.fixture
def model(gpucore_context, tiny_path):
    with load_model(tiny_path, context=gpucore_context) as loaded:
        yield loaded


@pytest.mark.parametrize(
    "words", ["the end and a 2024 b\u00fccher \U0001f600", "<|im_start|>user\n  x<|im_end|>", ""]
)
def test_text_survives_tokens(model, words):
    assert model.detokenize(model.tokenize(words)) == words
    assert model.detokenize(model.tokenize(words, special=False)) == words


def test_control_tokens_are_parsed_only_where_wanted(model):
    assert model.tokenize("<|im_end|>") == [2]
    assert 2 not in model.tokenize("<|im_end|>", special=False)
    assert len(model.tokenize("2024")) == 4  # this pre-tokenizer takes digits one by one
    assert len(model.tokenize(" the")) == 1
    with pytest.raises(ParameterError):
        model.tokenize("\ud800")


def test_greedy_tokens_are_the_likeliest_of_numpy(model, tiny):
    prompt = model.tokenize("and the other")
    inference = model.start("and the other", 20, Sampling())
    found = list(iter(inference.next_token, None))
    expected = list(prompt)
    for token in found:
        scores = reference(tiny, expected)[-1]
        assert scores[token] > scores.max() - 1e-3
        expected.append(token)
    assert len(found) == 20 and inference.finish == "length"
    assert inference.next_token() is None


def test_a_seed_decides_the_text(model):
    texts = ["".join(model.generate("a", max_tokens=12, temperature=1.0, seed=s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_tokens_are_drawn_as_often_as_their_chances_say(model, tiny):
    prompt = model.tokenize("an")
    scores = reference(tiny, prompt)[-1] / 2.0
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    top = int(chances.argmax())
    draws = [model.start("an", 1, Sampling(2.0, seed)).next_token() for seed in range(200)]
    share = np.mean([token == top for token in draws])
    assert abs(share - chances[top]) < 4 * np.sqrt(chances[top] / 200) + 0.01


class Letters:
    """A vocabulary whose tokens are bytes."""

    def is_control(self, token):
        return False

    def bytes_of(self, token):
        return bytes([token])


def pieces(raw, stop=()):
    text = Text(Letters(), stop)
    found = []
    for byte in raw:
        found.append(text.add(byte))
        if text.stopped:
            break
    return found, text.end(), text.stopped


def test_characters_are_held_back_until_they_are_whole():
    found, rest, _ = pieces("a\u20ac!".encode())
    assert found == ["a", "", "", "\u20ac", "!"] and rest == ""
    assert pieces(b"a\xe2\x82")[1] == "\ufffd"


def test_a_stop_string_across_tokens_ends_the_text_and_is_not_in_it():
    found, rest, stopped = pieces(b"one. STOP two", ["STOP"])
    assert "".join(found) + rest == "one. " and stopped
    found, rest, stopped = pieces(b"one. STO two ST", ["STOP"])
    assert "".join(found) + rest == "one. STO two ST" and not stopped


def test_a_generation_stops_at_a_stop_string(model):
    whole = "".join(model.generate("and", max_tokens=30))
    assert len(whole) > 4
    stop = whole[3:5]
    assert "".join(model.generate("and", max_tokens=30, stop=[stop])) == whole[: whole.index(stop)]


def test_stop_strings_may_come_from_an_iterator(model):
    whole = "".join(model.generate("and", max_tokens=30))
    assert (
        "".join(model.generate("and", max_tokens=30, stop=iter([whole[3:5]])))
        == whole[: whole.index(whole[3:5])]
    )


@pytest.mark.parametrize("chunk", [0, 1.5, "2", None])
def test_a_chunk_that_is_no_number_of_tokens_is_refused(model, chunk):
    with pytest.raises(ParameterError, match="chunk"):
        model.logits([1, 2], chunk=chunk)


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0}, {"max_tokens": True}, {"max_tokens": 1.5}, {"temperature": -1.0}, {"temperature": float("nan")},
        {"temperature": float("inf")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"min_p": -0.1},
        {"repetition_penalty": 0.0}, {"top_p": "x"}, {"min_p": None}, {"repetition_penalty": []},
        {"seed": -1}, {"seed": 1 << 64}, {"stop": "text"}, {"stop": [""]}, {"stop": None}, {"stop": 5},
        {"temperature": 10**400}, {"repetition_penalty": 1e-300},
    ],
)  # fmt: skip
def test_bad_parameters_are_refused_at_the_call(model, options):
    with pytest.raises(ParameterError) as caught:
        model.generate("a", **options)
    assert caught.value.code == 5


@pytest.mark.parametrize(
    "prompt", [5, None, b"a", [1.5], [[1]], [[1], [2, 3]], [True], [], [320], [-1], [1 << 40]]
)
def test_a_prompt_that_is_none_is_refused(model, prompt):
    with pytest.raises(ParameterError):
        model.start(prompt, 3, Sampling()).next_token()
    if not isinstance(prompt, list):
        with pytest.raises(ParameterError):
            model.tokenize(prompt)


def test_a_prompt_and_an_answer_that_do_not_fit_are_refused(model):
    with pytest.raises(InferenceError, match="no room"):
        model.generate("1" * 256)
    with pytest.raises(InferenceError, match="at most 6"):
        model.generate("1" * 250, max_tokens=7)
    assert len(list(model.generate("1" * 250, max_tokens=6))) <= 6
    with pytest.raises(ParameterError):
        model.generate("")


def test_a_seed_gives_the_same_tokens_after_others_ran_in_turn(model):
    alone = "".join(model.generate("the", max_tokens=8, temperature=0.9, seed=4))
    first = model.generate("the", max_tokens=8, temperature=0.9, seed=4)
    second = model.generate("1234", max_tokens=8, temperature=0.9, seed=5)
    mixed = []
    for piece in first:
        mixed.append(piece)
        next(second, None)
    assert "".join(mixed) == alone


def test_what_nobody_reads_gives_its_memory_back(model):
    for _ in range(20):
        model.generate("the other", max_tokens=5)
    begun = [model.start("the other", 5, Sampling()) for _ in range(3)]
    assert model.memory().kv_cache > 0
    del begun
    gc_collect()
    assert model.memory().kv_cache == 0


def test_a_prompt_that_is_being_read_can_be_cancelled(model, monkeypatch):
    advance, lengths = model.network.advance, []

    def counted(cache, tokens, **options):
        lengths.append(len(tokens))
        if len(lengths) == 2:
            thread = threading.Thread(target=inference.close, kwargs={"wait": False})
            thread.start()
            thread.join()
        return advance(cache, tokens, **options)

    monkeypatch.setattr(model.network, "advance", counted)
    inference = model.start("1" * 200, 5, Sampling())
    with pytest.raises(InferenceError, match="freed"):
        inference.next_token()
    assert lengths == [CHUNK, CHUNK] and inference.finish == "cancelled"
    assert model.memory().kv_cache == 0


def test_others_have_their_turn_while_a_prompt_is_read(model, monkeypatch):
    advance, found = model.network.advance, []
    other = model.start("the", 3, Sampling())

    def between(cache, tokens, **options):
        logits = advance(cache, tokens, **options)
        if len(tokens) == CHUNK and not found:
            found.append(other.next_token())
        return logits

    expected = "".join(model.generate("1" * 100, max_tokens=4))
    alone = model.start("the", 3, Sampling()).next_token()
    monkeypatch.setattr(model.network, "advance", between)
    assert "".join(model.generate("1" * 100, max_tokens=4)) == expected
    assert found == [alone]


@pytest.mark.parametrize("call", [1, 3, 5])
def test_after_memory_ran_out_the_same_call_goes_on_where_it_stopped(model, monkeypatch, call):
    """Also where it did so after a piece of the prompt had been read."""
    prompt = "".join(map(str, range(60)))
    alone: list[bytes] = []
    expected = list(
        iter(model.start(prompt, 4, Sampling(), observe=lambda x: alone.append(x.tobytes())).next_token, None)
    )
    found_logits: list[bytes] = []
    inference = model.start(prompt, 4, Sampling(), observe=lambda x: found_logits.append(x.tobytes()))
    advance, calls = model.network.advance, []

    def fails(*args, **options):
        calls.append(1)
        found = advance(*args, **options)
        if len(calls) == call:
            raise gc.OutOfMemoryError("full")
        return found

    monkeypatch.setattr(model.network, "advance", fails)
    found = []
    while len(found) < 4:
        try:
            found.append(inference.next_token())
        except gc.OutOfMemoryError:
            pass
    assert found == expected and found_logits == alone


@pytest.mark.parametrize("place", ["empty", "array"])
def test_after_memory_for_many_tokens_ran_out_few_are_computed_as_before(
    gpucore_context, tmp_path, monkeypatch, place
):
    """Neither buffers nor tables of rotations that are in use are given up before larger ones are there."""
    path = TinyModel(1, context=1024).write(tmp_path / "long.gguf")
    with load_model(path, context=gpucore_context) as model:
        few, many = list(range(3, 43)), [3 + i % 300 for i in range(600)]
        expected = model.logits(few)
        context = type(model.network.context)
        made, calls, failed = getattr(context, place), [], False

        def fails(self, *args, **options):
            calls.append(1)
            if len(calls) == failing:
                raise gc.OutOfMemoryError("full")
            return made(self, *args, **options)

        monkeypatch.setattr(context, place, fails)
        for failing in range(1, 1 + 18):
            calls.clear()
            # another number each time, more than there was room for; the table grows once, beyond 512
            try:
                model.logits(many[: 300 + failing if place == "empty" else 600], chunk=200 + failing)
            except gc.OutOfMemoryError:
                np.testing.assert_array_equal(model.logits(few), expected)
                np.testing.assert_array_equal(model.logits(few[:1]), expected[:1])
                failed = True
        monkeypatch.undo()
        assert failed
        assert model.logits(many).shape == (600, expected.shape[1])
        np.testing.assert_array_equal(model.logits(few), expected)


def test_whose_turn_comes_after_a_model_was_unloaded_is_told_so(gpucore_context, tiny_path):
    """As where one thread waits for another's token while a third unloads the model."""
    model = load_model(tiny_path, context=gpucore_context)
    network, ready, results = model.network, threading.Barrier(3), []

    def waits(call):
        ready.wait()
        try:
            call()
        except gc.GpucoreError as error:
            results.append(error)

    calls = (network.check_residency, lambda: network.advance(cache, np.array([1, 2], np.int32)))
    cache = network.new_cache()
    threads = [threading.Thread(target=waits, args=(call,)) for call in calls]
    with network.lock:
        for thread in threads:
            thread.start()
        ready.wait()
        model.close()
    for thread in threads:
        thread.join()
    cache.free()
    assert [type(error) for error in results] == [InferenceError] * 2 and "unloaded" in str(results[0])


def test_an_interrupt_between_two_inferences_of_one_size_mixes_no_caches(gpucore_context, tiny_path):
    with load_model(tiny_path, context=gpucore_context) as model:
        network = model.network
        a, b = network.new_cache(), network.new_cache()
        tokens = np.array([5, 6, 7, 8], np.int32)
        expected = [logits.copy() for logits in model.logits(tokens.tolist(), chunk=1)]
        np.testing.assert_array_equal(network.advance(a, tokens[:1])[0], expected[0])

        class Interrupted(dict):
            def __setitem__(self, key, value):
                raise KeyboardInterrupt

        kept = network._graph_keys
        network._graph_keys = Interrupted(kept)
        with pytest.raises(KeyboardInterrupt):
            network.advance(b, tokens[3:])
        network._graph_keys = dict(network._graph_keys)
        for step in (1, 2, 3):
            np.testing.assert_array_equal(network.advance(a, tokens[step : step + 1])[0], expected[step])
        a.free()
        b.free()


def test_a_cache_that_could_not_grow_can_later(gpucore_context, tiny_path):
    with load_model(tiny_path, context=gpucore_context) as model:
        cache = model.network.new_cache()
        made = cache._grown
        calls = []

        def fails(*args):
            calls.append(1)
            if len(calls) == 2:
                raise gc.OutOfMemoryError("full")
            return made(*args)

        cache._grown = fails
        with pytest.raises(gc.OutOfMemoryError):
            cache.reserve(256 + 1)
        cache.reserve(256 + 1)
        assert cache.keys.shape[1] == cache.values.shape[1] == cache.tiles
        cache.free()
