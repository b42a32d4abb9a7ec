"""A mail is judged by its recipients before any of it leaves."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from sdk.intercept.loopback import Mailbox, receiving
from sdk.intercept.recorder import Asked, Recorder, governed
from vaultak.errors import ActionBlockedError
from vaultak.intercept import faults, install
from vaultak.intercept.mail import resource_of

install()


@pytest.fixture(scope="module")
def server() -> Iterator[Mailbox]:
    with receiving() as box:
        yield box


@pytest.fixture(autouse=True)
def _fresh(server: Mailbox) -> Iterator[None]:
    server.delivered.clear()
    before = faults.total()
    yield
    assert faults.total() == before, faults


def mails_of(recorder: Recorder) -> list[Asked]:
    return [asked for asked in recorder.asked if asked.action_type == "message_send"]


def letter(to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "me@here.example", to, "figures"
    message.set_content("as asked")
    return message


def test_each_recipient_is_one_action_with_its_outcome(server: Mailbox) -> None:
    with governed(Recorder()) as agent, smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.send_message(letter("Ann <ann@a.example>, Bob@B.example"))
    assert [asked.resource for asked in mails_of(agent)] == ["mailto:ann@a.example", "mailto:bob@b.example"]
    first = mails_of(agent)[0]
    assert (first.outcome, first.assurance, first.payload["sender"]) == ("ok", "patch", "me@here.example")
    assert first.payload["recipients"] == ["mailto:ann@a.example", "mailto:bob@b.example"]
    assert "Subject: figures" in first.payload["message"]
    assert [recipients for recipients, _ in server.delivered] == [["ann@a.example", "Bob@B.example"]]


def test_one_denied_recipient_stops_the_mail_for_all(server: Mailbox) -> None:
    agent = Recorder(denies=lambda _type, resource: resource.endswith("@evil.example"))
    with governed(agent), smtplib.SMTP("127.0.0.1", server.port) as smtp, pytest.raises(ActionBlockedError):
        smtp.sendmail("me@here.example", ["ann@a.example", "x@evil.example"], "secret figures")
    assert server.delivered == []
    # The recorder leaves the denied action as it is; the monitor settles it.
    assert [(asked.outcome, asked.denied) for asked in mails_of(agent)] == [("denied", False), ("", True)]


def test_recipients_told_line_by_line_are_judged(server: Mailbox) -> None:
    agent = Recorder(denies=lambda _type, resource: resource.endswith("@evil.example"))
    with governed(agent), smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.ehlo()
        smtp.mail("me@here.example")
        smtp.rcpt("ann@a.example")
        with pytest.raises(ActionBlockedError):
            smtp.rcpt("<x@evil.example>")
    assert [asked.resource for asked in mails_of(agent)] == ["mailto:ann@a.example", "mailto:x@evil.example"]
    assert server.delivered == []


def test_recipients_that_have_an_order_of_their_own_all_get_it(server: Mailbox) -> None:
    class Names:
        def __iter__(self) -> Iterator[str]:
            return iter(("a@a.example", "b@b.example"))

        def __len__(self) -> int:
            return 2

    with governed(Recorder()) as agent, smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.sendmail("me@here.example", Names(), "text")  # type: ignore[arg-type]
    assert [asked.resource for asked in mails_of(agent)] == ["mailto:a@a.example", "mailto:b@b.example"]
    assert [recipients for recipients, _ in server.delivered] == [["a@a.example", "b@b.example"]]


def test_outside_every_monitor_mail_goes_out(server: Mailbox) -> None:
    with smtplib.SMTP("127.0.0.1", server.port) as smtp:
        smtp.sendmail("me@here.example", "ann@a.example", "text")
    assert len(server.delivered) == 1


@pytest.mark.parametrize(
    ("recipient", "resource"),
    [
        ("Ann <Ann@A.example>", "mailto:ann@a.example"),
        ("<ann@a.example>", "mailto:ann@a.example"),
        (b"ann@a.example", "mailto:ann@a.example"),
        ("", "mailto:"),
    ],
)
def test_one_address_has_one_name(recipient: object, resource: str) -> None:
    assert resource_of(recipient) == resource
