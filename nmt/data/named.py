"""Corpora known by name: files under data.root, or fetched from the hub if it has them as plain data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nmt.atomic import whole_file
from nmt.data.files import Files, read_text
from nmt.data.hub import using_datasets
from nmt.data.tables import Place, cell_text
from nmt.data.text import DataConfig, ParallelText, TextFiles, no_such_test
from nmt.data.textfile import COMPRESSED, home_expanded
from nmt.errors import DataError
from nmt.languages import language_of, spellings
from nmt.settings import setting


@dataclass
class NamedConfig(DataConfig):
    """Files ROOT/NAME/SPLIT.LANGUAGE, plain or compressed."""


@dataclass
class Multi30kConfig(NamedConfig):
    """29,000 image captions, English-German   (fetched where data.root lacks it; research use)"""

    name: str = "multi30k"


@dataclass
class NewsEnDeConfig(NamedConfig):
    """45,000 long sentences of news and Europarl, English-German   (to be put under data.root; research use)"""

    name: str = "news_ende"


@dataclass
class HansardsEnFrConfig(NamedConfig):
    """228,000 short sentences of the Canadian parliament, with gold alignment   (to be put under data.root)"""

    name: str = "hansards_enfr"
    target: str = setting("fr", "language translated into")


@dataclass(frozen=True)
class Layout:
    """What the folder of a named corpus holds, and where it comes from."""

    advice: str  # how to get it
    validation: str  # stem of its files
    tests: tuple[str, ...]  # stems of the test sets, as far as they are there
    gold: Mapping[str, str] = field(default_factory=dict)  # file of links, by stem
    gold_languages: tuple[str, str] = ("", "")  # which language's words a link names first, and which second
    repository: str | None = None  # on the hub
    splits: Mapping[str, str] = field(default_factory=dict)  # the repository's name of each split, by stem


LAYOUTS: dict[type[DataConfig], Layout] = {
    Multi30kConfig: Layout(
        advice="copy train.*, val.* and test_2016_flickr.* of data/task1/raw in github.com/multi30k/dataset into that "
        "folder, .gz as they are",
        validation="val",
        tests=("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"),
        repository="bentrevett/multi30k",
        splits={"train": "train", "val": "validation", "test_2016_flickr": "test"},
    ),
    NewsEnDeConfig: Layout(
        advice="put into that folder the test sets, `sacrebleu -t wmt13 -l en-de --echo src > newstest2013.en` and "
        "`--echo ref > newstest2013.de`, likewise with -t wmt14/full for newstest2014, and training text of "
        "your choice as train.en and train.de, such as Europarl (statmt.org/europarl)",
        validation="newstest2013",
        tests=("newstest2014",),
    ),
    HansardsEnFrConfig: Layout(
        advice="take the English-French data of the NAACL 2003 shared task (web.eecs.umich.edu/~mihalcea/wpt) and put "
        "it into that folder as train.en, train.fr, dev.en, dev.fr, gold.en, gold.fr, and gold.align: the test set's "
        "links, a line a pair, 0-based source-target, 0-1 sure and 0p1 possible",
        validation="dev",
        tests=("gold",),
        gold={"gold": "gold.align"},
        gold_languages=("en", "fr"),
    ),
}


class Named(Files):
    """A corpus in files ROOT/NAME/SPLIT.LANGUAGE."""

    @property
    def layout(self) -> Layout:
        return LAYOUTS[type(self.config)]

    @property
    def folder(self) -> Path:
        return home_expanded(self.config.root, "data.root") / self.config.name

    def split(self, name: str) -> TextFiles:
        """The files of train, validation or a test set; fetches the corpus if they are absent and the hub has it."""
        stem = {"validation": self.layout.validation}.get(name, name)
        if self.find(stem) is None and stem in self.layout.splits:
            self.fetch()
        files = self.find(stem)
        if files is None and name in ("train", "validation"):
            wanted = " and ".join(f"{stem}.{language}" for language in (self.config.source, self.config.target))
            raise DataError(
                f"data={self.config.name}: no {wanted} (or .gz, .bz2, .xz, .zst) in {self.folder}; data.root names the "
                f"folder above it. To get the corpus, {self.layout.advice}"
            )
        if files is None:
            raise no_such_test(name, self.config, self.stems())
        return files

    def find(self, stem: str) -> TextFiles | None:
        """The two files of a stem and its gold alignment, if all of what the config needs is there."""
        sides = [
            next((path for path in self.candidates(stem, language) if path.is_file()), None)
            for language in (self.config.source, self.config.target)
        ]
        gold = self.folder / self.layout.gold.get(stem, "")
        aligned = gold.is_file() and {*self.languages} == {*self.layout.gold_languages}
        source, target = map(str, sides)
        return TextFiles(source, target, str(gold) if aligned else None) if all(sides) else None

    @property
    def languages(self) -> tuple[str, str]:
        """The languages of both sides by their shortest codes."""
        return language_of(self.config.source), language_of(self.config.target)

    def candidates(self, stem: str, language: str) -> list[Path]:
        """Where one side of a stem may be: its language spelt as it was typed, or by a shorter code."""
        return [path for code in spellings(language) for path in variants(self.folder / f"{stem}.{code}")]

    def stems(self) -> list[str]:
        """The test sets in the folder: every stem that is there in both languages, train and validation excepted."""
        endings = [f".{code}" for code in spellings(self.config.source)]
        names = {path.name.removesuffix(suffix) for path in self.folder.glob("*") for suffix in ("", *COMPRESSED)}
        stems = sorted({name.removesuffix(end) for name in names for end in endings if name.endswith(end)})
        return [stem for stem in stems if stem not in ("train", self.layout.validation) and self.find(stem)]

    def validation_has_gold(self) -> bool:
        return self.layout.validation in self.layout.gold

    def test_names(self) -> list[str]:
        if self.find(self.layout.tests[0]) is None and self.layout.tests[0] in self.layout.splits:
            self.fetch()
        return [stem for stem in self.layout.tests if self.find(stem)]

    def test(self, name: str) -> ParallelText:
        text = read_text(name, self.split(name), f"data.test={name}")
        if text.gold is not None and self.languages[0] != self.layout.gold_languages[0]:
            text.gold = [swap_sides(links) for links in text.gold]
        return text

    def fetch(self) -> None:
        """Write the files that the folder lacks from the hub; raises DataError with advice if that fails."""
        with using_datasets(
            f"data={self.config.name}: {self.folder} lacks files, and {self.layout.repository} of the hub did not give "
            "them (",
            f"). Else, {self.layout.advice}",
            remote=True,
        ) as datasets:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stem, split in self.layout.splits.items():
                cache = str(Path(self.config.cache) / "hub")
                data = datasets.load_dataset(str(self.layout.repository), split=split, cache_dir=cache)
                for language in self.languages:
                    path = self.folder / f"{stem}.{language}"
                    if not any(map(Path.is_file, variants(path))):
                        with whole_file(path) as file:
                            cells = enumerate(data[language], 1)  # type: ignore[call-overload]
                            where = f"{self.layout.repository} {split}"
                            file.writelines(f"{cell_text(cell, Place(where, n, [language]))}\n" for n, cell in cells)


def variants(path: Path) -> list[Path]:
    """A file, plain or compressed."""
    return [path.with_name(path.name + suffix) for suffix in ("", *COMPRESSED)]


def swap_sides(links: str) -> str:
    """A line of Pharaoh links with source and target exchanged."""
    return " ".join(re.sub(r"(\d+)([-p])(\d+)", r"\3\2\1", link) for link in links.split())
