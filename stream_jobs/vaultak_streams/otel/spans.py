"""An OTLP trace export as spans, from its JSON and its protobuf encoding. Foreign bytes: bounded, never trusted."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

STATUS_ERROR = 2
MAX_DEPTH = 16
MAX_ATTRIBUTES = 512
"""Of one span; what is beyond is not looked at."""


class ExportError(ValueError):
    """Bytes that are no trace export."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A finished span. Ids in hex, times in nanoseconds since the epoch; resource attributes come first."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    failed: bool
    message: str


def from_protobuf(body: bytes) -> Iterator[Span]:
    """Raises `ExportError`."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as e:
        raise ExportError(f"no OTLP trace export: {e}") from None
    for resource_spans in request.resource_spans:
        shared = _plain_attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_span_id=span.parent_span_id.hex(),
                    name=span.name,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=shared | _plain_attributes(span.attributes),
                    failed=span.status.code == STATUS_ERROR,
                    message=span.status.message,
                )


def _plain_attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair, _ in zip(pairs, range(MAX_ATTRIBUTES), strict=False)}


def _plain(value: AnyValue, depth: int = 0) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > MAX_DEPTH:
        return None
    if kind == "array_value":
        return [_plain(member, depth + 1) for member in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value, depth + 1) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


class _JsonValue(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _JsonArray | None = None
    kvlist_value: _JsonObject | None = None
    bytes_value: str | None = None


class _JsonPair(msgspec.Struct):
    key: str = ""
    value: _JsonValue | None = None


class _JsonArray(msgspec.Struct):
    values: list[_JsonValue] = []


class _JsonObject(msgspec.Struct):
    values: list[_JsonPair] = []


Nanoseconds = int | Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")]


class _JsonStatus(msgspec.Struct):
    code: int | str = 0
    message: str = ""


class _JsonSpan(msgspec.Struct, rename="camel"):
    trace_id: Annotated[str, msgspec.Meta(pattern="^([0-9a-fA-F]{32})?$")] = ""
    span_id: Annotated[str, msgspec.Meta(pattern="^([0-9a-fA-F]{16})?$")] = ""
    parent_span_id: Annotated[str, msgspec.Meta(pattern="^([0-9a-fA-F]{16})?$")] = ""
    name: str = ""
    start_time_unix_nano: Nanoseconds = 0
    end_time_unix_nano: Nanoseconds = 0
    attributes: list[_JsonPair] = []
    status: _JsonStatus = msgspec.field(default_factory=_JsonStatus)


class _JsonScopeSpans(msgspec.Struct):
    spans: list[_JsonSpan] = []


class _JsonResource(msgspec.Struct):
    attributes: list[_JsonPair] = []


class _JsonResourceSpans(msgspec.Struct, rename="camel"):
    resource: _JsonResource = msgspec.field(default_factory=_JsonResource)
    scope_spans: list[_JsonScopeSpans] = []


class _JsonExport(msgspec.Struct, rename="camel"):
    resource_spans: list[_JsonResourceSpans] = []


_export = msgspec.json.Decoder(_JsonExport)


def from_json(body: bytes) -> Iterator[Span]:
    """Raises `ExportError`."""
    try:
        export = _export.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise ExportError(f"no OTLP trace export: {e}") from None
    for resource_spans in export.resource_spans:
        shared = _json_attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span(
                    trace_id=span.trace_id.lower(),
                    span_id=span.span_id.lower(),
                    parent_span_id=span.parent_span_id.lower(),
                    name=span.name,
                    start_ns=int(span.start_time_unix_nano),
                    end_ns=int(span.end_time_unix_nano),
                    attributes=shared | _json_attributes(span.attributes),
                    failed=span.status.code in (STATUS_ERROR, "STATUS_CODE_ERROR"),
                    message=span.status.message,
                )


def _json_attributes(pairs: list[_JsonPair]) -> dict[str, Any]:
    return {pair.key: _json_plain(pair.value) for pair in pairs[:MAX_ATTRIBUTES]}


def _json_plain(value: _JsonValue | None, depth: int = 0) -> Any:
    if value is None or depth > MAX_DEPTH:
        return None
    if value.array_value is not None:
        return [_json_plain(member, depth + 1) for member in value.array_value.values]
    if value.kvlist_value is not None:
        return {pair.key: _json_plain(pair.value, depth + 1) for pair in value.kvlist_value.values}
    if value.int_value is not None:
        return _number(value.int_value)
    plain = (value.string_value, value.bool_value, value.double_value, value.bytes_value)
    return next((one for one in plain if one is not None), None)


def _number(value: int | str) -> int | str:
    """64-bit integers travel as text in JSON."""
    text = str(value)
    return int(text) if len(text) <= 20 and text.removeprefix("-").isdecimal() else text
