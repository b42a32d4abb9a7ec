"""The Faust application: one agent on the actions topic, a changelog of profiles, and nothing that costs unused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.tables.manager import TableManager
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs
from vaultak_streams.agents.changelog import Changelog
from vaultak_streams.agents.job import StreamJob
from vaultak_streams.agents.options import WorkerOptions, changelog_topic, group_id
from vaultak_streams.agents.publisher import Publisher, SightingSigner, Signer
from vaultak_streams.agents.readiness import wait_until_ready
from vaultak_streams.agents.status import WorkerStatus
from vaultak_streams.agents.transport import Inbox, Transport, Tuning
from vaultak_streams.metrics.worker import WorkerMeter
from vaultak_streams.pipeline.engine import P
from vaultak_streams.pipeline.step import Pipeline
from vaultak_streams.senders import Senders

EMBEDDED_FETCH_WAIT_MS = 10
EMBEDDED_SESSION_S = 3.0
"""The embedded broker lets a group's first member wait for half a session, and one that comes after a crash for more
than two: on one machine nothing speaks for a long one."""

FETCH_WAIT_MS = 500
SESSION_S = 10.0


class NoTables(TableManager):  # type: ignore[misc]  # Faust ships no types
    """The profiles are kept by the job: there are no tables whose registration Faust would wait a second for."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class JobApp(faust.App):  # type: ignore[misc]  # Faust ships no types
    """A Faust app with the parts that its transport looks for."""

    tuning: Tuning
    inbox: Inbox
    senders: Senders | None
    actions_topic: str
    output_topics: tuple[str, ...]
    job: StreamJob[Any]

    def _create_directories(self) -> None:
        """Nothing of this app is on disk."""


def make_app(
    settings: Settings,
    options: WorkerOptions,
    pipeline: Pipeline[P],
    load_profile: Callable[[bytes], P],
    sign: Signer,
    sign_sighting: SightingSigner,
    status: WorkerStatus,
    *,
    embedded: bool,
    ready: Callable[[], Awaitable[Any]] | None = None,
    meter: WorkerMeter | None = None,
) -> JobApp:
    """The application of one worker, ready to start on the running event loop.

    `embedded`: the broker is the stack's own, whose fetches are not woken by new records. `ready`: what is waited for
    before partitions are taken up; the topics if nothing else is named.
    """
    session_s = options.session_timeout_s or (EMBEDDED_SESSION_S if embedded else SESSION_S)
    app = _bare_app(settings, options, session_s)
    client = client_kwargs(settings)
    app.tuning = Tuning(
        client=client,
        group_id=group_id(settings),
        instance_id=options.instance_id or None,
        batch_records=options.batch_records,
        fetch_wait_ms=options.fetch_wait_ms or (EMBEDDED_FETCH_WAIT_MS if embedded else FETCH_WAIT_MS),
        session_timeout_ms=int(session_s * 1000),
    )
    app.inbox = Inbox()
    app.senders = Senders.required(settings)
    app.transport = Transport(app.conf.broker_consumer, app)
    topic = app.actions_topic = settings.topics.actions
    names = settings.topics
    app.output_topics = (
        names.verdicts,
        names.control,
        names.agent_state,
        names.incidents,
        names.dead_letter,
        names.baselines,
    )
    app.job = StreamJob(
        pipeline,
        load_profile,
        Publisher(settings.topics, sign, sign_sighting, f"/workers/{options.name}", app.producer),
        Changelog(changelog_topic(settings), client),
        app.inbox,
        topic,
        ready or (lambda: wait_until_ready(settings, lambda why: None)),
        lambda: app.consumer,
        status,
        checkpoint_s=options.checkpoint_s,
        meter=meter,
    )
    _connect(app, topic)
    return app


def _bare_app(settings: Settings, options: WorkerOptions, session_s: float) -> JobApp:
    return JobApp(
        group_id(settings),
        broker="kafka://" + ";kafka://".join(server.strip() for server in settings.bootstrap_servers.split(",")),
        broker_client_id=f"vaultak-{options.name}",
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 5,
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        TableManager=NoTables,
        agent_supervisor=CrashingSupervisor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        logging_config=None,
        loghandlers=[],
    )


def _connect(app: JobApp, topic: str) -> None:
    """The agent, and what happens when partitions come and go."""
    job = app.job

    async def on_assigned(_app: Any, assigned: set[TP], **_: Any) -> None:
        job.assigned(tp.partition for tp in assigned if tp.topic == topic)

    async def on_revoked(_app: Any, _revoked: set[TP], **_: Any) -> None:
        await job.revoked()

    async def judge(_stream: Any) -> None:
        await job.run()

    app.on_partitions_assigned.connect(on_assigned, weak=False)
    app.on_partitions_revoked.connect(on_revoked, weak=False)
    # Offsets are committed by the job: Faust is not to acknowledge anything by itself.
    app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw", acks=False), name="judge")(judge)
