"""kombu's Redis transport, with every message checked before anything acts on it, and with TLS verification always on.

kombu itself stops a worker at the first message that is not JSON. Here such a message is refused, counted and dropped;
nobody had taken it, so there is nothing to acknowledge.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import QoS as Bookkeeping
from redis import SSLConnection

from worker.broker.messages import ON_RECORD, MessageError, check_message
from worker.telemetry.refusals import refusals


class QoS(redis.QoS):
    """Keeps unacknowledged messages in Redis only where nothing else keeps them: for images that have no row yet.

    For all others the row is the record, and the relay sends it again long before Redis would. This saves 0.7 ms of the
    worker's processor per image, and four of Redis's six commands.

    An acknowledged message is dropped even when the broker cannot be told: it is delivered again, and found done. kombu
    5.7 would hold it for ever. A worker whose messages all end during a broker outage would then ask for no more of
    them, and never notice that its connection is gone.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept: set[str] = set()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a delivered message until it is acknowledged."""
        if message.headers.get("task") in ON_RECORD:
            Bookkeeping.append(self, message, delivery_tag)
            return
        self._kept.add(delivery_tag)
        super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; the broker is told only if it keeps the message. Raises kombu's connection errors."""
        if delivery_tag not in self._kept:
            Bookkeeping.ack(self, delivery_tag)
            return
        self._kept.discard(delivery_tag)
        try:
            super().ack(delivery_tag)
        except Exception:
            Bookkeeping.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):
    """Reads on after a message that cannot be read."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            refusals.add("not_a_message", f"not_a_message: {type(error).__name__}")
            return True

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Verify the server of a ``rediss://`` URL, whatever its parameters say."""
        parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]
        if issubclass(parameters["connection_class"], SSLConnection):
            parameters |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        return parameters


class Transport(redis.Transport):
    """Delivers the messages that `worker.broker.messages.check_message` accepts."""

    Channel = Channel
    #: The functions that messages may call, by name.
    tasks: ClassVar[dict[str, Callable[..., Any]]] = {}

    def _deliver(self, message: Any, queue: str | None) -> None:
        try:
            check_message(message, self.tasks)
        except MessageError as error:
            refusals.add(error.reason, str(error))
        else:
            super()._deliver(message, queue)


#: For an app's ``broker_transport``: other Celery apps of the process keep kombu's transport.
NAME = "worker.broker.transport:Transport"


def tls(url: str) -> dict[str, Any] | None:
    """For an app's ``broker_use_ssl``: kombu infers TLS from ``rediss://`` only for its own transport."""
    return {"ssl_cert_reqs": "required"} if url.startswith("rediss://") else None


def serve(app: Celery) -> None:
    """Let messages call this app's own tasks, and none of those that Celery brings along.

    In a worker process ``redis://`` and ``rediss://`` always mean this transport: so Celery's log names the broker as
    people do, and a second broker in a list is checked like the first.
    """
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = NAME
    app.conf.broker_transport = None
    Transport.tasks = {name: task.run for name, task in app.tasks.items() if name.startswith("worker.")}
