"""A Messages API on the loopback that says what a script says."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Step = list[tuple[str, dict[str, Any]]] | str


class MessagesApi:
    """Serves until the `with` block ends; `seen` is all that the model was shown."""

    def __init__(self, script: list[Step], prefix: str = "") -> None:
        self.script = list(script)
        self.seen: list[str] = []
        self._prefix = prefix
        self._lock = threading.Lock()
        self._turn = 0

    def __enter__(self) -> MessagesApi:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                return None

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                self._send("application/json", b"{}")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                if not self.path.startswith("/v1/messages") or "count_tokens" in self.path:
                    self._send("application/json", b'{"input_tokens": 1}')
                elif body.get("stream"):
                    self._send("text/event-stream", b"".join(api.events(body)))
                else:
                    self._send("application/json", json.dumps(api.message(body)).encode())

            def _send(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def message(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            step: Step = "ok"
            if body.get("tools"):
                self.seen.append(json.dumps(body.get("messages")))
                step = self.script.pop(0) if self.script else "all done"
            self._turn += 1
            turn = self._turn
        if isinstance(step, str):
            content: list[dict[str, Any]] = [{"type": "text", "text": step}]
        else:
            content = [
                {"type": "tool_use", "id": f"toolu_{turn}_{n}", "name": self._named(name), "input": arguments}
                for n, (name, arguments) in enumerate(step)
            ]
        return {
            "id": f"msg_{turn}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "scripted"),
            "content": content,
            "stop_reason": "end_turn" if isinstance(step, str) else "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def _named(self, tool: str) -> str:
        return tool if tool[:1].isupper() else self._prefix + tool

    def events(self, body: dict[str, Any]) -> list[bytes]:
        message = self.message(body)
        content, stop = message.pop("content"), message.pop("stop_reason")
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
        ]
        for index, block in enumerate(content):
            if block["type"] == "text":
                start, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
            else:
                start = {**block, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            events += [
                {"type": "content_block_start", "index": index, "content_block": start},
                {"type": "content_block_delta", "index": index, "delta": delta},
                {"type": "content_block_stop", "index": index},
            ]
        end = {"stop_reason": stop, "stop_sequence": None}
        events += [{"type": "message_delta", "delta": end, "usage": {"output_tokens": 1}}, {"type": "message_stop"}]
        return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
