"""`wasmgate demo`: the main job on a real guest, with a picture of what happened.

What it does and shows is `api.demo`. INVARIANT: status 0 means that what should be refused was refused, and
that the job was done.
"""

from __future__ import annotations

import click

from api.tables import output_option


@click.command(short_help="Run an untrusted program under a policy, and see what it did.")
@output_option("table", "json")
def COMMAND(*, output: str) -> int:  # noqa: N802  # the name that every command file gives its command
    """Run an untrusted Python script, on CPython for WebAssembly, under a policy.

    It turns a CSV file into another one, and on the side tries what it should not.
    """
    from api.demo import demonstrate
    from api.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as err:
        raise click.ClickException(str(err)) from err
    return demonstrate(settings, output=output)
