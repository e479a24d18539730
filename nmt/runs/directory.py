"""A run directory: its name, making it, opening it, and what is written into it."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import torch
import yaml

from nmt.atomic import whole_file
from nmt.checksum import check_text, json_with_checksum, parse_json, with_checksum
from nmt.config import MAX_NAME, Config, from_yaml, to_tree, to_yaml
from nmt.data.tokenizer import Tokenizers
from nmt.errors import ConfigError, RunError
from nmt.eval.alignment import AlignConfig
from nmt.models import build_model
from nmt.models.seq2seq import Seq2Seq
from nmt.plugins import in_place, used_plugins
from nmt.runs import checkpoint, retention
from nmt.runs.lock import is_left_empty
from nmt.runs.plugins import need_plugins, no_copies
from nmt.runs.safetensors_file import WEIGHTS_FILE, load_weights
from nmt.search import average_states

# Files and folders of a run directory (nmt/runs/__init__.py lists all of them).
CONFIG_FILE, ORIGIN, TOKENIZER, RESULTS = "config.yaml", "origin.json", "tokenizer", "scores"
DEFAULT_NAME = "default"  # of a run in which nothing was chosen
# Keys of data that hold paths.
PATH_KEYS = ("root", "train", "validation", "tests", "more", "gold", "alignments", "path", "files")
WEIGHTS = {"best": checkpoint.BEST, "last": checkpoint.LAST}
AVERAGE = re.compile(r"(avg|best):([1-9][0-9]*)")


def check_checkpoint(which: str) -> None:
    """Raise ConfigError for weights that no run can have."""
    if which not in WEIGHTS and not AVERAGE.fullmatch(which):
        raise ConfigError(f"checkpoint must be best, last, avg:K or best:K, got {which}")


# Names and directories.


def time_stamp() -> str:
    """Now, as a folder's name that sorts by time."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def run_name(parts: Sequence[str]) -> str:
    """The parts joined into one folder name of [A-Za-z0-9._-], short enough for a number after it.

    What has to be cut is replaced by a hash of it all, so that different choices keep different names.
    """
    name = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part) for part in parts).lstrip(".-")
    longest = MAX_NAME - len("-9999")
    if len(name) > longest:
        name = f"{name[: longest - 9]}-{short_hash(name)}"
    return name or DEFAULT_NAME


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that tell a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def directory_for(config: Config) -> Path:
    """Where the run would be: runs/NAME, in a sweep runs/SWEEP/NAME."""
    return Path(config.runs, config.sweep or "", config.name or DEFAULT_NAME)


def runs_of_name(wanted: Path) -> dict[int, Path]:
    """The directories that were made for NAME, by number: NAME itself is number 1, then NAME-2, NAME-3, ...

    The config.yaml of a run records the name that was asked for.  A directory NAME-2 counts only if its record says
    NAME: if it says NAME-2, the directory belongs to a run that was named so.
    """
    with_number = re.compile(re.escape(wanted.name) + r"-([2-9]|[1-9][0-9]{1,3})")
    found = {1: wanted} if wanted.is_dir() else {}
    for path in wanted.parent.glob(f"{wanted.name}-*"):
        match = with_number.fullmatch(path.name)
        if match and recorded_name(path) == wanted.name:
            found[int(match[1])] = path
    return found


def recorded_name(directory: Path) -> str | None:
    """The name that was asked for when a run was made; None where there is no config.yaml.

    Only the line with the name is read, so that damage elsewhere in the file does not hide whose run it is.
    """
    try:
        text = (directory / CONFIG_FILE).read_text(encoding="utf-8", errors="replace")
        line = re.search("^name:.*$", text, re.MULTILINE)
        return str(yaml.safe_load(line[0])["name"] or DEFAULT_NAME) if line else None
    except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError):  # damage in the line itself
        return None


def create_directory(wanted: Path) -> Path:
    """Make the folder; where its name is taken, one with the next number.  Two processes never get the same.

    One that a killed process left before it wrote what it trains is taken as if it were new: it is nobody's run.
    """
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"runs: {wanted.parent} cannot be made: {error.strerror}") from None
    number = max(runs_of_name(wanted), default=0) + 1
    if number == 2 and is_left_empty(wanted):
        return wanted
    while True:
        path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            if not path.is_dir():
                raise RunError(f"{path} is in the way: it is no folder") from None
            if is_left_empty(path):
                return path
            number += 1
        else:
            return path


def newest_run(wanted: Path) -> Path | None:
    """The last that was made of NAME, NAME-2, NAME-3, ..., if there is any; see ``runs_of_name``."""
    found = runs_of_name(wanted)
    return found[max(found)] if found else None


# Reading.


def read_config(directory: Path) -> Config:
    """DIR/config.yaml; raises RunError if the directory is no run, and where plug-ins of the run are not loaded."""
    path = directory / CONFIG_FILE
    need_plugins(directory)
    try:
        return from_yaml(read_checked(path))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(explain_missing_run(directory)) from None
    except (ConfigError, UnicodeDecodeError, OSError) as error:
        raise RunError(f"{path}: {error}{no_copies(directory)}") from None


def read_checked(path: Path) -> str:
    """A config.yaml as it was written; raises RunError, naming it, where it does not fit its checksum, and OSError."""
    text = path.read_text(encoding="utf-8")
    try:
        check_text(text)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None
    return text


def read_data(directory: Path) -> dict[str, Any]:
    """The data section of DIR/config.yaml, its relative paths as they can be found from here.

    One that is not there from here, but is from the folder where the run was trained, gets that before it.
    """
    data = to_tree(read_config(directory).data)
    folder = recorded_folder(directory)
    if folder is None:
        return data
    return {key: paths_from(folder, value) if key in PATH_KEYS else value for key, value in data.items()}


def recorded_folder(directory: Path) -> Path | None:
    """The folder that the run was last started in; None where no origin.json tells.  RunError for a damaged one."""
    path = directory / ORIGIN
    if not path.exists():
        return None
    try:
        return Path(read_json(path)["folder"])
    except RunError as error:
        raise RunError(f"{error}; without the file relative paths of data are looked for from here alone") from None
    except (KeyError, TypeError):
        return None


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote; raises RunError, naming the file, where it is missing or damaged."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: {error}") from None


def paths_from(folder: Path, value: Any) -> Any:
    """The same tree with ``folder`` before every relative path that is only there."""

    def found(path: str) -> str:
        return str(folder / path) if path and not Path(path).exists() and (folder / path).exists() else path

    return with_texts(value, found)


def absolute_paths(data: dict[str, Any]) -> dict[str, Any]:
    """A data section in which the paths that are there do not depend on the working directory."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path and Path(path).exists() else path

    return {key: with_texts(value, absolute) if key in PATH_KEYS else value for key, value in data.items()}


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same tree with every text changed."""
    if isinstance(value, dict):
        return {k: with_texts(v, change) for k, v in value.items()}
    if isinstance(value, list):
        return [with_texts(v, change) for v in value]
    return change(value) if isinstance(value, str) else value


def explain_missing_run(directory: Path) -> str:
    """Why a directory cannot be opened, and which could be."""
    if not directory.is_dir():
        return f"{directory}: there is no such run directory"
    inside = sorted(str(p.parent) for p in directory.glob(f"*/{CONFIG_FILE}"))
    found = f"; runs in it: {', '.join(inside[:8])}{', ...' * (len(inside) > 8)}" if inside else ""
    return f"{directory} is no run directory: it has no {CONFIG_FILE}{found}"


class Run:
    """A run directory that is there.  Reading it executes nothing of what it holds."""

    def __init__(self, directory: Path, config: Config, tokenizers: Tokenizers) -> None:
        self.directory, self.config, self.tokenizers = directory, config, tokenizers
        self.plugins = used_plugins(config)

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """Read configuration and tokenizer; raises RunError where something is missing or damaged."""
        directory = Path(directory)
        return cls(directory, read_config(directory), Tokenizers.load(directory / TOKENIZER))

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.directory)

    @property
    def scores(self) -> Path:
        """The folder of its results."""
        return self.directory / RESULTS

    @property
    def exported_weights(self) -> Path:
        """The file that has the weights where the directory is an export and not what a training left."""
        return self.directory / WEIGHTS_FILE

    def build(self) -> Seq2Seq:
        """The run's model with fresh weights."""
        sizes = self.tokenizers.source.size, self.tokenizers.target.size
        with in_place(self.plugins):  # another run may have had another version of them since
            return build_model(self.config.model, *sizes, self.tokenizers.joint, self.config.trainer.label_smoothing)

    def weights(self, which: str) -> list[Path]:
        """The files whose mean is meant by best, last, avg:K (the K latest retained) or best:K (the K best of them).

        An export has one file, which is its best and its last.
        Raises ConfigError for anything else, RunError, which names what there is, for what the run does not have.
        """
        check_checkpoint(which)
        if which in WEIGHTS:
            path = self.directory / WEIGHTS[which]
            if not path.exists() and self.exported_weights.exists():
                return [self.exported_weights]
            if not path.exists():
                others = [f"checkpoint={name}" for name, file in WEIGHTS.items() if (self.directory / file).exists()]
                raise RunError(f"{path} is not there; there is {' and '.join(others) or 'no checkpoint yet'}")
            return [path]
        order, _, count = which.partition(":")
        paths = retention.retained_checkpoints(self.directory)
        if len(paths) < int(count):
            if self.exported_weights.exists():
                raise RunError(f"checkpoint={which}: {self.directory} is an export, which has {WEIGHTS_FILE} alone")
            there = f"only {', '.join(path.stem for path in paths)}" if paths else "none"
            key = "trainer.keep_last" if order == "avg" else "trainer.keep_best"
            raise RunError(
                f"checkpoint={which}: of retained weights {self.directory} has {there}; train with {key}={count}"
            )
        metric = self.config.trainer.metric
        return paths[-int(count) :] if order == "avg" else retention.best_checkpoints(paths, int(count), metric)

    def load_model(self, which: str, device: torch.device) -> tuple[Seq2Seq, int]:
        """The run's model in eval mode with the weights of ``weights``, and the latest step that they are of.

        Raises RunError for a checkpoint that is missing, damaged or does not fit.
        """
        paths = self.weights(which)
        states = [read_weights(path) for path in paths]
        with torch.random.fork_rng(devices=[]):  # the initial weights that are drawn here are replaced at once
            model = self.build()
        try:
            model.load_state_dict(average_states([state["model"] for state in states], [str(path) for path in paths]))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise RunError(f"{paths[0]} does not fit {self.directory / CONFIG_FILE}: {reason}") from None
        return model.to(device).eval(), max(state["step"] for state in states)


def read_weights(path: Path) -> dict[str, Any]:
    """A file of ``Run.weights``: its ``model`` (a state_dict) and ``step``; RunError where it cannot be read."""
    return load_weights(path) if path.suffix == Path(WEIGHTS_FILE).suffix else checkpoint.load(path)


def alignment_config(config: Config, given: AlignConfig | None = None) -> AlignConfig:
    """How alignments are read from a run's attention: as ``given``, and else from the head that was taught, if any.

    Guided alignment and agreement teach one.  A layer without a head means all its heads; a head without a layer is one
    of the layer that was taught.  The decoder step is that which was taught, too, unless it is given.
    """
    given, trainer = given or AlignConfig(), config.trainer
    if not (trainer.guided_alignment or trainer.agreement) or given.layer is not None:
        return given
    shift = trainer.guided_shift if given.shift is None else given.shift
    return replace(given, layer=trainer.guided_layer, head=given.head or trainer.guided_head, shift=shift)


# Writing.


def save_config(directory: Path, config: Config) -> None:
    """Write DIR/config.yaml."""
    write_text_file(directory / CONFIG_FILE, with_checksum(to_yaml(config)))


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """Write JSON that a person can read, and that ``read_json`` checks."""
    write_text_file(path, json_with_checksum(tree))


def write_text_file(path: Path, text: str) -> None:
    """Write a text file whole or not at all; raises RunError where the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror}") from None
