"""The one screen that --help prints first: the keys used most, three examples, and where the rest is.

--help all is made from the tables and dataclasses, whose modules import torch, which takes seconds.  This page is
written down here, so that it comes at once; tests hold every line of it against the tables.
"""

import os.path
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple


class FirstPage(NamedTuple):
    """What the first screen says of a command."""

    summary: str
    examples: tuple[str, ...]  # what is typed after the module
    keys: tuple[tuple[str, str], ...]  # what is used most, a text each
    flags: tuple[tuple[str, str], ...] = ()
    groups: bool = True  # whether there is anything that GROUP=CHOICE chooses


CONFIG_DIR_FLAG = ("--config-dir DIR", "more choices of your own: DIR/GROUP/CHOICE.yaml")
ALL_FLAG = ("--help all", "every key, choice and flag, and the values now in force")
ON_RUN = (
    ("run", "run directory, such as runs/local_p"),
    ("checkpoint", "weights: best, last, avg:K or best:K"),
    ("device", "auto, cpu, cuda or cuda:N"),
)

PAGES = {
    "nmt.train": FirstPage(
        "Train a translation model in a run directory of its own, and score it on the test sets at the end.",
        (
            "model.attention=local_p model.attention.half_width=5 trainer.max_minutes=30",
            "experiment=multi30k_en_de seed=2",
            "-m model.attention=none,bahdanau,global,local_m,local_p seed=1,2,3",
        ),
        (
            ("model", "lstm, transformer or another size of them"),
            (
                "model.attention",
                "none, bahdanau, global, local_m, local_p, hard, ... (docs/attention.md)",
            ),
            ("model.hidden_size", "width of the layers"),
            ("data", "phrases (comes with this), multi30k, files (your own two texts), hf, ..."),
            ("data.source", "language translated from; into: data.target"),
            ("data.tokenizer.vocab_size", "size of the subword vocabulary"),
            ("optim.lr", "peak learning rate"),
            ("trainer.max_steps", "updates; or minutes: trainer.max_minutes"),
            ("name", "folder of the run below runs; by default what was chosen"),
            ("resume", "true: go on with the newest run of the same name; DIR: with that one, as it is"),
            ("seed", "seeds weights, dropout, data and the order of batches"),
        ),
        (("-m", "sweep: one run for each combination of a=1,2 b=x,y"), CONFIG_DIR_FLAG),
    ),
    "nmt.eval": FirstPage(
        "Score a run on its test sets, or compare several runs; results and hypotheses go to DIR/scores.",
        (
            "run=runs/local_p",
            "'run=[runs/global,runs/local_p]'",
            "'run=[[runs/a,runs/b,runs/c]]'",
        ),
        (
            *ON_RUN,
            ("data.test", "test sets to score, by name, or validation; null is every test set"),
            ("decode", "beam, greedy, luong2015, mbr or sample"),
            ("decode.beam_size", "hypotheses kept a step"),
            ("eval.metrics", "bleu, chrf, ter, ..."),
            ("eval.limit", "score so many sentences"),
        ),
        (CONFIG_DIR_FLAG,),
    ),
    "nmt.eval.align": FirstPage(
        "Print the word alignments of given translations, a line each: i-j joins source word i and target word j.",
        (
            "run=runs/local_p source=test.en target=test.de > test.align",
            "run=runs/local_p source=gold.en target=gold.fr gold=gold.align align.shift=1 > found.align",
            "run=runs/local_p source=test.en target=test.de align.soft=true output=test.jsonl",
        ),
        (
            *ON_RUN,
            ("source", "file of source sentences, one a line"),
            ("target", "file of their translations"),
            ("gold", "file of gold alignments to judge against"),
            ("reverse", "merge with a run of the other direction"),
            ("output", "file to write; else standard output"),
        ),
        groups=False,
    ),
    "nmt.eval.look": FirstPage(
        "Write a page that shows what a model attends to: one HTML file, for any browser, without a network.",
        (
            "run=runs/local_p source='A man in an orange hat.'",
            "'run=[runs/global,runs/local_p]' source=test.en target=test.de limit=5 output=look.html",
        ),
        (
            *ON_RUN,
            ("source", "a source text, or a file of sentences"),
            ("target", "its translation, or a file; else each run's own"),
            ("limit", "so many sentences of a file"),
            ("output", "page to write"),
        ),
        (CONFIG_DIR_FLAG,),
    ),
    "nmt.translate": FirstPage(
        "Translate standard input, or a file, line by line.",
        (
            "run=runs/local_p < in.txt > out.txt",
            "run=runs/local_p decode=greedy checkpoint=avg:5 input=in.txt output=out.txt",
            "run=runs/local_p --interactive",
        ),
        (
            *ON_RUN,
            ("input", "file to translate; else standard input"),
            ("output", "file to write; else standard output"),
            ("decode", "beam, greedy, luong2015, mbr or sample"),
            ("decode.beam_size", "hypotheses kept a step"),
            ("decode.n_best", "hypotheses returned a sentence"),
            ("translate.alignments", "alignments beside the translations"),
        ),
        (CONFIG_DIR_FLAG,),
    ),
    "nmt.data": FirstPage(
        "Read, check and encode training data into the cache, and print the table of what was found.",
        (
            "data=phrases data.target=ja",
            "data=multi30k data.tokenizer.vocab_size=4000",
        ),
        (
            ("data", "phrases (comes with this), multi30k, files (your own two texts), hf, ..."),
            ("data.source", "language translated from; into: data.target"),
            ("data.tokenizer.vocab_size", "size of the subword vocabulary"),
            ("data.cache", "folder of encoded text; safe to delete"),
        ),
        (CONFIG_DIR_FLAG,),
    ),
    "nmt.augment": FirstPage(
        "Make new training pairs with trained models: back-translation, forward translation, distillation.",
        (
            "run=runs/de_en method=back input=news.de output=back decode=sample \"tag='<BT>'\"",
            "'run=[[runs/a,runs/b,runs/c]]' method=distill output=distilled",
            "'run=[runs/a,runs/b]' 'reverse=[runs/c,runs/d]' method=diversify output=diverse",
        ),
        (
            *ON_RUN,
            ("method", "back, forward, distill or diversify"),
            ("reverse", "method=diversify: the runs of the other direction"),
            ("input", "file to translate; else the run's training text"),
            ("output", "folder of the new corpus"),
            ("tag", "a word in front of each new source"),
            ("decode", "beam, greedy, luong2015, mbr or sample"),
        ),
        (CONFIG_DIR_FLAG,),
    ),
    "nmt.export": FirstPage(
        "Write the trained model as a folder for other programs, checked against the translations of this one.",
        (
            "run=runs/transformer to=ctranslate2",
            "run=runs/transformer to=ctranslate2 quantization=int8 output=deploy",
            "run=runs/local_p to=onnx",
        ),
        (
            *ON_RUN[:2],
            ("to", "ctranslate2, onnx, safetensors, huggingface, or run: a copy to give away"),
            ("quantization", "numbers that the weights are stored in, such as int8"),
            ("output", "folder to write; else one in the run directory"),
        ),
        groups=False,
    ),
    "nmt.report": FirstPage(
        "Compare the runs of a sweep: tables with mean and spread over seeds, paired tests, curves, alignments.",
        (
            "runs/SWEEP",
            "runs/SWEEP baseline=none",
        ),
        (
            ("of", "folders of runs; typed without of="),
            ("baseline", "what the others are tested against, such as none"),
            ("metrics", "scores to show and test, such as [bleu,chrf]"),
            ("sets", "sets to show; else all but the validation set"),
            ("alignments", "sentences whose attention is drawn"),
            ("output", "folder of report.md, .csv, .tex and .html"),
        ),
        groups=False,
    ),
    "nmt.serve": FirstPage(
        "Translate over HTTP: JSON in and out, and a page where one types a sentence and sees its attention.",
        (
            "run=runs/local_p",
            "run=runs/local_p serve.port=9000 serve.max_batch=32 decode=greedy",
            "run=runs/transformer engine=ctranslate2 serve.host=0.0.0.0 serve.per_minute=60",
        ),
        (
            *ON_RUN,
            ("decode", "beam, greedy, luong2015, mbr or sample"),
            ("serve.host", "address to listen on; by default this computer alone"),
            ("serve.port", "port; 0 is a free one"),
            ("serve.max_batch", "texts translated together"),
            ("serve.max_chars", "characters of a request"),
            ("serve.per_minute", "requests of a client a minute"),
        ),
        (CONFIG_DIR_FLAG,),
    ),
}


def asks_first_page(words: Sequence[str]) -> bool:
    """Whether --help (-h) is among the words after a command, and not --help all."""
    places = [place for place, word in enumerate(words) if word in ("--help", "-h")]
    return bool(places) and all([*words, ""][place + 1] != "all" for place in places)


def first_page(module: str, words: Sequence[str] = ()) -> str | None:
    """The first screen of a command, with the choices in the folders that --config-dir names among ``words``.

    None for a command that has no such page, and is shown by --help all alone.
    """
    page = PAGES.get(module)
    if page is None:
        return None
    called = f"  python -m {module}"
    rows = [*page.keys, ("", ""), *page.flags, ALL_FLAG]
    width = max(len(name) for name, _ in rows)
    own = own_choices(config_dirs(words))
    return "\n".join(
        [
            page.summary,
            "",
            f"{called} {'[GROUP=CHOICE] ' * page.groups}[KEY=VALUE] ...",
            "",
            *(f"{called} {example}" for example in page.examples),
            "",
            *(f"  {name:<{width}}  {text}".rstrip() for name, text in rows),
            *["", "Choices of your own"] * bool(own),
            *(f"  {choice}  {text}".rstrip() for choice, text in own),
        ]
    )


def config_dirs(words: Sequence[str]) -> list[Path]:
    """The folders that --config-dir (-cd) names, as far as they are there."""
    named = [after for word, after in pairwise(words) if word in ("--config-dir", "-cd")]
    named += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return [folder for folder in map(Path, map(os.path.expanduser, named)) if folder.is_dir()]


def own_choices(folders: Iterable[Path]) -> list[tuple[str, str]]:
    """GROUP=CHOICE of every FOLDER/GROUP/CHOICE.yaml, with the first line of comment in it."""
    paths = [path for folder in folders for path in choice_files(folder)]
    return [(f"{path.parent.name}={path.stem}", first_comment(path)) for path in paths]


def choice_files(folder: Path) -> list[Path]:
    """FOLDER/GROUP/CHOICE.yaml, without hidden files, as an editor makes them while another one is open."""
    return [path for path in sorted(folder.glob("*/*.yaml")) if not path.name.startswith(".")]


def first_comment(path: Path) -> str:
    """The first line of comment in a YAML file that is not an instruction to Hydra.

    Empty where there is none or the file cannot be read: what is wrong with it is said to whoever chooses it.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("@")), "")
