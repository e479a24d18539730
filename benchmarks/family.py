"""Every way to attend after equally long trainings: BLEU, chrF and alignment error rate on Multi30k, three seeds.

    python benchmarks/family.py text > text
    eflomal-align --input text --forward-links forward --reverse-links reverse
    python benchmarks/family.py links forward reverse > links
    python benchmarks/family.py speed --minutes 3 --updates 12
    python benchmarks/family.py train --links links
    python benchmarks/family.py report

``speed`` measures how many updates each way makes in so many minutes of processor time of one thread, all in turns on
one machine.  ``train`` makes that many, whatever else the machine does meanwhile, scores test_2016_flickr and writes a
line for each training into results/family.json; what is there already is not trained again, so that the trainings
can be spread over days and machines.  ``report`` writes results/family.md.

Multi30k has no word alignment made by hand.  The links are those of eflomal (pip install eflomal, in an environment of
its own), which reads the training text and the test set, in lower case: what both of its directions find is sure, what
one finds is possible.
"""

import argparse
import collections
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

from common import RESULTS, commit, markdown, processor
from tqdm import tqdm

import nmt
from nmt.atomic import whole_file
from nmt.cli import compose
from nmt.cli.train import COMMAND
from nmt.config import Config
from nmt.data.batching import TrainBatches
from nmt.data.pharaoh import Alignment, parse_pharaoh, split_words
from nmt.data.prepare import Prepared, prepare
from nmt.data.textfile import strict_lines
from nmt.device import resolve_device, resolve_precision, seed_everything, set_up
from nmt.eval.alignment import score_alignments
from nmt.eval.forced import NoAttentionError
from nmt.models import build_model
from nmt.train.distributed import Ranks
from nmt.train.step import Updater

TEST = "test_2016_flickr"
FILE = RESULTS / "family.json"
BEGIN, END = "<!-- tables: python benchmarks/family.py report -->", "<!-- end of tables -->"
# Columns: the figure of a training, and how it is written.
FIGURES = {"BLEU": ("bleu", ".2f"), "chrF": ("chrf", ".2f"), "nats a piece": ("nats", ".3f"), "AER, %": ("aer", ".1f")}
SHARED = ("threads=1", "trainer.metric=loss", "data.test=[]", "logger.tensorboard=false", "logger.heatmaps=0")
LSTM = ("+experiment=multi30k_attention", *SHARED)
TRANSFORMER = (
    *("+experiment=multi30k_transformer", "trainer.max_epochs=null", "trainer.keep_last=1"),
    *("data.batching.tokens=1200", "optim.schedule=cosine", "optim.warmup=400", *SHARED),
)
# What each row adds to its group's overrides: keys of model, unless they name another section.
GROUPS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "LSTM": (
        LSTM,
        {
            "none": "attention=none",
            "bahdanau": "attention=bahdanau",
            "global, dot": "attention=global attention.score=dot",
            "global, general": "attention=global",
            "global, concat": "attention=global attention.score=concat",
            "global, location": "attention=global attention.score=location",
            "local_m": "attention=local_m",
            "local_p": "attention=local_p",
            "local_p, diagonal": "attention=local_p attention.centre=diagonal",
            "local_p, wide at first": "attention=local_p attention.sigma=learned attention.sigma_start=20",
            "local_p, bias": "attention=local_p attention.gaussian=bias",
            "local_p, renormalized": "attention=local_p attention.renormalize=true",
            "global, sparsemax": "attention=global attention.normalizer=sparsemax",
            "global, entmax 1.5": "attention=global attention.normalizer=entmax15",
            "global, 4 heads": "attention=global attention.heads=4",
            "hard": "attention=hard",
            "coverage": "attention=coverage",
            "location_aware": "attention=location_aware",
            "structural": "attention=structural",
            "temporal": "attention=temporal",
            "gmm": "attention=gmm",
            "monotonic": "attention=monotonic",
            "monotonic, chunks of 4": "attention=monotonic attention.chunk=4",
            "fixed_memory": "attention=fixed_memory",
            "latent, global, top 4": "attention=global mixture=predictions mixture_top_k=4",
            "latent, local_m, D=2": "attention=local_m attention.half_width=2 mixture=predictions",
            "lexical, global": "attention=global mixture=lexical trainer.label_smoothing=0",
            "global, intra-decoder": "attention=global intra_attention=true",
            "global, lstmn": "attention=global encoder=lstmn bidirectional=false",
            "none, lstmn, deep": "attention=none encoder=lstmn bidirectional=false fusion=deep",
        },
    ),
    "Transformer": (
        TRANSFORMER,
        {
            "global": "self_attention=global",
            "cross sparsemax": "cross_attention_normalizer=sparsemax",
            "cross entmax 1.5": "cross_attention_normalizer=entmax15",
            "sinks": "sinks=all",
            "local": "self_attention=local self_attention.half_width=4",
            "local in layers 1, 3": "self_attention=local self_attention.half_width=4 self_attention.layers=[1,3]",
            "localness": "self_attention=localness",
            "hard_coded": "self_attention=hard_coded",
            "cross local_p": "cross_attention=local_p",
        },
    ),
}
WAYS = {
    f"{group}: {name}": (*base, *(w if w.startswith("trainer.") else f"model.{w}" for w in words.split()))
    for group, (base, rows) in GROUPS.items()
    for name, words in rows.items()
}


def read() -> dict[str, Any]:
    """What has been measured."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"runs": []}


def write(found: dict[str, Any]) -> None:
    """Keep it: a line for each training, so that two files can be compared."""
    head = {key: value for key, value in found.items() if key != "runs"}
    lines = ",\n".join("  " + json.dumps(run) for run in found["runs"])
    with whole_file(FILE) as file:
        file.write(json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n{lines}\n ]\n}}\n')


def lines_of(root: Path, name: str) -> tuple[list[str], list[str]]:
    """English and German of a part of Multi30k."""
    english, german = (strict_lines(next((root / "multi30k").glob(f"{name}.{side}*"))) for side in ("en", "de"))
    return english, german


def text(options: argparse.Namespace) -> None:
    """Print what an aligner reads: the test set, and then the training text."""
    for name in (TEST, "train"):
        for pair in zip(*lines_of(options.root, name), strict=True):
            # A word with white space of another kind in it is one word to us and two to eflomal.
            words = (["_".join(word.split()) for word in split_words(side.lower())] for side in pair)
            print(" ||| ".join(map(" ".join, words)))


def links(options: argparse.Namespace) -> None:
    """Print the links of the test set."""
    sides = [parse_pharaoh(strict_lines(file), str(file)) for file in (options.forward, options.reverse)]
    for one, other in islice(zip(*sides, strict=True), len(lines_of(options.root, TEST)[0])):
        print(Alignment(one.sure & other.sure, one.sure | other.sure))


def training(words: Sequence[str], texts: dict[str, Prepared]) -> Iterator[None]:
    """An endless training; an update is made for each item that is taken."""
    config = cast(Config, compose.configs(COMMAND, [*words, "trainer.max_steps=1000"]))
    device = resolve_device(config.device)
    set_up(config.threads, config.deterministic)
    key = str(config.data)
    if key not in texts:
        texts[key] = prepare(config.data, config.seed)
    text = texts[key]
    seed_everything(config.seed)
    sizes = text.tokenizers.source.size, text.tokenizers.target.size
    model = build_model(config.model, *sizes, text.tokenizers.joint, config.trainer.label_smoothing).to(device)
    precision = resolve_precision(config.trainer.precision, device)
    updater = Updater(model, config.trainer, config.optim, precision, device, Ranks())
    batches = iter(TrainBatches(text.train, config.data.batching, config.seed))
    for number in itertools.count(1):
        updater.step(list(islice(batches, config.trainer.accumulate)), number, epoch=0.0)
        yield


def speed(options: argparse.Namespace) -> None:
    """Measure the updates of each way; the median of the rounds.

    With ``--only`` ways are added in proportion to those of them that were measured before, whose counts stay.
    """
    compose.register(COMMAND)
    texts: dict[str, Prepared] = {}
    trainings = {way: training(WAYS[way], texts) for way in options.only or WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in trainings}
    for made in tqdm(trainings.values(), desc="warm up", disable=None):
        collections.deque(islice(made, 5), maxlen=0)
    for _ in tqdm(range(options.rounds), desc="rounds", disable=None):
        for way, made in trainings.items():
            start = time.process_time()
            collections.deque(islice(made, options.updates), maxlen=0)
            seconds[way].append((time.process_time() - start) / options.updates)
    updates = {way: round(60 * options.minutes / statistics.median(took)) for way, took in seconds.items()}
    found = read()
    if options.only:
        before = found["updates"]
        known = [before[way] / updates[way] for way in updates if way in before]
        if not known:
            raise SystemExit("speed --only: name a way that was measured before, too, as a measure of the machine")
        more = {way: round(count * statistics.median(known)) for way, count in updates.items()}
        updates = {way: {**more, **before}[way] for way in WAYS}
    else:
        found |= {"machine": processor(), "commit": commit(), "minutes": options.minutes}
    write({**found, "updates": updates})


def aer(found: Sequence[list[tuple[int, int]]], gold: Sequence[Alignment]) -> float:
    """Alignment error rate of links, per cent."""
    links = [Alignment(frozenset(pairs), frozenset(pairs)) for pairs in found]
    return 100 * score_alignments(links, gold).aer


def train(options: argparse.Namespace) -> None:
    """Train and score what is not there yet, row by row."""
    source, target = lines_of(options.root, TEST)
    gold = parse_pharaoh(strict_lines(options.links), str(options.links))
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for way in options.only or WAYS:
        for seed in seeds:
            found = read()
            if any((run["way"], run["seed"]) == (way, seed) for run in found["runs"]):
                continue
            updates = found["updates"][way]
            name = "".join(c if c.isalnum() else "_" for c in f"{way} {seed}")
            steps = [f"{key}={updates}" for key in ("trainer.max_steps", "optim.decay_steps", "trainer.validate_every")]
            where = [f"runs={options.runs}", f"name={name}", f"data.root={options.root}", f"seed={seed}", "resume=true"]
            run = nmt.train([*WAYS[way], *steps, *where])
            model = run.load()
            scores = model.evaluate(source, target)
            try:
                error = aer(model.align(source, target), gold)
            except NoAttentionError:
                error = None
            line = {"way": way, "seed": seed, "updates": updates, "aer": error, "nats": scores.loss}
            line |= {name: score.value for name, score in scores.scores.items()} | {
                "commit": commit(),
                "machine": processor(),
            }
            found = read()
            found["runs"].append(line)
            write(found)


def cell(values: Sequence[float | None], form: str = ".2f") -> str:
    """Mean and sample standard deviation; a dash where there is nothing to be measured."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "-"
    return f"{statistics.mean(numbers):{form}}" + (f" ± {statistics.stdev(numbers):{form}}" if len(numbers) > 1 else "")


def tables(found: dict[str, Any]) -> str:
    """A table for each group, a row for each way with at least one training."""
    parts = []
    for group, (_, rows) in GROUPS.items():
        lines = []
        for name in rows:
            way = f"{group}: {name}"
            runs = [run for run in found["runs"] if run["way"] == way]
            if runs:
                columns = [cell([run[key] for run in runs], form) for key, form in FIGURES.values()]
                lines.append([name, f"{runs[0]['updates']:,}", str(len(runs)), *columns])
        if lines:
            parts.append(f"## {group}\n\n" + markdown(["attention", "updates", "seeds", *FIGURES], lines))
    return "\n\n".join(parts)


def report(options: argparse.Namespace) -> None:
    """Put the tables in the place of those in the page."""
    page = FILE.with_suffix(".md")
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    page.write_text(before + BEGIN + "\n\n" + tables(read()) + "\n\n" + END + rest.partition(END)[2], encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"), help="data.root (%(default)s)")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("text", help="print what an aligner reads")
    one.set_defaults(does=text)
    one = commands.add_parser("links", help="print the links of the test set")
    one.add_argument("forward", type=Path, help="what the aligner wrote, from English to German")
    one.add_argument("reverse", type=Path, help="the same of the other direction, English words first, too")
    one.set_defaults(does=links)
    one = commands.add_parser("speed", help="measure how many updates each way makes in equal time")
    one.add_argument("--minutes", type=float, default=3, help="of processor time (%(default)s)")
    one.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    one.add_argument("--updates", type=int, default=12, help="of each way and round (%(default)s)")
    one.add_argument("--only", nargs="*", choices=[*WAYS], metavar="WAY", help="add these to what was measured")
    one.set_defaults(does=speed)
    one = commands.add_parser("train", help="train and score what is not there yet")
    one.add_argument("--links", type=Path, required=True, help="of test_2016_flickr")
    one.add_argument("--runs", type=Path, default=Path("runs/family"), help="folder of the runs (%(default)s)")
    one.add_argument("--seeds", default="1,2,3", help="(%(default)s)")
    one.add_argument("--only", nargs="*", choices=[*WAYS], metavar="WAY", help='these alone, as "LSTM: none"')
    one.set_defaults(does=train)
    commands.add_parser("report", help="write the tables into the page").set_defaults(does=report)
    options = parser.parse_args()
    options.does(options)


if __name__ == "__main__":
    main()
