"""What goes wrong in this room, as one-line messages that name the thing, the value and the limit."""


class TrainerError(Exception):
    """The base of every error that this room raises on purpose."""


class Rejected(TrainerError):  # noqa: N818 - an answer, more than an error
    """An image that the detector will not look at.

    ``reason`` is a code that can be counted; ``limit`` and ``value`` say what was allowed and what came.
    """

    def __init__(self, reason: str, limit: str, value: str) -> None:
        super().__init__(f"{reason}: {value} (allowed: {limit})")
        self.reason = reason
        self.limit = limit
        self.value = value


class ManifestError(TrainerError):
    """A table of training pictures that cannot be used as it is."""


class WeightsError(TrainerError):
    """Backbone weights that are missing or not what they claim to be."""


class CheckpointError(TrainerError):
    """A checkpoint file that cannot be read, or does not fit this software."""


class ShortcutError(TrainerError):
    """Training pictures whose labels can be told from how the files are stored, without looking at a face.

    ``columns`` are the facts that tell them, with their cross-validated balanced accuracy.
    """

    def __init__(self, columns: dict[str, float], remedy: str) -> None:
        named = ", ".join(f"{name} ({accuracy:.2f})" for name, accuracy in columns.items())
        super().__init__(f"the labels can be told without looking at a face, from {named}: {remedy}")
        self.columns = columns
