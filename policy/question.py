"""One call, as a person, a test or a record asks about it.

What the answer is, is found in `decide.py` and `policy/network/`. The same value is the witness of a
difference, the `given` of a policy test and what is minted from a record, so they can't drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from policy.plan import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A call and what decides it; which fields it needs depends on `call`.

    `call` is a host call of WASI 0.1 (see `policy.calls`), or one of the operations `connect` (host or
    address, port, protocol), `bind` and `listen` (address, port, protocol), `resolve` (host), `http`
    (method, url, perhaps address and headers), `load_model` (digest).
    """

    call: str
    target: str | None = None  # guest path, `fs:///…`, `tmp://…`; a stream; a clock
    target2: str | None = None
    wants: Right | None = None  # what `path_open` asks for
    protocol: Literal["tcp", "udp"] = "tcp"
    host: str | None = None  # the name that was looked up, or none
    address: str | None = None  # the address that is connected to, in any spelling
    port: int | None = None
    method: str | None = None
    url: str | None = None
    headers: tuple[str, ...] = ()  # names of those that a request sends, in lower case
    digest: str | None = None
    after: tuple[str, ...] = ()  # ids of rules over time that have started
