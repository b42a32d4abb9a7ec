"""Any OpenTelemetry exporter, pointed at the gateway: tool spans become actions with their outcome."""

from __future__ import annotations

import contextlib
import gzip
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from vaultak_streams.otel.events import Translator
from vaultak_streams.otel.spans import ExportError, from_json, from_protobuf

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def export(*spans: dict[str, str], **changes: Any) -> dict[str, Any]:
    """An export in OTLP's JSON, one span for each set of attributes."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [attribute("service.name", "shop")]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": TRACE,
                                "spanId": f"{int(SPAN, 16) + n:016x}",
                                "name": "execute_tool",
                                "startTimeUnixNano": "1700000000000000000",
                                "endTimeUnixNano": "1700000000250000000",
                                "attributes": [attribute(key, value) for key, value in attributes.items()],
                                **changes,
                            }
                            for n, attributes in enumerate(spans)
                        ]
                    }
                ],
            }
        ]
    }


TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "refund",
    "gen_ai.agent.id": "clerk",
    "gen_ai.conversation.id": "talk-1",
    "gen_ai.tool.call.arguments": '{"amount": 10}',
    "gen_ai.tool.call.result": "done",
}


def in_protobuf(value: dict[str, Any]) -> bytes:
    """The same export as an SDK's exporter encodes it."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    for resource in value["resourceSpans"]:
        to = request.resource_spans.add()
        _fill(to.resource.attributes, resource["resource"]["attributes"])
        for scope in resource["scopeSpans"]:
            scope_to = to.scope_spans.add()
            for span in scope["spans"]:
                span_to = scope_to.spans.add(
                    trace_id=bytes.fromhex(span["traceId"]),
                    span_id=bytes.fromhex(span["spanId"]),
                    name=span["name"],
                    start_time_unix_nano=int(span["startTimeUnixNano"]),
                    end_time_unix_nano=int(span["endTimeUnixNano"]),
                )
                _fill(span_to.attributes, span["attributes"])
    return request.SerializeToString()


def _fill(to: Any, attributes: list[dict[str, Any]]) -> None:
    for one in attributes:
        to.add(key=one["key"]).value.string_value = one["value"]["stringValue"]


@pytest.fixture(scope="module")
def served(alone: Callable[..., Any]) -> Iterator[Any]:
    with alone() as running:
        yield running


def test_both_encodings_say_the_same() -> None:
    value = export(TOOL, {"http.request.method": "GET"})
    assert list(from_json(json.dumps(value).encode())) == list(from_protobuf(in_protobuf(value)))


def test_a_tool_span_becomes_an_action_and_its_outcome() -> None:
    action, outcome = Translator().events(from_json(json.dumps(export(TOOL)).encode()), "")
    assert (action.agent_id, action.session_id, action.resource) == ("clerk", "talk-1", "tool:refund")
    assert (action.trace_id, action.span_id, action.action_id) == (TRACE, SPAN, f"otlp-{TRACE}-{SPAN}")
    assert action.ts == "2023-11-14T22:13:20.000000Z"
    assert action.payload == {"tool": "refund", "arguments": {"amount": 10}}
    assert (outcome.action_id, outcome.status, outcome.content) == (action.action_id, "ok", "done")
    assert outcome.duration_ms == 250


def test_what_failed_and_what_was_asked_is_told() -> None:
    asked = {**TOOL, "gen_ai.input.messages": '[{"role": "user", "content": "give it back"}]'}
    failed = export(asked, asked, status={"code": 2, "message": "no money"})
    context, _, outcome, *rest = Translator().events(from_json(json.dumps(failed).encode()), "")
    assert (context.content, outcome.status, outcome.error) == ("give it back", "error", "no money")
    assert len(rest) == 2  # asked once, however often it is shown


def test_a_span_without_an_agent_is_the_services() -> None:
    anonymous = {key: value for key, value in TOOL.items() if key != "gen_ai.agent.id"}
    action, _ = Translator().events(from_json(json.dumps(export(anonymous)).encode()), "")
    assert action.agent_id == "shop"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("encoding", ["application/json", "application/x-protobuf"])
def test_an_export_is_taken_and_one_that_is_sent_again_changes_nothing(
    served: Any, encoding: str, compressed: bool
) -> None:
    client: httpx.Client = served.client("clerk")
    value = export(TOOL, traceId=uuid.uuid4().hex)
    body = in_protobuf(value) if "protobuf" in encoding else json.dumps(value).encode()
    headers = {"content-type": encoding} | ({"content-encoding": "gzip"} if compressed else {})
    counts = served.gateway.intake.counts
    before = (counts.actions, counts.outcomes)
    for _ in range(2):
        answer = client.post("/v1/traces", content=gzip.compress(body) if compressed else body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, encoding)
    assert (counts.actions, counts.outcomes) == (before[0] + 1, before[1] + 1)


def test_spans_of_other_agents_are_rejected_and_said(served: Any) -> None:
    client = served.client("somebody-else")
    answer = client.post("/v1/traces", json=export(TOOL)).json()
    assert answer["partialSuccess"]["rejectedSpans"] == "1"
    assert "clerk" in answer["partialSuccess"]["errorMessage"]
    content, headers = in_protobuf(export(TOOL)), {"content-type": "application/x-protobuf"}
    answer = client.post("/v1/traces", content=content, headers=headers)
    response = trace_service_pb2.ExportTraceServiceResponse.FromString(answer.content)
    assert response.partial_success.rejected_spans == 1


def test_bombs_and_nonsense_are_refused(alone: Callable[..., Any]) -> None:
    with alone(max_body_bytes=65536) as small:
        client = small.client("clerk")
        bomb = gzip.compress(b" " * 20_000_000)
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        assert client.post("/v1/traces", content=bomb, headers=headers).status_code == 413
        assert client.post("/v1/traces", content=b"no gzip", headers=headers).status_code == 400
        assert client.post("/v1/traces", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
        assert client.post("/v1/traces", json={"resourceSpans": 3}).status_code == 400
        assert httpx.post(f"{small.at}/v1/traces", json=export(TOOL)).status_code == 401


@given(st.binary(max_size=400))
def test_whatever_the_bytes_they_are_spans_or_refused(body: bytes) -> None:
    for read in (from_json, from_protobuf):
        with contextlib.suppress(ExportError):
            list(Translator().events(read(body), "agent"))


def test_the_exporter_of_the_opentelemetry_sdk_is_served_as_it_is(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = served.gateway.keys.add(["clerk"])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{served.at}/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"Authorization=Bearer%20{key}")
    exporter = OTLPSpanExporter(compression=Compression.Gzip)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    before = served.gateway.intake.counts.actions
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("invoke_agent"):
        for _ in range(3):
            with tracer.start_as_current_span("execute_tool refund", attributes=TOOL):
                pass
    assert provider.force_flush(10_000)
    provider.shutdown()
    assert served.gateway.intake.counts.actions == before + 3
