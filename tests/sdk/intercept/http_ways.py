"""Ways to send an HTTP request, as data: each sends one and returns the status code, following redirects."""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import requests
import urllib3

Body = dict[str, Any] | None


@dataclass(frozen=True)
class Way:
    name: str
    send: Callable[[str, str, Body], int] | None = None
    send_async: Callable[[str, str, Body], Awaitable[int]] | None = None
    follows: bool = True
    """Redirects."""
    credentials: bool = True
    """Takes a URL with a user and a password in it."""

    def __call__(self, method: str, url: str, body: Body = None) -> int:
        if self.send is not None:
            return self.send(method, url, body)
        assert self.send_async is not None
        return asyncio.run(self.run(method, url, body))

    async def run(self, method: str, url: str, body: Body = None) -> int:
        assert self.send_async is not None
        return await self.send_async(method, url, body)


def _encoded(body: Body) -> tuple[bytes | None, dict[str, str]]:
    import json

    return (None, {}) if body is None else (json.dumps(body).encode(), {"Content-Type": "application/json"})


def _http_client(method: str, url: str, body: Body) -> int:
    parts = urlsplit(url)
    data, headers = _encoded(body)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), data, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _line_by_line(method: str, url: str, body: Body) -> int:
    parts = urlsplit(url)
    data, headers = _encoded(body)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    try:
        connection.putrequest(method, parts.path + (f"?{parts.query}" if parts.query else ""))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(data or b"")))
        connection.endheaders(data)
        return connection.getresponse().status
    finally:
        connection.close()


def _urllib(method: str, url: str, body: Body) -> int:
    data, headers = _encoded(body)
    asked = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as e:
        return e.code


def _requests(method: str, url: str, body: Body) -> int:
    return requests.request(method, url, json=body, timeout=10).status_code


def _requests_session(method: str, url: str, body: Body) -> int:
    with requests.Session() as session:
        return session.request(method, url, json=body, timeout=10).status_code


def _urllib3(method: str, url: str, body: Body) -> int:
    data, headers = _encoded(body)
    with urllib3.PoolManager() as pool:
        return int(pool.request(method, url, body=data, headers=headers).status)


def _urllib3_pool(method: str, url: str, body: Body) -> int:
    parts = urlsplit(url)
    data, headers = _encoded(body)
    with urllib3.HTTPConnectionPool(parts.hostname or "", parts.port) as pool:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return int(pool.urlopen(method, path, data, headers).status)


def _httpx(method: str, url: str, body: Body) -> int:
    return httpx.request(method, url, json=body, follow_redirects=True).status_code


def _httpx2(method: str, url: str, body: Body) -> int:
    return int(httpx2.request(method, url, json=body, follow_redirects=True).status_code)


async def _httpx_async(method: str, url: str, body: Body) -> int:
    async with httpx.AsyncClient(follow_redirects=True) as client:
        return (await client.request(method, url, json=body)).status_code


async def _httpx2_async(method: str, url: str, body: Body) -> int:
    async with httpx2.AsyncClient(follow_redirects=True) as client:
        return int((await client.request(method, url, json=body)).status_code)


async def _aiohttp(method: str, url: str, body: Body) -> int:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
        return response.status


async def _aiohttp_request(method: str, url: str, body: Body) -> int:
    async with aiohttp.request(method, url, json=body) as response:
        return response.status


WAYS = (
    Way("http.client", _http_client, follows=False),
    Way("http.client, line by line", _line_by_line, follows=False),
    Way("urllib", _urllib, credentials=False),
    Way("requests", _requests),
    Way("requests.Session", _requests_session),
    Way("urllib3", _urllib3),
    Way("urllib3 pool", _urllib3_pool),
    Way("httpx", _httpx),
    Way("httpx async", send_async=_httpx_async),
    Way("httpx2", _httpx2),
    Way("httpx2 async", send_async=_httpx2_async),
    Way("aiohttp", send_async=_aiohttp),
    Way("aiohttp.request", send_async=_aiohttp_request),
)
