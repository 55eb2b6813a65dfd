"""Chat templates: programs in Jinja that a model's file brings, run in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gpucore_worker.errors import ModelError, ParameterError
from gpucore_worker.tokenizer import Vocabulary

MOST_CHARACTERS = 4_000_000
"""Of a prompt that a template writes."""


class _RefusedError(Exception):
    """What a template raises of itself."""


def _raise(message: object) -> NoReturn:
    raise _RefusedError(str(message))


def chat_prompt(vocabulary: Vocabulary, messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt that asks for the answer to some messages, as :meth:`gpucore_worker.Model.chat_prompt` says."""
    if vocabulary.chat_template is None:
        raise ModelError("the model has no chat template; write the prompt yourself and generate from it")
    if not messages:
        raise ParameterError("no messages: at least one is needed")
    for number, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                raise ParameterError(f"message {number} has no {key!r} that is a string")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise
    token = vocabulary.text_of
    pieces: list[str] = []
    size = 0
    try:
        template = environment.from_string(vocabulary.chat_template)
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
    except _RefusedError as error:
        raise ParameterError(f"the model's chat template refuses the messages: {error}") from error
    except (
        TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
        OverflowError,
    ) as error:
        if isinstance(error, (ModelError, ParameterError)):
            raise
        raise ModelError(
            f"the model's chat template cannot be used: {type(error).__name__}: {error}"
        ) from error
    return "".join(pieces)
