"""A kill leaves nothing behind in the interpreter."""

from __future__ import annotations

import subprocess
import sys

TAKEN_BACK = """
import bdb, ctypes, threading, time
from vaultak.ending import threads

blocked = threading.Event()
thread = threading.Thread(target=blocked.wait, daemon=True)
thread.start()
set_async = ctypes.pythonapi.PyThreadState_SetAsyncExc
set_async(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyError))
set_async(ctypes.c_ulong(thread.ident), None)
threads.settle()
print(bdb.Bdb().runcall(lambda n: sum(range(n)), 10))
threads.forgive()
print(bdb.Bdb().runcall(lambda n: sum(range(n)), 10))
"""


def test_a_debugger_still_runs_after_an_exception_was_taken_back() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN_BACK], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["45", "45"], done.stderr
