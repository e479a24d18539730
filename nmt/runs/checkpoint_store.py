"""The checkpoints of one run directory, as the training loop saves and loads them."""

from pathlib import Path
from typing import Any

from nmt.runs import checkpoint, retention
from nmt.train.config import TrainerConfig


class RunCheckpoints:
    """checkpoints/best.pt, checkpoints/last.pt and the weights of validations, below a run directory.

    It implements nmt.train.interfaces.CheckpointStore.  trainer.keep_last and trainer.keep_best say how many weights
    of validations stay, and trainer.metric which of them are the best.
    """

    def __init__(self, directory: Path, config: TrainerConfig) -> None:
        self.directory, self.config = directory, config

    def save_best(self, weights: dict[str, Any]) -> None:
        """Write best.pt."""
        checkpoint.save(self.directory / checkpoint.BEST, weights)

    def save_validated(self, weights: dict[str, Any]) -> None:
        """Write step-N.pt if it is wanted, and delete the files that no longer are."""
        retention.retain(self.directory, weights, self.config.keep_last, self.config.keep_best, self.config.metric)

    def save_last(self, state: dict[str, Any]) -> None:
        """Write last.pt."""
        checkpoint.save(self.directory / checkpoint.LAST, state)

    def load_last(self) -> dict[str, Any]:
        """Read last.pt, its tensors on the CPU."""
        return checkpoint.load(self.directory / checkpoint.LAST)

    @property
    def last_name(self) -> str:
        """The path of last.pt."""
        return str(self.directory / checkpoint.LAST)
