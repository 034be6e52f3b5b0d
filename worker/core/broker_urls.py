"""The supported broker URLs: one Redis server, or several that are tried in turn."""

import re
from urllib.parse import SplitResult, urlsplit

from db.server_urls import ENCODE, check_address, check_characters

#: Unsupported brokers that people may try, by the scheme of their URLs.
_OTHER_BROKERS = {
    "amqp": "RabbitMQ",
    "amqps": "RabbitMQ",
    "kafka": "Kafka",
    "memory": "an in-process broker",
    "redis+cluster": "Redis Cluster",
    "redis+sentinel": "Redis Sentinel",
    "rediss+sentinel": "Redis Sentinel",
    "redis+socket": "a Unix socket",
    "sentinel": "Redis Sentinel",
    "socket": "a Unix socket",
    "sqs": "Amazon SQS",
    "unix": "a Unix socket",
}


def check_broker_url(url: str) -> str:
    """Check a broker's URL, or several with ";" between them; raises ValueError, whose text contains no password."""
    for part in url.split(";"):
        check_characters(part)
        scheme = part.partition("://")[0].lower()
        if scheme in _OTHER_BROKERS:
            raise ValueError(f"{_OTHER_BROKERS[scheme]} ({scheme}://) is not supported: use redis:// or rediss://")
        if not part.lower().startswith(("redis://", "rediss://")):
            raise ValueError("must be a redis:// or rediss:// URL, like redis://:password@redis.example.com:6379/0")
        _check_server(part)
    return url


def shown_brokers(url: str) -> str:
    """The servers of checked URLs, as messages name them: without user names, passwords and options."""
    return ";".join(_shown(urlsplit(part)) for part in url.split(";"))


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"has no host and port that can be read: {ENCODE}") from None
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("must name one server and its port (Redis Cluster is not supported)")
    check_address(parts.hostname or "", port, f"{parts.path}{parts.query}{'#' * ('#' in url)}")
    if not re.fullmatch(r"(/\d{0,4})?", parts.path):
        raise ValueError(f"has no database number after its host and port, like /0: {ENCODE}")


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
