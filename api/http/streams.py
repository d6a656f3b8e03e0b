"""Exports that are streamed into an answer while they are written.

What an export is lives in `audit/export`; those that are made in the background are in `exports.py`.
INVARIANT: no more than a few pieces wait for a slow reader; one that goes away, before the first piece or
later, ends the writing, and their turn is free again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import threading
from typing import TYPE_CHECKING, cast

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.audit_desk import told
from api.control import Question
from audit.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from typing import BinaryIO

    from fastapi import Request
    from starlette.types import Message, Receive, Scope, Send

    from api.http.access import Asker
    from api.http.gateway import Gateway
    from audit.filters import RecordFilter

STREAMS = {"text/csv": "csv", "application/vnd.apache.arrow.stream": "arrow"}
"""Forms that can be asked for with `Accept`, by media type."""

_PIECES, _PIECE_BYTES = 16, 1 << 18
_LOOK_S = 0.2

SEND_S = 30.0
"""How long a caller may take nothing before the connection is closed."""


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
    """Answer with all that a filter names; that it is asked is on record first.

    Raises AuditError, and Problem when as many streams go on as may.
    """
    question = Question(asking.actor, "list_events", asking.scope_text, {**asked, "form": form}, "export")
    turn = within.turns.streams.take(asking.key.mark)
    on_record = contextlib.ExitStack()
    try:
        reading = on_record.enter_context(within.reads.going(question))
    except BaseException:
        turn.end()
        raise

    def write(out: BinaryIO) -> None:
        """Write all of it."""
        with on_record:  # its end is on record before the last byte is sent
            made = within.service.desk.export(wanted, form=form, out=out, actor=asking.actor)
            reading.rows, reading.is_complete = made.rows, made.is_complete
            reading.more = told(made)

    def over() -> None:
        """Give the turn back."""
        turn.end()
        # SECURITY: of a caller who left before the first piece nothing was written: only here it is over
        with contextlib.suppress(AuditError):  # the service may have ended; the beginning is on record
            on_record.close()

    kind = next(kind for kind, name in STREAMS.items() if name == form)
    headers = {"Content-Disposition": f'attachment; filename="events.{form}"'}
    writing = Writing(write, over)
    return Streamed(writing.pieces(), writing.leave, headers=headers, media_type=kind)


class Streamed(StreamingResponse):
    """An answer in pieces; `ends` is called once, when it has ended."""

    def __init__(
        self,
        content: AsyncGenerator[bytes],
        ends: Callable[[], None],
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        send_s: float = SEND_S,
    ) -> None:
        """Send `content` to a caller who takes some of it at least every `send_s` seconds."""
        super().__init__(content, 200, headers, media_type)
        self._ends, self._send_s = ends, send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; however that ends."""

        async def send_in_time(message: Message) -> None:
            """Send one message; raises TimeoutError."""
            async with asyncio.timeout(self._send_s):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        finally:
            # SECURITY: not where pieces are made: nobody asks for the first one when the caller has left
            # by then, and a few such callers would take the places of all
            self._ends()


class Writing:
    """What is written in a thread of its own and read meanwhile; `over` is called once both have ended."""

    def __init__(self, write: Callable[[BinaryIO], None], over: Callable[[], None] = lambda: None) -> None:
        """Call `write` when the first piece is asked for, and never if nobody asks."""
        self._write, self._over = write, over
        self._pipe = Pipe()
        self._lock = threading.Lock()
        self._is_begun = self._is_writing = self._is_left = False
        self._failed: list[BaseException] = []

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Give what is written, once; an error of the writer ends it in the middle.

        A reader of a half answer notices: the last chunk of the transfer is missing.
        """
        with self._lock:
            if self._is_begun or self._is_left:
                return
            self._is_begun = self._is_writing = True
        threading.Thread(target=self._work, name="wasmgate-stream", daemon=True).start()
        try:
            # who is cancelled here waits for no more than one look
            while (piece := await run_in_threadpool(self._pipe.read_piece)) is not None:
                if piece:
                    yield piece
            if self._failed:
                raise self._failed[0]
        finally:
            self._pipe.leave()

    def leave(self) -> None:
        """Say that nobody reads any more, which ends the writing; a second call does nothing."""
        with self._lock:
            was_left, self._is_left = self._is_left, True
            is_over = not was_left and not self._is_writing
        self._pipe.leave()
        if is_over:
            self._over()

    def _work(self) -> None:
        try:
            self._fill()
        finally:
            with self._lock:
                self._is_writing = False
                is_over = self._is_left
            if is_over:
                self._over()

    def _fill(self) -> None:
        try:
            with io.BufferedWriter(self._pipe, _PIECE_BYTES) as out:
                self._write(cast("BinaryIO", out))
                out.flush()
        except BrokenPipeError:
            return
        except BaseException as err:  # noqa: BLE001  # it is raised again where the answer is made
            self._failed.append(err)
        with contextlib.suppress(BrokenPipeError):
            self._pipe.end()


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

    def read_piece(self) -> bytes | None:
        """Give the next piece, an empty one if there was none for a moment; None at the end."""
        try:
            return self._pieces.get(timeout=_LOOK_S)
        except queue.Empty:
            return b""

    def _put(self, piece: bytes | None) -> None:
        while not self._is_left.is_set():
            try:
                self._pieces.put(piece, timeout=_LOOK_S)
            except queue.Full:
                continue
            return
        raise BrokenPipeError
