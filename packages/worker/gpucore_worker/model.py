"""Models: a file, loaded onto a device."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.architecture import Architecture, read_architecture
from gpucore_worker.chat import chat_prompt
from gpucore_worker.errors import InferenceError, ParameterError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.inference import Inference, Text, stream
from gpucore_worker.memory import Memory
from gpucore_worker.network import CHUNK, Mode, Network
from gpucore_worker.sampling import Sampling
from gpucore_worker.tokenizer import Vocabulary

Progress = Callable[[int, int], None]


class Model:
    """A model on a device; made by :func:`load_model`, and a context manager.

    Any thread may use it; they take turns, token by token.

    Attributes
    ----------
    path : pathlib.Path
    architecture : Architecture
    vocabulary : Vocabulary
    context : gpucore.Context
    mode : {"exact", "quick"}
    """

    def __init__(
        self,
        file: GGUFFile,
        vocabulary: Vocabulary,
        network: Network,
        context: gc.Context,
        *,
        owns_context: bool,
    ) -> None:
        self.path = file.path
        self.context = context
        self.architecture: Architecture = network.architecture
        self.vocabulary = vocabulary
        self.mode: Mode = network.mode
        self._file = file
        self._owns_context = owns_context
        self._closed = False
        # weakly: one that nobody has any more gives its memory back
        self._inferences: weakref.WeakSet[Inference] = weakref.WeakSet()
        self._guard = threading.Lock()
        self._network: Network | None = network

    def __repr__(self) -> str:
        a = self.architecture
        where = "closed" if self._closed else f"on {self.context.device.name}"
        return f"<Model {self.path.name}: {a.name}, {a.blocks} blocks, context {a.context:,}, {where}>"

    @property
    def network(self) -> Network:
        """What computes.

        Raises
        ------
        InferenceError
            The model is closed.
        """
        if self._network is None:
            raise InferenceError(f"the model {self.path.name} was unloaded; load it again")
        return self._network

    # --- text
    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of a text.

        Parameters
        ----------
        text : str
        special : bool
            Whether control tokens that the text spells out, such as ``<|im_end|>``, are taken as such. For text of others say
            False.
        """
        return self.vocabulary.encode(text, special=special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, control tokens by name; what is no UTF-8 becomes U+FFFD."""
        return self.vocabulary.decode(tokens)

    # --- inference
    def logits(self, tokens: Sequence[int], *, chunk: int = CHUNK) -> npt.NDArray[np.float32]:
        """Logits after each token.

        Parameters
        ----------
        tokens : sequence of int
            1 to the length of the context.
        chunk : int
            How many are processed at once. The bits do not depend on it, nor on the device.

        Returns
        -------
        ndarray of f32, (len(tokens), vocabulary)

        Raises
        ------
        ParameterError, InferenceError
        """
        if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
            raise ParameterError(f"chunk is {chunk!r}; a whole number from 1 on was expected")
        network = self.network
        cache = network.new_cache()
        try:
            return network.advance(cache, _tokens(tokens), every=True, chunk=chunk)
        finally:
            cache.free()

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
    ) -> Iterator[str]:
        """Continue a text.

        Parameters
        ----------
        prompt : str
            Control tokens that it spells out are taken as such.
        max_tokens : int
        temperature : float
            0 takes the likeliest token each time.
        seed : int
            For temperatures above 0; the same seed gives the same text on every device.
        stop : sequence of str
            Strings that end the text; they are not part of it.
        top_k, top_p, min_p, repetition_penalty
            As in :class:`Sampling`.

        Returns
        -------
        iterator of str
            Pieces of the text as they come, each of whole characters. Closing it ends the work.

        Raises
        ------
        ParameterError, InferenceError
            At the call, not at the first piece.
        """
        text = Text(self.vocabulary, stop)
        sampling = Sampling(temperature, seed, top_k, top_p, min_p, repetition_penalty)
        return stream(self.start(prompt, max_tokens, sampling), text)

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt that asks for the answer to some messages, by the model's own template.

        Parameters
        ----------
        messages : sequence of mappings
            Each with ``role`` and ``content``. A control token that a content spells out is taken as such.

        Raises
        ------
        ParameterError
            The messages are none, or the template refuses them.
        ModelError
            The model has no template, or one that cannot be used.
        """
        return chat_prompt(self.vocabulary, messages)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Answer messages: :meth:`generate` with the prompt of :meth:`chat_prompt`."""
        return self.generate(
            self.chat_prompt(messages), max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop
        )

    def prompt_tokens(self, prompt: str) -> list[int]:
        """The tokens of a prompt, with the one that begins texts where the model wants it."""
        tokens = self.tokenize(prompt)
        bos = self.vocabulary.bos
        if self.vocabulary.adds_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def start(
        self,
        prompt: str | Sequence[int],
        max_tokens: int,
        sampling: Sampling,
        *,
        observe: Callable[[npt.NDArray[np.float32]], None] | None = None,
    ) -> Inference:
        """Begin an inference, whose tokens are asked for one by one; the prompt is a text or its tokens."""
        tokens = self.prompt_tokens(prompt) if isinstance(prompt, str) else _tokens(prompt).tolist()
        inference = Inference(self.network, self.vocabulary, tokens, max_tokens, sampling, observe=observe)
        with self._guard:
            self._inferences.add(inference)
        if self._closed:
            inference.close()
        return inference

    def _open_inferences(self) -> list[Inference]:
        with self._guard:
            return list(self._inferences)

    # --- figures
    def memory(self) -> Memory:
        """Bytes on the device, by purpose."""
        network = self.network
        return Memory.of(
            network.weight_bytes,
            sum(inference.cache_bytes for inference in self._open_inferences()),
            network.activation_bytes,
        )

    def check_residency(self) -> None:
        """Compare each weight on the device with the file.

        Raises
        ------
        ResidencyError
        """
        self.network.check_residency()

    # --- end
    def close(self) -> None:
        """End what is being generated and give the memory back."""
        if self._closed:
            return
        network = self.network
        self._closed = True
        self._network = None
        for inference in self._open_inferences():
            inference.close()
        with network.lock:
            network.free()
        if self._owns_context:
            self.context.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _tokens(tokens: Sequence[int]) -> npt.NDArray[np.int32]:
    try:
        found = np.asarray(tokens)
    except ValueError:  # lists of different lengths
        found = np.empty(0)
    if found.ndim != 1 or not found.size:
        raise ParameterError("tokens: a list of at least one token was expected")
    if found.dtype.kind not in "iu" or np.min(found) < 0 or np.max(found) >= 1 << 31:
        raise ParameterError("tokens: whole numbers of the vocabulary were expected")
    return found.astype(np.int32)


def load_model(
    path: str | os.PathLike[str],
    device: str | None = None,
    *,
    mode: Mode = "exact",
    context: gc.Context | None = None,
    split: bool | None = None,
    progress: Progress | None = None,
) -> Model:
    """Load a GGUF file.

    Parameters
    ----------
    path : path-like
    device : str, optional
        A selector, as in ``gpucore.Context``.
    mode : {"exact", "quick"}
        Activations in f32, or, for products, as 8-bit integers, 32 of them with one scale: faster, and further from the logits
        of the file's weights. Each mode has its own bits, the same on every device.
    context : gpucore.Context, optional
        Where to load it, in the place of ``device``; it stays open when the model is closed.
    split : bool, optional
        Whether products give each segment of a row a thread of its own, as GPUs want it. The bits are the same.
    progress : callable, optional
        Is told bytes done and bytes in all.

    Raises
    ------
    ModelError
        The file is damaged, or holds what is not supported.
    ParameterError
    gpucore.GpucoreError
        The device cannot be opened, or its memory is too small.
    """
    if mode not in ("exact", "quick"):
        raise ParameterError(f"mode {mode!r} is not supported; 'exact' and 'quick' are")
    if context is not None and device is not None:
        raise ParameterError("device and context were given; give one")
    file = GGUFFile(path)
    try:
        # whatever the file says is checked before a device is opened
        architecture = read_architecture(file)
        vocabulary = Vocabulary(file, architecture.vocabulary)
        opened = gc.Context(device) if context is None else context
        try:
            network = Network(opened, file, architecture, mode=mode, split=split, progress=progress)
        except BaseException:
            if context is None:
                opened.close()
            raise
    except BaseException:
        file.close()
        raise
    return Model(file, vocabulary, network, opened, owns_context=context is None)
