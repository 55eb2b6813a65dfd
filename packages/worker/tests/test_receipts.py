"""Receipts: right on any cutting and step, refused at the step where one bit differs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from gguf_writer import TinyModel

from gpucore.cli.app import app
from gpucore_worker import load_model
from gpucore_worker.errors import ParameterError
from gpucore_worker.receipts import Receipt, ReceiptError, file_digest, verify


@pytest.fixture
def receipt_path(gpucore_context, tiny_path, tmp_path):
    path = tmp_path / "r.json"
    done = CliRunner().invoke(
        app,
        ["generate", str(tiny_path), "the other", "-n", "6", "-t", "1.5", "--seed", "3", "-b", gpucore_context.backend,
         "--receipt", str(path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return path


@pytest.fixture
def model(gpucore_context, tiny_path):
    with load_model(tiny_path, context=gpucore_context, split=True) as loaded:
        yield loaded


def changed(path, **values):
    found = json.loads(path.read_text())
    for key, value in values.items():
        found[key] = value
    path.write_text(json.dumps(found))
    return Receipt.load(path)


def test_a_receipt_is_right_as_a_whole_and_at_any_step(receipt_path, model):
    receipt = Receipt.load(receipt_path)
    assert len(receipt.tokens) == 6 and receipt.finish == "length"
    assert verify(receipt, model) == 6
    assert verify(receipt, model, steps=[4]) == 1
    with pytest.raises(ParameterError, match="steps 0 to 5"):
        verify(receipt, model, steps=[6])


def test_a_receipt_is_of_its_mode(gpucore_context, model, tmp_path):
    source = TinyModel(1, kind="Q4_1").write(tmp_path / "m.gguf")
    path = tmp_path / "quick.json"
    ask = [
        "generate",
        str(source),
        "the other",
        "-n",
        "3",
        "-b",
        gpucore_context.backend,
        "--mode",
        "quick",
        "--receipt",
        str(path),
    ]
    assert CliRunner().invoke(app, ask).exit_code == 0
    assert Receipt.load(path).mode == "quick"
    done = CliRunner().invoke(app, ["verify", str(path), "-b", gpucore_context.backend])
    assert done.exit_code == 0 and "3 of 3" in done.output
    with load_model(source, context=gpucore_context) as exact:
        with pytest.raises(ParameterError, match="mode 'quick'.*'exact'"):
            verify(Receipt.load(path), exact)
        with pytest.raises(ReceiptError, match="logits") as caught:
            verify(changed(path, mode="exact"), exact)
        assert caught.value.step == 0


@pytest.mark.parametrize("step", [0, 3, 5])
def test_a_changed_token_is_refused_at_its_step(receipt_path, model, step):
    tokens = json.loads(receipt_path.read_text())["tokens"]
    tokens[step] ^= 1
    with pytest.raises(ReceiptError) as caught:
        verify(changed(receipt_path, tokens=tokens), model)
    assert caught.value.step == step


@pytest.mark.parametrize("step", [0, 2])
def test_a_changed_digest_is_refused_at_its_step(receipt_path, model, step):
    digests = json.loads(receipt_path.read_text())["digests"]
    digests[step] = digests[step][:-1] + ("0" if digests[step][-1] != "0" else "1")
    with pytest.raises(ReceiptError) as caught:
        verify(changed(receipt_path, digests=digests), model)
    assert caught.value.step == step


@pytest.mark.parametrize("what", ["seed", "temperature", "top_k"])
def test_what_was_asked_cannot_be_changed(receipt_path, model, what):
    sampling = json.loads(receipt_path.read_text())["sampling"]
    sampling[what] += 1
    with pytest.raises(ReceiptError) as caught:
        verify(changed(receipt_path, sampling=sampling), model)
    assert caught.value.step == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"finish": "stop"}, "does not end"), ({"max_tokens": 7}, "7 were asked"), ({"stop": ["zzz"]}, "step 0: the logits"),
        ({"tokens": [1 << 40] * 6}, "token that the model has not"), ({"tokens": [-1] * 6}, "token that the model has not"),
    ],
)  # fmt: skip
def test_how_an_answer_ended_cannot_be_changed(receipt_path, model, change, says):
    with pytest.raises(ReceiptError, match=says):
        verify(changed(receipt_path, **change), model)


def test_an_answer_cannot_be_cut_short(receipt_path, model):
    found = json.loads(receipt_path.read_text())
    short = {"tokens": found["tokens"][:3], "digests": found["digests"][:3]}
    for finish, says in (("length", "6 were asked"), ("stop", "step 2: the text does not end")):
        with pytest.raises(ReceiptError, match=says):
            verify(changed(receipt_path, finish=finish, **short), model)


def test_an_answer_that_was_cancelled_is_called_so(receipt_path, gpucore_context):
    found = json.loads(receipt_path.read_text())
    changed(receipt_path, finish="cancelled", tokens=found["tokens"][:3], digests=found["digests"][:3])
    done = CliRunner().invoke(app, ["verify", str(receipt_path), "-b", gpucore_context.backend])
    assert done.exit_code == 0 and "3 of 3" in done.output and "was cancelled" in done.output


def test_where_a_receipt_cannot_be_written_is_said_before_there_is_an_answer(tiny_path, tmp_path):
    done = CliRunner().invoke(
        app, ["generate", str(tiny_path), "the", "-b", "cpu", "--receipt", str(tmp_path / "none" / "r.json")]
    )
    assert done.exit_code == 2 and "no folder" in done.stderr and not done.stdout


def test_stop_strings_are_of_the_receipt(gpucore_context, tiny_path, tmp_path, model):
    whole = "".join(model.generate("and", max_tokens=12))
    path = tmp_path / "stop.json"
    stop = whole[3:5]
    ask = ["generate", str(tiny_path), "and", "-n", "12", "--stop", stop, "-b", gpucore_context.backend]
    assert CliRunner().invoke(app, [*ask, "--receipt", str(path)]).exit_code == 0
    receipt = Receipt.load(path)
    assert (
        receipt.finish == "stop" and receipt.stop == [stop] and verify(receipt, model) == len(receipt.tokens)
    )
    with pytest.raises(ReceiptError, match="does not end"):
        verify(changed(path, stop=[]), model)
    with pytest.raises(ReceiptError, match=f"step {len(receipt.tokens) - 1}: a stop string"):
        verify(changed(path, stop=[stop], finish="cancelled"), model)


@pytest.mark.parametrize(
    "change",
    [
        {"finish": "no"},
        {"max_tokens": "6"},
        {"stop": "x"},
        {"stop": [""]},
        {"tokens": ["1"]},
        {"sampling": [1]},
    ],
)
def test_a_receipt_of_wrong_types_is_refused(receipt_path, change):
    with pytest.raises(ParameterError, match=str(receipt_path)):
        changed(receipt_path, **change)


def test_a_changed_prompt_is_refused(receipt_path, model):
    with pytest.raises(ReceiptError, match="prompt"):
        verify(changed(receipt_path, prompt="the othes"), model)


def test_one_bit_of_a_weight_is_refused(receipt_path, model, tiny_path, tmp_path, gpucore_context):
    raw = bytearray(tiny_path.read_bytes())
    raw[-1000] ^= 1 << 4
    other = tmp_path / "other.gguf"
    other.write_bytes(raw)
    with load_model(other, context=gpucore_context) as wrong:
        with pytest.raises(ReceiptError, match="SHA-256"):
            verify(Receipt.load(receipt_path), wrong)
        # also where the receipt claims to be of that file
        with pytest.raises(ReceiptError) as caught:
            verify(changed(receipt_path, model=file_digest(other)), wrong)
        assert caught.value.step == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": "gpucore-receipt-1"}',
        '{"format": "gpucore-receipt-9", "model": ""}',
    ],
)
def test_what_is_no_receipt_is_refused(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ParameterError) as caught:
        Receipt.load(path)
    assert str(path) in str(caught.value)


def test_the_command_verifies(receipt_path, gpucore_context):
    call = ["verify", str(receipt_path), "-b", gpucore_context.backend]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0 and "6 of 6 steps are right" in done.output
    tokens = json.loads(receipt_path.read_text())["tokens"]
    changed(receipt_path, tokens=[*tokens[:2], tokens[2] ^ 1, *tokens[3:]])
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1 and "step 2" in done.output
