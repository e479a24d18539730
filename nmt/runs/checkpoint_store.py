"""The checkpoints of one run directory, as the training loop saves and loads them."""

from pathlib import Path
from typing import Any, NamedTuple

from nmt.errors import RunError
from nmt.runs import checkpoint, retention
from nmt.runs.safetensors_file import WEIGHTS_FILE
from nmt.runs.summary import read_events
from nmt.train.config import TrainerConfig


class SavedState(NamedTuple):
    """The checkpoint that a training resumes from."""

    path: Path
    step: int
    measured: frozenset[str]  # the figures of the best validation so far; none before the first
    damage: str = ""  # what is wrong with last.pt, where it is another


def can_resume(directory: Path) -> bool:
    """Whether a training was saved there."""
    return any((directory / name).exists() for name in (checkpoint.LAST, checkpoint.PREVIOUS))


def has_only_weights(directory: Path) -> bool:
    """Whether there are weights that a training from its beginning would overwrite, and no state to go on from.

    Weights after one validation and no end of training are none: they are of a training that was killed while it saved
    for the first time, and so are made again.
    """
    if can_resume(directory):
        return False
    if (directory / WEIGHTS_FILE).exists():
        return True
    kinds = [event["event"] for event in read_events(directory / "log.jsonl")[0]]
    if "built" in kinds:  # a training that was killed twice has begun twice
        kinds = kinds[len(kinds) - kinds[::-1].index("built") :]
    just_begun = kinds.count("validation") == 1 and "end" not in kinds
    return not just_begun and any((directory / checkpoint.BEST).parent.glob("*.pt"))


def newest_state(directory: Path) -> SavedState:
    """last.pt or, where it is damaged or gone, previous.pt; raises RunError where neither can be used."""
    last, previous = directory / checkpoint.LAST, directory / checkpoint.PREVIOUS
    try:
        return saved_state(last)
    except RunError as error:
        if not previous.exists():
            raise
        damage = str(error)
    try:
        return saved_state(previous, damage)
    except RunError as error:
        raise RunError(f"{damage}; {error}") from None


def saved_state(path: Path, damage: str = "") -> SavedState:
    """What one of the two files says of itself; raises RunError where it cannot be used."""
    saved = checkpoint.load(path)
    return SavedState(path, saved["step"], frozenset(saved.get("standing", {}).get("best_metrics", {})), damage)


class RunCheckpoints:
    """checkpoints/best.pt, last.pt, previous.pt and the weights of validations, below a run directory.

    It implements nmt.train.interfaces.CheckpointStore.  trainer.keep_last and trainer.keep_best say how many weights
    of validations stay, and trainer.metric which of them are the best.
    """

    def __init__(self, directory: Path, config: TrainerConfig, saved: Path | None = None) -> None:
        """``saved``: the checkpoint that ``load_last`` reads; without one, last.pt."""
        self.directory, self.config = directory, config
        self.last = directory / checkpoint.LAST
        self.saved = saved or self.last
        self.last_is_whole = False  # whether last.pt is known to be there and undamaged

    def save_best(self, weights: dict[str, Any]) -> None:
        """Write best.pt."""
        checkpoint.save(self.directory / checkpoint.BEST, weights)

    def save_validated(self, weights: dict[str, Any]) -> None:
        """Write step-N.pt if it is wanted, and delete the files that no longer are."""
        retention.retain(self.directory, weights, self.config.keep_last, self.config.keep_best, self.config.metric)

    def save_last(self, state: dict[str, Any]) -> None:
        """Write last.pt; the one before it becomes previous.pt, unless it is damaged."""
        checkpoint.save(self.last, state, self.directory / checkpoint.PREVIOUS if self.last_is_whole else None)
        self.last_is_whole = True

    def load_last(self) -> dict[str, Any]:
        """Read the checkpoint to resume from, its tensors on the CPU."""
        state = checkpoint.load(self.saved)
        self.last_is_whole = self.saved == self.last
        return state

    @property
    def last_name(self) -> str:
        """The path of last.pt."""
        return str(self.last)
