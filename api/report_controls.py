"""Which controls of which catalogues a report supports, with its figures, and what it does not show of them.

The figures are in `report_facts.py`. Nothing here says that anybody complies with anything: an assessor does.
INVARIANT: each control says what is not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.report_facts import Control

if TYPE_CHECKING:
    from api.report_facts import Facts

NIST, SOC, ISO = "NIST SP 800-53 rev. 5", "SOC 2 (TSC 2017)", "ISO/IEC 27001:2022"


def controls_of(facts: Facts) -> tuple[Control, ...]:
    """Give the table, filled with the figures of a report."""
    return (*_nist(facts), *_others(facts))


def _nist(of: Facts) -> tuple[Control, ...]:
    totals, limits, check = of.totals, of.limits, of.verification
    reads = sum(one.times for one in of.readers)
    return (
        Control(
            NIST, "AU-2", "Event logging",
            f"Every host call is an event type that is logged: {totals.calls} calls of {totals.executions}"
            f" executions in the period, by kind over time.",
            "That these event types are the right ones for the organisation, and the review of that choice.",
        ),
        Control(
            NIST, "AU-3", "Content of audit records",
            f"Each record has what, when, where, source, outcome and identity; {limits.masked_calls} calls"
            f" have masked values and {limits.summary_calls} share a row with others, by policy.",
            "Anything that a policy masked, and what a guest computed between its calls.",
        ),
        Control(
            NIST, "AU-6", "Audit record review, analysis, and reporting",
            f"This report; {reads} reads and exports of the log by {len(of.readers)} readers are on record;"
            f" {totals.refusals} refusals by module and rule.",
            "That a person reviewed it, how often, and what was done about findings.",
        ),
        Control(
            NIST, "AU-9", "Protection of audit information",
            f"A signed Merkle tree over {of.made.leaves} entries; verification: {check.result}, with"
            f" {check.errors} errors; {len(of.keys)} key events and {len(of.retention)} retention events.",
            "Who can reach the files and the signing key; records that were forged before they were sealed;"
            " copies kept elsewhere.",
        ),
        Control(
            NIST, "AU-10", "Non-repudiation",
            f"Each execution names module, policy and tenant by digest, in {totals.executions} signed"
            f" receipts; the checkpoint of {of.made.checkpoint_size or 0} entries is signed.",
            "The natural person behind an actor name, and an identity proved outside of this machine.",
        ),
        Control(
            NIST, "AU-12", "Audit record generation",
            f"Records are made by the monitor around each call, and counted: {len(of.coverage.gaps)} gaps and"
            f" {len(of.coverage.damage)} damaged files on record; recording began or ended"
            f" {len(of.coverage.switches)} times.",
            "Events of the machine outside of this program, and runs that bypassed it.",
        ),
    )  # fmt: skip


def _others(of: Facts) -> tuple[Control, ...]:
    totals, check = of.totals, of.verification
    return (
        Control(
            SOC, "CC7.1", "Detection of changes and new vulnerabilities",
            f"{len(of.policy_changes)} changes of policies are on record, {len(of.policies)} policies were in"
            " force.",
            "Vulnerability scans, and changes outside of policies.",
        ),
        Control(
            SOC, "CC7.2", "Monitoring for anomalies",
            f"{totals.refusals} refusals by module and rule, and executions by outcome:"
            f" {', '.join(f'{word} {count}' for word, count in of.outcomes.items()) or 'none'}.",
            "That somebody or something watched them, and how fast.",
        ),
        Control(
            SOC, "CC7.3", "Evaluation of security events",
            f"{len(of.examples)} refusals are named here with references to their records.",
            "The evaluation itself, its outcome, and who made it.",
        ),
        Control(
            SOC, "CC7.4", "Response to incidents",
            f"{len(of.holds)} legal holds keep records for investigations.",
            "The response: containment, communication, lessons.",
        ),
        Control(
            ISO, "A.8.15", "Logging",
            f"Logs are produced ({totals.calls} calls), stored with retention on record, protected"
            f" (verification: {check.result}) and can be analysed (this report).",
            "The organisation's logging policy, clock synchronisation (A.8.17) and monitoring (A.8.16).",
        ),
    )  # fmt: skip
