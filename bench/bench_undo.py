"""What keeping a pre-image costs beside the bare operation, and what taking it back costs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.timing import Sample, compare, say, time_each
from vaultak.undo import UndoLimits, UndoLog

SMALL = b"x" * 1024
LARGE_BYTES = 100 * 1024 * 1024
N = 800
"""Fewer than the actions that a log keeps: pruning is measured by no one's first thousand actions."""

WARMUP = 20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="vaultak-bench-") as name:
        root = Path(name)
        compare("undo: overwrite 1 KB", list(_overwrites(root)), baseline="bare")
        compare("undo: delete 1 KB", list(_deletes(root)), baseline="bare")
        compare("undo: 100 MB", list(_large(root)), baseline="bare overwrite of 100 MB")
        say("\nA copy is made where the file system shares no blocks; no fsync on either side.")


def _overwrites(root: Path) -> Iterator[Sample]:
    path = root / "small"
    path.write_bytes(SMALL)
    yield time_each("bare", lambda: path.write_bytes(SMALL), N, warmup=WARMUP)
    with _Log(root / "overwrites") as undo:
        ids = itertools.count()

        def kept() -> None:
            action_id = str(next(ids))
            undo.before_write(action_id, str(path))
            with path.open("wb") as out:
                undo.after(action_id)
                out.write(SMALL)

        yield time_each("with a pre-image", kept, N, warmup=WARMUP)
        yield time_each("rollback of one", lambda: undo.rollback(limit_actions=1), N - WARMUP, warmup=WARMUP)


def _deletes(root: Path) -> Iterator[Sample]:
    def files(name: str) -> Iterator[Path]:
        directory = root / name
        directory.mkdir()
        made = [directory / str(n) for n in range(N + WARMUP)]
        for path in made:
            path.write_bytes(SMALL)
        return iter(made)

    bare, journaled = files("bare"), files("journaled")
    yield time_each("bare", lambda: next(bare).unlink(), N, warmup=WARMUP)
    with _Log(root / "deletes") as undo:

        def kept() -> None:
            path = next(journaled)
            undo.before_delete(path.name, str(path))
            path.unlink()
            undo.after(path.name)

        yield time_each("with a pre-image", kept, N, warmup=WARMUP)
        yield time_each("rollback of one", lambda: undo.rollback(limit_actions=1), N - WARMUP, warmup=WARMUP)


def _large(root: Path) -> Iterator[Sample]:
    path, content = root / "large", b"x" * LARGE_BYTES
    path.write_bytes(content)
    yield _once("bare overwrite of 100 MB", lambda: path.write_bytes(content))
    with _Log(root / "larges") as undo:
        yield _once("its pre-image", lambda: undo.before_write("overwrite", str(path)))
        path.write_bytes(content)
        undo.after("overwrite")
        yield _once("rollback of it", undo.rollback)
        yield _once("pre-image of a delete", lambda: undo.before_delete("delete", str(path)))
        path.unlink()
        yield _once("rollback of the delete", undo.rollback)


def _once(name: str, operation: Callable[[], object]) -> Sample:
    return time_each(name, operation, 1, warmup=0)


class _Log:
    """An undo log that takes 100 MB, and says so when a step did not go back."""

    def __init__(self, directory: Path) -> None:
        self._log = UndoLog(directory, "bench", limits=UndoLimits(file_bytes=2 * LARGE_BYTES))

    def __enter__(self) -> UndoLog:
        return self._log

    def __exit__(self, *_: object) -> None:
        failed = [step for step in self._log.rollback() if step.status != "reversed"]
        self._log.close()
        if failed:
            raise RuntimeError(f"not taken back: {failed[0].target}: {failed[0].detail}")


if __name__ == "__main__":
    main()
