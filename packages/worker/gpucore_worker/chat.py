"""Chat templates: programs in Jinja that a model's file brings, run in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import TemplateError

from gpucore_worker.errors import ModelError, ParameterError
from gpucore_worker.sandbox import MOST_CHARACTERS, RefusedError, Sandbox
from gpucore_worker.tokenizer import Vocabulary

TEMPLATES: Mapping[str, tuple[str, str]] = {
    "chatml": (
        "<|im_start|>",
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    "gemma": (
        "<start_of_turn>",
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
        "{{ raise_exception('there is no role system') }}{% endif %}"
        "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
        "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ),
}
"""Templates by name, for files that bring none, each with a control token without which it makes no sense."""


def chat_prompt(vocabulary: Vocabulary, messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt that asks for the answer to some messages, as :meth:`gpucore_worker.Model.chat_prompt` says."""
    if vocabulary.chat_template is None:
        raise ModelError(
            "the model has no chat template; give one (--chat-template), or write the prompt yourself and generate from it"
        )
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise ParameterError(f"messages is {messages!r:.80}; a list of messages was expected")
    if not messages:
        raise ParameterError("no messages: at least one is needed")
    for number, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                raise ParameterError(f"message {number} has no {key!r} that is a string")
    token = vocabulary.text_of
    pieces: list[str] = []
    size = 0
    try:
        template = Sandbox().from_string(vocabulary.chat_template)
        for piece in template.generate(
            messages=[dict(message) for message in messages],
            add_generation_prompt=True,
            bos_token=token(vocabulary.bos),
            eos_token=token(vocabulary.eos),
        ):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_CHARACTERS:
                raise ModelError(f"the chat template writes more than {MOST_CHARACTERS:,} characters")
    except RefusedError as error:
        raise ParameterError(f"the model's chat template refuses the messages: {error}") from error
    except (
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        RecursionError,
        SyntaxError,  # of Python, which nests loops less deeply than Jinja
    ) as error:
        if isinstance(error, (ModelError, ParameterError)):
            raise
        raise ModelError(
            f"the model's chat template cannot be used: {type(error).__name__}: {error}"
        ) from error
    return "".join(pieces)


def use_template(vocabulary: Vocabulary, template: str) -> None:
    """Give a model another chat template: one of :data:`TEMPLATES` by its name, or that in a file.

    Raises
    ------
    ModelError
        The named one is written for control tokens that the model has not.
    ParameterError
        There is neither a template nor a file of that name.
    """
    if template in TEMPLATES:
        needed, text = TEMPLATES[template]
        if vocabulary.control(needed) is None:
            raise ModelError(
                f"the model has no token {needed!r}, for which the chat template {template!r} is written"
            )
        vocabulary.chat_template = text
        return
    try:
        vocabulary.chat_template = Path(template).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{template!r} is neither a chat template ({', '.join(TEMPLATES)}) nor a file that can be read: {error}"
        ) from error
