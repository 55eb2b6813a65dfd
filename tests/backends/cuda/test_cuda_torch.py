"""gpucore and PyTorch on one device: streams both ways, order without waiting, gradients of gpucore's kernels."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc

torch = pytest.importorskip("torch", reason="torch is not installed")


@gc.kernel
def slow_add(x: gc.Array1[gc.f32], rounds: gc.i32, a: gc.f32) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        value = x[i]
        for _ in range(rounds):
            value = value * 0.5 + value * 0.5
        x[i] = value + a


@gc.kernel
def cube(x: gc.Array1[gc.f64], y: gc.Array1[gc.f64]) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] = x[i] * x[i] * x[i]


@gc.kernel
def cube_gradient(x: gc.Array1[gc.f64], dy: gc.Array1[gc.f64], dx: gc.Array1[gc.f64]) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        dx[i] = 3.0 * x[i] * x[i] * dy[i]


N = 1 << 20


@pytest.fixture
def context(fixture):
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with gc.Context("cuda") as opened:
        yield opened


def shared(context, *tensors):
    return [gc.from_dlpack(tensor.detach().view(-1), context=context) for tensor in tensors]


def test_kernels_and_torch_s_operations_keep_their_order_on_a_stream_of_torch_s(context):
    theirs = torch.cuda.Stream()
    stream = context.stream(handle=theirs.cuda_stream)
    with torch.cuda.stream(theirs):
        tensor = torch.zeros(N, device="cuda")
        (x,) = shared(context, tensor)
        for _ in range(5):
            slow_add.over(N, stream=stream)(x, 1000, 1.0)
            tensor.mul_(2)  # nobody waited
    theirs.synchronize()
    assert tensor.unique().tolist() == [62.0]
    assert stream.query()


def test_two_streams_of_torch_s_on_the_second_gpu(fixture):
    if not torch.cuda.is_available() or torch.cuda.device_count() < 2:
        pytest.skip("this machine has no second GPU")
    with gc.Context("cuda:1") as second:
        theirs = [torch.cuda.Stream(device=1) for _ in range(2)]
        streams = [second.stream(handle=stream.cuda_stream) for stream in theirs]
        tensors = []
        for start, (other, stream) in enumerate(zip(theirs, streams, strict=True)):
            with torch.cuda.stream(other):
                tensors.append(torch.full((N,), float(start), device="cuda:1"))
                (x,) = shared(second, tensors[-1])
                for _ in range(5):
                    slow_add.over(N, stream=stream)(x, 1000, 1.0)
                    tensors[-1].mul_(2)  # nobody waited
        for other in theirs:
            other.synchronize()
        assert [tensor.unique().tolist() for tensor in tensors] == [[62.0], [94.0]]
        assert {str(tensor.device) for tensor in tensors} == {"cuda:1"}


def test_a_stream_of_gpucore_s_orders_torch_s_operations(context):
    """By events both ways: the device waits, the host does not."""
    theirs = torch.cuda.Stream()
    mine, other = context.stream(), context.stream(handle=theirs.cuda_stream)
    tensor = torch.zeros(N, device="cuda")
    torch.cuda.synchronize()
    (x,) = shared(context, tensor)
    for _ in range(5):
        slow_add.over(N, stream=mine)(x, 1000, 1.0)
        other.wait(mine)
        with torch.cuda.stream(theirs):
            tensor.mul_(2)
        mine.wait(other)
    mine.synchronize()
    assert tensor.unique().tolist() == [62.0]


def test_a_tensor_that_moves_on_a_stream_leaves_the_current_stream_as_it_was(context):
    theirs, before = torch.cuda.Stream(), torch.cuda.current_stream()
    stream = context.stream(handle=theirs.cuda_stream)
    host = torch.ones(N).pin_memory()
    with torch.cuda.stream(theirs):
        moved = host.to("cuda", non_blocking=True)
    (x,) = shared(context, moved)
    slow_add.over(N, stream=stream)(x, 1000, 1.0)
    assert torch.cuda.current_stream() == before
    stream.synchronize()
    assert moved.unique().tolist() == [2.0]


def test_a_graph_runs_on_a_stream_of_torch_s(context):
    theirs = torch.cuda.Stream()
    stream = context.stream(handle=theirs.cuda_stream)
    tensor = torch.zeros(N, device="cuda")
    torch.cuda.synchronize()
    (x,) = shared(context, tensor)
    with context.graph() as graph:
        for _ in range(10):
            slow_add.over(N)(x, 1, 1.0)
    with torch.cuda.stream(theirs):
        for _ in range(3):
            graph.launch(stream)
            tensor.mul_(2)
    theirs.synchronize()
    assert tensor.unique().tolist() == [((10 * 2 + 10) * 2 + 10) * 2]


def test_gradients_of_an_autograd_function_with_kernels_are_right(context):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x = x.contiguous()
            ctx.save_for_backward(x)
            y = torch.empty_like(x)
            stream = context.stream(handle=torch.cuda.current_stream().cuda_stream)
            cube.over(x.numel(), stream=stream)(*shared(context, x, y))
            return y

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            dx = torch.empty_like(x)
            stream = context.stream(handle=torch.cuda.current_stream().cuda_stream)
            cube_gradient.over(x.numel(), stream=stream)(*shared(context, x, dy.contiguous(), dx))
            return dx

    x = torch.randn(4, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(Cube.apply, (x,))
    np.testing.assert_allclose(Cube.apply(x).detach().cpu(), x.detach().cpu() ** 3)


def test_a_loader_of_torch_s_feeds_a_pipeline(context):
    data = torch.arange(64, dtype=torch.float32).repeat_interleave(100).view(64, 100)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=8)

    def step(stream, x):
        slow_add.over(800, stream=stream)(x.reshape(800), 1, 1.0)
        return x

    with context.pipeline(step, (batch.numpy() for (batch,) in loader)) as results:
        found = np.concatenate([np.array(result) for result in results])
    np.testing.assert_array_equal(found, data.numpy() + 1)
