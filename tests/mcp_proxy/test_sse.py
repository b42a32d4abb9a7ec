"""Server-sent events: read as clients read them, however they are cut, and written so that there is one way to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.mcp_proxy.sse import Event, events


def read(*chunks: bytes) -> list[Event]:
    async def given_chunks() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[Event]:
        return [event async for event in events(given_chunks())]

    return asyncio.run(collect())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.lists(st.integers(0, 80), max_size=8))
def test_every_line_end_and_every_cut_is_the_same(end: bytes, cuts: list[int]) -> None:
    whole = end.join(
        [b"\xef\xbb\xbfevent: message", b'data: {"a":', b"data: 1}", b"", b": ping", b"", b"data: b", b"", b""]
    )
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    found = read(*(whole[a:b] for a, b in pairwise(places)), b"\n")
    assert [event.data for event in found][:3] == [b'{"a":\n1}', b"", b"b"]


def test_a_comment_cannot_carry_a_message() -> None:
    (comment, message) = read(b': x\rdata: {"method":"sampling/createMessage"}\r\rdata: y\n\n')[:2]
    assert comment.data == b'{"method":"sampling/createMessage"}'  # as a client would read it: so it is judged
    assert message.data == b"y"


@given(st.binary(max_size=300))
def test_what_goes_on_reads_as_what_was_read(raw: bytes) -> None:
    found = read(raw, b"\n\n")
    again = read(b"".join(event.raw for event in found))
    assert [event.data for event in again] == [event.data for event in found]


def test_one_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        read(*[b"x" * (1 << 20)] * 17)
