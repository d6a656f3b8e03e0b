"""What the policy engine costs: compiling, deciding, comparing, beside others on the same questions.

Run it with `python benchmarks/policy.py [--rules 10,1000,10000]`; it prints the table of
docs/explanation/cost.md. The others are casbin's own enforcer and Cedar, which is asked through `cedarpy`
where that is installed (it is no dependency of wasmgate). Every figure is the median of rounds in which all
variants take turns, on one machine in one run.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import casbin  # type: ignore[import-untyped]  # ships no types

from policy import compile_policy, load_document
from policy.answer import answer
from policy.decisions import Allow
from policy.diff import diff
from policy.plan import Plan, Right
from policy.question import Question

QUESTIONS = 200
ROUNDS = 5

_MODEL = """
[request_definition]
r = obj, act
[policy_definition]
p = obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && r.obj == p.obj
"""
_GLOB_MODEL = _MODEL.replace("r.obj == p.obj", "keyMatch(r.obj, p.obj)")


@dataclass(frozen=True, slots=True)
class Size:
    """The same rules and questions, for every engine."""

    rules: int

    def path(self, number: int) -> str:
        """The file that rule `number` grants."""
        return f"/srv/d{number % 97}/f{number}.txt"

    def document(self, *, without: int = -1) -> bytes:
        """A policy that lets each file be read; JSON is YAML."""
        allow = [
            {"id": f"r{number}", "uri": f"fs://{self.path(number)}", "access": ["read"]}
            for number in range(self.rules)
            if number != without
        ]
        return json.dumps(
            {"version": 1, "metadata": {"name": "bench"}, "permissions": {"storage": {"allow": allow}}}
        ).encode()

    def asked(self) -> list[tuple[str, bool]]:
        """Paths spread over the rules, and as many that no rule grants."""
        step = max(1, self.rules // (QUESTIONS // 2))
        known = [self.path(number) for number in range(0, self.rules, step)][: QUESTIONS // 2]
        return [*((path, True) for path in known), *((path + "x", False) for path in known)]


def milliseconds(work: Callable[[], object]) -> float:
    """How long `work` takes once."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def microseconds(decide: Callable[[str], bool], asked: Sequence[tuple[str, bool]]) -> float:
    """What one decision takes; a wrong one ends the benchmark."""
    start = time.perf_counter()
    given = [decide(path) for path, _ in asked]
    took = (time.perf_counter() - start) * 1e6 / len(asked)
    if given != [expected for _, expected in asked]:
        raise SystemExit("the engines do not decide alike")
    return took


def compiled(text: bytes) -> Plan:
    """The plan of a document."""
    return compile_policy(load_document(text, file="bench.yaml"), base_dir="/srv", now_ns=None)


def ours(plan: Plan) -> Callable[[str], bool]:
    """Ask a plan, as `policy explain` and `policy test` do: with the whole chain of reasons."""

    def decide(path: str) -> bool:
        question = Question(call="path_open", target=f"fs://{path}", wants=Right.READ)
        return isinstance(answer(plan, question), Allow)

    return decide


def of_casbin(size: Size, model_text: str) -> Callable[[str], bool]:
    """Ask casbin's enforcer with one line for each rule."""
    model = casbin.Model()
    model.load_model_from_text(model_text)
    enforcer: Any = casbin.Enforcer(model)
    enforcer.add_policies([[size.path(number), "read"] for number in range(size.rules)])
    return lambda path: bool(enforcer.enforce(path, "read"))


def of_cedar(size: Size) -> Callable[[str], bool] | None:
    """Ask Cedar with one policy for each rule, parsed once; None where it is not installed."""
    try:
        cedar: Any = importlib.import_module("cedarpy")
    except ModuleNotFoundError:
        return None
    text = "\n".join(
        f'permit(principal, action == Action::"read", resource == File::"{size.path(number)}");'
        for number in range(size.rules)
    )
    policies, entities = cedar.PolicySet.from_str(text), cedar.Entities.from_json_str("[]")

    def decide(path: str) -> bool:
        request = {
            "principal": 'User::"guest"',
            "action": 'Action::"read"',
            "resource": f"File::{json.dumps(path)}",
            "context": {},
        }
        return bool(cedar.is_authorized(request, policies, entities).decision == cedar.Decision.Allow)

    return decide


def engines(size: Size, plan: Plan) -> dict[str, Callable[[str], bool]]:
    """Who is asked; one that is too slow to be asked often is asked in fewer rounds."""
    found: dict[str, Callable[[str], bool]] = {
        "wasmgate, with reasons": ours(plan),
        "casbin, equality": of_casbin(size, _MODEL),
        "casbin, keyMatch": of_casbin(size, _GLOB_MODEL),
    }
    cedar = of_cedar(size)
    return found if cedar is None else {**found, "Cedar (cedarpy)": cedar}


def measure(size: Size) -> dict[str, float]:
    """Every figure of one size."""
    text, other = size.document(), size.document(without=size.rules // 2)
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    plan, narrower = compiled(text), compiled(other)
    asked = size.asked()
    deciding = engines(size, plan)
    for turn in range(ROUNDS):
        if turn < 3:  # compiling 10,000 rules takes seconds, and varies little
            document = load_document(text, file="bench.yaml")
            note("load, ms", milliseconds(lambda: load_document(text, file="bench.yaml")))
            note(
                "compile, ms",
                milliseconds(lambda doc=document: compile_policy(doc, base_dir="/srv", now_ns=None)),  # type: ignore[misc]  # a default binds the loop's value
            )
            note("diff, one rule less, ms", milliseconds(lambda: diff(plan, narrower)))
            note("diff, equal, ms", milliseconds(lambda: diff(plan, plan)))
        for name, decide in deciding.items():
            share = asked if size.rules < 1_000 or name.startswith("wasmgate") else asked[::20]
            note(f"{name}, µs a decision", microseconds(decide, share))
    return {name: statistics.median(values) for name, values in figures.items()}


def main() -> None:
    """Print one column for each number of rules."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", default="10,1000,10000")
    gc.set_threshold(50_000, 20, 20)  # as the command line does
    sizes = [Size(int(word)) for word in parser.parse_args().rules.split(",")]
    columns = [measure(size) for size in sizes]
    print("| rules | " + " | ".join(f"{size.rules:,}" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:,.4g}" for column in columns) + " |")
