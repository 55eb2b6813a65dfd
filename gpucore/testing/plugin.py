"""The pytest plugin: one test, every backend.

``--gpucore-backends=all|NAME,...`` says on which backends tests with the fixture ``gpucore_context`` run;
without it on all that are installed, or on the null backend where none is.  A backend that cannot be opened
skips its tests with the reason, unless ``--gpucore-require=NAME,...`` names it: then they fail.  Where none of
those named is installed the run is refused.  ``null`` is the interpreter of :mod:`gpucore.testing.null`, which
is always there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import FrameType

    from gpucore.runtime.context import Context

NULL = "null"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpucore")
    group.addoption(
        "--gpucore-backends",
        metavar="all|NAME,...",
        default=None,
        help="backends that tests with the fixture gpucore_context run on (default: all that are installed)",
    )
    group.addoption(
        "--gpucore-require",
        metavar="NAME,...",
        default="",
        help="backends that must be there: what would be skipped for want of them fails",
    )


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class _Contexts:
    """One context a backend for the whole session, opened anew where a test lost its device or closed it."""

    def __init__(self, config: pytest.Config) -> None:
        given = config.getoption("--gpucore-backends")
        self.required = _split(config.getoption("--gpucore-require"))
        self._given = None if given is None else _split(given)
        self._names: list[str] | None = None
        self._open: dict[str, Context] = {}
        self._failures: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._null = False

    @property
    def names(self) -> list[str]:
        """The backends to run on, in the order given."""
        if self._names is None:
            from gpucore.backends import discovery

            names = list(self._given or ["all"])
            if "all" in names:
                position = names.index("all")
                names[position : position + 1] = discovery.names() or [NULL]
            self._names = list(dict.fromkeys([*names, *self.required]))
        return self._names

    def get(self, name: str) -> Context:
        """The session's context of a backend; skips or fails the test where it cannot be opened."""
        from gpucore.backends import discovery
        from gpucore.errors import GpucoreError
        from gpucore.runtime.context import Context

        context = self._open.get(name)
        if context is not None and not context._state.closed and context.device._dead is None:
            return context
        if context is not None:
            del self._open[name]
            with contextlib.suppress(GpucoreError):
                context.close()
        if name == NULL and not self._null and NULL not in discovery.names():
            from gpucore.testing import null

            self._stack.enter_context(discovery.register(NULL, null))
            self._null = True
        if name not in self._failures:
            try:
                self._open[name] = Context(name)
            except GpucoreError as error:
                self._failures[name] = f"{type(error).__name__}: {error}"
            else:
                return self._open[name]
        reason = f"the backend {name!r} cannot be used: {self._failures[name]}"
        if name in self.required:
            pytest.fail(f"{reason} (--gpucore-require)", pytrace=False)
        pytest.skip(reason)

    def close(self) -> None:
        """Close what is open."""
        from gpucore.errors import GpucoreError

        for context in self._open.values():
            with contextlib.suppress(GpucoreError):
                context.close()
        self._open.clear()
        self._stack.close()


_KEY = pytest.StashKey[_Contexts]()


@pytest.hookimpl(trylast=True)  # other plugins may register backends of their own first
def pytest_configure(config: pytest.Config) -> None:
    contexts = config.stash[_KEY] = _Contexts(config)
    given = config.getoption("--gpucore-backends")
    if given is not None:
        from gpucore.backends import discovery

        # with nothing but backends that are not there every test would be skipped, and the run would pass
        there = [NULL, *discovery.names()]
        if contexts.names and not any(name in there for name in contexts.names):
            raise pytest.UsageError(f"--gpucore-backends={given}: {discovery.not_found(contexts.names[0])}")
        known = {*there, *discovery.not_installed(), *contexts.required}
        unknown = next((name for name in contexts.names if name not in known), None)
        if unknown is not None:  # mistyped, most of all
            raise pytest.UsageError(f"--gpucore-backends={given}: {discovery.not_found(unknown)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Show of a gpucore error the frames of the test and what it calls; ``--full-trace`` shows all."""
    from gpucore._messages import frames_of_the_user
    from gpucore.errors import GpucoreError

    found = call.excinfo
    if found is None or not isinstance(found.value, GpucoreError) or item.config.getoption("fulltrace"):
        return
    kept = frames_of_the_user(found.tb, also=_is_test)
    if kept is not None:
        found.traceback = type(found.traceback)(kept)


def _is_test(frame: FrameType) -> bool:
    """Whether a frame is of a test that gpucore ships."""
    return ".test_" in str(frame.f_globals.get("__name__", ""))


def pytest_unconfigure(config: pytest.Config) -> None:
    contexts = config.stash.get(_KEY, None)
    if contexts is not None:
        contexts.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "gpucore_backend" in metafunc.fixturenames:
        names = metafunc.config.stash[_KEY].names
        metafunc.parametrize("gpucore_backend", names, indirect=True, scope="session")


def pytest_report_header(config: pytest.Config) -> str | None:
    given = config.getoption("--gpucore-backends")
    if given is None and not config.getoption("--gpucore-require"):
        return None
    contexts = config.stash[_KEY]
    required = f", required: {', '.join(contexts.required)}" if contexts.required else ""
    return f"gpucore backends: {', '.join(contexts.names)}{required}"


@pytest.fixture(scope="session")
def gpucore_backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend that the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def gpucore_context(gpucore_backend: str, request: pytest.FixtureRequest) -> Iterator[Context]:
    """A context on each backend in turn; shared by the session, so a test leaves it open.

    What a test leaves behind (errors of checked kernels, a lost device) does not reach the next one.
    """
    from gpucore.errors import DeviceError, KernelRuntimeError

    contexts = request.config.stash[_KEY]
    context = contexts.get(gpucore_backend)
    yield context
    if context._state.closed or context.device._dead is not None:
        return
    with contextlib.suppress(KernelRuntimeError):
        try:
            context.synchronize()
        except DeviceError as error:
            context.device._recent.append("the end of the test")
            pytest.fail(f"work that the test left behind failed: {error}", pytrace=False)
