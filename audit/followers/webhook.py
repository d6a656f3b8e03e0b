"""Webhooks: a POST of each checkpoint, or of refusals as lines of JSON.

How the exchange is made is `exchange.py`. INVARIANT: an answer of 200 to 299 and nothing else means that it
was taken; the same batch has the same key whenever it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from audit.followers.errors import SinkError
from audit.followers.exchange import Endpoint, post
from audit.followers.refusals import Batch, key_of_row, rows_of
from audit.inert import json_line
from audit.times import to_rfc3339
from audit.tlog.checkpoint import SignedCheckpoint

_MOST = 65_536  # bytes of an answer, which is not looked at


@dataclass(frozen=True, slots=True)
class CheckpointHook:
    """Is told of checkpoints."""

    to: Endpoint

    def send(self, signed: SignedCheckpoint, *, before: int) -> None:  # noqa: ARG002  # as all sinks
        """Post the note."""
        _posted(self.to, signed.note.content, kind="text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class RefusalHook:
    """Is told of refusals."""

    to: Endpoint

    def send(self, batch: Batch) -> int:
        """Post a line for each refusal and notice; each has its `key`."""
        body = "".join(f"{json_line(each)}\n" for each in _lines(batch)).encode("utf-8", "replace")
        _posted(self.to, body, kind="application/x-ndjson")
        return 0


def _posted(to: Endpoint, body: bytes, *, kind: str) -> None:
    # a receiver that keeps the keys it has seen takes each batch once
    headers = {"Idempotency-Key": sha256(body).hexdigest()}
    found = post(to, body, kind=kind, most=_MOST, headers=headers)
    if not 200 <= found.status < 300:
        raise SinkError(to.shown, f"it answered {found.status}")


def _lines(batch: Batch) -> Iterator[dict[str, object]]:
    for row in rows_of(batch):
        plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
        yield {"key": key_of_row(row), **plain}
    for notice in batch.notices:
        yield {
            "key": notice.key,
            "notice": notice.word,
            "at": to_rfc3339(notice.at_ns),
            "text": notice.text,
            "count": notice.count,
        }
