"""`wasmgate policy schema`: the JSON Schema of policy documents, for editors.

It is made in `policy/json_schema.py`; here it is only printed. INVARIANT: what is printed is the same on
every machine, and is the file that `policies/` holds.
"""

from __future__ import annotations

import json

import click

from api.tables import output_option


@click.command("schema", short_help="Print the JSON Schema of policy documents.")
@output_option("json")
def COMMAND(*, output: str) -> int:  # noqa: ARG001, N802  # one form; the name that every command file gives
    """Print the JSON Schema of documents of every kind, for editors and other tools."""
    from policy.json_schema import policy_schema

    click.echo(json.dumps(policy_schema(), indent=2, ensure_ascii=True))
    return 0
