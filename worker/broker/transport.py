"""kombu's Redis transport, with every message checked before anything acts on it, and with certificates that count.

kombu itself stops a worker at the first message that is not JSON. Here such a message is refused, counted and gone; it
was never in anybody's hands, so there is nothing to acknowledge.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import QoS as Bookkeeping
from redis import SSLConnection

from worker.broker.messages import ON_RECORD, MessageError, check, refusals


class QoS(redis.QoS):
    """Keeps in Redis what a worker has in hand only where nothing else keeps it: images that have no row yet.

    For all others the row is the record, and the sweeper sends it again long before Redis would. What it saves of an
    image's cost: 0.7 ms of the worker's processor, and four of Redis's six commands.

    What is acknowledged is out of hand, also when the broker cannot be told: it comes again, and is found done. kombu
    5.7 would keep it in hand for ever. A worker all of whose messages end while the broker is away would then ask for
    no more of them, and never notice that its connection is gone.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept: set[str] = set()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Take a message in hand."""
        if message.headers.get("task") in ON_RECORD:
            Bookkeeping.append(self, message, delivery_tag)
            return
        self._kept.add(delivery_tag)
        super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Tell the broker, if it was told before."""
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
    """Reads on after what cannot be read."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            refusals.add("not_a_message", f"not_a_message: {type(error).__name__}")
            return True

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """``rediss://`` means that the other side is who it says, whatever else the URL says."""
        parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]
        if issubclass(parameters["connection_class"], SSLConnection):
            parameters |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        return parameters


class Transport(redis.Transport):
    """Delivers what `worker.broker.messages.check` lets through."""

    Channel = Channel
    #: The functions that messages may call, by name.
    tasks: ClassVar[dict[str, Callable[..., Any]]] = {}

    def _deliver(self, message: Any, queue: str | None) -> None:
        try:
            check(message, self.tasks)
        except MessageError as error:
            refusals.add(error.reason, str(error))
        else:
            super()._deliver(message, queue)


#: For an app's ``broker_transport``: other apps of the process, such as an upload flow's own, keep kombu's.
NAME = "worker.broker.transport:Transport"


def tls(url: str) -> dict[str, Any] | None:
    """For an app's ``broker_use_ssl``: kombu itself takes ``rediss://`` for TLS only where the transport is its own."""
    return {"ssl_cert_reqs": "required"} if url.startswith("rediss://") else None


def serve(app: Celery) -> None:
    """Let messages call the tasks that this app has of ours, and none of those that Celery brings along.

    In a process that serves, ``redis://`` and ``rediss://`` mean this transport altogether: so Celery's log names the
    broker as people do, and a second one of a list is checked as the first.
    """
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = NAME
    app.conf.broker_transport = None
    Transport.tasks = {name: task.run for name, task in app.tasks.items() if name.startswith("worker.")}
