"""Exports that are streamed into an answer while they are written.

What an export is lives in `audit/export`; those that are made in the background are in `exports.py`.
INVARIANT: no more than a few pieces wait for a slow reader, and one that goes away ends the writing.
"""

from __future__ import annotations

import io
import queue
import threading
from typing import TYPE_CHECKING, cast

from starlette.responses import StreamingResponse

from api.audit_desk import told
from api.control import Question
from api.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import BinaryIO

    from fastapi import Request

    from api.http.access import Asker
    from api.http.gateway import Gateway
    from audit.filters import RecordFilter

STREAMS = {"text/csv": "csv", "application/vnd.apache.arrow.stream": "arrow"}
"""Forms that can be asked for with `Accept`, by media type."""

_LOG = logger("http")
_PIECES, _PIECE_BYTES = 16, 1 << 18
_LOOK_S = 0.2


def stream_of(request: Request) -> str | None:
    """Give the form that a request asks to be streamed; None for a page."""
    accepted = request.headers.get("accept", "").lower()
    for kind, form in STREAMS.items():
        if kind in accepted:
            return form
    return None


def streamed(
    within: Gateway, asking: Asker, wanted: RecordFilter, *, form: str, asked: Mapping[str, object]
) -> StreamingResponse:
    """Answer with all that a filter names; that it is asked is on record first. Raises AuditError."""
    question = Question(asking.actor, "list_events", asking.scope_text, {**asked, "form": form}, "export")
    going = within.reads.going(question)
    reading = going.__enter__()

    def write(out: BinaryIO) -> None:
        try:
            made = within.service.desk.export(wanted, form=form, out=out, actor=asking.actor)
            reading.rows, reading.is_complete = made.rows, made.is_complete
            reading.more = told(made)
        finally:
            going.__exit__(None, None, None)

    kind = next(kind for kind, name in STREAMS.items() if name == form)
    headers = {"Content-Disposition": f'attachment; filename="events.{form}"'}
    return StreamingResponse(pieces(write), 200, headers, kind)


class Pipe(io.RawIOBase):
    """A file that is read while it is written; the writer waits for the reader, and ends with it."""

    def __init__(self) -> None:
        """Hold a few pieces."""
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_PIECES)
        self._is_left = threading.Event()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: object, /) -> int:
        """Hand a piece over; raises BrokenPipeError when nobody reads any more."""
        piece = bytes(memoryview(cast("bytes", content)))
        self._put(piece or b"")
        return len(piece)

    def end(self) -> None:
        """Tell the reader that there is no more."""
        self._put(None)

    def leave(self) -> None:
        """Tell the writer that nobody reads any more."""
        self._is_left.set()

    def read_pieces(self) -> Generator[bytes]:
        """Give the pieces until the end."""
        while (piece := self._pieces.get()) is not None:
            yield piece

    def _put(self, piece: bytes | None) -> None:
        while not self._is_left.is_set():
            try:
                self._pieces.put(piece, timeout=_LOOK_S)
            except queue.Full:
                continue
            return
        raise BrokenPipeError


def pieces(write: Callable[[BinaryIO], None]) -> Generator[bytes]:
    """Give what `write` writes, which runs in a thread of its own; an error ends the answer in the middle.

    A reader of a half answer notices: the last chunk of the transfer is missing.
    """
    pipe = Pipe()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with io.BufferedWriter(pipe, _PIECE_BYTES) as out:
                write(cast("BinaryIO", out))
                out.flush()
        except BrokenPipeError:
            return
        except BaseException as err:  # noqa: BLE001  # it is raised again where the answer is made
            failed.append(err)
        try:
            pipe.end()
        except BrokenPipeError:
            return

    threading.Thread(target=work, name="wasmgate-stream", daemon=True).start()
    try:
        yield from pipe.read_pieces()
        if failed:
            raise failed[0]
    finally:
        pipe.leave()
