"""No secret is in any byte that the SDK sends, whatever kind of event carries it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultak import Vaultak
from vaultak.errors import ActionBlockedError
from vaultak.redact import Redaction
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Context, Outcome

SECRETS = ["hunter2-" + "correct-horse", "ghp_" + "a1B2" * 9, "AKIA" + "Q" * 16, "4111 1111 1111 1111"]
PASSWORD = SECRETS[0]


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def vt(publisher: RecordingPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vaultak]:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path / "data"))
    vt = Vaultak(
        publisher=publisher,
        blocked_resources=["*blocked*"],
        max_risk_score=1.0,
        max_actions_per_minute=10**6,
        mode="block",
    )
    yield vt
    vt.close()


def sent(publisher: RecordingPublisher) -> bytes:
    return b"\n".join(
        b"|".join([key, value, *(v for _, v in headers)]) for _, key, value, headers in publisher.messages
    )


@pytest.mark.parametrize("secret", SECRETS)
def test_no_event_of_any_kind_carries_it(vt: Vaultak, publisher: RecordingPublisher, secret: str) -> None:
    told = f"use password={secret} please"

    @vt.action("database_write", resource=f"db://app:{secret}@pg/crm")
    def write(note: str, *, password: str) -> str:
        if note == "fail":
            raise ValueError(told)
        return told

    with vt.monitor("agent", labels={"password": secret, "role": told}) as m:
        m.context(told, "user")
        m.check("custom", told, {"token": secret, "nested": [{"argv": ["x", "--password", secret]}], "text": told})
        write(told, password=secret)
        with pytest.raises(ValueError, match="password"):
            write("fail", password=secret)
        with pytest.raises(ActionBlockedError):
            vt.action("custom", resource=f"blocked?password={secret}&x=1")(lambda: None)()
    kinds = {type(event) for event in publisher.events()}
    assert {Action, Outcome, Context} <= kinds
    assert secret.encode() not in sent(publisher)
    assert b"[REDACTED:" in sent(publisher)


def test_what_the_interceptor_sees_carries_it_neither(
    vt: Vaultak, publisher: RecordingPublisher, tmp_path: Path
) -> None:
    with vt.monitor("agent"):
        subprocess.run([sys.executable, "-c", "pass", "--password", PASSWORD], check=True)
        subprocess.run(f"PASSWORD={PASSWORD} true", shell=True, check=True)
        (tmp_path / f"password={PASSWORD}").write_text("x")
        connection = sqlite3.connect(tmp_path / "crm.db")
        connection.execute("CREATE TABLE users (name, password)")
        connection.execute(f"UPDATE users SET password = '{PASSWORD}'")
        connection.close()
    assert len([event for event in publisher.events() if isinstance(event, Action)]) >= 4
    assert PASSWORD.encode() not in sent(publisher)


def test_ones_own_secrets_are_named_where_the_client_is_made(publisher: RecordingPublisher, tmp_path: Path) -> None:
    vt = Vaultak(publisher=publisher, redact=Redaction(names=["maiden_name"], allow=["AKIA[Q]+"]))
    with vt.monitor("agent", intercept=False) as m:
        m.check("custom", "x", {"maiden_name": "Smith", "id": SECRETS[2]})
    vt.close()
    assert b"Smith" not in sent(publisher)
    assert SECRETS[2].encode() in sent(publisher)
