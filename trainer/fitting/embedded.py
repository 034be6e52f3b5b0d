"""Examples with their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Example
from trainer.fitting.cache import Embeddings


@dataclass(frozen=True, slots=True)
class EmbeddedExamples:
    """Examples and their (n, D) embeddings; an example that was trained on in several views appears several times.

    ``weights`` are (n,) in the loss, with the sum 1; None leaves them to the recipe.
    """

    examples: Sequence[Example]
    embeddings: Embeddings
    weights: NDArray[np.float64] | None = None

    @property
    def fake(self) -> NDArray[np.bool_]:
        """(n,) whether each is AI-generated."""
        return np.array([example.fake for example in self.examples], dtype=np.bool_)

    @property
    def sources(self) -> NDArray[np.str_]:
        """(n,) the source of each."""
        return np.array([example.source for example in self.examples], dtype=np.str_)

    def __add__(self, others: "EmbeddedExamples") -> "EmbeddedExamples":
        """Both, one after the other."""
        return EmbeddedExamples(
            [*self.examples, *others.examples], np.concatenate([self.embeddings, others.embeddings])
        )

    def chosen(self, rows: NDArray[np.intp]) -> "EmbeddedExamples":
        """The examples of these rows, with their embeddings."""
        return EmbeddedExamples([self.examples[row] for row in rows.tolist()], self.embeddings[rows])
