"""Brings commands from Kafka to the agents of this process: verified, in order, each once, acknowledged."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from vaultak.chain import Publishes
from vaultak.config import Settings
from vaultak.control.hub import Hub, hub_for
from vaultak.control.policies import Shelf
from vaultak.control.signatures import TrustStore
from vaultak.wire import (
    Ack,
    AckResult,
    Command,
    CommandType,
    PolicyRecord,
    StateRecord,
    ce_headers,
    encode,
    format_ts,
    parse_ts,
)
from vaultak.wire.commands import EVERY_AGENT

log = logging.getLogger("vaultak.control")

REMEMBERED_COMMANDS = 4096
CLOCK_TOLERANCE_S = 5.0
"""How far the clocks of whoever commands and of this machine may differ."""

_STATE_COMMANDS = (CommandType.PAUSE, CommandType.RESUME, CommandType.KILL)

OnCommand = Callable[[Command], tuple[AckResult, str]]
OnState = Callable[[StateRecord], None]
OnPolicy = Callable[[Shelf], str]
"""What changed by the pushed policies known now: the version that counts from here on, empty when nothing did."""


class ControlListener:
    """Follows the commands to one agent.

    `on_command` is called on the listening thread and says what to acknowledge; it should be quick. Obeyed is only
    what is signed by a trusted key, unexpired, addressed to this agent or to all, and new. An act (rollback, approve,
    deny) from before this listener began is not repeated. A failure in here never reaches the host program.
    """

    def __init__(
        self,
        settings: Settings,
        agent_id: str,
        instance: str,
        on_command: OnCommand,
        on_state: OnState,
        publisher: Publishes,
        on_policy: OnPolicy | None = None,
    ) -> None:
        self.agent_id = agent_id
        self._settings = settings
        self._instance = instance
        self._on_command = on_command
        self._on_state = on_state
        self._on_policy = on_policy
        self._publisher = publisher
        self._trust = TrustStore(settings.data_dir / "keys")
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._ready = threading.Event()
        self._told = threading.Event()
        self._began_s = time.time()
        self._hub: Hub | None = None

    def start(self) -> None:
        """Follow; connects in the background, for as long as that takes."""
        self._hub = hub_for(self._settings)
        self._hub.add(self)

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether the agent's last state is known and commands are followed; waits up to `timeout_s`."""
        return self._ready.wait(timeout_s)

    def wait_told(self, timeout_s: float) -> bool:
        """As `wait_ready`, but gives up at once when the broker cannot be reached."""
        self._told.wait(timeout_s)
        return self._ready.is_set()

    def stop(self) -> None:
        if self._hub is not None:
            self._hub.remove(self)
            self._hub = None

    # -- called by the hub -------------------------------------------------------------------------------------

    def ready(self) -> None:
        self._ready.set()
        self._told.set()

    def unreachable(self) -> None:
        """No broker answers for now. Readiness comes later, and with it the agent's state."""
        self._told.set()

    def state(self, record: StateRecord) -> None:
        """Take over a stored state if the command that led to it is genuine (it does not expire)."""
        command = record.command
        if not self._concerns(record.agent_id) or not self._concerns(command.agent_id):
            return
        if refusal := self._refusal(command):
            log.warning("the stored state of agent %r is not used: %s", self.agent_id, refusal)
        elif record.epoch == command.epoch:
            self._on_state(record)

    def policy(self, shelf: Shelf, record: PolicyRecord | None) -> None:
        """Take over what was pushed, verified by the hub, and acknowledge `record` where it led to a change."""
        if self._on_policy is None:
            return
        try:
            version = self._on_policy(shelf)
        except Exception as e:
            log.exception("agent %r cannot take over a pushed policy", self.agent_id)
            if record is not None:
                self._answer(record.policy_id, AckResult.FAILED, f"{type(e).__name__}: {e}")
            return
        if record is not None and version:
            self._answer(record.policy_id, AckResult.APPLIED, version)

    def command(self, command: Command) -> None:
        """Judge and obey one command, and acknowledge it."""
        if not self._concerns(command.agent_id) or command.command_id in self._seen:
            return
        if refusal := self._refusal(command):  # not remembered: a forged copy must not use up a genuine command's id
            self._reject(command, refusal)
            return
        self._remember(command.command_id)
        if command.command is CommandType.ROLLBACK:
            # Compensations are the host's code and take their time; a kill must not queue up behind them.
            threading.Thread(target=self._carry_out, args=(command,), name="vaultak-rollback", daemon=True).start()
        else:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        try:
            result, detail = self._obey(command)
        except Exception as e:
            log.exception("command %s failed in agent %r", command.command_id, self.agent_id)
            result, detail = AckResult.FAILED, f"{type(e).__name__}: {e}"
        if result is AckResult.REJECTED:
            self._reject(command, detail)
        else:
            self._acknowledge(command, result, detail)

    def _refusal(self, command: Command) -> str:
        """Why the signature does not make this command genuine; empty when it does."""
        try:
            return self._trust.verify(command)
        except Exception as e:
            log.exception("command %s to agent %r cannot be verified", command.command_id, self.agent_id)
            return f"cannot be verified: {type(e).__name__}"

    def _reject(self, command: Command, why: str) -> None:
        log.warning("command %s to agent %r rejected: %s", command.command_id, self.agent_id, why)
        self._acknowledge(command, AckResult.REJECTED, why)

    def _concerns(self, agent_id: str) -> bool:
        return agent_id in (self.agent_id, EVERY_AGENT)

    def _remember(self, command_id: str) -> None:
        self._seen[command_id] = None
        if len(self._seen) > REMEMBERED_COMMANDS:
            self._seen.popitem(last=False)

    def _obey(self, command: Command) -> tuple[AckResult, str]:
        now_s = time.time()
        try:
            issued_s, expires_s = parse_ts(command.ts), parse_ts(command.expires_at)
        except ValueError as e:
            return AckResult.REJECTED, str(e)
        if now_s - CLOCK_TOLERANCE_S > expires_s:
            return AckResult.REJECTED, f"expired {now_s - expires_s:.0f} s ago"
        if command.command not in _STATE_COMMANDS and issued_s < self._began_s - CLOCK_TOLERANCE_S:
            return AckResult.IGNORED, "issued before this instance began"
        return self._on_command(command)

    def _acknowledge(self, command: Command, result: AckResult, detail: str) -> None:
        self._answer(command.command_id, result, detail)

    def _answer(self, message_id: str, result: AckResult, detail: str) -> None:
        now = format_ts(time.time())
        ack = Ack(
            command_id=message_id,
            agent_id=self.agent_id,
            instance=self._instance,
            ts=now,
            result=result,
            detail=detail[:1000],
        )
        headers = ce_headers("ack", f"{message_id}:{self._instance}", f"/agents/{self.agent_id}", now)
        self._publisher.emit(self._settings.topics.acks, self.agent_id.encode(), encode(ack), headers)
