"""saxpy through the generated package `cuda_direct`: no toolkit, no PyTorch, no NumPy.

gpucore wrap cuda.yaml -o cuda-direct && pip install ./cuda-direct && python cuda_saxpy.py
"""

from __future__ import annotations

import struct
from array import array

import cuda_direct as cuda

PTX = b"""
.version 7.0
.target sm_75
.address_size 64

.visible .entry saxpy(.param .u64 x, .param .u64 y, .param .f32 a, .param .u32 n)
{
    .reg .pred %p;
    .reg .f32 %fx, %fy, %fa;
    .reg .b32 %i, %block, %size, %thread, %n;
    .reg .b64 %x, %y, %offset;

    mov.u32 %block, %ctaid.x;
    mov.u32 %size, %ntid.x;
    mov.u32 %thread, %tid.x;
    mad.lo.u32 %i, %block, %size, %thread;
    ld.param.u32 %n, [n];
    setp.ge.u32 %p, %i, %n;
    @%p ret;
    ld.param.u64 %x, [x];
    ld.param.u64 %y, [y];
    ld.param.f32 %fa, [a];
    cvta.to.global.u64 %x, %x;
    cvta.to.global.u64 %y, %y;
    mul.wide.u32 %offset, %i, 4;
    add.u64 %x, %x, %offset;
    add.u64 %y, %y, %offset;
    ld.global.f32 %fx, [%x];
    ld.global.f32 %fy, [%y];
    fma.rn.f32 %fy, %fa, %fx, %fy;
    st.global.f32 [%y], %fy;
    ret;
}
"""


def main(n: int = 1_000_000) -> None:
    print(f"runtime {cuda.version()}, driver {cuda.driver_version()}, devices {cuda.device_count()}")
    print(f"{cuda.device_name()}, compute capability {cuda.compute_capability()}, memory {cuda.memory()}")
    x = array("f", [float(i % 1000) for i in range(n)])
    y = array("f", [1.0]) * n
    result = array("f", bytes(4 * n))
    with (
        cuda.CudaStream(cuda.StreamFlags.NON_BLOCKING) as stream,
        cuda.CudaEvent() as start,
        cuda.CudaEvent() as end,
        cuda.malloc(4 * n) as dx,
        cuda.malloc(4 * n) as dy,
        cuda.load_module(PTX) as module,
    ):
        assert not dx.is_null() and dx.size == 4 * n and cuda.malloc(0).is_null()
        dy.memset(0)
        dx.copy_from_host(x)
        dy.copy_from_host_async(y, stream)
        kernel = module.kernel("saxpy")
        start.record(stream)
        kernel.launch(
            [(n + 255) // 256, 1, 1], [256, 1, 1], struct.pack("QQfI", dx.address, dy.address, 2.0, n), stream
        )
        end.record(stream)
        dy.copy_to_host_async(result, stream)
        stream.synchronize()
        assert stream.query() and end.query()
        assert result == array("f", [2.0 * value + 1.0 for value in x]), "saxpy gave other numbers"
        print(f"saxpy of {n} elements: right, {cuda.elapsed_time(start, end):.3f} ms on the device")

        with cuda.CudaStream() as other:
            other.wait_event(end)
            other.synchronize()
        dy.copy_to_host(memoryview(result).cast("B")[:4])
        for wrong, error in (
            (lambda: dx.copy_from_host(bytes(4 * n + 1)), IndexError),
            (lambda: kernel.launch([1, 1, 1], [256, 1, 1], b"12345678"), ValueError),
            (
                lambda: kernel.launch([1, 1, 1], [4096, 1, 1], struct.pack("QQfI", 0, 0, 0.0, 0)),
                cuda.CudaError,
            ),
            (lambda: module.kernel("no such kernel"), cuda.CudaError),
            (lambda: cuda.malloc(2**60), cuda.CudaError),
            (lambda: cuda.set_device(1000), cuda.CudaError),
        ):
            try:
                wrong()
            except error as caught:
                print(f"refused: {type(caught).__name__}: {caught}")
            else:
                raise AssertionError("a wrong call passed")
    try:
        kernel.launch([1, 1, 1], [1, 1, 1], b"")
    except cuda.ClosedError as caught:
        print(f"refused: {caught}")
    first = cuda.get_device()
    cuda.memory(cuda.device_count() - 1)
    assert cuda.get_device() == first
    before = cuda.memory()[0]
    for _ in range(10_000):
        with cuda.malloc(1 << 20), cuda.CudaEvent():
            pass
    for _ in range(1_000):
        cuda.malloc(1 << 20)
    cuda.synchronize()
    print(f"10,000 and 1,000 allocations of 1 MiB later: {before - cuda.memory()[0]} bytes less are free")


if __name__ == "__main__":
    main()
