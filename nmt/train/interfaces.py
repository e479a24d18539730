"""What the training loop needs of others: a stream of batches, and a place to store checkpoints."""

from collections.abc import Generator
from typing import Any, Protocol

from nmt.batch import Batch


class Batches(Protocol):
    """An endless, reproducible stream of batches on the CPU (nmt.data.batching.TrainBatches)."""

    @property
    def progress(self) -> float:
        """Passes over the data (epochs) so far: a whole number exactly where one ends."""
        ...

    def __iter__(self) -> Generator[Batch, None, None]: ...

    def longest(self) -> Batch:
        """The batch that needs the most memory."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position of the next batch of the stream."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a position; only before iteration begins."""
        ...


class CheckpointStore(Protocol):
    """Saves and loads checkpoints, which are dictionaries of tensors and plain values.

    nmt.runs.checkpoint_store implements it for a run directory; the training loop knows neither files nor folders.
    Every method raises RunError where the disk refuses.
    """

    def save_best(self, weights: dict[str, Any]) -> None:
        """Replace the checkpoint of the best validation.  ``weights``: model, step, precision and metrics."""
        ...

    def save_validated(self, weights: dict[str, Any]) -> None:
        """Store the weights of a validation, and delete those of earlier ones that are no longer wanted."""
        ...

    def save_last(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint that training resumes from."""
        ...

    def load_last(self) -> dict[str, Any]:
        """The latest state that ``save_last`` stored; raises RunError where there is none or it is damaged."""
        ...

    @property
    def last_name(self) -> str:
        """What messages call the checkpoint that training resumes from: its path."""
        ...
