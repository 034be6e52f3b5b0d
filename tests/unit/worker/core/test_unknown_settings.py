"""Variables that are no settings are named, with the one that was meant."""

import importlib
import re
from pathlib import Path

import pytest

from worker.core import unknown_settings
from worker.core.unknown_settings import describe_unknown

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("UNMASK_ALLOWED_HOST", "UNMASK_ALLOWED_HOSTS"),
        ("UNMASK_BROKER_URI", "UNMASK_BROKER_URL"),
        ("UNMASK_DATABSE_URL_FILE", "UNMASK_DATABASE_URL_FILE"),
        ("UNMASK_METRIC_PORT", "UNMASK_METRICS_PORT"),
        ("UNMASK_CONSOLE_TRUSTED_HEADERS", "UNMASK_CONSOLE_TRUSTED_HEADER"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_one_that_was_meant(name: str, meant: str) -> None:
    assert describe_unknown({name: "9"}) == [f"{name} is not a setting and is ignored: did you mean {meant}?"]


def test_a_name_like_no_other_is_named_alone() -> None:
    assert describe_unknown({"UNMASK_QQQQQQQQ": ""}) == ["UNMASK_QQQQQQQQ is not a setting and is ignored"]


@pytest.mark.parametrize(
    "environ",
    [
        {"UNMASK_DATABASE_URL": "sqlite://", "UNMASK_BROKER_URL_FILE": "/run/secrets/broker", "UNMASK_ACTOR": "ada"},
        {"UNMASK_CONSOLE_ROWS": "9", "UNMASK_KEEP_SCORES_DAYS": "9", "UNMASK_LOG_KEY": "k", "UNMASK_BLIND_SHARE": "0"},
        {"UNMASK_SERVICE_HOST": "10.0.0.1", "UNMASK_SERVICE_PORT": "80", "UNMASK_PORT": "tcp://10.0.0.1:80"},
        {"UNMASK_CONSOLE_SERVICE_PORT_HTTP": "80", "UNMASK_CONSOLE_PORT_80_TCP_ADDR": "10.0.0.1"},
        {"UNMASK_REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379", "UNMASK_REDIS_PORT": "tcp://10.0.0.1:6379"},
        {"UNMASKED": "1", "PATH": "/bin"},
    ],
)
def test_settings_and_what_kubernetes_adds_are_left_alone(environ: dict[str, str]) -> None:
    assert describe_unknown(environ) == []


def test_every_module_with_settings_is_looked_at() -> None:
    sources = [*ROOT.glob("db/**/*.py"), *ROOT.glob("worker/**/*.py")]
    pattern = re.compile(r"^class \w+\(.*(Environment|Settings)\b.*\):", re.MULTILINE)
    found = {
        ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for source in sources
        if pattern.search(source.read_text())
    }
    looked_at = {"db.settings", "worker.core.settings", *unknown_settings.OTHER_MODULES}
    assert found == looked_at
    for module in looked_at:
        importlib.import_module(module)
