"""python -m nmt.eval.look run=DIR source=TEXT: a page that shows what runs attend to, for a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.cli import app
from nmt.cli.on_run import SearchOnRun, as_list
from nmt.cli.options import Command
from nmt.cli.streams import refuse_same_file, writing
from nmt.data.checks import blank
from nmt.data.files import explain_unequal
from nmt.data.textfile import strict_lines
from nmt.device import resolve_device, set_up
from nmt.errors import DataError
from nmt.eval.figures.picture import Picture
from nmt.report.look import look_page
from nmt.runs.ensemble import open_run
from nmt.settings import setting
from nmt.translate.translator import Translator


@dataclass
class LookConfig(SearchOnRun):
    """What to look at."""

    source: str = setting("???", "source text, or a file of source sentences", path=True)
    target: str | None = setting(
        None, "its translation, or a file, which is force-decoded; null: each run's own", path=True
    )
    limit: int = setting(20, "of a file, so many sentences", least=1, most=1000)
    output: str = setting("look.html", "page to write; - is standard output", path=True)


COMMAND = Command(
    module="nmt.eval.look",
    root="look",
    schema=LookConfig,
    summary="Write a page that shows what a model attends to: one HTML file, for any browser, without a network.",
    examples=(
        "run=runs/local_p source='A man in an orange hat.'",
        "run=[runs/global,runs/local_p] source=test.en target=test.de limit=5 output=look.html",
    ),
    of_runs=True,
    groups=("decode",),
)


def look(configs: Sequence[LookConfig]) -> None:
    """The page, of all runs side by side."""
    config = configs[0]
    refuse_same_file({"source": config.source, "target": config.target}, {"output": config.output})
    set_up(config.threads, deterministic=False)
    device = resolve_device(config.device)
    sources, targets = texts(config)
    views: list[list[tuple[str, Picture]]] = [[] for _ in sources]
    for one in configs:
        run = open_run(as_list(one.run))
        translator = Translator(run, one.decode, device, one.checkpoint)
        for place, (source, target) in enumerate(zip(sources, targets, strict=True)):
            views[place].append((run.name, translator.attention(source, target).picture))
    page = look_page("Attention", list(zip(sources, views, strict=True)))
    with writing("output", None if config.output == "-" else config.output) as sink:
        sink.write(page.splitlines())
    if config.output != "-":
        of = f"{len(sources)} of its sentences" if is_file(config.source) else "a text, since no file has that name"
        print(f"{config.output} shows source={config.source} ({of}); open it in a browser")


def texts(config: LookConfig) -> tuple[list[str], list[str | None]]:
    """The sentences to look at, each with its translation or None; blank ones are left out."""
    sources = lines_of(config.source)
    targets: list[str | None] = [None] * len(sources) if config.target is None else [*lines_of(config.target)]
    if len(sources) != len(targets):
        given = Path(config.source), Path(str(config.target))
        if all(path.is_file() for path in given):
            raise DataError(explain_unequal(*given))
        raise DataError(
            f"source has {len(sources)} sentences and target {len(targets)}: type a text or a file for both"
        )
    pairs = [
        (source, target)
        for source, target in zip(sources, targets, strict=True)
        if not blank(source) and (target is None or not blank(target))
    ][: config.limit]
    if not pairs:
        raise DataError(f"source={config.source}: there is no sentence to look at")
    return [source for source, _ in pairs], [target for _, target in pairs]


def lines_of(given: str) -> list[str]:
    """The lines of a file, or the text itself."""
    return strict_lines(Path(given)) if is_file(given) else [given]


def is_file(given: str) -> bool:
    """Whether a text or the name of a file is the latter; a long text is no name that could be asked for."""
    return len(given.encode()) < 256 and Path(given).is_file()


def main() -> None:
    """The command nmt-look."""
    app.run(COMMAND, look)
