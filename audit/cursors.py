"""Where a page ended and what was there when the first one was made, signed so that nobody moves it.

A cursor names the filter that it was made for, with the tenants that the asker may see. INVARIANT: what
`read` gives was given to `make` under the same key, for the same filter; anything else is refused with one
error that does not say why.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
from dataclasses import dataclass
from uuid import UUID

from audit.errors import FilterError
from audit.filters import RecordFilter
from audit.identity import ExecutionId

KEY_BYTES = 32

_VERSION = 2
_HEAD = struct.Struct("<B16sq16sqqqB")  # version, filter, t_ns, execution, seq, horizon, tree, live ones
_LIVE = struct.Struct("<16sq")
_TAG_BYTES = 16

MAX_LIVE = 64
"""Of so many executions a cursor says how far they were; of others what is behind the horizon is out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ended: the sort key of its last row."""

    t_ns: int
    exec_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there was at the first page: nothing later than the horizon, and of what ran, so many records."""

    horizon_ns: int
    # executions that went on, and the last `seq` of each; -1: none yet
    live: tuple[tuple[str, int], ...] = ()
    tree_size: int = 0  # leaves of the transparency log that were known


@dataclass(frozen=True, slots=True)
class Mark:
    """What a cursor holds."""

    position: Position
    snapshot: Snapshot


class Cursors:
    """Makes cursors and reads them back, with one key."""

    def __init__(self, key: bytes | None = None) -> None:
        """Take the key of a service that goes on after a restart; by default one of this process alone."""
        if key is not None and len(key) < KEY_BYTES:
            raise ValueError(f"a key for cursors has at least {KEY_BYTES} bytes")
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else key

    def make(self, wanted: RecordFilter, mark: Mark) -> str:
        """Give the cursor of the page behind `mark`."""
        at, live = mark.position, mark.snapshot.live[:MAX_LIVE]
        body = _HEAD.pack(
            _VERSION,
            wanted.digest(),
            at.t_ns,
            UUID(at.exec_id).bytes,
            at.seq,
            mark.snapshot.horizon_ns,
            mark.snapshot.tree_size,
            len(live),
        ) + b"".join(_LIVE.pack(UUID(exec_id).bytes, seq) for exec_id, seq in live)
        return base64.urlsafe_b64encode(body + self._tag(body)).decode().rstrip("=")

    def read(self, wanted: RecordFilter) -> Mark | None:
        """Give what the filter's cursor holds, None without one; FilterError if it is another's."""
        if wanted.cursor is None:
            return None
        wrong = FilterError("cursor", "the cursor of a page of the same query", wanted.cursor)
        try:
            raw = base64.b64decode(
                wanted.cursor + "=" * (-len(wanted.cursor) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError) as err:
            raise wrong from err
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        # SECURITY: compared before anything in it is looked at, and in constant time
        if len(body) < _HEAD.size or not hmac.compare_digest(tag, self._tag(body)):
            raise wrong
        version, digest, t_ns, exec_id, seq, horizon_ns, tree_size, count = _HEAD.unpack_from(body)
        if version != _VERSION or not hmac.compare_digest(digest, wanted.digest()):
            raise wrong
        pairs = _LIVE.iter_unpack(body[_HEAD.size : _HEAD.size + count * _LIVE.size])
        live = tuple((_name(name), last) for name, last in pairs)
        return Mark(
            Position(t_ns=t_ns, exec_id=_name(exec_id), seq=seq), Snapshot(horizon_ns, live, tree_size)
        )

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, b"wasmgate cursor\n" + body, "sha256")[:_TAG_BYTES]


def _name(raw: bytes) -> ExecutionId:
    return ExecutionId(str(UUID(bytes=raw)))
