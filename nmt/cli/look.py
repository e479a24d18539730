"""python -m nmt.eval.look run=DIR source=TEXT: a page that shows what runs attend to, for a browser."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nmt.cli import app
from nmt.cli.on_run import SearchOnRun, as_list
from nmt.cli.options import Command
from nmt.cli.streams import refuse_same_file, writing
from nmt.data.checks import blank
from nmt.data.directions import said_of_default, toward
from nmt.data.files import explain_unequal
from nmt.data.textfile import strict_lines
from nmt.device import resolve_device, set_up
from nmt.errors import DataError
from nmt.eval.figures.picture import Picture
from nmt.eval.forced import NoAttentionError
from nmt.report.bertviz import bertviz_view
from nmt.report.look import look_page
from nmt.runs.ensemble import open_run
from nmt.settings import setting
from nmt.translate.options import TranslateOptions
from nmt.translate.translator import Translator


class LookForm(Enum):
    """What is written."""

    page = "page"  # an HTML page
    bertviz = "bertviz"  # JSON with the arguments of BertViz's head_view and model_view


@dataclass
class LookConfig(SearchOnRun):
    """What to look at."""

    source: str = setting("???", "source text, or a file of source sentences", path=True)
    target: str | None = setting(
        None, "its translation, or a file, which is force-decoded; null: each run's own", path=True
    )
    into: str | None = setting(
        None, "of a run with data.tags=true: the language of target; null: that of the run's first direction"
    )
    limit: int = setting(20, "of a file, so many sentences", least=1, most=1000)
    self_attention: bool = setting(
        False, "on the page, also what encoder and decoder look at in their own sentence (Transformer, encoder=lstmn)"
    )
    to: LookForm = setting(LookForm.page, "page: HTML; bertviz: JSON for BertViz, with self-attention if there is any")
    output: str | None = setting(
        None, "file to write; null: look.html, or look.json for to=bertviz; - is standard output", path=True
    )

    @property
    def file(self) -> str:
        """``output``, or its default."""
        return self.output or ("look.json" if self.to is LookForm.bertviz else "look.html")


COMMAND = Command(
    module="nmt.eval.look",
    root="look",
    schema=LookConfig,
    summary="Write a page that shows what a model attends to: one HTML file, for any browser, without a network.",
    examples=(
        "run=runs/local_p source='A man in an orange hat.'",
        "'run=[runs/global,runs/local_p]' source=test.en target=test.de limit=5 output=look.html",
        "run=runs/transformer source='A man in an orange hat.' self_attention=true",
        "run=runs/transformer source='A man in an orange hat.' to=bertviz output=look.json",
    ),
    of_runs=True,
    groups=("decode",),
)


def look(configs: Sequence[LookConfig]) -> None:
    """The file, of all runs."""
    config = configs[0]
    refuse_same_file({"source": config.source, "target": config.target}, {"output": config.file})
    set_up(config.threads, deterministic=False)
    device = resolve_device(config.device)
    sources, targets = texts(config)
    translators = []
    for one in configs:
        run = open_run(as_list(one.run))
        if note := said_of_default(run.config.data, one.into, "into"):
            print(note, file=sys.stderr)
        toward(run.tokenizers, run.config.data, one.into, "into")  # refuses what the run was not trained for
        into = TranslateOptions(into=one.into)
        translators.append(Translator(run, one.decode, device, one.checkpoint, into))
    if config.to is LookForm.page:
        written = as_page(translators, sources, targets, config.self_attention)
    else:
        written = for_bertviz(translators, sources, targets)
    with writing("output", None if config.file == "-" else config.file) as sink:
        sink.write(written.splitlines())
    if config.file != "-":
        of = f"{len(sources)} of its sentences" if is_file(config.source) else "a text, since no file has that name"
        how = "open it in a browser" if config.to is LookForm.page else "docs/heatmaps.md has the lines that show it"
        print(f"{config.file} shows source={config.source} ({of}); {how}")


def as_page(
    translators: Sequence[Translator], sources: Sequence[str], targets: Sequence[str | None], self_attention: bool
) -> str:
    """The page, of all runs side by side; raises NoAttentionError for ``self_attention`` that no run has."""
    sentences: list[tuple[str, list[tuple[str, Picture]]]] = []
    said = [read_along(translator, sources, targets) for translator in translators]
    for place, source in enumerate(sources):
        views: list[tuple[str, Picture]] = []
        for translator, lines in zip(translators, said, strict=True):
            picture = translator.attention(source, lines[place]).picture
            views.append((translator.name + ", posterior" * picture.posterior, picture))
        for translator, lines in zip(translators, said, strict=True) if self_attention else ():
            own = translator.self_attention(source, lines[place])
            views += [(f"{translator.name}, {picture.kind}", picture) for picture in own]
        sentences.append((source, views))
    if self_attention and all(len(views) == len(translators) for _, views in sentences):
        raise NoAttentionError("self_attention=true: no run has any; a Transformer has, and model.encoder=lstmn")
    return look_page("Attention", sentences)


def for_bertviz(translators: Sequence[Translator], sources: Sequence[str], targets: Sequence[str | None]) -> str:
    """A JSON list of objects, one for each sentence and run, with the names ``source``, ``run`` and ``view``."""
    found = []
    said = [read_along(translator, sources, targets) for translator in translators]
    for place, source in enumerate(sources):
        for translator, lines in zip(translators, said, strict=True):
            cross = translator.attention(source, lines[place]).picture
            view = bertviz_view(cross, translator.self_attention(source, lines[place]))
            found.append({"source": source, "run": translator.name, "view": view})
    return "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in found) + "\n]"


def read_along(translator: Translator, sources: Sequence[str], targets: Sequence[str | None]) -> list[str]:
    """What the model is made to say of each source: the target or, where that is None, its own translation."""
    asked = [place for place, target in enumerate(targets) if target is None]

    def warn(number: int, message: str) -> None:
        print(f"warning: sentence {asked[number] + 1}: {message}", file=sys.stderr)

    own = translator.hypotheses([sources[place] for place in asked], warn=warn)
    best = dict(zip(asked, own, strict=True))
    return [best[place][0].text if target is None else target for place, target in enumerate(targets)]


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
