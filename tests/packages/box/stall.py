#!/usr/bin/env python3
"""Stops threads of a process, and not the others, as a wedged worker would stand still: what SIGSTOP cannot do.

usage: stall.py PID NAME HOW-MANY|all     threads of that name (the main one counts); prints their number, then waits for their end

A debugger's stop (ptrace): they stay stopped until they are killed. Ends when they have ended, or after two minutes.
"""
import ctypes
import os
import sys
import time

SEIZE, INTERRUPT, ALL_CHILDREN = 0x4206, 0x4207, 0x40000000
pid, name, number = int(sys.argv[1]), sys.argv[2], sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4


def ask(request, thread):
    if libc.ptrace(request, thread, 0, 0) != 0:
        sys.exit("thread %d: %s" % (thread, os.strerror(ctypes.get_errno())))


def called(thread):
    with open("/proc/%d/task/%d/comm" % (pid, thread)) as file:
        return file.read().strip()


threads = [thread for thread in sorted(map(int, os.listdir("/proc/%d/task" % pid))) if called(thread) == name]
# the workers before the main thread, which only waits for them
threads = threads[1:] + threads[:1]
threads = threads if number == "all" else threads[:int(number)]
for thread in threads:
    ask(SEIZE, thread)
    ask(INTERRUPT, thread)
print(len(threads), flush=True)
end = time.time() + 120
left = set(threads)
while left and time.time() < end:
    try:
        done, status = os.waitpid(-1, ALL_CHILDREN | os.WNOHANG)
    except ChildProcessError:
        break
    if done in left and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        left.discard(done)
    if done == 0:
        time.sleep(0.02)
