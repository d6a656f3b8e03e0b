"""Answers as bytes: JSON that stays harmless wherever it is pasted, and nothing that a browser would run.

What is in an answer is the matter of `views.py` and of the routers. INVARIANT: JSON from here has no
character that drives a terminal, and none that could begin or end markup, and parses to the value it was made
from.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import Response

from audit.inert import inert_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

JSON = "application/json"
NDJSON = "application/x-ndjson"
BYTES = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"

SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""On every answer: nothing of it is kept, framed, guessed to be a page, or told to another site."""


def harmless(document: str) -> str:
    r"""Give a JSON document in which markup and control characters are spelt `\uXXXX`."""
    # SECURITY: `</script>` in a guest's path stays inert if somebody writes the document into a page
    spelt = document.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return inert_json(spelt)


def plain_json(value: object) -> bytes:
    """Give plain values as one line of harmless JSON."""
    return harmless(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)).encode()


def plain_answer(value: object, status: int = 200) -> Response:
    """Give plain values as an answer."""
    return Response(plain_json(value), status, None, JSON)


def answer(view: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Give a view as an answer."""
    content = harmless(view.model_dump_json(by_alias=True)).encode()
    return Response(content, status, headers, JSON)


def lines(values: Iterable[object], headers: Mapping[str, str] | None = None) -> Response:
    """Give values as an answer of one line each."""
    return Response(b"".join(plain_json(value) + b"\n" for value in values), 200, headers, NDJSON)


def attachment(content: bytes, *, name: str) -> Response:
    """Give bytes of a guest as a file to keep, never as something to show."""
    # SECURITY: `name` is ours; the content is hostile, so no type is claimed for it and none may be guessed
    return Response(content, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, BYTES)
