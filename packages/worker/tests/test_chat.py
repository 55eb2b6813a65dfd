"""Chat templates in their sandbox, and the command that talks."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from gguf_writer import TinyModel

from gpucore.cli.app import app
from gpucore_worker import load_model
from gpucore_worker.errors import ModelError, ParameterError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HELLO = [{"role": "user", "content": "the other"}]


@pytest.fixture
def model(gpucore_context, tmp_path):
    def load(template):
        path = TinyModel(1).write(
            tmp_path / "m.gguf", tokenizer__chat_template=("str", template) if template else None
        )
        return load_model(path, context=gpucore_context)

    return load


def test_a_template_writes_the_prompt(model):
    with model(CHATML) as m:
        prompt = m.chat_prompt(HELLO)
        assert prompt == "<|im_start|>user\nthe other<|im_end|>\n<|im_start|>assistant\n"
        assert m.tokenize(prompt)[0] == 1
        answer = "".join(m.chat(HELLO, max_tokens=5))
        assert answer == "".join(m.generate(prompt, max_tokens=5))


def test_messages_must_have_roles_and_contents(model):
    with model(CHATML) as m:
        for wrong in ([], [{"role": "user"}], ["user"], [{"role": "user", "content": 5}]):
            with pytest.raises(ParameterError):
                m.chat_prompt(wrong)


def test_a_template_may_refuse_messages(model):
    with (
        model("{{ raise_exception('roles must alternate') }}") as m,
        pytest.raises(ParameterError, match="alternate"),
    ):
        m.chat_prompt(HELLO)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}", "{{ ''.__class__.__base__.__subclasses__() }}", "{% for x in", "{{ 1 // 0 }}",
        "{{ messages.append(1) }}", "{% for i in range(100000000) %}x{% endfor %}", "{{ unknown.attribute }}",
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
    ],
)  # fmt: skip
def test_a_hostile_template_is_an_error_of_the_model(model, template):
    with model(template) as m, pytest.raises(ModelError, match="chat template"):
        m.chat_prompt(HELLO)


def test_a_model_without_template_says_so(model):
    with model(None) as m, pytest.raises(ModelError, match="no chat template"):
        m.chat_prompt(HELLO)


def test_the_command_talks(tmp_path, gpucore_context):
    path = TinyModel(1).write(tmp_path / "m.gguf", tokenizer__chat_template=("str", CHATML))
    done = CliRunner().invoke(
        app, ["chat", str(path), "-n", "4", "-b", gpucore_context.backend], input="the\nand\n"
    )
    assert done.exit_code == 0, done.output
    assert done.stderr.count("4 tokens") == 2
