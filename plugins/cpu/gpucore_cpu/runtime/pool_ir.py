"""The native pool's code: worker threads that take chunks of a launch, written in LLVM IR.

It calls the C library's mutexes and condition variables through addresses that Python puts into the pool's
record, so the object has no undefined symbol.  The record is an array of 8-byte words: :data:`WORDS`, then a
slot for each launch.

A scheduler may leave a worker on the processor of the thread that woke it, though others are idle: some
kernels do so until both have been busy for milliseconds, which is longer than most launches. Participants of
a launch therefore note their processors, and a worker that finds its own taken asks for another.  Nobody is
bound to one processor, and where the scheduler spreads threads no call is made.
"""

from __future__ import annotations

__all__ = ["FIRST_SLOT", "SLOTS", "SLOT_WORDS", "SPINS", "WORDS", "WORKER_WORDS", "pool_ir"]

WORDS = ("lock", "unlock", "wait", "broadcast", "mutex", "work", "done", "shutdown", "generation",
         "trylock", "getcpu", "setaffinity", "allowed", "set_words")  # fmt: skip
"""Addresses of the C functions and objects, the flag that ends the workers, the number of launches posted; the
set of processors that the process may use and its size, where ``getcpu`` is not null."""
SPINS = 1500
"""Pauses, some tens of microseconds in all, before a thread with nothing to do goes to sleep."""
TRIES = 64
"""Pauses, some microseconds in all, before a thread sleeps on the mutex, which is held for far less."""
PATIENCE = 100
"""Pauses, some microseconds in all, before a participant takes chunks of another that has begun its share."""
MOVES = 3
"""How often a worker asks for another processor before it takes part in a launch where it is."""
WORKER_WORDS = 4
"""Words of a worker's record: the pool, its number, a set of processors of its own."""
FIRST_SLOT = 16
SLOT_WORDS = 16
SLOTS = 16
"""Launches that may be on the pool at a time; more run on their own threads."""

# a slot's words: 0 open, 1 function, 2 args, 3 whether all units were taken, 4 units, 5 grain, 6 active workers,
# 7 scratch, 8 scratch bytes a participant, 9 address of the participants' counters (a cache line each),
# 10 participants, 11 address of the set of processors that they are on
_TEXT = """
define internal void @call1(ptr %pool, i64 %function, i64 %argument) alwaysinline {
  %fp = getelementptr i64, ptr %pool, i64 %function
  %f = load ptr, ptr %fp
  %ap = getelementptr i64, ptr %pool, i64 %argument
  %a = load ptr, ptr %ap
  %r = call i32 %f(ptr %a)
  ret void
}

; lock: it is held for moments only, so look whether it comes free before sleeping on it
define internal void @acquire(ptr %pool) {
entry:
  %fp = getelementptr i64, ptr %pool, i64 9
  %f = load ptr, ptr %fp
  %mp = getelementptr i64, ptr %pool, i64 4
  %m = load ptr, ptr %mp
  br label %try
try:
  %turn = phi i64 [ 0, %entry ], [ %turn.next, %busy ]
  %r = call i32 %f(ptr %m)
  %mine = icmp eq i32 %r, 0
  br i1 %mine, label %done, label %busy
busy:
  PAUSE
  %turn.next = add i64 %turn, 1
  %trying = icmp slt i64 %turn.next, TRIES
  br i1 %trying, label %try, label %block
block:
  call void @call1(ptr %pool, i64 0, i64 4)
  br label %done
done:
  ret void
}

define internal void @sleep_on(ptr %pool, i64 %condition) alwaysinline {
  %fp = getelementptr i64, ptr %pool, i64 2
  %f = load ptr, ptr %fp
  %cp = getelementptr i64, ptr %pool, i64 %condition
  %c = load ptr, ptr %cp
  %mp = getelementptr i64, ptr %pool, i64 4
  %m = load ptr, ptr %mp
  %r = call i32 %f(ptr %c, ptr %m)
  ret void
}

; note this thread's processor in a slot whose mutex is held; whether it was there already
define internal i1 @note(ptr %pool, ptr %slot) {
entry:
  %fp = getelementptr i64, ptr %pool, i64 10
  %f = load ptr, ptr %fp
  %np = getelementptr i64, ptr %pool, i64 13
  %n = load i64, ptr %np
  %unknown = icmp eq ptr %f, null
  br i1 %unknown, label %no, label %look
look:
  %cpu32 = call i32 %f()
  %cpu = zext i32 %cpu32 to i64
  %at = lshr i64 %cpu, 6
  %inside = icmp ult i64 %at, %n
  br i1 %inside, label %mark, label %no
mark:
  %tp = getelementptr i64, ptr %slot, i64 11
  %taken = load ptr, ptr %tp
  %wp = getelementptr i64, ptr %taken, i64 %at
  %old = load i64, ptr %wp
  %place = and i64 %cpu, 63
  %bit = shl i64 1, %place
  %new = or i64 %old, %bit
  store i64 %new, ptr %wp
  %same = icmp eq i64 %new, %old
  ret i1 %same
no:
  ret i1 false
}

; go where no other participant is; the mutex is held before and after, but not throughout
define internal void @settle(ptr %pool, ptr %slot, ptr %own) {
entry:
  br label %again
again:
  %turn = phi i64 [ 0, %entry ], [ %turn.next, %move ]
  %met = call i1 @note(ptr %pool, ptr %slot)
  %left = icmp slt i64 %turn, MOVES
  %go = and i1 %met, %left
  br i1 %go, label %choose, label %done
choose:
  %ap = getelementptr i64, ptr %pool, i64 12
  %allowed = load ptr, ptr %ap
  %np = getelementptr i64, ptr %pool, i64 13
  %n = load i64, ptr %np
  %tp = getelementptr i64, ptr %slot, i64 11
  %taken = load ptr, ptr %tp
  br label %each
each:
  %i = phi i64 [ 0, %choose ], [ %i.next, %each ]
  %any = phi i64 [ 0, %choose ], [ %any.next, %each ]
  %mayp = getelementptr i64, ptr %allowed, i64 %i
  %may = load i64, ptr %mayp
  %isp = getelementptr i64, ptr %taken, i64 %i
  %is = load i64, ptr %isp
  %not = xor i64 %is, -1
  %rest = and i64 %may, %not
  %restp = getelementptr i64, ptr %own, i64 %i
  store i64 %rest, ptr %restp
  %any.next = or i64 %any, %rest
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %n
  br i1 %more, label %each, label %chosen
chosen:
  %full = icmp eq i64 %any.next, 0
  br i1 %full, label %done, label %move
move:
  call void @call1(ptr %pool, i64 1, i64 4)
  %fp = getelementptr i64, ptr %pool, i64 11
  %f = load ptr, ptr %fp
  %bytes = mul i64 %n, 8
  %r = call i32 %f(i32 0, i64 %bytes, ptr %own)
  call void @acquire(ptr %pool)
  %turn.next = add i64 %turn, 1
  %moved = icmp eq i32 %r, 0
  br i1 %moved, label %again, label %refused
refused:
  ; not allowed here: nobody asks any more
  %gp = getelementptr i64, ptr %pool, i64 10
  store ptr null, ptr %gp
  ret void
done:
  ret void
}

; take chunks of one's own share, whose data a launch before left in this core's cache, then of others'
define internal void @chunks(ptr %slot, i64 %ticket) {
entry:
  %fp = getelementptr i64, ptr %slot, i64 1
  %f = load ptr, ptr %fp
  %ap = getelementptr i64, ptr %slot, i64 2
  %args = load ptr, ptr %ap
  %xp = getelementptr i64, ptr %slot, i64 3
  %up = getelementptr i64, ptr %slot, i64 4
  %units = load i64, ptr %up
  %gp = getelementptr i64, ptr %slot, i64 5
  %grain = load i64, ptr %gp
  %sp = getelementptr i64, ptr %slot, i64 7
  %base = load ptr, ptr %sp
  %bp = getelementptr i64, ptr %slot, i64 8
  %bytes = load i64, ptr %bp
  %cp = getelementptr i64, ptr %slot, i64 9
  %counters = load ptr, ptr %cp
  %mp = getelementptr i64, ptr %slot, i64 10
  %most = load i64, ptr %mp
  %offset = mul i64 %bytes, %ticket
  %scratch = getelementptr i8, ptr %base, i64 %offset
  br label %share
share:
  %k = phi i64 [ 0, %entry ], [ %k.next, %spent ]
  %sum = add i64 %ticket, %k
  %whose = urem i64 %sum, %most
  %counter.at = mul i64 %whose, 8
  %counter = getelementptr i64, ptr %counters, i64 %counter.at
  %whose.next = add i64 %whose, 1
  %limit.most = mul i64 %units, %whose.next
  %limit = udiv i64 %limit.most, %most
  %first.most = mul i64 %units, %whose
  %first = udiv i64 %first.most, %most
  %own = icmp eq i64 %k, 0
  br i1 %own, label %take, label %watch
watch:
  ; leave another's share to it while it works: its data is in the other core's cache
  %turn = phi i64 [ 0, %share ], [ %turn.next, %patient ]
  %at = load atomic i64, ptr %counter monotonic, align 8
  %ended = icmp sge i64 %at, %limit
  br i1 %ended, label %spent, label %watch.begun
watch.begun:
  %begun = icmp ne i64 %at, %first
  %early = icmp slt i64 %turn, PATIENCE
  %stay = and i1 %begun, %early
  br i1 %stay, label %patient, label %take
patient:
  PAUSE
  %turn.next = add i64 %turn, 1
  br label %watch
take:
  %begin = atomicrmw add ptr %counter, i64 %grain monotonic
  %left = icmp slt i64 %begin, %limit
  br i1 %left, label %run, label %spent
run:
  %last = add i64 %begin, %grain
  %short = icmp slt i64 %last, %limit
  %end = select i1 %short, i64 %last, i64 %limit
  call void %f(ptr %args, i64 %begin, i64 %end, ptr %scratch)
  br label %take
spent:
  %k.next = add i64 %k, 1
  %others = icmp slt i64 %k.next, %most
  br i1 %others, label %share, label %done
done:
  store atomic i64 1, ptr %xp monotonic, align 8
  ret void
}

; the body of a worker thread
define dso_local ptr @gpucore_pool_worker(ptr %me) {
entry:
  %pool = load ptr, ptr %me
  %mp.me = getelementptr i64, ptr %me, i64 1
  %ticket = load i64, ptr %mp.me
  %op.me = getelementptr i64, ptr %me, i64 2
  %own = load ptr, ptr %op.me
  call void @acquire(ptr %pool)
  br label %again
again:
  %spun = phi i1 [ false, %entry ], [ true, %spin.end ], [ false, %tell ], [ false, %left.off ],
                 [ false, %slept ]
  %qp = getelementptr i64, ptr %pool, i64 7
  %quit = load i64, ptr %qp
  %ending = icmp ne i64 %quit, 0
  br i1 %ending, label %leave, label %search
search:
  %i = phi i64 [ 0, %again ], [ %i.next, %skip ]
  %shift = mul i64 %i, SLOT_WORDS
  %place = add i64 %shift, FIRST_SLOT
  %slot = getelementptr i64, ptr %pool, i64 %place
  %open = load i64, ptr %slot
  %is.open = icmp ne i64 %open, 0
  br i1 %is.open, label %look, label %skip
look:
  %xp = getelementptr i64, ptr %slot, i64 3
  %spent = load atomic i64, ptr %xp monotonic, align 8
  %mp = getelementptr i64, ptr %slot, i64 10
  %most = load i64, ptr %mp
  %work.left = icmp eq i64 %spent, 0
  %mine = icmp slt i64 %ticket, %most
  %ok = and i1 %work.left, %mine
  br i1 %ok, label %join, label %skip
skip:
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, SLOTS
  br i1 %more, label %search, label %idle
join:
  %cp = getelementptr i64, ptr %slot, i64 6
  %active = load i64, ptr %cp
  %active.more = add i64 %active, 1
  store i64 %active.more, ptr %cp
  call void @settle(ptr %pool, ptr %slot, ptr %own)
  call void @call1(ptr %pool, i64 1, i64 4)
  call void @chunks(ptr %slot, i64 %ticket)
  call void @acquire(ptr %pool)
  %now = load i64, ptr %cp
  %fewer = sub i64 %now, 1
  store i64 %fewer, ptr %cp
  %last = icmp eq i64 %fewer, 0
  br i1 %last, label %tell, label %left.off
left.off:
  br label %again
tell:
  call void @call1(ptr %pool, i64 3, i64 6)
  br label %again
idle:
  %gp = getelementptr i64, ptr %pool, i64 8
  %seen = load atomic i64, ptr %gp monotonic, align 8
  br i1 %spun, label %slept, label %spin.begin
slept:
  call void @sleep_on(ptr %pool, i64 5)
  br label %again
spin.begin:
  ; launches come in bursts: look out for the next one before sleeping
  call void @call1(ptr %pool, i64 1, i64 4)
  br label %spin
spin:
  %turn = phi i64 [ 0, %spin.begin ], [ %turn.next, %spin.more ]
  PAUSE
  %generation = load atomic i64, ptr %gp monotonic, align 8
  %posted = icmp ne i64 %generation, %seen
  br i1 %posted, label %spin.end, label %spin.more
spin.more:
  %turn.next = add i64 %turn, 1
  %spinning = icmp slt i64 %turn.next, SPINS
  br i1 %spinning, label %spin, label %spin.end
spin.end:
  call void @acquire(ptr %pool)
  br label %again
leave:
  call void @call1(ptr %pool, i64 1, i64 4)
  ret ptr null
}

; run a launch with the help of idle workers; returns when all units are done
define dso_local void @gpucore_pool_run(ptr %pool, ptr %f, ptr %args, i64 %units, i64 %grain, ptr %scratch,
                                        i64 %bytes, i64 %most) {
entry:
  call void @acquire(ptr %pool)
  br label %search
search:
  %i = phi i64 [ 0, %entry ], [ %i.next, %skip ]
  %shift = mul i64 %i, SLOT_WORDS
  %place = add i64 %shift, FIRST_SLOT
  %slot = getelementptr i64, ptr %pool, i64 %place
  %open = load i64, ptr %slot
  %cp = getelementptr i64, ptr %slot, i64 6
  %active = load i64, ptr %cp
  %both = or i64 %open, %active
  %free = icmp eq i64 %both, 0
  br i1 %free, label %post, label %skip
skip:
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, SLOTS
  br i1 %more, label %search, label %alone
alone:
  call void @call1(ptr %pool, i64 1, i64 4)
  call void %f(ptr %args, i64 0, i64 %units, ptr %scratch)
  ret void
post:
  %p1 = getelementptr i64, ptr %slot, i64 1
  store ptr %f, ptr %p1
  %p2 = getelementptr i64, ptr %slot, i64 2
  store ptr %args, ptr %p2
  %p3 = getelementptr i64, ptr %slot, i64 3
  store atomic i64 0, ptr %p3 monotonic, align 8
  %p4 = getelementptr i64, ptr %slot, i64 4
  store i64 %units, ptr %p4
  %p5 = getelementptr i64, ptr %slot, i64 5
  store i64 %grain, ptr %p5
  %p7 = getelementptr i64, ptr %slot, i64 7
  store ptr %scratch, ptr %p7
  %p8 = getelementptr i64, ptr %slot, i64 8
  store i64 %bytes, ptr %p8
  %p9 = getelementptr i64, ptr %slot, i64 9
  %counters = load ptr, ptr %p9
  br label %deal
deal:
  %n = phi i64 [ 0, %post ], [ %n.next, %deal ]
  %first.most = mul i64 %units, %n
  %first = udiv i64 %first.most, %most
  %counter.at = mul i64 %n, 8
  %counter = getelementptr i64, ptr %counters, i64 %counter.at
  store atomic i64 %first, ptr %counter monotonic, align 8
  %n.next = add i64 %n, 1
  %dealing = icmp slt i64 %n.next, %most
  br i1 %dealing, label %deal, label %open.slot
open.slot:
  %p10 = getelementptr i64, ptr %slot, i64 10
  store i64 %most, ptr %p10
  %p11 = getelementptr i64, ptr %slot, i64 11
  %taken = load ptr, ptr %p11
  %np = getelementptr i64, ptr %pool, i64 13
  %set.words = load i64, ptr %np
  br label %empty
empty:
  %e = phi i64 [ 0, %open.slot ], [ %e.next, %empty ]
  %ep = getelementptr i64, ptr %taken, i64 %e
  store i64 0, ptr %ep
  %e.next = add i64 %e, 1
  %emptying = icmp slt i64 %e.next, %set.words
  br i1 %emptying, label %empty, label %opened
opened:
  %caller = call i1 @note(ptr %pool, ptr %slot)
  store i64 1, ptr %slot
  call void @call1(ptr %pool, i64 1, i64 4)
  ; who looks out for it finds the mutex free
  %genp = getelementptr i64, ptr %pool, i64 8
  %gen = atomicrmw add ptr %genp, i64 1 monotonic
  call void @call1(ptr %pool, i64 3, i64 5)
  call void @chunks(ptr %slot, i64 0)
  br label %linger
linger:
  ; the last chunks of others are about to end
  %turn = phi i64 [ 0, %opened ], [ %turn.next, %linger.more ]
  %busy = load atomic i64, ptr %cp monotonic, align 8
  %over = icmp eq i64 %busy, 0
  br i1 %over, label %close, label %linger.more
linger.more:
  PAUSE
  %turn.next = add i64 %turn, 1
  %lingering = icmp slt i64 %turn.next, SPINS
  br i1 %lingering, label %linger, label %close
close:
  call void @acquire(ptr %pool)
  store i64 0, ptr %slot
  br label %wait
wait:
  %working = load i64, ptr %cp
  %some = icmp ne i64 %working, 0
  br i1 %some, label %sleep, label %finished
sleep:
  call void @sleep_on(ptr %pool, i64 6)
  br label %wait
finished:
  call void @call1(ptr %pool, i64 1, i64 4)
  ret void
}
"""

_PAUSES = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "arm64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}


def pool_ir(arch: str) -> str:
    """The pool's code for an architecture."""
    pause, declaration = _PAUSES.get(arch, ("", ""))
    text = _TEXT.replace("SLOT_WORDS", str(SLOT_WORDS)).replace("FIRST_SLOT", str(FIRST_SLOT))
    return (
        text.replace("SLOTS", str(SLOTS))
        .replace("SPINS", str(SPINS))
        .replace("TRIES", str(TRIES))
        .replace("MOVES", str(MOVES))
        .replace("PATIENCE", str(PATIENCE))
        .replace("PAUSE", pause)
        + declaration
        + "\n"
    )
