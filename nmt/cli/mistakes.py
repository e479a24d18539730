"""What is said to a user who typed something that cannot be: what is wrong, in a line or three, and what was meant."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import fields

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from nmt.cli.options import Command, is_below, key_options, known_keys
from nmt.config import CHOICE_GROUPS, Config, choices_with
from nmt.errors import DISK, UserError, refusal
from nmt.settings import explain_type, null_instead
from nmt.train.log import LOGGERS

FLAGS = ("--help", "--version", "--multirun", "--config-dir", "--cfg", "--resolve", "--info", "--shell-completion")
# Plug-ins of Hydra, and what pip installs them by: the package comes last.
PLUG_INS = {
    "hydra/launcher=joblib": "hydra-joblib-launcher",
    "hydra/launcher=submitit_local": "hydra-submitit-launcher",
    "hydra/launcher=submitit_slurm": "hydra-submitit-launcher",
    "hydra/launcher=ray": "hydra-ray-launcher",
    "hydra/launcher=rq": "hydra-rq-launcher",
    "hydra/sweeper=optuna": "--pre hydra-optuna-sweeper",
    "hydra/sweeper=ax": "hydra-ax-sweeper",
    "hydra/sweeper=nevergrad": "hydra-nevergrad-sweeper",
}
# What other toolkits call settings, with the keys that do here what those do there.
NAMES_ELSEWHERE = {
    "batch_size": ("data.batching.tokens", "data.batching.sentences", "decode.batch_size"),
    "max_tokens": ("data.batching.tokens",),
    "learning_rate": ("optim.lr",),
    "epochs": ("trainer.max_epochs",),
    "num_epochs": ("trainer.max_epochs",),
    "max_epoch": ("trainer.max_epochs",),
    "num_train_epochs": ("trainer.max_epochs",),
    "train_steps": ("trainer.max_steps",),
    "max_update": ("trainer.max_steps",),
    "beam": ("decode.beam_size",),
    "num_beams": ("decode.beam_size",),
    "nbest": ("decode.n_best",),
    "src": ("data.source",),
    "tgt": ("data.target",),
    "source_lang": ("data.source",),
    "target_lang": ("data.target",),
    "optimizer": ("optim.name",),
    "clip_norm": ("trainer.clip",),
    "max_grad_norm": ("trainer.clip",),
    "warmup_steps": ("optim.warmup",),
    "warmup_updates": ("optim.warmup",),
    "save_dir": ("runs",),
    "output_dir": ("runs",),
    "model_path": ("run",),
}
# What the system names no file for: a print, mostly.
NAMELESS = "standard output, or a file that was being written"
# What Hydra 1.3 and 1.4 say of a choice in a group that is not there.
UNUSED = re.compile(
    r"(In '[^']+': )?(?:Could not override '([^'@]+)'\. No match in the defaults list"
    r"|Invalid Defaults List override '/?([^':@]+)[:'])"
)

# What they say of a key in the file of a choice.
COMPOSING = re.compile(r"In '([^']+)': \w+ raised while composing config:\n([^\n]*)\n +full_key: ([^\n]*)")


def for_user(error: BaseException) -> bool:
    """Whether the user can mend it; what nobody but a programmer can mend shows its traceback."""
    if isinstance(error, HydraException | UserError | yaml.MarkedYAMLError):  # some of Hydra's are OSErrors, too
        return True
    return isinstance(error, OSError) and error.errno in DISK


def explain(error: BaseException, command: Command) -> str:
    """Say what is wrong in a line or three, and what was probably meant."""
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename or NAMELESS}: {refusal(error)}"
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        offered = [o for o in error.options if o != "as_trained"]
        if f"{group}={name}" in PLUG_INS:
            installed = PLUG_INS[f"{group}={name}"]
            return f"{group}={name} needs the package {installed.split()[-1]}: pip install {installed}"
        if group == "logger" and name in LOGGERS:
            return f"logger={name}: a logger of a plug-in is added to others: logger.more=[{name}]"
        reason = CHOICE_GROUPS[group].why_not(name) if group in CHOICE_GROUPS else None
        return reason or f"{group} has no choice {name!r}; choose one of: {', '.join(offered)}" + hint(name, offered)
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: expected KEY=VALUE ({''.join(str(error).splitlines()[1:2])})"
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        absent = "Could not override" in str(error)
        return (
            explain_key(cause.full_key, command) if absent else explain_value(cause.full_key, str(cause.msg), command)
        )
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem}" if mark else str(error)
    composing = COMPOSING.match(str(error))
    if composing:
        return explain_file(composing[1], composing[2], composing[3], command)
    several = re.match(r"Ambiguous value for argument '([^=]*)=(.*)'$", str(error).partition("\n")[0])
    if several:
        key, value = several.groups()
        return (
            f"{key}={value} has several values: add --multirun to try each, type '{key}=[{value}]' for a list, or "
            f"quote one text: \"{key}='{value}'\""
        )
    unused = UNUSED.match(str(error))
    return (unused[1] or "") + explain_key(unused[2] or unused[3], command) if unused else str(error)


def explain_file(choice: str, message: str, key: str, command: Command) -> str:
    """Why Hydra cannot use the YAML file of a choice (experiment/mine), from what OmegaConf says of one of its keys."""
    if not key:
        return f"{choice}: {message}"
    if key == choice.partition("/")[0]:
        return f"{choice}: its first line has to be: # @package _global_"
    absent = re.match(r"Key '[^']*' not in '", message)
    return f"{choice}: {explain_key(key, command) if absent else explain_value(key, message, command)}"


def explain_value(key: str, message: str, command: Command) -> str:
    """Why a key cannot have a value, from what OmegaConf says of it; that null means no limit, for inf and nan."""
    said = explain_type(key, message)
    if not re.search(r"got [+-]?(inf|nan)$", said, re.IGNORECASE):
        return said
    return said + null_instead(key, {option.key: option.text for option in key_options(command.schema)}.get(key, ""))


def explain_missing(key: str, schema: type) -> str:
    """What to type for a key that has no default, and what it is for."""
    purpose = "".join(f", {option.help}" for option in key_options(schema) if option.key == key)
    return f"{key} is missing: type {key}=...{purpose}"


def explain_key(key: str, command: Command) -> str:
    """Why a key cannot be set: it belongs to a choice that was not made, or to another command, or does not exist."""
    if choices_with(key):
        return f"{key} belongs to {key.rpartition('.')[0]}={'|'.join(choices_with(key))}"
    found = {option.key: option for option in key_options(command.schema)}
    if key in found and found[key].only:
        return f"{key} belongs to {found[key].group}={'|'.join(found[key].only)}"
    known = known_keys(command.schema)
    if is_below(key, (f.name for f in fields(Config))) and not is_below(key, (f.name for f in fields(command.schema))):
        return f"{key} is a setting of nmt.train, not of {command.module}{did_you_mean(key, known)}"
    return f"unknown key {key!r}" + hint(key, known)


def explain_flag(word: str, command: Command) -> str:
    """That a flag does not exist, and which flag or key was probably meant."""
    flag = word.partition("=")[0]
    close = difflib.get_close_matches(flag, FLAGS, n=1, cutoff=0.75)
    meant = (
        f"\n  did you mean: {close[0]}?"
        if close
        else hint(flag.strip("-").replace("-", "_"), known_keys(command.schema))
    )
    return f"there is no flag {flag}: settings are typed as KEY=VALUE, without dashes{meant}"


def hint(word: str, known: Iterable[str]) -> str:
    """A line that says what was probably meant or, where nothing known is like it, where to look."""
    return did_you_mean(word, known) or "\n  --help all lists them"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A line with what was probably meant: like it as a whole, then the same last part, or one like it; or ""."""
    known, word = list(known), word.replace("/", ".")
    close = [word] if word in known else difflib.get_close_matches(word, known, n=2, cutoff=0.75)
    close = [key for key in NAMES_ELSEWHERE.get(word.rpartition(".")[2], ()) if key in known] or close
    lasts = {k.rpartition(".")[2] for k in known}
    last = (difflib.get_close_matches(word.rpartition(".")[2], lasts, n=1, cutoff=1.0 if close else 0.8) or [""])[0]
    close += [k for k in known if k.rpartition(".")[2] == last and k not in close]
    return f"\n  did you mean: {', '.join(close)}?" if close else ""
