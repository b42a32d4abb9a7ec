"""Tool spans of a real OpenTelemetry SDK are actions: judged, recorded, stopped; and they carry the verdict."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode, Tracer

from vaultak import ActionBlockedError, AgentKilledError, ConfigurationError, Vaultak
from vaultak.spans.processor import VaultakSpanProcessor
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Context, Outcome


class Bench:
    """A tracer whose spans are judged, what was recorded, and what was exported."""

    def __init__(self, vt: Vaultak, recorded: RecordingPublisher, **options: Any) -> None:
        self.vt, self._recorded = vt, recorded
        self.processor = VaultakSpanProcessor(vt, "tracer", **options)
        self.exported = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.processor)
        self._provider.add_span_processor(SimpleSpanProcessor(self.exported))

    @property
    def tracer(self) -> Tracer:
        return self._provider.get_tracer("bench")

    @property
    def events(self) -> list[Any]:
        return list(self._recorded.events())

    def verdicts(self) -> list[dict[str, Any]]:
        spans = self.exported.get_finished_spans()
        events = [event for span in spans for event in span.events if event.name == "vaultak.verdict"]
        return [dict(event.attributes or {}) for event in events]


@pytest.fixture
def make() -> Iterator[Any]:
    clients = []

    def bench(**options: Any) -> Bench:
        recorded = RecordingPublisher()
        vt = Vaultak(publisher=recorded, blocked_resources=["tool:delete_*"], mode="block", rollback_limit=0)
        clients.append(vt)
        return Bench(vt, recorded, **options)

    yield bench
    for vt in clients:
        vt.close(0)


BERN = '{"city": "Bern"}'


def genai(tool: str, **more: Any) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.agent.id": "clerk",
        "gen_ai.conversation.id": "talk-1",
        **more,
    }


def test_a_tool_span_is_an_action_with_its_outcome_and_its_place_in_the_trace(make: Any) -> None:
    bench = make()
    arguments = json.dumps({"city": "Bern"})
    attributes = genai("weather", **{"gen_ai.tool.call.arguments": arguments, "gen_ai.tool.call.id": "call-7"})
    with bench.tracer.start_as_current_span("execute_tool weather", attributes=attributes) as span:
        span.set_attribute("gen_ai.tool.call.result", "snow")
    action, outcome = bench.events
    assert isinstance(action, Action)
    assert isinstance(outcome, Outcome)
    assert (action.agent_id, action.session_id, action.resource) == ("clerk", "talk-1", "tool:weather")
    assert action.payload == {"tool": "weather", "arguments": {"city": "Bern"}, "call_id": "call-7"}
    assert action.trace_id == f"{span.get_span_context().trace_id:032x}"
    assert action.span_id == f"{span.get_span_context().span_id:016x}"
    assert (outcome.action_id, outcome.status, outcome.content) == (action.action_id, "ok", "snow")
    [verdict] = bench.verdicts()
    assert (verdict["vaultak.action.id"], verdict["vaultak.decision"]) == (action.action_id, "allow")


def test_a_denied_tool_does_not_run_where_denials_are_raised(make: Any) -> None:
    bench, ran = make(on_block="raise"), []
    with pytest.raises(ActionBlockedError, match="delete"):
        with bench.tracer.start_as_current_span("execute_tool delete_all", attributes=genai("delete_all")):
            ran.append(True)
    assert ran == []
    action, outcome = bench.events
    assert (action.local.decision, outcome.status) == ("block", "denied")
    assert [verdict["vaultak.decision"] for verdict in bench.verdicts()] == ["block"]
    with bench.tracer.start_as_current_span("execute_tool weather", attributes=genai("weather")):
        ran.append(True)
    assert ran == [True]


def test_it_is_marked_and_runs_where_they_are_not(make: Any) -> None:
    bench = make()
    with bench.tracer.start_as_current_span("execute_tool delete_all", attributes=genai("delete_all")):
        pass
    [verdict] = bench.verdicts()
    assert verdict["vaultak.decision"] == "block"
    assert "blocked_resources" in verdict["vaultak.rules"]


def test_a_killed_agent_ends_at_its_next_tool(make: Any) -> None:
    bench = make(on_block="raise")
    with bench.tracer.start_as_current_span("execute_tool weather", attributes=genai("weather")):
        pass
    from vaultak.wire import AgentState

    bench.vt._agents["clerk"]._set_state(AgentState.KILLED, "by a test")
    with pytest.raises(AgentKilledError):
        bench.tracer.start_span("execute_tool weather", attributes=genai("weather"))
    assert bench.verdicts()[-1]["vaultak.decision"] == "kill"


def test_an_error_of_the_tool_is_its_outcome(make: Any) -> None:
    bench = make()
    with bench.tracer.start_as_current_span("execute_tool weather", attributes=genai("weather")) as span:
        span.set_status(Status(StatusCode.ERROR, "no network"))
    assert (bench.events[1].status, bench.events[1].error) == ("error", "no network")


def test_a_span_that_says_late_what_it_is_is_recorded_all_the_same(make: Any) -> None:
    bench = make()
    with bench.tracer.start_as_current_span("work") as span:
        span.set_attributes(genai("weather"))
    assert [type(event).__name__ for event in bench.events] == ["Action", "Outcome"]


def test_what_users_asked_is_recorded_once(make: Any) -> None:
    bench = make()
    messages = json.dumps(
        [
            {"role": "system", "parts": [{"type": "text", "content": "be kind"}]},
            {"role": "user", "parts": [{"type": "text", "content": "what is the weather?"}]},
        ]
    )
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.agent.id": "clerk", "gen_ai.input.messages": messages}
    for _ in range(3):
        with bench.tracer.start_as_current_span("chat m", attributes=attributes):
            pass
    [context] = bench.events
    assert isinstance(context, Context)
    assert (context.content, context.source) == ("what is the weather?", "user")


@pytest.mark.parametrize(
    "attributes",
    [
        {"openinference.span.kind": "TOOL", "tool.name": "weather", "input.value": BERN},
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "weather",
            "traceloop.entity.input": BERN,
        },
        {
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": "weather",
            "gen_ai.tool.call.arguments": BERN,
        },
        {"gen_ai.tool.name": "weather", "gen_ai.tool.call.id": "c1", "tool_arguments": BERN},
    ],
    ids=["openinference", "openllmetry", "mcp", "pydantic-ai"],
)
def test_other_conventions_are_read_too(make: Any, attributes: dict[str, str]) -> None:
    bench = make()
    with bench.tracer.start_as_current_span("x", attributes=attributes):
        pass
    assert (bench.events[0].agent_id, bench.events[0].resource) == ("tracer", "tool:weather")
    assert bench.events[0].payload["arguments"] == {"city": "Bern"}


def test_other_spans_are_left_alone(make: Any) -> None:
    bench = make(on_block="raise")
    with bench.tracer.start_as_current_span("GET /", attributes={"http.request.method": "GET"}):
        pass
    assert bench.events == []
    assert bench.verdicts() == []


HOSTILE = [
    ("\udfff", genai("\ud800", **{"gen_ai.tool.call.arguments": "[" * 100_000})),
    ("x", genai("y", **{"gen_ai.agent.id": "*"})),
    ("x", genai("", **{"gen_ai.conversation.id": "\ud800"})),
    ("x", genai("y", **{"gen_ai.tool.call.arguments": '{"a": NaN}', "gen_ai.input.messages": "{}"})),
]


@pytest.mark.parametrize(("name", "attributes"), HOSTILE)
def test_what_cannot_be_judged_breaks_no_program_and_is_denied_where_denials_are_raised(
    make: Any, name: str, attributes: dict[str, Any]
) -> None:
    with make().tracer.start_as_current_span(name, attributes=attributes):
        pass
    bench, ran = make(on_block="raise"), []
    with contextlib.suppress(ActionBlockedError):
        with bench.tracer.start_as_current_span(name, attributes=attributes):
            ran.append(True)
    assert bool(ran) == (bench.processor.errors == 0)


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match="on_block"):
        VaultakSpanProcessor(Vaultak(publisher=RecordingPublisher()), on_block="perhaps")  # type: ignore[arg-type]
