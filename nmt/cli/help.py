"""What there is to type and what it is called: --help, the 'did you mean' of every refusal, the parts of run names.

All of it is made from the tables and dataclasses.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from nmt.config import CONFIG_DIR, PLUGS, Config, Option, options, owners

# Groups whose choice needs no key before it in a run's name.
TELLING = ("name", "model", "model.attention", "data", "experiment")


@dataclass(frozen=True)
class Command:
    """One `python -m` command: its root config below configs/, the dataclass that types it, and what --help says."""

    module: str  # what is typed after python -m
    root: str  # configs/ROOT.yaml
    schema: type
    summary: str
    examples: tuple[str, ...]  # what is typed after the module
    groups: tuple[str, ...] = ()  # config groups that can be chosen
    of_runs: bool = False  # works on run=DIR: starts from its config.yaml


def help_text(command: Command) -> str:
    """The page for Hydra's help template ($CONFIG is Hydra's)."""
    flags = "  -m                               sweep: one run for each combination of a=1,2 b=x,y\n" * (
        command.schema is Config
    )
    page = f"""{command.summary}

  python -m {command.module} [GROUP=CHOICE] [KEY=VALUE] ...

Examples
{chr(10).join(f"  python -m {command.module} {example}" for example in command.examples)}
{"".join(chr(10) + group_text(g) for g in command.groups)}
Keys (KEY=VALUE; null is none, [a,b] a list)
{chr(10).join(key_line(option) for option in options(command.schema))}

Flags
{flags}  --help, --cfg job                this page; the configuration that would be used
  --config-dir DIR                 more choices of your own: DIR/GROUP/CHOICE.yaml

Values now in force (add overrides before --help to see their effect)
"""
    return page.replace("$", "$$") + "$CONFIG"


def key_line(option: Option) -> str:
    """One key with its help, and the choices that have it if not all do."""
    mark = f"   [{', '.join(option.only)}]" * bool(option.only)
    return f"  {option.key:<32} {option.help}{mark}".rstrip()


def group_text(group: str) -> str:
    """GROUP=CHOICE with a line for each choice."""
    rows = groups()[group]
    width = max(len(name) for name in rows)
    sign = "+" * (group == "experiment")  # not in the defaults list, therefore added
    return "".join(
        [f"{sign}{group}=CHOICE\n", *(f"  {name:<{width}}  {text}".rstrip() + "\n" for name, text in rows.items())]
    )


def groups() -> dict[str, dict[str, str]]:
    """Every config group: its choices, each with a line about it, from the tables and from configs/GROUP/*.yaml."""
    found: dict[str, dict[str, str]] = {
        group: {c.name: first_line(c.__doc__ or "") for c in plug.choices} for group, plug in PLUGS.items()
    }
    for path in sorted(CONFIG_DIR.glob("*/*.yaml")):
        if path.parent.name != "hydra":
            rows = found.setdefault(path.parent.name, {})
            rows[path.stem] = comment(path) or rows.get(path.stem, "")
    return found


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def comment(path: Path) -> str:
    """The first comment of a YAML file that is not an instruction to Hydra."""
    lines = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("@")), "")


def known_keys(schema: type) -> list[str]:
    """All that may stand before an equals sign where the config is a ``schema``."""
    keys = [option.key for option in options(schema)]
    return [*(g for g in groups() if schema is Config or any(below(key, (g,)) for key in keys)), *keys]


def hint(word: str, known: Iterable[str]) -> str:
    """A 'did you mean' line: whole-word neighbours first, then the same last part elsewhere."""
    known, word = list(known), word.replace("/", ".")
    close = [word] if word in known else difflib.get_close_matches(word, known, n=2, cutoff=0.75)
    close += [k for k in known if k.rpartition(".")[2] == word.rpartition(".")[2] and k not in close]
    return f"\n  did you mean: {', '.join(close)}?" if close else "\n  --help lists them all"


def explain_key(key: str, command: Command) -> str:
    """Why a key cannot be set: it belongs to a choice that was not made, or to another command, or does not exist."""
    if owners(key):
        return f"{key} belongs to {key.rpartition('.')[0]}={'|'.join(owners(key))}"
    found = {option.key: option for option in options(command.schema)}
    if key in found and found[key].only:
        return f"{key} belongs to {found[key].group}={'|'.join(found[key].only)}"
    if key.rpartition(".")[0] in found:
        return f"{key} is not there yet: type +{key}=... to add it"
    known = known_keys(command.schema)
    if below(key, (f.name for f in fields(Config))) and not below(key, (f.name for f in fields(command.schema))):
        return f"{key} belongs to nmt.train, not to {command.module}" + hint(key, known)
    return f"unknown key {key!r}" + hint(key, known)


def below(key: str, keys: Iterable[str]) -> bool:
    """Whether ``key`` is one of ``keys`` or lies below one."""
    key = key.replace("/", ".")
    return any(key == k or key.startswith(k + ".") for k in keys)


def label(key: str, value: str) -> str:
    """How a choice reads in a run's name: local_p, seed_2, model.hidden_size_256 (attention has a hidden_size too)."""
    key = key.replace("/", ".")
    if key in TELLING:
        return value
    keys, parts = known_keys(Config), key.split(".")
    tails = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
    unique = (t for t in tails if sum(k == t or k.endswith("." + t) for k in keys) < 2)
    return f"{next(unique, key)}_{value}"
