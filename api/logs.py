"""The service's own log: lines for whoever runs it, as JSON unless a person is watching.

What guests did is evidence and stands in the audit log; lines here may be filtered or lost. INVARIANT: a line
is one line: text from a guest or a caller comes out inert in both forms.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TextIO, cast

import structlog

from audit.inert import inert, json_line

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

_SHOWN = 2_000  # characters of one value


def configure_logs(level: str, stream: TextIO, *, is_terminal: bool, has_colours: bool = False) -> None:
    """Send this program's log, and that of its libraries, to `stream` from now on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        make_inert,
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer(colors=has_colours) if is_terminal else _as_json
    severity = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(severity)


def logger(name: str) -> FilteringBoundLogger:
    """A logger of ours; `name` says which part of the program speaks."""
    return cast("FilteringBoundLogger", structlog.get_logger(part=name))


def make_inert(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Spell out what could act on a terminal or end a line, in every value."""
    # a key with an underscore is the library's own and is never written
    return {inert(key): value if key.startswith("_") else _inert(value) for key, value in event.items()}


def _inert(value: object) -> object:
    match value:
        case bool() | int() | float() | None:
            return value
        case tuple() | list():
            return [_inert(each) for each in cast("list[object]", value)]
        case dict():
            pairs = cast("MutableMapping[object, object]", value).items()
            return {inert(str(key)): _inert(each) for key, each in pairs}
        case _:
            return inert(str(value)[:_SHOWN])


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json_line(dict(event))
