"""The pages about the service: tables agree with the code, and each command of the how-to does what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api.http import body_limits, connection, models, server
from api.http.problems import KINDS
from tests.http_service import POLICY, STORED, ServiceProcess, endless_guest, hostile_guest, open_api

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = (DOCS / "reference/http.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to/run-the-service.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", HOW_TO, re.DOTALL) for line in block.splitlines()
]


def test_the_table_of_routes_is_that_of_the_document(tmp_path):
    with open_api(tmp_path) as api:
        paths = api.app.openapi()["paths"]
    known = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert set(re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \|", REFERENCE, re.MULTILINE)) == known


def test_the_table_of_problems_has_each_kind_with_its_status():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", REFERENCE, re.MULTILINE)
    assert {name: int(status) for name, status in rows} == {name: kind.status for name, kind in KINDS.items()}


def test_the_fields_of_a_run_are_those_of_the_model():
    section = REFERENCE.partition("## A run")[2].partition("##")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == list(models.RunRequest.model_fields)


@pytest.mark.parametrize(
    "text",
    [
        f"{body_limits.DEFAULT.max_bytes} bytes, in {body_limits.DEFAULT.max_s:g} s",
        f"`WASMGATE_MAX_UPLOAD_BYTES`, in {body_limits.UPLOAD_S:g} s",
        f"| a policy document | {models.MAX_POLICY} bytes |",
        f"| standard input | {models.MAX_STDIN_BYTES} bytes |",
        f"{models.MAX_ARGS}, of {models.MAX_ARG} characters each, {models.MAX_ARGS_BYTES} bytes together",
        f"| the head of a request | {connection.MAX_HEAD_BYTES} bytes, in {connection.HEAD_S:g} s |",
        f"| connections | {connection.MAX_CONNECTIONS} |",
        f"runs may go on for {server.GRACE_S:g} seconds",
    ],
)
def test_limits_on_the_page_are_those_of_the_code(text):
    assert text in REFERENCE


def send(service: ServiceProcess, folder: Path, command: str, variables: dict[str, str]):
    """Do what a `curl` command says."""
    for name, value in variables.items():
        command = command.replace(f"${name}", value)
    words = iter(shlex.split(command))
    assert next(words) == "curl"
    method, body, headers, url = "", None, {}, ""
    for word in words:
        match word:
            case "-sS":
                pass
            case "-X":
                method = next(words)
            case "-o":
                next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "--data" | "--data-binary":
                text = next(words)
                body = (folder / text[1:]).read_bytes() if text.startswith("@") else text.encode()
            case _:
                url = word
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return service.ask(method or ("POST" if body is not None else "GET"), path, body, **headers)


def test_each_command_of_the_how_to_does_what_it_says(tmp_path):
    home = tmp_path / "home"
    (home / "policies").mkdir(parents=True)
    (home / "policies/cleaner.yaml").write_text(STORED)
    (tmp_path / "cleaner.wasm").write_bytes(hostile_guest())
    (tmp_path / "policy.yaml").write_text(POLICY)
    assert len(COMMANDS) == 13
    with ServiceProcess(home) as service:
        endless = service.upload(endless_guest())
        variables = {"KEY": service.key, "URL": f"http://127.0.0.1:{service.port}"}
        for command in COMMANDS:
            told = {**variables, "DIGEST": endless} if '"wait": false' in command else variables
            answer = send(service, tmp_path, command, told)
            expected = {200, 201, 202} | ({409} if command.rstrip('"').endswith("/stdout") else set())
            assert answer.status in expected, (command, answer.body)
            if answer.headers["content-type"] == "application/json":
                found = json.loads(answer.body)
                variables |= (
                    {"DIGEST": found["digest"]} if "digest" in found and "inspection" not in found else {}
                )
                variables |= {"ID": found["execution_id"]} if "execution_id" in found else {}
