"""A compliance report as one page of HTML that needs nothing beside it.

The only importer of `jinja2`; the markup is `templates/report.html`, the values are `report_facts.py`.
INVARIANT: every value that gets into the page is made inert, cut and escaped here, so no text of the log
becomes markup, moves other text or loads anything.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, Undefined
from markupsafe import Markup

from api.report_charts import charts_of
from audit.inert import inert

if TYPE_CHECKING:
    from api.report_facts import Facts

_MOST = 400  # characters of one value
_ROWS = 500  # of one table


def render(facts: Facts) -> str:
    """Give the page; the same facts give the same page."""
    return _template().render(facts=facts, charts=charts_of(facts), rows=_ROWS)


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html")


def _shown(value: object) -> object:
    # SECURITY: jinja escapes what this gives, but for `Markup`: that is what macros of the template give, and
    # no value of a report is any
    if isinstance(value, Undefined | Markup):
        return value  # what is undefined raises where it is written
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = "-" if value is None else str(value)
    # each character may become ten; what is cut is said by the dots
    return inert(text if len(text) <= _MOST else f"{text[:_MOST]}…")
