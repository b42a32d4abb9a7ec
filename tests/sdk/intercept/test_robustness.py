"""The hook holds against code that tries to get rid of it, and the host never notices it."""

from __future__ import annotations

import copy
import io
import os
import pickle  # noqa: TID251  # the host may pickle a builtin; it must go on working
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from sdk.intercept.recorder import Recorder, governed
from vaultak.errors import ActionBlockedError
from vaultak.intercept import install

install()

PREAMBLE = """
import sys, os
sys.path[:0] = {paths!r}
from sdk.intercept.recorder import Recorder, governed
from vaultak import governor
from vaultak.errors import ActionBlockedError
from vaultak.intercept import install
install()
"""


def python(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    paths = [path for path in sys.path if path.endswith(("producers", "tests"))]
    program = PREAMBLE.format(paths=paths) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)


def test_patched_builtins_behave_like_the_originals() -> None:
    assert pickle.loads(pickle.dumps(os.remove)) is os.remove
    assert pickle.loads(pickle.dumps(open)) is open
    assert copy.copy(os.remove) is os.remove
    assert copy.deepcopy({"f": os.remove})["f"] is os.remove
    assert open is io.open
    assert os.unlink in os.supports_dir_fd
    assert os.open.__name__ == "open"
    assert callable(type("C", (), {"opener": open})().opener)


@pytest.mark.parametrize(
    "attempt",
    [
        "import os; os.remove = os.remove.__wrapped__",
        "import sys; [sys.modules.pop(m) for m in list(sys.modules) if m.startswith(('vaultak', 'wrapt'))]",
        "import importlib, vaultak.intercept.hook as h; importlib.reload(h)",
        "import vaultak.intercept.hook as h; h.judge = h.classify = h.build = h.current = lambda *a: None",
        "import vaultak.intercept.files as f; f.CLASSIFIERS.clear()",
        "import vaultak.governor as g; g.current = lambda: None",
        "import vaultak.intercept.paths as p; p.resolve = lambda *a, **k: None",
        "import vaultak.intercept.trust as t; t.origins = None",
        "import vaultak.intercept.hook as h; del h.judge",
        "import contextvars; contextvars.Context().run(int)",
        "import vaultak.intercept.calls as c; c.here.calls.clear()",
        "import sys; sys.addaudithook(lambda *a: None)",
        "import sys; sys.settrace(lambda *a: None); sys.settrace(None)",
        "import threading; threading.Thread.start = threading.Thread.start",
        "import builtins; builtins.open = builtins.open.__wrapped__",
    ],
)
def test_attempts_to_disarm_change_nothing(attempt: str, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.write_text("x")
    done = python(
        f"""
        agent = Recorder(denies=lambda kind, resource: kind == "file_delete")
        with governed(agent):
            try:
                exec({attempt!r})
            except AttributeError as e:
                assert "part of a running monitor" in str(e), e
            import os
            try:
                os.remove(sys.argv[1])
            except Exception as e:
                print(type(e).__name__)
        """,
        str(target),
    )
    assert done.stdout == "ActionBlockedError\n", done.stderr
    assert target.exists()


@pytest.mark.parametrize(
    ("attempt", "resource"),
    [
        ("import gc; gc.get_objects()", "code:gc.get_objects"),
        ("import gc; gc.get_referrers(1)", "code:gc.get_referrers"),
        ("import sys; sys.addaudithook(lambda *a: None)", "code:sys.addaudithook"),
        ("import sys; sys.settrace(None)", "code:sys.settrace"),
        ("import vaultak.intercept.paths as p; p.text.__code__ = p.text.__code__", "code:vaultak.intercept.paths.text"),
        ("import sys; sys.setprofile(None)", "code:sys.setprofile"),
        ("(lambda: 0).__code__.replace(co_filename='x')", "code:code.__new__"),
        ("import vaultak.errors as e; compile('1', e.__file__, 'exec')", "code:/"),
    ],
)
def test_what_could_disarm_is_an_action_itself(attempt: str, resource: str) -> None:
    agent = Recorder()
    code = compile(attempt, "<agent>", "exec")
    with governed(agent):
        exec(code)
    assert any(asked.resource.startswith(resource) for asked in agent.asked[1:]), agent.asked


def test_code_cannot_pass_for_the_sdk_by_its_file_name(tmp_path: Path) -> None:
    import vaultak.errors

    source = f"import os\ndef act(): os.mkdir({str(tmp_path / 'made')!r})"
    namespace: dict[str, types.FunctionType] = {}
    exec(compile(source, vaultak.errors.__file__, "exec"), namespace)
    agent = Recorder(denies=lambda *_: True)
    with governed(agent), pytest.raises(ActionBlockedError):
        namespace["act"]()
    assert not (tmp_path / "made").exists()


def test_a_signal_handler_does_not_slip_through_while_the_governor_works(tmp_path: Path) -> None:
    """The handler runs inside `before`, where a busy flag would have let it pass."""

    class Interrupted(Recorder):
        def before(self, *args: object, **kwargs: object) -> str:
            if not self.asked:
                self.asked.append(None)  # type: ignore[arg-type]
                signal.raise_signal(signal.SIGUSR1)
                self.asked.clear()
            return super().before(*args, **kwargs)  # type: ignore[arg-type]

    slipped: list[str] = []

    def handler(*_: object) -> None:
        try:
            os.mkdir(tmp_path / "slipped")
        except ActionBlockedError:
            return
        slipped.append("slipped")

    before = signal.signal(signal.SIGUSR1, handler)
    agent = Interrupted(denies=lambda _kind, resource: resource.endswith("slipped"))
    try:
        with governed(agent):
            os.mkdir(tmp_path / "wanted")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert slipped == []
    assert not (tmp_path / "slipped").exists()
    assert (tmp_path / "wanted").exists()


def test_the_sdks_own_work_is_not_judged(tmp_path: Path) -> None:
    """`Settings.from_env` reads the file that `VAULTAK_API_KEY_FILE` names, through pathlib."""
    from vaultak.config import Settings

    key = tmp_path / "key"
    key.write_text("vtk_x")
    agent = Recorder()
    with governed(agent):
        assert Settings.from_env({"VAULTAK_API_KEY_FILE": str(key), "VAULTAK_DATA_DIR": "/tmp"}).api_key == "vtk_x"
    assert agent.asked == []


def test_an_interpreter_ends_in_silence_with_a_monitor_open(tmp_path: Path) -> None:
    done = python(
        """
        import atexit, threading, time, weakref
        governor.activate(Recorder())
        class Late:
            def __del__(self):
                open(os.devnull).close()
                open(sys.argv[1] + "/late", "w").close()
        kept = Late()
        sys.kept = Late()
        atexit.register(lambda: open(sys.argv[1] + "/exit", "w").close())
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        """,
        str(tmp_path),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_subinterpreter_is_refused_without_a_crash(tmp_path: Path) -> None:
    done = python(
        """
        agent = Recorder(denies=lambda kind, resource: resource == "code:subinterpreter")
        with governed(agent):
            try:
                import _xxsubinterpreters as interpreters
            except ImportError:
                import _interpreters as interpreters
            try:
                interpreters.create()
            except ActionBlockedError:
                print("refused")
        """
    )
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_a_fork_leaves_the_outcome_to_its_parent(tmp_path: Path) -> None:
    agent = Recorder(tmp_path / "journal")
    with governed(agent):
        pid = os.fork()
        if pid == 0:
            try:
                code = 0 if not agent.asked[0].outcome else 1
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
    assert agent.asked[0].outcome == "ok"


def test_interception_loads_no_kafka_client() -> None:
    done = python("print([m for m in ('aiokafka', 'asyncio', 'concurrent.futures.thread') if m in sys.modules])")
    assert "aiokafka" not in done.stdout


NUMPY_FIRST = """
import sys, numpy
numpy.loadtxt(sys.argv[1])
from vaultak import Vaultak
from vaultak.testing import RecordingPublisher
published = RecordingPublisher()
with Vaultak(publisher=published, rollback_limit=0) as vt, vt.monitor("a"):
    numpy.loadtxt(sys.argv[1])
print([type(event).__name__ for event in published.events()])
"""


def test_what_a_library_opened_files_with_before_the_monitor_is_found(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("1 2")
    done = subprocess.run(
        [sys.executable, "-c", NUMPY_FIRST, str(tmp_path / "figures")], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[0] == "['Action', 'Outcome']", done.stderr
