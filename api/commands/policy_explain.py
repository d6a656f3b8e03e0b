"""`wasmgate policy explain`: what a policy allows in sentences, or its verdict on one call and why.

Verdicts come from `policy.answer`, which asks the compiled plan. INVARIANT: what is explained is the plan
that would be enforced, and a policy with an error is never explained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import click

from api.library_options import library_options
from api.studying import plan_to_study
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from policy.plan import Plan, Right
    from policy.question import Question

_BAD = 1


@click.command("explain", short_help="Say in sentences what a policy allows, and why.")
@click.option(
    "--call", metavar="NAME", help="A host call, as `path_open`, or connect, http, resolve, listen."
)
@click.option("--target", metavar="PATH", help="Its path in the guest or URI, or `stdin`, `wall` and so on.")
@click.option("--target2", metavar="PATH", help="Where a rename or a link leads.")
@click.option("--access", multiple=True, metavar="RIGHT", help="What `path_open` asks for, as `read`.")
@click.option(
    "--protocol", type=click.Choice(["tcp", "udp"]), help="Of connect and listen; the default is tcp."
)
@click.option("--host", metavar="NAME", help="The name that is looked up, or that was.")
@click.option("--address", metavar="IP", help="The address that is connected to, or that a name led to.")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="N", help="The port.")
@click.option("--method", metavar="WORD", help="The method of an HTTP request.")
@click.option("--url", metavar="URL", help="The URL of an HTTP request.")
@click.option("--digest", metavar="SHA256", help="The digest of a model.")
@click.option("--after", multiple=True, metavar="RULE", help="A rule over time that has started.")
@library_options
@output_option("table", "json")
@click.argument("file")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *, file: str, library: tuple[str, ...], tenant: str | None, output: str, **asked: object
) -> int:
    """Say in sentences what FILE allows, or what it says about one call and why."""
    from policy.decisions import UnknownCallError

    plan = plan_to_study(file, library, tenant)
    if plan is None:
        return _BAD
    if asked["call"] is None:
        given = next((name for name, value in asked.items() if value), None)
        if given is not None:
            raise click.UsageError(f"--{given} says more about a call: name it with --call")
        _explain_plan(plan, output)
        return 0
    try:
        _explain_call(plan, _question(asked), output)
    except UnknownCallError as err:
        raise click.UsageError(str(err)) from err
    return 0


def _explain_plan(plan: Plan, output: str) -> None:
    from policy.explain import explain_plan

    lines = explain_plan(plan)
    if output == "json":
        write_json({"policy": plan.name, "sentences": lines})
    else:
        click.echo("\n".join(lines))


def _question(asked: dict[str, object]) -> Question:
    from policy.calls import MODULE
    from policy.question import Question

    def text(name: str) -> str | None:
        return cast("str | None", asked[name])

    return Question(
        # as records name it, with the module that it is imported from
        call=str(asked["call"]).removeprefix(f"{MODULE}."),
        target=text("target"),
        target2=text("target2"),
        wants=_rights(cast("tuple[str, ...]", asked["access"])),
        protocol=cast("Literal['tcp', 'udp']", asked["protocol"] or "tcp"),
        host=text("host"),
        address=text("address"),
        port=cast("int | None", asked["port"]),
        method=text("method"),
        url=text("url"),
        digest=text("digest"),
        after=cast("tuple[str, ...]", asked["after"]),
    )


def _explain_call(plan: Plan, question: Question, output: str) -> None:
    from policy.answer import answer
    from policy.explain import explain_decision

    decision = answer(plan, question)
    lines = explain_decision(decision)
    if output == "json":
        verdict = lines[0].partition(":")[0]
        rule, reason, chain = decision.rule_id or None, decision.reason, list(decision.chain)
        hint = getattr(decision, "hint", "") or None
        write_json({"decision": verdict, "rule": rule, "reason": reason, "steps": chain, "hint": hint})
    else:
        click.echo("\n".join(lines))


def _rights(access: tuple[str, ...]) -> Right | None:
    from policy.plan import RIGHTS, Right

    known = {str(right.name).lower(): right for right in RIGHTS}
    wanted = Right(0)
    for word in access:
        if word not in known:
            raise click.UsageError(f"--access: expected one of {', '.join(known)}")
        wanted |= known[word]
    return wanted or None
