"""The handshake with plugins, and wrappers around hooks."""

import types

import pytest

import gpucore as gc
from gpucore.backends import discovery
from gpucore.hookspecs import BackendSpec, hookimpl
from gpucore.testing import null


def candidate(**changes):
    fields = dict(name="made", value="made", distribution="gpucore-made", version="1.0", load=lambda: null)
    return discovery.Candidate(**(fields | changes))


@pytest.mark.parametrize("requirement", ["gpucore<0.0.5", "gpucore==99", "GPUCORE>=98; python_version>'3'"])
def test_a_requirement_that_is_not_met_names_both_versions_and_the_command(requirement):
    def explode():
        raise AssertionError("imported")

    with pytest.raises(gc.PluginError) as caught:
        discovery._import(candidate(requires=(requirement,), load=explode))
    message = str(caught.value)
    assert "gpucore-made 1.0" in message and gc.__version__ in message and "pip install" in message


@pytest.mark.parametrize(
    "requirement",
    [
        "gpucore",
        "gpucore>=0.0.1.dev1",
        "gpucore>99; python_version<'3'",
        "gpucore>99; extra=='x'",
        "other>99",
    ],
)
def test_a_requirement_that_is_met_or_does_not_apply_is_no_error(requirement):
    assert discovery._import(candidate(requires=(requirement,))) is null


def test_a_prerelease_of_gpucore_meets_a_requirement(monkeypatch):
    monkeypatch.setattr(discovery, "__version__", "0.2.0rc1")
    assert discovery._import(candidate(requires=("gpucore>=0.1",))) is null


def test_a_plugin_that_fails_at_import_is_a_plugin_error_with_the_cause():
    def explode():
        raise OSError("libfoo.so is missing")

    with pytest.raises(gc.PluginError, match=r"fails at import: OSError: libfoo\.so is missing.*pip install"):
        discovery._import(candidate(load=explode))


@pytest.mark.parametrize("api", [None, (99, 1), (1, 99)])
def test_the_interface_version_is_checked(backend, api):
    backend("made", GPUCORE_API=api)
    with pytest.raises(gc.PluginError, match="GPUCORE_API|plugin interface"):
        gc.Context("made")


REQUIRED = [name for name in vars(BackendSpec) if hasattr(getattr(null, name, None), "gpucore_impl")]
OPTIONAL_HERE = {"process_memory", "import_memory"}


@pytest.mark.parametrize("hook", sorted(set(REQUIRED) - OPTIONAL_HERE))
def test_a_missing_hook_is_named(backend, hook):
    backend("made", **{hook: None})
    with pytest.raises(gc.PluginError, match=rf"the hook {hook}\(.*\) is missing"):
        gc.Context("made")


def test_a_hook_without_its_mark_is_named(backend):
    module = backend("made", alloc=None)
    module.alloc = lambda device, nbytes, kind, stream: None
    with pytest.raises(gc.PluginError, match="not marked with @hookimpl"):
        gc.Context("made")


def test_swapped_parameters_are_an_error(backend):
    def wait_event(device, event, stream):
        pass

    backend("made", wait_event=wait_event)
    with pytest.raises(gc.PluginError, match=r"takes \(device, event, stream\) .* \(device, stream, event\)"):
        gc.Context("made")


def test_a_hook_that_does_not_exist_is_an_error_with_a_suggestion(backend):
    module = backend("made", GPUCORE_API=null.GPUCORE_API)

    @hookimpl
    def create_strem(device):
        pass

    module.create_strem = create_strem
    with pytest.raises(gc.PluginError, match="no hook create_strem, did you mean 'create_stream'"):
        gc.Context("made")


def test_a_capability_without_its_hook_is_an_error(backend):
    backend("made", process_memory=None)
    with pytest.raises(gc.PluginError, match="claims the capability 'process_memory' but has no hook"):
        gc.Context("made")


def test_two_plugins_of_one_name_are_an_error_that_lists_both(backend):
    backend("made", GPUCORE_API=null.GPUCORE_API)
    backend("made", GPUCORE_API=null.GPUCORE_API)
    with pytest.raises(gc.PluginError, match="claimed by made_for_a_test and made_for_a_test"):
        gc.Context("made")


def test_a_broken_plugin_is_harmless_to_another(backend):
    backend("broken", GPUCORE_API=None)
    backend("null")
    with gc.Context("null") as ctx:
        assert ctx.backend == "null"
    assert gc.backends()["broken"].available is False


def test_a_plugin_may_be_an_object_with_methods():
    class Backend:
        GPUCORE_API = null.GPUCORE_API

    for name in REQUIRED:
        original = getattr(null, name)
        import inspect

        parameters = list(inspect.signature(original).parameters)
        space = {"original": original}
        exec(f"def {name}(self, {', '.join(parameters)}): return original({', '.join(parameters)})", space)
        setattr(Backend, name, hookimpl(space[name]))
    with discovery.register("made", Backend()), gc.Context("made") as ctx:
        assert ctx.zeros(3, gc.f32).numpy().tolist() == [0, 0, 0]


# --- wrappers
def test_without_wrappers_the_functions_of_the_plugin_are_bound():
    hooks = discovery.bind("null", null)
    assert hooks.copy is null.copy and hooks.wrapped == frozenset()


class Counter:
    def __init__(self):
        self.allocated = []
        self.launched = []

    @hookimpl(wrapper=True)
    def alloc(self, nbytes):
        result = yield
        self.allocated.append(nbytes)
        return result

    @hookimpl(wrapper=True)
    def launch(self, config, slots):
        self.launched.append((config.grid, config.block, len(slots)))
        return (yield)


def test_a_wrapper_sees_the_calls_of_its_hooks_and_only_those_go_through_pluggy(backend, saxpy):
    backend("null")
    counter = Counter()
    with gc.Context("null", wrappers=[counter]) as ctx:
        assert ctx._state.hooks.wrapped == {"alloc", "launch"}
        assert ctx._state.hooks.copy is null.copy
        x, y = ctx.ones(10, gc.f32), ctx.ones(10, gc.f32)
        assert counter.allocated == [256, 256]
        saxpy[1, 16](x, y, 2.0)
        saxpy[1, 16](x, y, 2.0)
        assert counter.launched == [((1,), (16,), 7)] * 2
        assert y.numpy()[0] == 5


def test_a_wrapper_can_inject_a_fault(backend):
    backend("null")

    class Fault:
        @hookimpl(wrapper=True)
        def copy(self):
            yield
            raise gc.DeviceError("injected", code=7, name="TEST")

    with gc.Context("null", wrappers=[Fault()]) as ctx, gc.Context("null") as other:
        with pytest.raises(gc.DeviceError, match="injected"):
            ctx.array([1.0])
        assert other.array([1.0]).numpy()[0] == 1  # one manager a context


def test_a_wrapper_that_wraps_nothing_or_asks_for_unknown_parameters_is_an_error(backend):
    backend("null")
    with pytest.raises(gc.PluginError, match="wraps no hook"):
        gc.Context("null", wrappers=[types.SimpleNamespace()])

    class Wrong:
        @hookimpl(wrapper=True)
        def alloc(self, size):
            return (yield)

    with pytest.raises(gc.PluginError, match="does not fit the contract"):
        gc.Context("null", wrappers=[Wrong()])


def test_an_interface_version_that_is_no_pair_is_named(backend):
    backend("odd", GPUCORE_API=5)
    with pytest.raises(gc.PluginError, match=r"GPUCORE_API = 5; it is \(API_VERSION, IR_VERSION\)"):
        gc.Context("odd")
