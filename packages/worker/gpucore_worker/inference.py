"""One generation: a prompt, then a token after another."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gpucore_worker.errors import ContextError, InferenceError, ParameterError
from gpucore_worker.network import CHUNK, Network
from gpucore_worker.sampling import Sampler, Sampling
from gpucore_worker.tokenizer import Vocabulary


class Inference:
    """A prompt that is being continued.

    Parameters
    ----------
    network : Network
    vocabulary : Vocabulary
    prompt : sequence of int
        Tokens.
    max_tokens : int
    sampling : Sampling
    chunk : int
        Tokens of the prompt that are processed at once.
    observe : callable, optional
        Is given the logits of each step.

    Attributes
    ----------
    tokens : list[int]
        What was generated so far.
    finish : {"stop", "length", "cancelled"} | None
        Why it ended: a token that ends texts, ``max_tokens``, :meth:`close`. None while it goes on.
    closed : bool

    Raises
    ------
    ParameterError, InferenceError
    """

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        prompt: Sequence[int],
        max_tokens: int,
        sampling: Sampling,
        *,
        chunk: int = CHUNK,
        observe: Callable[[npt.NDArray[np.float32]], None] | None = None,
    ) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise ParameterError(f"max_tokens is {max_tokens!r}; a whole number from 1 on was expected")
        if not prompt:
            raise ParameterError("the prompt has no tokens: at least one is needed")
        room = network.architecture.context - len(prompt)
        if room < 1:
            raise ContextError(
                f"the prompt has {len(prompt):,} tokens; the context of {network.architecture.context:,} leaves no room "
                "for an answer: shorten it"
            )
        if max_tokens > room:
            raise ContextError(
                f"{len(prompt):,} tokens of the prompt and {max_tokens:,} new ones do not fit the context of "
                f"{network.architecture.context:,}; ask for at most {room:,}"
            )
        self._network = network
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens
        self._cache = network.new_cache()
        self._sampler = Sampler(network.context, sampling, network.architecture.vocabulary)
        self._text: npt.NDArray[np.int32] = np.asarray(prompt, np.int32)
        self._observe = observe
        self._chunk = chunk
        self.tokens: list[int] = []
        self.finish: str | None = None
        self.closed = False
        self._busy = threading.RLock()

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values on the device."""
        return self._cache.nbytes

    def next_token(self) -> int | None:
        """The next token, None at the end.

        After an error that passes, such as memory that ran out, the same call goes on where it stopped.

        Raises
        ------
        InferenceError
            It was closed, before or meanwhile.
        """
        try:
            with self._busy:
                return self._next_token()
        finally:
            # looked at when the lock is free again: whoever closes it from now on gets the lock
            if self.closed:
                self.close(wait=False)

    def _next_token(self) -> int | None:
        self._check_open()
        if self.finish is not None:
            return None
        if len(self.tokens) == self._max_tokens:
            self.finish = "length"
            return None
        logits = self._advance()
        with self._network.lock:
            token = self._sampler.choose(logits, len(self.tokens), self._text)
        if self._observe is not None:
            self._observe(logits)
        if token in self._vocabulary.ends:
            self.finish = "stop"
            return None
        self.tokens.append(token)
        self._text = np.append(self._text, np.int32(token))
        return token

    def _advance(self) -> npt.NDArray[np.float32]:
        """Logits after the text so far.

        Between two pieces of a prompt others have their turn, and the end of this inference is noticed.
        """
        network, cache, text = self._network, self._cache, self._text
        # what an error kept from being finished is done again
        cache.length = min(cache.length, len(text) - 1)
        while True:
            with network.lock:
                self._check_open()
                cache.reserve(len(text))
                piece = text[cache.length : cache.length + self._chunk]
                more = cache.length + len(piece) < len(text)
                logits = network.advance(cache, piece, chunk=self._chunk, more=more)
            if not more:
                last: npt.NDArray[np.float32] = logits[-1]
                return last

    def _check_open(self) -> None:
        if self.closed:
            raise InferenceError("the inference was freed; start another")

    def close(self, *, wait: bool = True) -> None:
        """Give the memory back; nothing more is generated.

        Parameters
        ----------
        wait : bool
            Whether to wait for what another thread computes for it, a piece of the prompt or a token. Otherwise that thread gives
            the memory back when it is through.
        """
        if self.finish is None:
            self.finish = "cancelled"
        self.closed = True
        if self._busy.acquire(blocking=wait):
            try:
                self._free()
            finally:
                self._busy.release()

    def _free(self) -> None:
        self._cache.free()
        self._sampler.free()


class Text:
    """Text of tokens that come one by one: characters are held back until they are whole, and what may begin a stop string too.

    Parameters
    ----------
    vocabulary : Vocabulary
    stop : sequence of str
        Strings that end the text; they are not part of it.

    Attributes
    ----------
    stopped : bool
        Whether a stop string was met.
    """

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = ()) -> None:
        try:
            # once: of an iterator nothing would be left for a second look
            stops = tuple(stop)
        except TypeError:
            stops = ("",)
        if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stops):
            raise ParameterError(f"stop is {stop!r}; a list of strings that are not empty was expected")
        self._vocabulary = vocabulary
        self._stop = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that is sure with this token; "" where nothing is."""
        if not self._vocabulary.is_control(token):
            self._held += self._decoder.decode(self._vocabulary.bytes_of(token))
        return self._release(False)

    def end(self) -> str:
        """What was held back."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        return self._release(True)

    def _release(self, all_of_it: bool) -> str:
        found = min((at for s in self._stop if (at := self._held.find(s)) >= 0), default=-1)
        if found >= 0:
            self.stopped = True
            text, self._held = self._held[:found], ""
            return text
        keep = 0 if all_of_it else max((self._overlap(s) for s in self._stop), default=0)
        text = self._held[: len(self._held) - keep]
        self._held = self._held[len(text) :]
        return text

    def _overlap(self, stop: str) -> int:
        """How many characters at the end may begin a stop string."""
        for size in range(min(len(stop) - 1, len(self._held)), 0, -1):
            if self._held.endswith(stop[:size]):
                return size
        return 0


def stream(inference: Inference, text: Text) -> Iterator[str]:
    """The text of an inference, piece by piece; it is closed at the end, or when the iterator is."""
    try:
        while (token := inference.next_token()) is not None:
            piece = text.add(token)
            if piece:
                yield piece
            if text.stopped:
                inference.finish = "stop"
                return
        rest = text.end()
        if rest:
            yield rest
    finally:
        inference.close()
