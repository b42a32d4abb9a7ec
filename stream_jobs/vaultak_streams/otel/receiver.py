"""An OTLP/HTTP request, from its bytes to what is recorded and what the exporter is told."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from vaultak_streams.gateway.intake import Intake
from vaultak_streams.gateway.keys import ApiKey
from vaultak_streams.gateway.messages import ActionSent, OutcomeSent, Sent
from vaultak_streams.gateway.refusals import RefusedError, malformed, too_large
from vaultak_streams.otel.events import Translator
from vaultak_streams.otel.spans import ExportError, from_json, from_protobuf

PROTOBUF, JSON = "application/x-protobuf", "application/json"

MAX_RATIO = 16
"""A compressed body may unfold to so many times what a plain one may be."""


class Exported(msgspec.Struct, frozen=True):
    """The answer to an exporter."""

    body: bytes
    media_type: str


class Receiver:
    """Takes exports. Spans that are no tools and no requests of users are passed over: that is no error."""

    def __init__(self, intake: Intake, max_body_bytes: int) -> None:
        self._intake, self._max_body_bytes = intake, max_body_bytes
        self._translator = Translator()

    async def receive(self, key: ApiKey, headers: Mapping[str, str], body: bytes) -> Exported:
        """Record what an export tells. Raises `RefusedError`."""
        media_type = headers.get("content-type", "").split(";", 1)[0].strip().lower()
        if media_type not in (PROTOBUF, JSON):
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {PROTOBUF} or {JSON}")
        body = self._unfolded(headers.get("content-encoding", ""), body)
        try:
            spans = list((from_protobuf if media_type == PROTOBUF else from_json)(body))
        except ExportError as e:
            raise malformed(str(e)) from None
        told = list(self._translator.events(spans, _only_agent(key)))
        mine = [sent for sent in told if key.covers(sent.agent_id)]
        if fresh := [sent for sent in mine if not self._known(sent)]:
            await self._intake.take(key, fresh, 0)
        foreign = sorted({sent.agent_id for sent in told if not key.covers(sent.agent_id)})
        rejected = sum(isinstance(sent, ActionSent) and sent.agent_id in foreign for sent in told)
        why = f"this key does not speak for {', '.join(foreign[:5])}"[:500] if foreign else ""
        return _answer(media_type, rejected, why)

    def _known(self, sent: Sent) -> bool:
        """Whether an action of this id, whose outcome came along, is on record: the export was sent again."""
        return isinstance(sent, ActionSent | OutcomeSent) and self._intake.knows(sent.agent_id, sent.action_id or "")

    def _unfolded(self, encoding: str, body: bytes) -> bytes:
        if encoding in ("", "identity"):
            return body
        if encoding != "gzip":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "`Content-Encoding`: gzip or none")
        unfolding = zlib.decompressobj(wbits=31)
        try:
            unfolded = unfolding.decompress(body, self._max_body_bytes * MAX_RATIO)
        except zlib.error as e:
            raise malformed(f"no gzip: {e}") from None
        if unfolding.unconsumed_tail:
            raise too_large(f"the body unfolds to more than {self._max_body_bytes * MAX_RATIO} bytes")
        return unfolded


def _only_agent(key: ApiKey) -> str:
    """The agent of a key for one alone: of spans that name none."""
    return key.agents[0] if len(key.agents) == 1 and not key.agents[0].endswith("*") else ""


def _answer(media_type: str, rejected: int, why: str) -> Exported:
    if media_type == JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": why}} if rejected else {}
        return Exported(msgspec.json.encode(partial), JSON)
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans, response.partial_success.error_message = rejected, why
    return Exported(response.SerializeToString(), PROTOBUF)
