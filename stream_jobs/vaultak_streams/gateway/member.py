"""One agent that acts through the gateway: judged, recorded and commanded as one that uses the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from http import HTTPStatus

from vaultak.agent import Agent
from vaultak.chain import Publishes
from vaultak.config import Settings
from vaultak.control import ControlListener
from vaultak.emitter import Emitter, Span
from vaultak.policy.evaluate import CompiledPolicy
from vaultak.redact import Redactor
from vaultak.wire import (
    Ack,
    AckResult,
    AgentState,
    Command,
    CommandType,
    Decision,
    ce_headers,
    encode,
    format_ts,
    parse_ts,
    uuid7,
)
from vaultak_streams.gateway.judgement import Judgement
from vaultak_streams.gateway.messages import AckSent, ActionSent, CommandSeen, ContextSent, OutcomeSent
from vaultak_streams.gateway.refusals import RefusedError

MAX_HELD = 1_000
"""Actions of one agent that wait for an operator; the oldest is no longer listened for."""

MAX_COMMANDS = 200
"""Commands kept for a client that asks for them."""

STATE_TIMEOUT_S = 1.0
"""How long the first request of an agent waits for what state it is in."""

_RULINGS = {
    CommandType.APPROVE: Decision.ALLOW,
    CommandType.DENY: Decision.BLOCK,
    CommandType.RESUME: Decision.ALLOW,
    CommandType.KILL: Decision.KILL,
}


class Member:
    """The governed side of an agent, made in a thread (it waits for the agent's state), used on the event loop."""

    def __init__(
        self,
        settings: Settings,
        agent_id: str,
        policy: CompiledPolicy,
        publisher: Publishes,
        redactor: Redactor,
        call_soon: Callable[..., object],
    ) -> None:
        self.agent_id = agent_id
        self._settings, self._publisher, self._call_soon = settings, publisher, call_soon
        self._emitter = Emitter(agent_id, settings.topics.actions, publisher, redactor)
        self._agent = Agent(self._emitter, policy, None, rollback_limit=0, pause_timeout_s=0, trail_limit=1)
        self._labels: dict[str, str] = {}
        self._held: OrderedDict[str, Judgement] = OrderedDict()
        self._commands: deque[CommandSeen] = deque(maxlen=MAX_COMMANDS)
        self._cursor = time.time_ns() // 1000
        """Rises through restarts of the gateway too."""
        self._came = asyncio.Event()
        self._listener = ControlListener(
            settings, agent_id, self._emitter.instance, self._obey, self._agent.learn, publisher, self._agent.adopt
        )
        self._listener.start()
        self._listener.wait_told(STATE_TIMEOUT_S)

    def close(self) -> None:
        """Stop to obey. Blocks for a moment."""
        self._listener.stop()
        self._agent.close()

    @property
    def state(self) -> AgentState:
        return self._agent.state

    @property
    def busy(self) -> bool:
        """Something waits for a command to it."""
        return bool(self._held)

    # -- what the client sends ---------------------------------------------------------------------------------

    def judge(self, action: ActionSent) -> Judgement:
        """Decide on an action and put it on record. Raises `RefusedError` where it cannot be recorded."""
        if action.labels != self._labels:
            self._labels = action.labels
            self._agent.describe(action.labels)
        unrecorded = self._agent.unrecorded
        span = Span(action.trace_id, action.span_id) if action.trace_id or action.span_id else None
        done = self._agent.judge(
            action.session_id,
            action.action_type,
            action.resource,
            action.payload,
            labels=action.labels,
            parent_action_id=action.parent_action_id,
            action_id=action.action_id or uuid7(),
            at_s=None if action.ts is None else parse_ts(action.ts),
            span=span,
        )
        if self._agent.unrecorded > unrecorded:
            raise RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the action cannot be recorded: do not run it")
        return Judgement(self.agent_id, done.action_id, done.verdict, self._agent.policy_version, self._hold)

    def _hold(self, judgement: Judgement) -> None:
        """Let commands rule on it."""
        self._held[judgement.action_id] = judgement
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)

    def outcome(self, sent: OutcomeSent) -> None:
        """Record what came of an action."""
        self._held.pop(sent.action_id, None)
        self._emitter.outcome(
            sent.action_id,
            sent.session_id,
            time.time() if sent.ts is None else parse_ts(sent.ts),
            sent.status,
            content=sent.content,
            error=sent.error,
            duration_ms=sent.duration_ms,
        )

    def context(self, sent: ContextSent) -> str:
        """Record what the agent was asked. Returns the event's id."""
        context_id = uuid7()
        at_s = time.time() if sent.ts is None else parse_ts(sent.ts)
        self._emitter.context(context_id, sent.session_id, at_s, sent.source, sent.content)
        return context_id

    def acknowledge(self, ack: AckSent) -> None:
        """Pass on what the client did with a command."""
        now, instance = format_ts(time.time()), ack.instance or f"{self._emitter.instance}/client"
        topic, key = self._settings.topics.acks, self.agent_id.encode()
        value = Ack(
            command_id=ack.command_id,
            agent_id=self.agent_id,
            instance=instance,
            ts=now,
            result=ack.result,
            detail=ack.detail,
        )
        headers = ce_headers("ack", f"{ack.command_id}:{instance}", f"/agents/{self.agent_id}", now)
        self._publisher.emit(topic, key, encode(value), headers)

    # -- commands ----------------------------------------------------------------------------------------------

    @property
    def cursor(self) -> int:
        return self._cursor

    def commands(self, after: int) -> tuple[CommandSeen, ...]:
        """Those that came behind a cursor, oldest first, as far as they are kept."""
        return tuple(seen for seen in self._commands if seen.cursor > after)

    async def wait_for_command(self, after: int, until_s: float) -> None:
        """Until one is there, or the loop's clock shows `until_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                while self._cursor <= after:
                    self._came.clear()
                    await self._came.wait()

    def _obey(self, command: Command) -> tuple[AckResult, str]:
        """On the control thread: a verified command, each once."""
        if command.command is CommandType.ROLLBACK:
            result = AckResult.IGNORED, "the gateway cannot undo; handed to the client"
        else:
            waits = command.action_id in self._held
            result = self._agent.obey(command)
            if waits and command.command in (CommandType.APPROVE, CommandType.DENY):
                result = AckResult.APPLIED, ""
        self._call_soon(self._took, command, result[0])
        return result

    def _took(self, command: Command, result: AckResult) -> None:
        """On the event loop: what the command does to actions that wait, and to clients that wait for commands."""
        ruling = _RULINGS.get(command.command)
        if ruling is not None and result is AckResult.APPLIED:
            if command.command in (CommandType.APPROVE, CommandType.DENY):
                ruled = [self._held.pop(command.action_id, None)]
            else:
                lifted = [j for j in self._held.values() if ruling is Decision.KILL or not j.local.approval]
                ruled = [self._held.pop(judgement.action_id, None) for judgement in lifted]
            for judgement in ruled:
                if judgement is not None:
                    judgement.rule(ruling)
        self._cursor = max(self._cursor + 1, time.time_ns() // 1000)
        self._commands.append(CommandSeen(cursor=self._cursor, command=command))
        self._came.set()
