"""Plug-ins: Python files of one's own that add rows to the tables, as ``plugins=[my_attention.py]`` asks.

A plug-in is executed once; what it adds to a table is from then on a choice like the others, on the command line, in
Python and in --help.  A file that has changed is executed again, and its rows take the place of those that it added
before.  The module of a file my_attention.py is ``my_attention``, and its folder is put at the end of sys.path, so that
the jobs of a sweep find it in processes of their own.
"""

import hashlib
import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from nmt.config import add_choice_groups
from nmt.data.textfile import home_expanded
from nmt.errors import ConfigError
from nmt.plugin_tables import TABLES, Tables, copied, restore_tables, row_name, why_no_row


class Plugin(NamedTuple):
    """A plug-in that was executed."""

    name: str  # of its module
    typed: str  # file or module, as it was asked for
    source: bytes  # of its file
    adds: tuple[str, ...] = ()  # such as model.attention=mine
    of_run: bool = False  # the copy in a run directory, which trust=true executed

    @property
    def sha256(self) -> str:
        """The checksum of its file, in hexadecimal digits."""
        return hashlib.sha256(self.source).hexdigest()


_loaded: dict[str, Plugin] = {}  # by name: the tables belong to the process, and so does what added to them
_rows: dict[str, Tables] = {}  # what each of them added
# Each version that was executed, by name and text: itself, what it added, and its module.
_versions: dict[tuple[str, bytes], tuple[Plugin, Tables, ModuleType]] = {}
_lock = threading.RLock()


class Trust(NamedTuple):
    """Whether plug-ins that lie in a run directory are executed."""

    yes: bool = False
    own: frozenset[str] = frozenset()  # names of those that are taken from the user's files all the same


_trust: ContextVar[Trust | None] = ContextVar("trust", default=None)


@contextmanager
def trusting(yes: bool, own: Sequence[Plugin] = ()) -> Iterator[None]:
    """A context in which plug-ins that lie in a run directory are executed (trust=true), or are not.

    ``own`` were named beside it (plugins=[...]), and are used whatever copies a run has.
    """
    token = _trust.set(Trust(yes, frozenset(plugin.name for plugin in own)))
    try:
        yield
    finally:
        _trust.reset(token)


def trust() -> Trust:
    """What ``trusting`` says here."""
    return _trust.get() or Trust()


def trusted() -> bool:
    """Whether plug-ins that lie in a run directory are executed: see ``trusting``."""
    return trust().yes


def serves(name: str, sha256: str) -> bool:
    """Whether the plug-in that is loaded under a name can be used for a run that was trained with that version of it.

    A file of the user's can, whatever is in it.  The copy of another run can where it is the same; and where the copies
    of this run are trusted, they are used in the place of another version.
    """
    found = _loaded.get(name)
    if found is None:
        return False
    if found.sha256 == sha256:
        return True
    return not found.of_run and (not trusted() or name in trust().own)


def loaded_plugin(name: str) -> Plugin | None:
    """The plug-in of that name, if it was executed."""
    return _loaded.get(name)


def used_plugins(config: Any) -> list[Plugin]:
    """Of the plug-ins that this process has executed, those of which a configuration names a row, in whatever way."""
    parts = list(sections(config))

    def uses(key: str, row: Any) -> bool:
        if isinstance(row, type):
            return any(type(part) is row for part in parts)
        values = (getattr(part, key.rpartition(".")[2], None) for part in parts)
        return any(row in value if isinstance(value, list) else row == value for value in values)

    return [
        plugin
        for name, plugin in _loaded.items()
        if any(uses(key, row) for key, table in _rows[name].items() for row in table)
    ]


def sections(config: Any) -> Iterator[Any]:
    """A dataclass and all dataclasses in it."""
    yield config
    for value in vars(config).values():
        if is_dataclass(value) and not isinstance(value, type):
            yield from sections(value)


def load_plugins(typed: Sequence[str]) -> list[Plugin]:
    """Execute the files and modules that are not yet; raises ConfigError, naming the file and line, where one fails."""
    return [load_file(Path(name), name) if is_file(name) else load_module(name) for name in typed]


def is_file(typed: str) -> bool:
    """Whether a file was asked for, and not a module."""
    return typed.endswith(".py") or "/" in typed or home_expanded(typed, "plugins").is_file()


def load_file(path: Path, typed: str) -> Plugin:
    """Execute a file, unless the same text was executed under its name before."""
    path = home_expanded(str(path), "plugins").resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"plugins: {typed} cannot be read: {error.strerror} (looked for from {Path.cwd()})") from None
    with _lock:
        before = _loaded.get(path.stem)
        if before is not None and before.source == source:
            _loaded[path.stem] = before._replace(of_run=False)
            return _loaded[path.stem]
        if before is None and is_module_of(path):
            return adopt(Plugin(path.stem, typed, source))
        if not path.stem.isidentifier():
            raise ConfigError(f"plugins: {typed}: a plug-in's file needs a name of letters, digits and _; rename it")
        if before is None and path.stem in sys.modules:
            raise ConfigError(f"plugins: {typed}: a module named {path.stem} is loaded already; rename the file")
        return execute(Plugin(path.stem, typed, source), lambda: run_file(path, source))


def load_copy(path: Path) -> Plugin:
    """Execute the copy of a plug-in that lies in a run directory; its rows take the place of another version's.

    A version that was executed in this way before is not executed again: its rows are put back, so that its classes
    stay those of the configurations and models that were made of them.
    """
    source = path.read_bytes()
    with _lock:
        before = _loaded.get(path.stem)
        if before is not None and before.source == source:
            return before
        if (path.stem, source) in _versions:
            return put_back(_versions[path.stem, source][0])
        plugin = _loaded[path.stem] = load_file(path, str(path))._replace(of_run=True)
        _versions[path.stem, source] = plugin, *_versions[path.stem, source][1:]
        return plugin


def put_back(plugin: Plugin) -> Plugin:
    """Put the rows of a version that was executed before in the place of those of another version of it."""
    kept, rows, module = _versions[plugin.name, plugin.source]
    take_away(plugin.name)
    for key, table in rows.items():
        TABLES[key].update(table)
    sys.modules[plugin.name] = module
    _rows[plugin.name], _loaded[plugin.name] = rows, kept
    return kept


@contextmanager
def in_place(plugins: Sequence[Plugin]) -> Iterator[None]:
    """A context in which the tables have the rows of these versions, of which a model is to be made; and afterwards
    again those that are there now."""
    with _lock:
        later = [now for p in plugins if (now := _loaded.get(p.name)) is not None and now.source != p.source]
        for plugin in plugins:
            if any(plugin.name == other.name for other in later):
                put_back(plugin)
        try:
            yield
        finally:
            for plugin in later:
                put_back(plugin)


def take_away(name: str) -> None:
    """Take the rows of a plug-in out of the tables."""
    for key, rows in _rows.get(name, {}).items():
        for row in rows:
            TABLES[key].pop(row, None)


def is_module_of(path: Path) -> bool:
    """Whether Python has imported this very file itself, as it does in a job of a sweep that runs in a process of its
    own: the configuration that the job is sent holds dataclasses of the plug-in."""
    file = getattr(sys.modules.get(path.stem), "__file__", None)
    return file is not None and Path(file).resolve() == path


def adopt(plugin: Plugin) -> Plugin:
    """Keep what a file added that was imported already.  Executed again it would make other classes than those that
    the configuration consists of."""
    rows = {key: {k: v for k, v in table.items() if comes_from(plugin.name, k, v)} for key, table in TABLES.items()}
    return keep(plugin, rows)


def comes_from(module: str, row: Any, value: Any) -> bool:
    """Whether a row, or a part of its value, is a class or function of a module."""
    parts = vars(value).values() if is_dataclass(value) and not isinstance(value, type) else ()
    parts = value if isinstance(value, tuple) else parts
    return any(getattr(part, "__module__", None) == module for part in (row, value, *parts))


def run_file(path: Path, source: bytes) -> None:
    """Make the module of a file; ``sys.modules`` has it while it is made, as dataclasses need it, and afterwards."""
    module = ModuleType(path.stem)
    module.__file__, module.__spec__ = str(path), importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    exec(compile(source, str(path), "exec"), module.__dict__)


def load_module(name: str) -> Plugin:
    """Import a module by its name, unless that was done before."""
    with _lock:
        if name in _loaded:
            return _loaded[name]
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            raise ConfigError(f"plugins: {name} is neither a file, looked for from {Path.cwd()}, nor a module")
        return execute(Plugin(name, name, Path(spec.origin).read_bytes()), lambda: importlib.import_module(name))


def execute(plugin: Plugin, run: Any) -> Plugin:
    """Run a plug-in and keep what it added; where that cannot be, the tables are as they were before.

    Raises ConfigError where it fails, adds nothing, adds a name that is there already, or what no row can be.
    """
    present = copied()
    imported = sys.modules.get(plugin.name)
    take_away(plugin.name)
    before = copied()
    try:
        run()
        rows = {key: {k: v for k, v in table.items() if k not in before[key]} for key, table in TABLES.items()}
        check_rows(plugin, rows, before)
    except BaseException as error:
        restore_tables(present)
        sys.modules.pop(plugin.name, None)
        if imported is not None:
            sys.modules[plugin.name] = imported
        if isinstance(error, ConfigError) or not isinstance(error, Exception | SystemExit):
            raise
        raise ConfigError(
            f"plugins: {plugin.typed}{line_of(error, plugin)}: {type(error).__name__}: {error}"
        ) from error
    return keep(plugin, rows)


def keep(plugin: Plugin, rows: Tables) -> Plugin:
    """Remember what a plug-in added."""
    add_choice_groups()
    _rows[plugin.name] = rows
    adds = tuple(f"{key}={row_name(row)}" for key, table in rows.items() for row in table)
    _loaded[plugin.name] = plugin._replace(adds=adds)
    _versions[plugin.name, plugin.source] = _loaded[plugin.name], rows, sys.modules[plugin.name]
    return _loaded[plugin.name]


def check_rows(plugin: Plugin, rows: Tables, before: Tables) -> None:
    """Raise ConfigError where a plug-in adds nothing, takes something away, or adds what cannot be chosen."""
    for key, table in rows.items():
        for row, value in table.items():
            reason = why_no_row(key, row, value)
            if reason:
                raise ConfigError(f"plugins: {plugin.typed}: {reason} (docs/plugins.md has what each table holds)")
    for key, table in before.items():
        names = [row_name(row) for row in table]
        taken = [row_name(row) for row in rows[key] if row_name(row) in names]
        taken += [row_name(row) for row, value in table.items() if TABLES[key].get(row, value) is not value]
        if taken:
            raise ConfigError(f"plugins: {plugin.typed}: {key}={taken[0]} is there already; choose another name")
        if not table.keys() <= TABLES[key].keys():
            raise ConfigError(f"plugins: {plugin.typed} takes rows out of the table of {key}")
    if not any(rows.values()):
        raise ConfigError(f"plugins: {plugin.typed} adds no row to any table, such as ATTENTIONS (docs/plugins.md)")


def line_of(error: BaseException, plugin: Plugin) -> str:
    """Where in the file of a plug-in an error happened, as far as that is known."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    file = f"{plugin.name.rpartition('.')[2]}.py"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == file]
    return f", line {lines[-1]}" if lines else ""
