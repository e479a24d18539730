"""The page that --help all prints; all of it is made from the tables, the dataclasses and configs/."""

from nmt.cli.options import Command, Option, config_groups, key_options, optional_groups
from nmt.config import Config


def help_text(command: Command) -> str:
    """The page up to the values now in force."""
    flags = "  -m                               sweep: one run for each combination of a=1,2 b=x,y\n" * (
        command.schema is Config
    )
    return f"""{command.summary}

  python -m {command.module} [GROUP=CHOICE] [KEY=VALUE] ...

Examples
{chr(10).join(f"  python -m {command.module} {example}" for example in command.examples)}
{"".join(chr(10) + text for text in group_texts(command))}
Keys (KEY=VALUE; null is none, [a,b] a list)
{chr(10).join(key_line(option) for option in key_options(command.schema))}

Flags
{flags}  --help, --help all, --cfg job    the keys used most; this page; the configuration that would be used
  --config-dir DIR                 more choices of your own: DIR/GROUP/CHOICE.yaml
  --version                        the versions of nmt, torch and Python

Values now in force (add overrides before --help all to see their effect)
"""


def key_line(option: Option) -> str:
    """One key with its help, and the choices that have it if not all do."""
    mark = f"   [{', '.join(option.only)}]" * bool(option.only)
    return f"  {option.key:<32} {option.help}{mark}".rstrip()


def group_texts(command: Command) -> list[str]:
    """GROUP=CHOICE with a line for each choice, of every group; those under --config-dir are among them."""
    rows = config_groups(command.config_dirs)
    own = [group for group in optional_groups(command) if group not in command.groups]
    return [group_text(group, rows[group]) for group in (*command.groups, *own)]


def group_text(group: str, rows: dict[str, str]) -> str:
    """GROUP=CHOICE with a line for each of its choices."""
    width = max(len(name) for name in rows)
    return "".join(
        [f"{group}=CHOICE\n", *(f"  {name:<{width}}  {text}".rstrip() + "\n" for name, text in rows.items())]
    )
