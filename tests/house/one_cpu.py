#!/usr/bin/env python3
"""one_cpu.py COMMAND...: runs it on one processor, any of those that may be used.

For emulators of a processor on one with another memory model. QEMU 7.2 lets a load-acquire (LDAR)
overtake a store-release (STLR) of the same thread, so that two threads that each store and then
look at what the other one stores may both miss it; an ARM processor does not. On one processor no
thread looks while another's store is still under way."""
import os
import random
import sys

os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
os.execvp(sys.argv[1], sys.argv[1:])
