"""`wasmgate doctor`: which walls stand on this machine now, and which do not.

How each is found out is `api.diagnosis`. INVARIANT: a wall that does not stand is named, never passed over.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from api.tables import output_option, write_json

_UNABLE = 1


@click.command(short_help="Say what this machine can enforce.")
@output_option("table", "json")
def COMMAND(*, output: str) -> int:  # noqa: N802  # the name that every command file gives its command
    """Check what runs need here; exit status 0 if modules can be run."""
    from api.diagnosis import State, diagnose
    from api.settings import SettingsError, load_settings
    from api.terminal import Paint

    try:
        found = diagnose(load_settings())
    except SettingsError as err:
        raise click.ClickException(str(err)) from err
    is_able = all(each.state is not State.BROKEN for each in found)
    if output == "json":
        write_json({"can_run": is_able, "walls": [asdict(each) for each in found]})
        return 0 if is_able else _UNABLE
    paint = Paint(sys.stdout)
    colours = {State.STANDS: "green", State.MISSING: "red", State.BROKEN: "red"}
    for each in found:
        mark = paint(f"{each.state.value:<9}", colours[each.state])
        click.echo(f"{mark} {each.name:<12} {each.summary}")
    click.echo("\nmodules can be run" if is_able else "\nmodules cannot be run here")
    return 0 if is_able else _UNABLE
