"""Rows and values as people and scripts read them: a table, JSON, or one JSON document a line.

Which rows there are is the commands' matter. INVARIANT: in every form, text that a guest could have chosen
comes out inert, and JSON parses to exactly the stored value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from audit.inert import inert, json_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

FORMS = ("table", "json", "ndjson")
_WIDEST = 60  # characters of one cell; JSON has all of it


def output_option(*forms: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """The `--output` option of a command; the first form is the default."""
    chosen = forms or FORMS
    return click.option(
        "--output",
        type=click.Choice(chosen),
        default=chosen[0],
        show_default=True,
        help="Form of the output.",
    )


def write_json(value: object) -> None:
    """Print one value as one line of JSON."""
    click.echo(json_line(value))


def write_rows(rows: Iterable[Mapping[str, object]], *, columns: Sequence[str], output: str) -> int:
    """Print rows; a table has `columns` only. Gives how many there were."""
    if output == "table":
        return _write_table(list(rows), columns)
    count = 0
    for row in rows:
        if output == "ndjson":
            write_json(row)
        else:
            click.echo(("[" if not count else ",") + json_line(row), nl=False)
        count += 1
    if output == "json":
        click.echo("]" if count else "[]")
    return count


def render_table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Cells in columns, each as wide as its widest, the last one as it is; cells are inert already."""
    lines = [list(header), *(list(row) for row in rows)] if header else [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]) - 1)]
    texts = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    ]
    return "\n".join(text.rstrip() for text in texts) + "\n"


def cell(value: object) -> str:
    """One cell of a table: inert, and cut."""
    if value is None:
        return "-"
    text = inert(str(value)[: _WIDEST * 2])
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _write_table(rows: list[Mapping[str, object]], columns: Sequence[str]) -> int:
    if rows:
        cells = [[cell(row.get(name)) for name in columns] for row in rows]
        click.echo(render_table(cells, columns), nl=False)
    return len(rows)
