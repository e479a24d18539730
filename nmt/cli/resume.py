"""resume=DIR: go on with a run whose directory is named, by what its config.yaml says and what is typed on top."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from nmt.cli.compose import typed
from nmt.cli.options import WITHOUT_DEFAULT, Command, config_groups
from nmt.config import CONFIG_DIR, VERSION_BASE, Config, composed, to_tree
from nmt.data.textfile import home_expanded
from nmt.errors import ConfigError, shortened
from nmt.runs.directory import read_config, read_data
from nmt.train.validate_command import KEY as VALIDATE_COMMAND

HERE_ALREADY = ("name", "runs", "sweep", "init_from")  # which run it is, and what its weights came from
SECTIONS = ("optim", "trainer", "decode", "logger")  # groups whose choice may be another than the run's


def named_run(overrides: Sequence[str]) -> Path | None:
    """The DIR of resume=DIR; None where resume is true, false or not typed."""
    typed_words = OverridesParser.create().parse_overrides(list(overrides))
    values = [o.value() for o in typed_words if o.key_or_group == "resume" and not o.is_sweep_override()]
    if not values or not isinstance(values[-1], str):
        return None
    if not values[-1]:
        raise ConfigError("resume is empty: type true or a run directory")
    return home_expanded(values[-1], "resume")


def config_on_top(command: Command, directory: Path, overrides: Sequence[str]) -> Config:
    """The configuration of a run with the values that are typed after it in their place.

    Paths of data that are only there from the folder where the run was trained are those.  Raises ConfigError for
    words that name another run, or a choice (GROUP=CHOICE) of what the run has already; RunError for no run.
    """
    words = [o for o in OverridesParser.create().parse_overrides(list(overrides)) if o.key_or_group != "resume"]
    groups = config_groups(command.config_dirs)
    for word in words:
        key = word.key_or_group.replace("/", ".")
        if key in HERE_ALREADY:
            raise ConfigError(f"resume={directory} says which run, so {key} is not typed with it")
        if (word.key_or_group in groups or key in WITHOUT_DEFAULT) and key not in SECTIONS:
            raise ConfigError(
                f"resume={directory} goes on with the {key} of that run; type keys (KEY=VALUE) to change values of it"
            )
        if word.is_hydra_override():
            raise ConfigError(f"{key} is Hydra's, which does not compose what resume=DIR goes on with")
    tree = to_tree(read_config(directory)) | {"data": read_data(directory)}
    validates = tree["trainer"]["validate_command"]
    if validates is not None and all(word.key_or_group != VALIDATE_COMMAND for word in words):
        raise ConfigError(
            f"resume={directory}: the run has {VALIDATE_COMMAND}={shortened(validates)}, which is executed only where "
            "it is typed: type it again, or null"
        )
    cfg: Any = composed(tree)
    for word in words:
        if word.key_or_group in groups:
            cfg[word.key_or_group] = chosen_section(command, word)
    OmegaConf.set_struct(cfg, True)
    ConfigLoaderImpl._apply_overrides_to_config([o for o in words if o.key_or_group not in groups], cfg)
    return typed(cfg)


def chosen_section(command: Command, word: Override) -> Any:
    """The section of a choice such as optim=adamw."""
    with hydra.initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        return hydra.compose(command.root, [str(word.input_line)])[word.key_or_group]
