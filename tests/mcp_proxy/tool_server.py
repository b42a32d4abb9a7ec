"""An MCP server on standard streams: notes what it was asked to do in a file, and can be told to misbehave."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])


def tools() -> list[dict[str, Any]]:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    said = FOLDER / "description.txt"
    about = said.read_text() if said.exists() else "Take a note."
    names = [
        "note",
        "erase",
        "fail",
        *(json.loads((FOLDER / "more.json").read_text()) if (FOLDER / "more.json").exists() else []),
    ]
    return [{"name": name, "description": about if name == "note" else name, "inputSchema": schema} for name in names]


def send(members: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **members}) + "\n")
    sys.stdout.flush()


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with (FOLDER / "did.txt").open("a") as file:
        file.write(f"{name} {arguments.get('text', '')}\n")
    if name == "fail":
        return {"content": [{"type": "text", "text": "it broke"}], "isError": True}
    if arguments.get("text") == "wait":
        time.sleep(60)
    return {"content": [{"type": "text", "text": f"done {name}"}]}


def answer(message: dict[str, Any]) -> None:
    method, params = message.get("method"), message.get("params") or {}
    match method:
        case "initialize":
            result: dict[str, Any] = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "notes", "version": "1"}}
            result["capabilities"] = {"tools": {}}
        case "tools/list":
            result = {"tools": tools()}
        case "tools/call":
            result = call(str(params.get("name")), params.get("arguments") or {})
        case "resources/read":
            with (FOLDER / "did.txt").open("a") as file:
                file.write(f"read {params.get('uri')}\n")
            result = {"contents": [{"uri": params.get("uri"), "text": "secret"}]}
        case "say":  # what a hostile server might
            sys.stdout.write(str(params["raw"]) + "\n")
            result = {}
        case "die":
            os._exit(7)
        case _:
            result = {}
    send({"id": message["id"], "result": result})


for line in sys.stdin:
    given = json.loads(line)
    if "method" in given and "id" in given:
        answer(given)
    else:
        with (FOLDER / "heard.txt").open("a") as file:
            file.write(line)
