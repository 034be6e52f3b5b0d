"""What goes wrong in this room, as one-line messages that name the thing, the value and the limit."""


class WorkerError(Exception):
    """The base of every error that this room raises on purpose."""


class FetchError(WorkerError):
    """A photo's bytes that could not be had. ``reason`` is a code that can be counted."""

    def __init__(self, reason: str, detail: str, *, transient: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.transient = transient


class DecoderError(WorkerError):
    """A picture that the decoder did not survive. ``reason`` is a code that can be counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class OutOfDomainError(WorkerError):
    """A photo that the detector was not made for. ``reason`` is a code that can be counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ScoringError(WorkerError):
    """A model that gave no usable score."""


class StoppingError(WorkerError):
    """This worker gave up what it had in hand: another will do it."""


class BrokerError(WorkerError):
    """A broker that cannot be reached."""


class UsageError(WorkerError):
    """A command that was asked for something it cannot do."""
