"""Pipelines: uploads, kernels and downloads of successive items that overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError
from gpucore.ir.records import RecordType
from gpucore.runtime.array import Array
from gpucore.runtime.copies import copy_pinned
from gpucore.runtime.pipeline_engine import Engine
from gpucore.runtime.pipeline_source import Item
from gpucore.runtime.stream import live_stream

if TYPE_CHECKING:
    from typing import Self

    from gpucore.runtime.context import Context
    from gpucore.runtime.stream import Event, Stream

__all__ = ["Pipeline", "Prefetch", "ProgressBar"]


class ProgressBar:
    """Shows how many results there are, how fast they come, and how long the rest takes where their number is known.

    Where the error output is no terminal nothing is shown.

    Parameters
    ----------
    total : int, optional
        How many there will be.
    """

    def __init__(self, total: int | None) -> None:
        # half of the start of a program that shows no bar would be this import
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def __call__(self, count: int) -> None:
        """Show that there are so many results."""
        self._progress.update(self._task, completed=count)

    def close(self) -> None:
        """Leave the bar as it is and give the terminal back; twice does nothing."""
        self._progress.stop()


class _StepEngine(Engine):
    """Uploads, steps, downloads."""

    def __init__(
        self,
        context: Context,
        step: Callable[..., Any],
        source: Iterable[Any],
        depth: int,
        workers: int,
        download: bool,
    ) -> None:
        super().__init__(context, source, depth, workers, depth + 1)
        self.marks: list[Event] = []  # of items that were waited for, to be recorded again
        self.step = step
        self.downloads = download
        self.compute_stream = context.stream()
        self.download_stream = context.stream()
        # its first work comes after what the program has enqueued so far
        self.compute_stream.wait(context.default_stream)

    def streams(self) -> list[Stream]:
        return [self.upload_stream, self.compute_stream, self.download_stream]

    def dispatch(self, item: Item) -> None:
        start = perf_counter()
        item.stage = "upload"
        positional, named, _ = self.upload(item)
        state, compute, down, seconds = self.state, self.compute_stream, self.download_stream, self.seconds
        compute._check()
        compute._follow(self.upload_stream)
        item.stage = "step"
        # for errors at their item
        state.records(compute).turn(item.number % len(self.slots))
        homes, ident = state.home_streams, threading.get_ident()
        outer = homes.get(ident)
        homes[ident] = compute  # memory of the step's is handed out in the order of its stream
        uploaded = perf_counter()
        seconds["upload"] += uploaded - start
        try:
            answer = self.step(compute, *positional, **named)
        finally:
            if outer is None:
                del homes[ident]
            else:
                homes[ident] = outer
            computed = perf_counter()
            seconds["step"] += computed - uploaded
        # its memory is that of downloads until these are seen to be done: if it came back before, no step would find it
        item.keep += positional, named, answer
        _check_outputs(answer, self.context)
        if self.downloads:
            item.stage = "download"
            down._follow(compute)
            item.result = (
                self._download(item, answer)
                if answer.__class__ is Array
                else _map(answer, lambda array: self._download(item, array))
            )
            seconds["download"] += perf_counter() - computed
        else:
            item.result = answer
        item.done = (down if self.downloads else compute).record(self.marks.pop() if self.marks else None)
        if state.has_dead():
            state.drain()

    def _download(self, item: Item, array: Array[Any]) -> Any:
        if not array.size:
            return np.empty(array.shape, array.dtype.numpy)
        self.counts["bytes_down"] += array.nbytes
        block, down = array._block_alive(), self.download_stream
        own = (self.compute_stream._timeline, down._timeline)
        home = block.home
        if block.users or home not in own:
            for timeline in {home, *block.users}:
                if timeline is not None and timeline not in own:
                    down.wait(timeline.stream())
        host: npt.NDArray[Any]
        if not self.has_pinned:
            host = array.numpy(stream=down)
        else:
            host, pinned = self.ring.take(array.shape, array.dtype)
            signature = array._sig
            if signature.contiguous and not signature.vector and not isinstance(array.dtype, RecordType):
                copy_pinned(array, host, pinned, pinned.offset, down, up=False)
            else:
                array.copy_to(host, stream=down)
        # From now on the memory's order is that of the downloads: a step that uses it again waits for this one, and dropping
        # it makes no other stream wait.
        block.users.clear()
        block.home, block.last_use_epoch = down._timeline, down._timeline.epoch
        item.outputs.append((block, home))
        return host

    def wait(self, item: Item) -> None:
        state, done = self.state, item.done
        assert done is not None
        done._check()
        # synchronize() raises what later items find
        state.synchronize_event(state.device._handle, done._handle)
        item.stage = "step"
        state.records(self.compute_stream).read_turn(item.number % len(self.slots))

    def deliver(self, item: Item) -> Any:
        if not self.downloads:
            # on the default stream, where the consumer most likely goes on, the results are ready
            assert item.done is not None
            self.context.default_stream.wait(item.done)
            return item.result
        assert item.done is not None
        self.marks.append(item.done)
        for block, home in item.outputs:
            # the host has seen that the download is done: the memory goes back to where the next step finds it
            if (
                block.home is self.download_stream._timeline
                and not block.users
                and home in (self.compute_stream._timeline, self.upload_stream._timeline)
            ):
                block.home, block.last_use_epoch = home, -1
        item.outputs.clear()
        return item.result


def _check_outputs(answer: Any, context: Context) -> None:
    """Refuse what is not made of arrays of the device."""
    if answer is None or (
        answer.__class__ is Array and answer.context._state.device is context._state.device
    ):
        return
    if isinstance(answer, Mapping):
        answer = answer.values()
    elif not isinstance(answer, (tuple, list)):
        answer = (answer,)
    for part in answer:
        if not isinstance(part, Array):
            raise TypeError(
                f"a pipeline's step returns an Array, or a tuple or dict of Arrays, not {type(part).__name__}"
                + (
                    "; what the host computes belongs into the loop over the pipeline"
                    if isinstance(part, np.ndarray)
                    else ""
                )
            )
        if part.context._state.device is not context._state.device:
            raise LaunchError("a pipeline's step returned an array of another device")


def _map(answer: Any, function: Callable[[Array[Any]], Any]) -> Any:
    if answer is None:
        return None
    if isinstance(answer, Mapping):
        return {key: function(part) for key, part in answer.items()}
    if isinstance(answer, (tuple, list)):
        return tuple(function(part) for part in answer)
    return function(answer)


class Pipeline(Iterator[Any]):
    """Items of a source, through a step on the device, to results in their order; made by :meth:`Context.pipeline`.

    Iterate over it; as a context manager it closes at the end. It may be used by one thread at a time.
    """

    def __init__(
        self,
        context: Context,
        step: Callable[..., Any],
        source: Iterable[Any],
        *,
        depth: int,
        workers: int,
        download: bool,
        on_progress: Callable[[int], None] | bool | None,
    ) -> None:
        _check_counts(depth=depth, workers=workers)
        if not callable(step):
            raise TypeError(
                f"a pipeline's step is a function step(stream, *arrays), not {type(step).__name__}"
            )
        if on_progress is not None and not isinstance(on_progress, bool) and not callable(on_progress):
            raise TypeError(
                "on_progress is a function of the number of results so far, or True for a bar on the terminal"
            )
        _check_source(source)
        self._bar = (
            ProgressBar(len(source) if isinstance(source, Sized) else None) if on_progress is True else None
        )
        self._on_progress = self._bar if isinstance(on_progress, bool) else on_progress
        self._engine: Engine = _StepEngine(context, step, source, depth, workers, bool(download))
        self._closed = False
        self._engine.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        try:
            result = [self._engine.next()]  # see Engine.next
        except StopIteration:
            self.close()
            raise
        except KeyboardInterrupt:
            raise
        except BaseException:
            self.close()
            raise
        if self._on_progress is not None:
            self._on_progress(int(self._engine.counts["items"]))
        return result.pop()

    def stats(self) -> Mapping[str, float]:
        """Figures so far.

        Returns
        -------
        Mapping
            Seconds of the host in ``source``, ``upload``, ``step`` and ``download`` (enqueueing them), seconds of waiting
            ``wait_for_slot`` (the source, for the consumer) and ``wait_for_result`` (the consumer); ``items`` delivered and
            ``under_way``; ``bytes_up`` and ``bytes_down``; pinned ``buffers`` made, and ``buffer_bytes``.
        """
        return self._engine.stats()

    def close(self) -> None:
        """Stop: wait for the work under way, drop its results, end the threads; twice does nothing."""
        self._closed = True
        if not self._engine.finished:  # an interrupt may have ended the first call
            if self._bar is not None:
                self._bar.close()
            self._engine.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.stop()


class _UploadEngine(Engine):
    """Uploads ahead of the consumer."""

    waits = False

    def __init__(self, context: Context, source: Iterable[Any], depth: int, stream: Stream | None) -> None:
        super().__init__(context, source, depth, 1, depth + 2)
        self.target = stream or context.default_stream
        self.held: Item | None = None
        self.released: dict[int, Event] = {}  # by slot: after what the consumer did with the last item there

    def dispatch(self, item: Item) -> None:
        start = perf_counter()
        item.stage = "upload"
        released = self.released.get(item.number % len(self.slots))
        if released is not None:
            self.upload_stream.wait(released)
        _, _, item.result = self.upload(item)
        item.done = self.upload_stream.record()
        self.seconds["upload"] += perf_counter() - start

    def deliver(self, item: Item) -> Any:
        assert item.done is not None
        self.release()
        self.target.wait(item.done)
        held = Item(item.number)
        held.keep = list(item.keep)  # pinned memory, until its upload is seen to be done
        held.done = item.done
        self.held = held
        return item.result

    def release(self) -> None:
        """The consumer asks for the next item: what it enqueued so far is all that it does with the last."""
        if self.held is not None:
            assert self.held.done is not None
            self.held.done.synchronize()
            self.released[self.held.number % len(self.slots)] = self.target.record()
            self.held = None

    def finish(self) -> None:
        super().finish()
        self.held = None


class Prefetch(Pipeline):
    """Items of a source as arrays of the device, uploaded ahead; made by :meth:`Context.prefetch`."""

    def __init__(self, context: Context, source: Iterable[Any], *, depth: int, stream: Stream | None) -> None:
        _check_counts(depth=depth)
        _check_source(source)
        if stream is not None and live_stream(stream)._state.device is not context.device:
            raise LaunchError("the stream belongs to another device than the context")
        self._bar = self._on_progress = None
        self._closed = False
        self._engine = _UploadEngine(context, source, depth, stream)
        self._engine.start()


def _check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"{name} is a whole number, not {count!r}")
        if count < 1:
            raise ValueError(f"{name} is at least 1, not {count}")


def _check_source(source: Any) -> None:
    if isinstance(source, Array) or (not hasattr(source, "__iter__") and not hasattr(source, "__getitem__")):
        raise TypeError(
            "a source gives one item after another: an iterable of ndarrays, tuples or dicts of them, not "
            f"{type(source).__name__}"
        )
