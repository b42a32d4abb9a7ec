"""Attempts to get rid of the monitor from inside that come to nothing, each in an interpreter of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdk.intercept.test_robustness import python

ATTEMPTS = {
    "reload_governor": "import importlib, vaultak.governor as g; importlib.reload(g)",
    "reload_enforcement": "import importlib, vaultak.intercept.enforce as e; importlib.reload(e)",
    "reload_trust": "import importlib, vaultak.intercept.trust as t; importlib.reload(t)",
    "reload_calls": "import importlib, vaultak.intercept.calls as c; importlib.reload(c)",
    "install_again": "import vaultak.intercept as i; vars(i)['_installed'] = False; i.install()",
    "forget_thread": "import vaultak.governor as g; g._held.stack.clear(); g._held.top = None",
    "patch_getframe": "import sys; sys._getframe = lambda *_: None",
    "patch_decoding": "import os; os.fsdecode = lambda _path: '/nowhere'",
    "patch_paths": "import os; os.path.split = lambda _path: ('/', 'nowhere'); os.readlink = lambda *_: '/nowhere'",
    "patch_realpath": "import os; os.path.realpath = os.path.abspath = lambda *_a, **_k: '/nowhere'",
    "patch_kind": "from vaultak.wire import ActionType as A; A.FILE_WRITE._value_ = 'tool_call'",
    "clear_faults": "from vaultak.intercept import faults; faults.clear()",
    "clear_registry": "import vaultak.intercept.patching as p; p._latest.clear(); p._replaced.clear()",
    "exhaust_descriptors": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, r.getrlimit(r.RLIMIT_NOFILE)[1]))",
    "empty_context_here": "import contextvars; contextvars.Context().run(lambda: None)",
    "own_audit_hook": "import sys; sys.addaudithook(lambda *_: None)",
    "tracer": "import sys; sys.settrace(lambda *_: None)",
    "profiler": "import sys; sys.setprofile(lambda *_: None); sys.setprofile(None)",
    "recursion": "import sys; sys.setrecursionlimit(60)",
    "drop_posix": "import sys; sys.modules.pop('posix')\n"
    "import posix as p, os; os.remove, os.write = p.remove, p.write",
    "drop_thread": "import sys; sys.modules.pop('_thread'); import _thread as t, threading\n"
    "threading._start_new_thread = t.start_new_thread",
    "reload_os": "import importlib, os; importlib.reload(os)",
    "reload_threading_start": "import _thread, threading; threading._start_new_thread = _thread.start_new_thread",
    "unwrap": "import inspect, os; os.write = inspect.unwrap(os.write)",
    "empty_imports": "import sys; sys.path_hooks.clear(); sys.meta_path[:] = sys.meta_path[-1:]",
    "no_modules": "import sys; kept = dict(sys.modules); [sys.modules.pop(m) for m in kept if m.startswith('vaultak')]",
    "sealed_thread": "import _thread; assert not hasattr(_thread.start_new_thread, '__wrapped__')",
    "sealed_write": "import os; assert not hasattr(os.write, '__wrapped__')",
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_after_the_attempt_the_agent_is_governed_as_before(attempt: str, tmp_path: Path) -> None:
    """Deleting, in this thread and another; and writing through a descriptor of the host's, where no event is."""
    target = tmp_path / "kept"
    target.write_text("x")
    done = python(
        f"""
        import sys, threading
        from vaultak.errors import ActionBlockedError
        descriptor = os.open(sys.argv[1], os.O_WRONLY)
        agent = Recorder(denies=lambda kind, resource: resource == sys.argv[1])
        answers = []

        def act(effect, *arguments):
            try:
                effect(*arguments)
            except BaseException as e:
                answers.append(type(e).__name__)

        code = compile({attempt!r}, "<agent>", "exec")
        with governed(agent):
            try:
                exec(code)
            except (AttributeError, RuntimeError):
                pass  # the attempt itself was refused
            import os
            act(os.remove, sys.argv[1])
            act(os.write, descriptor, b"y")
            thread = threading.Thread(target=lambda: act(os.remove, sys.argv[1]))
            thread.start()
            thread.join()
        print(*answers)
        """,
        str(target),
    )
    answers = done.stdout.split()
    assert target.exists(), done.stderr
    assert target.read_text() == "x", done.stderr
    assert len(answers) == 3 or "recursion" in done.stderr.lower(), done
    assert set(answers) <= {"ActionBlockedError", "RecursionError", "OSError", "TypeError"}, done
