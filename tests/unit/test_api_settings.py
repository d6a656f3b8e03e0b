from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import (
    PREFIX,
    Settings,
    SettingsError,
    default_home,
    is_colour_refused,
    is_export_wanted,
    load_settings,
)


def test_everything_lies_in_the_home_unless_it_is_named():
    settings = load_settings({"WASMGATE_HOME": "/srv/state"})
    assert settings.audit_dir == Path("/srv/state/audit")
    assert settings.policies_dir == Path("/srv/state/policies")
    named = load_settings({"WASMGATE_HOME": "/srv/state", "WASMGATE_AUDIT_DIR": "/log"})
    assert (named.home, named.audit_dir) == (Path("/srv/state"), Path("/log"))
    assert load_settings({"WASMGATE_AUDIT_DIR": "/log"}, audit_dir=Path("/other")).audit_dir == Path("/other")


@pytest.mark.parametrize(
    ("variables", "home"),
    [
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/a"}, "/data/wasmgate"),
        ({"XDG_DATA_HOME": "data", "HOME": "/home/a"}, "/home/a/.local/share/wasmgate"),
        ({"HOME": "/home/a"}, "/home/a/.local/share/wasmgate"),
    ],
)
def test_the_home_is_where_the_platform_keeps_state(variables, home):
    assert default_home(variables) == Path(home)
    assert load_settings(variables).home == Path(home)


def test_numbers_are_read_and_empty_variables_are_not_set():
    settings = load_settings({"HOME": "/h", "WASMGATE_PORT": "0", "WASMGATE_LOG_LEVEL": ""})
    assert (settings.port, settings.log_level) == (0, "info")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PORT", "http", 'WASMGATE_PORT: expected a whole number from 0 to 65535, found "http"'),
        ("PORT", "65536", 'WASMGATE_PORT: expected a whole number from 0 to 65535, found "65536"'),
        ("PORT", "1.5", 'WASMGATE_PORT: expected a whole number from 0 to 65535, found "1.5"'),
        (
            "HOST",
            "0.0.0.0",
            'WASMGATE_HOST: expected a loopback address, as 127.0.0.1 or ::1, found "0.0.0.0"',
        ),
        ("HOME", "state", 'WASMGATE_HOME: expected an absolute path without `..`, found "state"'),
        (
            "AUDIT_DIR",
            "/a/../b",
            'WASMGATE_AUDIT_DIR: expected an absolute path without `..`, found "/a/../b"',
        ),
        (
            "LOG_LEVEL",
            "loud\x1b",
            'WASMGATE_LOG_LEVEL: expected one of debug, info, warning or error, found "loud\\x1b"',
        ),
        ("PROT", "1", "WASMGATE_PROT: unknown setting (did you mean WASMGATE_PORT?)"),
        ("Port", "1", "WASMGATE_Port: unknown setting (did you mean WASMGATE_PORT?)"),
    ],
)
def test_a_wrong_setting_says_how_to_fix_it(variable, value, sentence):
    with pytest.raises(SettingsError) as caught:
        load_settings({"HOME": "/h", PREFIX + variable: value})
    assert str(caught.value) == sentence


def test_all_faults_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        load_settings({"HOME": "/h", "WASMGATE_PORT": "x", "WASMGATE_HOST": "y", "WASMGATE_NONSENSE": "z"})
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_each_loopback_address_will_do(host):
    assert load_settings({"HOME": "/h", "WASMGATE_HOST": host}).host == host


def test_settings_cannot_be_changed():
    settings = load_settings({"HOME": "/h"})
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]  # the point of the test


def test_each_setting_has_its_heading_in_the_reference():
    page = (Path(__file__).resolve().parents[2] / "docs/reference/settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`{PREFIX}{name.upper()}`" in page
        assert field.description
        assert field.description.split(";")[0] in page


def test_spans_are_wanted_when_there_is_a_place_for_them():
    assert is_export_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"})
    assert is_export_wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"})
    assert not is_export_wanted({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": " "})


def test_colours_can_be_refused():
    assert is_colour_refused({"NO_COLOR": "1"})
    assert is_colour_refused({"TERM": "dumb"})
    assert not is_colour_refused({"NO_COLOR": "", "TERM": "xterm"})
