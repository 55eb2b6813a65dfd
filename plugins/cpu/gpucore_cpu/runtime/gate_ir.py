"""The native code of gates: who may run work of a stream, decided and undone within one call.

Python's signal handlers run between two steps of Python code, never inside a native call: what takes a gate and gives
it back in one call cannot be cut in two by Ctrl-C.

A gate is an array of 8-byte words: its state, then a mutex and a condition, which are touched only where somebody waits.
"""

from __future__ import annotations

__all__ = ["CLOSED", "CONDITION", "FREE", "GATE_WORDS", "MUTEX", "TASK_WORDS", "gate_ir"]

FREE, HELD, AWAITED, CLOSED = range(4)
"""States of a gate; awaited ones are held, and whoever leaves wakes the others."""
MUTEX, CONDITION, GATE_WORDS = 8, 24, 40
"""Words from which on they lie; both are smaller than 128 bytes everywhere."""
TASK_WORDS = 8
"""Words of a task: a function that spreads or null, the pool, the kernel, its units, the units of a chunk, the threads that take
part, the scratch memory, its bytes a thread."""

_TEXT = """
declare i32 @gate_lock(ptr)
declare i32 @gate_unlock(ptr)
declare i32 @gate_wait(ptr, ptr, i64, i64)
declare i32 @gate_wake(ptr)
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i64 @llvm.umin.i64(i64, i64)

define internal i1 @try(ptr %gate) alwaysinline {
  %pair = cmpxchg ptr %gate, i64 0, i64 1 acquire monotonic
  %taken = extractvalue { i64, i1 } %pair, 1
  ret i1 %taken
}

; what a caller is told that did not get in: 1 busy, 2 closed
define internal i32 @refusal(ptr %gate) alwaysinline {
  %state = load atomic i64, ptr %gate monotonic, align 8
  %closed = icmp eq i64 %state, 3
  %code = select i1 %closed, i32 2, i32 1
  ret i32 %code
}

define internal void @wake(ptr %gate) noinline {
  %mutex = getelementptr i64, ptr %gate, i64 MUTEX
  %condition = getelementptr i64, ptr %gate, i64 CONDITION
  %l = call i32 @gate_lock(ptr %mutex)
  %w = call i32 @gate_wake(ptr %condition)
  %u = call i32 @gate_unlock(ptr %mutex)
  ret void
}

define void @gpucore_gate_leave(ptr %gate) {
  %old = atomicrmw xchg ptr %gate, i64 0 release
  %awaited = icmp eq i64 %old, 2
  br i1 %awaited, label %others, label %done
others:
  call void @wake(ptr %gate)
  br label %done
done:
  ret void
}

; wait until the gate is this thread's; 2 where it is closed
define i32 @gpucore_gate_enter(ptr %gate) {
entry:
  %taken = call i1 @try(ptr %gate)
  br i1 %taken, label %in, label %queue
in:
  ret i32 0
queue:
  %mutex = getelementptr i64, ptr %gate, i64 MUTEX
  %condition = getelementptr i64, ptr %gate, i64 CONDITION
  %l = call i32 @gate_lock(ptr %mutex)
  br label %again
again:
  %old = atomicrmw xchg ptr %gate, i64 2 acquire
  switch i64 %old, label %wait [ i64 0, label %mine
                                 i64 3, label %closed ]
wait:
  %w = call i32 @gate_wait(ptr %condition, ptr %mutex, i64 -1, i64 0)
  br label %again
mine:
  %u = call i32 @gate_unlock(ptr %mutex)
  ret i32 0
closed:
  store atomic i64 3, ptr %gate release, align 8
  %v = call i32 @gate_unlock(ptr %mutex)
  ret i32 2
}

; wait until what runs now is done
define void @gpucore_gate_pass(ptr %gate) {
  %code = call i32 @gpucore_gate_enter(ptr %gate)
  %entered = icmp eq i32 %code, 0
  br i1 %entered, label %leave, label %done
leave:
  call void @gpucore_gate_leave(ptr %gate)
  br label %done
done:
  ret void
}

; let nobody in any more, once what runs now is done
define void @gpucore_gate_close(ptr %gate) {
  %code = call i32 @gpucore_gate_enter(ptr %gate)
  store atomic i64 3, ptr %gate release, align 8
  call void @wake(ptr %gate)
  ret void
}

; the whole of a launch on this thread; its second word is the gate, and before its header stands the kernel
define i32 @gpucore_try_launch(ptr %args) {
  %gp = getelementptr i64, ptr %args, i64 1
  %gate = load ptr, ptr %gp, align 8
  %taken = call i1 @try(ptr %gate)
  br i1 %taken, label %in, label %out
in:
  %header = load ptr, ptr %args, align 8
  %fp = getelementptr i64, ptr %header, i64 -1
  %f = load ptr, ptr %fp, align 8
  call void %f(ptr %args)
  call void @gpucore_gate_leave(ptr %gate)
  ret i32 0
out:
  %code = call i32 @refusal(ptr %gate)
  ret i32 %code
}

; launches in a row: for each its packed arguments, with its header first, and its task, null for the whole of it on this thread
define void @gpucore_run_graph(ptr %tasks, ptr %items, i64 %count) {
entry:
  br label %test
test:
  %done = phi i64 [ 0, %entry ], [ %next, %ran ]
  %more = icmp ult i64 %done, %count
  br i1 %more, label %one, label %end
one:
  %place = getelementptr ptr, ptr %items, i64 %done
  %args = load ptr, ptr %place, align 8
  %tp = getelementptr ptr, ptr %tasks, i64 %done
  %task = load ptr, ptr %tp, align 8
  %plain = icmp eq ptr %task, null
  br i1 %plain, label %whole, label %dealt
whole:
  %header = load ptr, ptr %args, align 8
  %fp = getelementptr i64, ptr %header, i64 -1
  %f = load ptr, ptr %fp, align 8
  call void %f(ptr %args)
  br label %ran
dealt:
  call void @gpucore_run_task(ptr %task, ptr %args)
  br label %ran
ran:
  %next = add i64 %done, 1
  br label %test
end:
  ret void
}

define i32 @gpucore_try_graph(ptr %gate, ptr %tasks, ptr %items, i64 %count) {
  %taken = call i1 @try(ptr %gate)
  br i1 %taken, label %in, label %out
in:
  call void @gpucore_run_graph(ptr %tasks, ptr %items, i64 %count)
  call void @gpucore_gate_leave(ptr %gate)
  ret i32 0
out:
  %code = call i32 @refusal(ptr %gate)
  ret i32 %code
}

define void @gpucore_run_task(ptr %task, ptr %args) {
  %runner = load ptr, ptr %task, align 8
  %p2 = getelementptr i64, ptr %task, i64 2
  %f = load ptr, ptr %p2, align 8
  %p3 = getelementptr i64, ptr %task, i64 3
  %units = load i64, ptr %p3, align 8
  %p6 = getelementptr i64, ptr %task, i64 6
  %scratch = load ptr, ptr %p6, align 8
  %alone = icmp eq ptr %runner, null
  br i1 %alone, label %one, label %several
one:
  call void %f(ptr %args, i64 0, i64 %units, ptr %scratch)
  ret void
several:
  %p1 = getelementptr i64, ptr %task, i64 1
  %pool = load ptr, ptr %p1, align 8
  %p4 = getelementptr i64, ptr %task, i64 4
  %grain = load i64, ptr %p4, align 8
  %p5 = getelementptr i64, ptr %task, i64 5
  %most = load i64, ptr %p5, align 8
  %p7 = getelementptr i64, ptr %task, i64 7
  %bytes = load i64, ptr %p7, align 8
  call void %runner(ptr %pool, ptr %f, ptr %args, i64 %units, i64 %grain, ptr %scratch, i64 %bytes, i64 %most)
  ret void
}

define i32 @gpucore_try_task(ptr %task, ptr %args) {
  %gp = getelementptr i64, ptr %args, i64 1
  %gate = load ptr, ptr %gp, align 8
  %taken = call i1 @try(ptr %gate)
  br i1 %taken, label %in, label %out
in:
  call void @gpucore_run_task(ptr %task, ptr %args)
  call void @gpucore_gate_leave(ptr %gate)
  ret i32 0
out:
  %code = call i32 @refusal(ptr %gate)
  ret i32 %code
}

define i32 @gpucore_try_move(ptr %gate, ptr %to, ptr %from, i64 %bytes) {
  %taken = call i1 @try(ptr %gate)
  br i1 %taken, label %in, label %out
in:
  call void @llvm.memmove.p0.p0.i64(ptr %to, ptr %from, i64 %bytes, i1 false)
  call void @gpucore_gate_leave(ptr %gate)
  ret i32 0
out:
  %code = call i32 @refusal(ptr %gate)
  ret i32 %code
}

; repeat a block; a single byte by memset, others by moves of what is filled already, which fit the caches
define void @gpucore_fill(ptr %to, i64 %bytes, ptr %block, i64 %size) {
entry:
  %single = icmp eq i64 %size, 1
  br i1 %single, label %byte, label %first
byte:
  %value = load i8, ptr %block
  call void @llvm.memset.p0.i64(ptr %to, i8 %value, i64 %bytes, i1 false)
  ret void
first:
  %start = call i64 @llvm.umin.i64(i64 %size, i64 %bytes)
  call void @llvm.memmove.p0.p0.i64(ptr %to, ptr %block, i64 %start, i1 false)
  br label %test
test:
  %done = phi i64 [ %start, %first ], [ %more, %move ]
  %left = sub i64 %bytes, %done
  %some = icmp ne i64 %left, 0
  br i1 %some, label %move, label %end
move:
  %most = call i64 @llvm.umin.i64(i64 %done, i64 262144)
  %step = call i64 @llvm.umin.i64(i64 %most, i64 %left)
  %at = getelementptr i8, ptr %to, i64 %done
  call void @llvm.memmove.p0.p0.i64(ptr %at, ptr %to, i64 %step, i1 false)
  %more = add i64 %done, %step
  br label %test
end:
  ret void
}

define i32 @gpucore_try_fill(ptr %gate, ptr %to, i64 %bytes, ptr %block, i64 %size) {
  %taken = call i1 @try(ptr %gate)
  br i1 %taken, label %in, label %out
in:
  call void @gpucore_fill(ptr %to, i64 %bytes, ptr %block, i64 %size)
  call void @gpucore_gate_leave(ptr %gate)
  ret i32 0
out:
  %code = call i32 @refusal(ptr %gate)
  ret i32 %code
}
"""


def gate_ir() -> str:
    """The code, with the functions ``gate_lock``, ``gate_unlock``, ``gate_wait`` and ``gate_wake`` left open.

    A wait is for ever and has no flags, as its last arguments say where the system's function takes them.
    """
    return _TEXT.replace("MUTEX", str(MUTEX)).replace("CONDITION", str(CONDITION))
