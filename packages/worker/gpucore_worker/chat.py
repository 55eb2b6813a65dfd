"""Chat templates: programs in Jinja that a model's file brings, run in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from gpucore_worker.errors import ModelError, ParameterError
from gpucore_worker.tokenizer import Vocabulary

MOST_CHARACTERS = 4_000_000
"""Of a prompt that a template writes."""
MOST_STEPS = 200_000
"""Turns of loops and calls of one prompt."""
_MOST_BITS = 4_096
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


class _RefusedError(Exception):
    """What a template raises of itself."""


def _raise(message: object) -> NoReturn:
    raise _RefusedError(str(message))


def _json(value: object, indent: int | None = None) -> str:
    # Jinja's own is for HTML, and writes \u003c for <
    return json.dumps(value, ensure_ascii=False, indent=indent)


class _Environment(ImmutableSandboxedEnvironment):  # type: ignore[misc, unused-ignore]
    """A sandbox in which a template can neither run for ever nor make what is too large by one operator."""

    intercepted_binops = frozenset({"+", "*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.globals["raise_exception"] = _raise
        self.filters["tojson"] = _json
        self.filters["counted turns"] = self._turns
        self._steps = 0

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise SecurityError(f"it takes more than {MOST_STEPS:,} steps")

    def _turns(self, values: Iterable[object]) -> Iterator[object]:
        for value in values:
            self._step()
            yield value

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        for loop in source.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "counted turns", [], [], None, None, lineno=loop.lineno)
        return str(super()._generate(source, name, filename, defer_init))

    def call(self, context: Context, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls."""
        self._step()
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Add or multiply, where what comes out is of a sensible size."""
        if operator == "**":
            raise SecurityError("it takes powers")
        sizes = [len(x) if isinstance(x, (str, list, tuple)) else None for x in (left, right)]
        if operator == "+":
            size = sum(s or 0 for s in sizes)
        else:
            size = max(
                (s or 0) * (x if isinstance(x, int) else 1) for s, x in zip(sizes, (right, left), strict=True)
            )
            if all(isinstance(x, int) and x.bit_length() > _MOST_BITS for x in (left, right)):
                raise SecurityError("it makes a number of too many digits")
        if size > MOST_CHARACTERS:
            raise SecurityError(f"it makes a value of {size:,} elements")
        return super().call_binop(context, operator, left, right)


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
        template = _Environment().from_string(vocabulary.chat_template)
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
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        RecursionError,
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
