"""Every way to act that the catalogue knows: denied it has not happened, allowed it has, and the audit has both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scenarios.actions import WAYS
from scenarios.actions_sandbox import Sandbox, Way
from sdk.intercept.recorder import Recorder, governed
from vaultak.errors import ActionBlockedError
from vaultak.intercept import install, names

install()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    root = tmp_path / "sandbox"
    root.mkdir()
    made = Sandbox(root)
    names.forget()
    yield made
    made.close()


def _matches(way: Way, sandbox: Sandbox, action_type: str, resource: str) -> bool:
    expected = way.resource(sandbox)
    if "*" in expected:
        head, _, tail = expected.partition("*")
        same = resource.startswith(head) and resource.endswith(tail)
    else:
        same = resource == expected
    return same and action_type == way.action_type


def _skip_unless_possible(way: Way) -> None:
    for need in way.needs:
        if need == "root":
            if os.geteuid() != 0:
                pytest.skip("only root may do this")
            continue
        module, _, name = need.partition(".")
        if not hasattr(pytest.importorskip(module), name):
            pytest.skip(f"this Python has no {need}")


def test_every_way_has_a_name_of_its_own() -> None:
    names = [way.name for way in WAYS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_denied_action_has_not_happened(way: Way, sandbox: Sandbox, tmp_path: Path) -> None:
    _skip_unless_possible(way)
    if way.prepare:
        way.prepare(sandbox)
    recorder = Recorder(tmp_path / "journal")
    recorder.denies = lambda kind, resource: _matches(way, sandbox, kind, resource)
    with governed(recorder), suppress(ActionBlockedError, OSError, EOFError, SystemError):
        way.act(sandbox)
    assert not way.happened(sandbox), "the effect happened although it was denied"
    assert any(denied for _kind, _resource, denied, _op in recorder.journaled()), recorder.journaled()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_allowed_action_happens_and_its_outcome_is_known(way: Way, sandbox: Sandbox, tmp_path: Path) -> None:
    _skip_unless_possible(way)
    if way.prepare:
        way.prepare(sandbox)
    recorder = Recorder(tmp_path / "journal")
    with governed(recorder), suppress(TimeoutError, EOFError):
        try:
            way.act(sandbox)
        except Exception as e:
            if type(e).__module__ not in ("xmlrpc.client", "smtplib"):
                raise
    assert way.happened(sandbox), "an allowed effect did not happen"
    seen = [line for line in recorder.journaled() if _matches(way, sandbox, line[0], line[1])]
    assert seen, recorder.journaled()
    assert way.repeats or len(seen) == len(set(seen)), f"more than once in the audit: {recorder.journaled()}"
    if way.outcome:
        asked = next(a for a in recorder.asked if _matches(way, sandbox, a.action_type, a.resource))
        assert asked.outcome in ("ok", "error"), asked
