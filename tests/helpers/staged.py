"""What a reader of the pages has when a documented command is typed, in small: corpora, text, trained runs.

And what makes a job small: words that take the place of what is typed, or are added.
"""

import contextlib
import gzip
import re
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

from documented import ROOT, Line

from nmt.cli.in_python import train

LINES = 24
TEXT = {"de": "Hunde sehen {} Katzen .", "fr": "chiens voient {} chats ."}  # any other ending: English
ENGLISH = "dogs see {} cats ."
CORPORA = {
    "multi30k": (("en", "de"), ("train", "val", "test_2016_flickr")),
    "news_ende": (("en", "de"), ("train", "newstest2013", "newstest2014")),
    "hansards_enfr": (("en", "fr"), ("train", "dev", "gold")),
}
FILE = re.compile(r"(?<![\w/.=-])[\w./-]+\.(?:en|de|fr|txt|html|align|csv)(?:\.gz)?(?![\w.])")
WRITTEN = ("output", "translate.alignments_file")  # keys whose files a command writes
RUN = re.compile(r"(?:runs|aligned)/[\w./*-]+")

TINY = ("model.hidden_size=16", "trainer.validation_sentences=2", "trainer.validate_every=2", "trainer.max_steps=2")
TINY += ("optim.warmup=1", "threads=1", "data.tokenizer.vocab_size=450", "decode.max_length=6")
PHRASES = ("data.train_size=60", "data.validation_size=4", "data.test_size=4", "data.max_words=6")
TRAINED = (*TINY, "logger.tensorboard=false", "trainer.max_steps=6", "trainer.validate_every=1", "trainer.keep_last=5")
TRANSFORMER = ("model=transformer", "model.heads=2", "model.ffn_size=16", "model.num_layers=2")
# The runs that lines name, by what they are; data=multi30k, English to German unless they say otherwise.
KINDS: dict[str, tuple[str, ...]] = {
    "local_p": ("model.attention=local_p",),
    "global": ("model.attention=global",),
    "none": ("model.attention=none",),
    "reverse": ("model.attention=global", "data.source=de", "data.target=en"),
    "transformer": TRANSFORMER,
    "lstmn": ("model.encoder=lstmn",),
    "both": ("model.attention=global", "data.pairs=[en-de,de-en]", "data.tags=true"),
    "agreeing": ("model.attention=global", "data.pairs=[en-de,de-en]", "data.tags=true"),
    "even": ("plugins=[my_attention.py]", "model.attention=mine"),
}


def sentences(name: str, count: int = LINES) -> str:
    """Lines for a file of this name; those of train.en and dev.en differ, those of train.en and train.de are pairs."""
    stem, _, ending = name.removesuffix(".gz").rpartition(".")
    numbers = range(start := 100 * (zlib.crc32(stem.encode()) % 1000), start + count)
    if ending == "align":
        return "0-0 1-1 2p2\n" * count
    if ending == "csv":
        return "en,de\n" + "".join(f"{ENGLISH},{TEXT['de']}\n".replace("{}", str(n)) for n in numbers)
    if ending == "html":
        return "".join(f"<p>dogs <b>see</b> {n} cats .</p>\n" for n in numbers)
    return "".join(TEXT.get(ending, ENGLISH).format(n) + "\n" for n in numbers)


def write(path: Path, count: int = LINES) -> None:
    """A file of text, or of links or tables, as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = sentences(path.name, count).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_corpora(data: Path) -> None:
    """The named corpora, in the layout of data/README.md."""
    for name, (languages, sets) in CORPORA.items():
        for split, language in ((split, language) for split in sets for language in languages):
            write(data / name / f"{split}.{language}", 60 if split == "train" else 4)
    write(data / "hansards_enfr" / "gold.align", 4)


def write_plugins(folder: Path) -> None:
    """The readers' own files of the pages, and those of this project that are plug-ins."""
    shutil.copy(ROOT / "docs" / "my_attention.py", folder)
    page = (ROOT / "docs" / "loggers.md").read_text(encoding="utf-8")
    (folder / "losses.py").write_text(page.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    for name in ("teaching", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "teaching" / "solutions" / "local_p.py", folder / "teaching" / "local_p.py")


def write_archive(folder: Path) -> None:
    """What scripts/prepare_hansards.py reads: as many pairs as it puts aside, and some."""
    for name in ("training/a.e", "training/a.f", "test/test.e", "test/test.f"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sentences(name, 1010 if "training" in name else 1), encoding="latin-1")
    (folder / "answers").mkdir()
    (folder / "answers" / "test.wa.nonullalign").write_text("0001 1 1 S\n", encoding="latin-1")


class Reader:
    """A folder as a reader has it, with everything that the pages of this project have made before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_corpora(folder / "data")
        write_plugins(folder)
        self.runs: dict[str, Path] = {}

    def run(self, kind: str) -> Path:
        """A trained run of a kind, made where it is first asked for."""
        if kind not in self.runs:
            with contextlib.chdir(self.folder):
                train([*TRAINED, "data=multi30k", *KINDS[kind], f"name={kind}"])
            self.runs[kind] = self.folder / "runs" / kind
        return self.runs[kind]

    def lay_out(self, line: Line, folder: Path) -> None:
        """Put into an empty folder what the line names."""
        shutil.copytree(self.folder / "data", folder / "data")
        write_plugins(folder)
        for word in line.typed:
            key, _, value = word.partition("=")
            for name in named_runs(word):
                self.put_run(folder, name, kind_of(key, name, line))
            if key == "data.root":
                (folder / value).symlink_to("data")
            for name in () if key in WRITTEN else FILE.findall(value):
                if not (folder / name).exists():
                    write(folder / name)
            if key.endswith("English-French"):
                write_archive(folder / key)
            if "my_score.py" in word:
                (folder / "my_score.py").write_text("print(1.0)\n", encoding="utf-8")

    def put_run(self, folder: Path, name: str, kind: str) -> None:
        """A copy of a trained run, or a sweep of two mechanisms."""
        if kind == "sweep":
            for mechanism in ("none", "global"):
                shutil.copytree(self.run(mechanism), folder / name / mechanism)
        elif not (folder / name).exists():
            shutil.copytree(self.run(kind), folder / name)


def named_runs(word: str) -> list[str]:
    """The run directories that a word names; a pattern as two that it matches."""
    key, equals, value = word.partition("=")
    if equals and (key not in ("run", "reverse", "against", "resume") or value == "true"):
        return []
    found = [] if FILE.search(value) else re.findall(r"[\w./*-]+", value) if equals else RUN.findall(word)
    matches = ("seed_1",) if equals else ("seed_1-global_general", "seed_1-none")
    return [name.replace("*", match) for name in found for match in (matches if "*" in name else ("",))]


def kind_of(key: str, name: str, line: Line) -> str:
    """What the page's reader has in this place."""
    last = name.split("/")[-1].lower()
    if line.module == "nmt.report" and last in ("sweep", "other"):
        return "sweep"
    if key == "reverse" or last in ("de_en", "fr_en"):
        return "reverse"
    if "to=ctranslate2" in line.typed or "engine=ctranslate2" in line.typed:
        return "transformer"
    return next((kind for kind in KINDS if kind in last), "local_p")


def key_of(word: str) -> str:
    """What a word sets."""
    return word.partition("=")[0].lstrip("+")


# Of scripts, what is added to the words of a line.
ATTENTION = "--sources=5 --queries=1 --batch=2 --width=16 --words=20 --steps=4 --rounds=1 --threads=1 --out=out"
SCRIPTS = {
    "scripts/align_loop.py": "--pairs=20 --updates=2",
    "scripts/padding_fault.py": "model.hidden_size=16 trainer.max_steps=2 trainer.validate_every=2",
    "scripts/noise_effect.py": (
        "--seeds=1 model.hidden_size=16 trainer.max_steps=2 trainer.validate_every=2 optim.warmup=1 optim.decay_steps=2"
    ),
    "benchmarks/attention.py": ATTENTION,
    "benchmarks/self_attention.py": "--lengths=8 --width=16 --heads=2 --rounds=1 --out=out",
    "benchmarks/monotonic.py": "--quick",
    "benchmarks/search.py": "--sentences=4 --threads=1 --batches=32 --beams=1,5 --precisions=fp32",
    "benchmarks/engines.py": "--sentences=10 --rounds=1 --threads=1",
    "benchmarks/training.py": "--steps=2 --profiled=1",
}


def small(line: Line) -> list[str]:
    """The words of a line with less to do, the jobs of a sweep one after the other."""
    words = [word for word in line.typed if not word.startswith(("hydra/launcher=", "hydra.launcher."))]
    if line.file is not None:
        words = ["1" if word.isdigit() and "draw_attention" in line.file else word for word in words]
        words += SCRIPTS.get(line.file, "").split()
    trains = line.module == "nmt.train" or line.file in ("scripts/padding_fault.py", "benchmarks/training.py")
    if (trains or line.module == "nmt.data") and not {"--help", "--shell-completion"} & {*words}:
        more = sizes(trains, words)
        keys = {key_of(word) for word in more}
        words = [*(fewer(word) for word in words if key_of(word) not in keys), *more]
    return words


def fewer(word: str) -> str:
    """Of many values of a sweep the first and the last."""
    key, equals, value = word.partition("=")
    values = value.split(",")
    if not equals or len(values) < 3 or any(mark in value for mark in "[({"):
        return word.replace("range(1,4)", "range(1,2)")
    return f"{key}={values[0]},{values[-1]}"


def sizes(trains: bool, words: Sequence[str]) -> list[str]:
    """Settings that make a training, or the preparing of its data, small."""
    if any(word.startswith("resume=") and word != "resume=true" for word in words):
        return ["trainer.max_steps=8"]  # what the run was trained for, and two more
    more = [word for word in TINY if trains or word.startswith("data.")]
    if not any(re.match(r"data=(?!phrases)|\+?experiment=(?!demo)", word) for word in words):
        more += PHRASES
    if "+experiment=luong2015_table4" in words:  # 108 jobs, of which two of each recipe say enough
        recipe = "modern" if "+recipe=modern" in words else "luong2015"
        more += ["data=multi30k", f"+recipe={recipe}", "seed=1", "+mechanism=none,local_p_dot"]
    return more
