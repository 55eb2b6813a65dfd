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
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", "{{ 'x' * 10 ** 12 }}", "{{ [0] * 999999999999 }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 2 ** 999999999 }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set n = namespace(x='x' * 99) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=9) %}{% for i in range(90) %}{% set n.x = n.x * n.x %}{% endfor %}", "{{ messages.x.y.z }}",
        # by other ways than + and *
        "{% set n = namespace(x='x' * 99) %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}{{ n.x|tojson }}",
        "{% set n = namespace(x={}) %}{% for i in range(60) %}{% set n.x = dict(a=n.x.items(), b=n.x.items()) %}{% endfor %}",
        "{{ 'a'.ljust(99999999) }}", "{{ 'a' | center(99999999) }}", "{{ '%99999999d' % 1 }}", "{{ '%*d' % (99999999, 1) }}",
        "{{ '%99999999d' | format(1) }}", "{{ '{:>99999999}'.format(1) }}", "{{ '{:>{}}'.format(1, 99999999) }}",
        "{{ ('{:9999}' * 99999).format(*[1] * 99999) }}", "{% set b = 'a' * 99999 %}{{ b.replace('a', b) }}",
        "{% set b = 'a' * 99999 %}{{ b | replace('a', b) }}", "{% set b = 'a' * 99999 %}{{ [b] * 99999 }}",
        "{% set b = 'a' * 99999 %}{{ range(99999) | join(b) }}", "{% set b = 'a' * 99999 %}{{ b.join(b) }}",
        "{{ messages | tojson(indent=99999999) }}", "{{ ('\n' * 99999) | indent(99999) }}",
        "{{ 'aaaa'.translate({97: 'b' * 99}) }}",
        "{{ [1] | batch(99999999, 'x') | list }}", "{{ [1] | slice(99999999) | list }}", "{{ lipsum(n=9999) }}",
        "{{ 1.5 | round(99999999, 'ceil') }}", "{{ ('a' * 999999) | wordwrap(1) }}", "{{ [1, 2] | random }}",
        "{% for i in [1] %}" * 21 + "{% endfor %}" * 21, "{% if 1 %}" * 101 + "{% endif %}" * 101,
        "{% set x %}{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endset %}",
        "{% set x %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endset %}",
        "{% macro m() %}{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}{% endmacro %}{{ m() | length }}",
        "{% set b = 'a' * 999999 %}{% for i in range(99999) %}{% if 'ab' in b %}{% endif %}{% endfor %}",
        "{% set b = 'a' * 999999 %}{% for i in range(99999) %}{% set c = b.count('ab') %}{% endfor %}",
    ],
)  # fmt: skip
def test_a_hostile_template_is_an_error_of_the_model(model, template):
    with model(template) as m, pytest.raises(ModelError, match="chat template"):
        m.chat_prompt(HELLO)


def test_a_long_talk_is_no_hostile_template(model):
    """A thousand messages through what templates of models do with them."""
    template = (
        "{%- set n = namespace(last=-1, seen=[]) -%}{%- for m in messages -%}{%- if m.role == 'user' -%}"
        "{%- set n.last = loop.index0 -%}"
        "{%- endif -%}{%- endfor -%}{% for m in messages %}{%- if loop.index0 > n.last or m.role not in ['tool', 'developer'] -%}"
        "{{ '<|im_start|>' ~ m.role + '\n' }}{%- set text = m.content.split('</think>')[-1].lstrip('\n').replace('|', '/') -%}"
        "{{ text | trim }}{{ '%s: %d' % ('at', loop.index) }}{{ 'n {}'.format(1700000000) }}{{ [m.role, 'x'] | join(', ') }}"
        "{{ messages[loop.index0:] | length }}{{ m | tojson }}<|im_end|>\n{%- endif -%}{% endfor %}"
        "{{ messages | map(attribute='role') | unique | join(' ') }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ 'a\nb' | indent(2) }}{{ 1700000000 | string }}{{ ('-' * 300000) | length }}"
    )
    talk = [{"role": ("user", "assistant")[i % 2], "content": f"{i}" + "word | " * 100} for i in range(1000)]
    with model(template) as m:
        prompt = m.chat_prompt(talk)
    assert prompt.startswith("<|im_start|>user\n0word / word") and "at: 1n 1700000000user, x1000{" in prompt
    assert prompt.endswith("user assistant500a\n  b1700000000300000") and prompt.count("<|im_end|>") == 1000


def test_a_model_without_template_says_so(model):
    with model(None) as m, pytest.raises(ModelError, match="no chat template"):
        m.chat_prompt(HELLO)


def test_the_command_talks(tmp_path, gpucore_context):
    path = TinyModel(1).write(tmp_path / "m.gguf", tokenizer__chat_template=("str", CHATML))
    done = CliRunner().invoke(
        app, ["chat", str(path), "-n", "4", "-b", gpucore_context.backend], input="the\nand\n"
    )
    assert done.exit_code == 0, done.output
    assert done.stderr.count(", 4 tokens,") == 2


def test_templates_may_do_what_those_of_models_do(model):
    """As Hugging Face renders them: loops that end early, JSON as it is."""
    template = (
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ loop.index }}{{ m | tojson }}{% endfor %}"
        "{{ messages[-1].content | tojson }}{{ loop_controls is defined }}"
    )
    with model(template) as m:
        prompt = m.chat_prompt([*HELLO, {"role": "user", "content": "<b> \u00fc 'x'"}])
    assert prompt == '1{"role": "user", "content": "the other"}"<b> \u00fc \'x\'"False'


def test_a_model_without_template_is_given_one(tmp_path, gpucore_context):
    path = str(TinyModel(1).write(tmp_path / "m.gguf"))
    mine = tmp_path / "mine.jinja"
    mine.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")

    def chat(*more):
        call = ["chat", path, "-n", "4", "-b", gpucore_context.backend, *more]
        return CliRunner().invoke(app, call, input="the\n")

    assert chat("--chat-template", "chatml").exit_code == 0
    assert chat("--chat-template", str(mine)).exit_code == 0
    assert "--chat-template" in chat().output and "you>" not in chat().output
    assert "<start_of_turn>" in chat("--chat-template", "gemma").output
    assert "chatml, gemma" in chat("--chat-template", str(tmp_path / "none")).output


def test_templates_by_name_write_what_the_models_were_trained_on(tmp_path):
    from gpucore_worker.chat import chat_prompt, use_template
    from gpucore_worker.gguf_file import GGUFFile
    from gpucore_worker.tokenizer import Vocabulary

    tiny = TinyModel(1, blocks=1)
    tiny.tokens = ["<bos>", "<start_of_turn>", "<end_of_turn>", *tiny.tokens[3:]]
    change = {"tokenizer__ggml__bos_token_id": ("u32", 0), "tokenizer__ggml__eos_token_id": None}
    vocabulary = Vocabulary(GGUFFile(tiny.write(tmp_path / "m.gguf", **change)), 320)
    use_template(vocabulary, "gemma")
    talk = [*HELLO, {"role": "assistant", "content": "and"}, {"role": "user", "content": " an "}]
    assert chat_prompt(vocabulary, talk) == (
        "<bos><start_of_turn>user\nthe other<end_of_turn>\n<start_of_turn>model\nand<end_of_turn>\n"
        "<start_of_turn>user\nan<end_of_turn>\n<start_of_turn>model\n"
    )
    assert vocabulary.ends == {
        2
    }  # whoever takes turns must know where one ends, though the file does not say
    with pytest.raises(ParameterError, match="system"):
        chat_prompt(vocabulary, [{"role": "system", "content": "be"}, *HELLO])
