"""What a worker may be told, and what it answers to nonsense."""

from pathlib import Path
from typing import Any

import pytest

from db.errors import SettingsError
from worker.core.settings import BrokerSettings, FetchSettings, WorkerSettings


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("ALLOWED_HOSTS", "cdn.example.com", "allowed_hosts", ("cdn.example.com",)),
        (
            "ALLOWED_HOSTS",
            " a.example.com , b.example.com:8443,",
            "allowed_hosts",
            ("a.example.com", "b.example.com:8443"),
        ),
        ("ALLOWED_HOSTS", " , ", "allowed_hosts", ()),
        ("MEDIA_ROOT", "/srv/photos", "media_root", Path("/srv/photos")),
        ("MEDIA_ROOT", "", "media_root", None),
        ("FETCH_TIMEOUT_S", "2.5", "fetch_timeout_s", 2.5),
        ("DEVICE", "cuda:1", "device", "cuda:1"),
        ("DEVICE", "cuda", "device", "cuda"),
        ("MAX_WAIT_S", "0", "max_wait_s", 0.0),
        ("CONCURRENCY", "4", "concurrency", 4),
        ("BROKER_URL", "rediss://:secret@host/1", "broker_url", "rediss://:secret@host/1"),
        ("BROKER_URL", "redis://a:1/0;redis://:p,w@[::1]:2/0", "broker_url", "redis://a:1/0;redis://:p,w@[::1]:2/0"),
        (
            "ALLOWED_HOSTS",
            "xn--bcher-kva.example,[::1]:80,a_b.c",
            "allowed_hosts",
            ("xn--bcher-kva.example", "[::1]:80", "a_b.c"),
        ),
    ],
)
def test_settings_mean_what_they_say(key: str, value: str, field: str, expected: Any) -> None:
    assert getattr(WorkerSettings.load({f"UNMASK_{key}": value}), field) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DEVICE", "gpu"),
        ("DEVICE", "cuda:one"),
        ("DEVICE", "cpu; rm -rf"),
        ("ENGINE", "magic"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "many"),
        ("MAX_BATCH", "-1"),
        ("MAX_WAIT_S", "-0.1"),
        ("LEASE_S", "0"),
        ("FETCH_TIMEOUT_S", "nan"),
        ("RESEND_S", "inf"),
        ("SWEEP_S", "0"),
        ("MAX_ATTEMPTS", "1.5"),
        ("ALLOWED_HOSTS", "a.example.com."),
        ("ALLOWED_HOSTS", "a..example.com"),
        ("ALLOWED_HOSTS", "-a.example.com"),
        ("ALLOWED_HOSTS", "https://a.example.com"),
        ("ALLOWED_HOSTS", "*.example.com"),
        ("BROKER_URL", "redis.example.com:6379"),
        ("BROKER_URL", "redis://a:6379,b:6379/0"),
        ("BROKER_URL", "redis://a:port/0"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_key(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^UNMASK_{key}: [^;\n]+$"):
        WorkerSettings.load({f"UNMASK_{key}": value})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("amqp://u:s3cret@rabbit//", "RabbitMQ"),
        ("sentinel://:s3cret@a:26379;sentinel://:s3cret@b:26379", "Redis Sentinel"),
        ("redis+sentinel://:s3cret@a:26379/mymaster", "Redis Sentinel"),
        ("redis+cluster://:s3cret@a:6379", "Redis Cluster"),
        ("redis+socket:///run/redis.sock", "a Unix socket"),
    ],
)
def test_a_broker_of_another_kind_is_refused_by_name(url: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"UNMASK_BROKER_URL: .*{name} .* is not supported") as caught:
        BrokerSettings.load({"UNMASK_BROKER_URL": url})
    assert "s3cret" not in str(caught.value)


def test_all_nonsense_is_refused_at_once() -> None:
    given = {"UNMASK_DEVICE": "gpu", "UNMASK_CONCURRENCY": "0", "UNMASK_SWEEP_S": "soon", "UNMASK_RESEND_S": "-1"}
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load(given)
    assert sorted(part.split(": ")[0] for part in str(caught.value).split("; ")) == sorted(given)


def test_nothing_is_fetched_from_anywhere_unless_somebody_says_so() -> None:
    assert FetchSettings.load({}).media_root is None
    assert FetchSettings.load({}).allowed_hosts == ()


def test_an_upload_flow_needs_no_settings_of_the_worker() -> None:
    assert BrokerSettings.load({"UNMASK_DEVICE": "gpu", "UNMASK_MAX_BATCH": "none"}) == BrokerSettings()


def test_a_lease_outlives_all_that_a_worker_does_with_an_image() -> None:
    settings = WorkerSettings()
    assert settings.lease_s > settings.resend_s
    assert settings.lease_s > 5 * (settings.fetch_timeout_s + settings.max_wait_s)
