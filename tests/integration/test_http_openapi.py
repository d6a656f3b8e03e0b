"""The OpenAPI document describes what the service does: schemathesis calls each operation with what the document
allows and with what it does not, and holds every answer against it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.http_service import STORED, ServiceProcess, hostile_guest

# 400: a cursor is any text in the document, but only one that the service made is one.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "404", "409", "429"]
[parameters]
digest = "{digest}"
execution_id = "{execution_id}"
name = "stored"
"""


def check(home: Path, *options: str) -> None:
    (home / "policies").mkdir(parents=True)
    (home / "policies/stored.yaml").write_text(STORED)
    config = home / "schemathesis.toml"
    with ServiceProcess(home) as service:
        execution = service.run(hostile_guest()).json()
        known = {"digest": execution["module"]["digest"], "execution_id": execution["execution_id"]}
        config.write_text(CONFIG.format(**known))
        url = f"http://127.0.0.1:{service.port}/v1/openapi.json"
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", url]
        command += [
            "--header",
            f"Authorization: Bearer {service.key}",
            "--checks",
            "all",
            "--continue-on-failure",
        ]
        done = subprocess.run([*command, *options], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    requests = [json.loads(line) for line in service.log if '"event":"request"' in line]
    assert len(requests) > 60
    assert [each for each in requests if each["status"] >= 500 or each["status"] == 0] == []


def test_every_operation_answers_as_the_document_says(tmp_path):
    check(tmp_path / "home", "--phases=examples,fuzzing", "--max-examples=5", "--generation-deterministic")


@pytest.mark.slow
def test_every_operation_answers_as_the_document_says_whatever_is_sent(tmp_path):
    check(tmp_path / "home", "--phases=examples,coverage,fuzzing", "--max-examples=100")
