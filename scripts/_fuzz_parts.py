"""The parts of scripts/fuzz.py: what is mutated, what reads it, and what must hold of what was read."""

import contextlib
import gzip
import random
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import torch

from nmt.cli.compose import register
from nmt.cli.streams import decode
from nmt.cli.train import COMMAND
from nmt.cli.translation_input import parse_json
from nmt.cli.words import parse
from nmt.config import Config, from_yaml, to_yaml
from nmt.data.checks import Action, CheckCounts, ChecksConfig, clean
from nmt.data.corpus import PhrasesConfig
from nmt.data.files import line_pairs, read_text
from nmt.data.pharaoh import parse_line
from nmt.data.text import TextFiles
from nmt.data.tokenizer import train_tokenizers
from nmt.errors import UserError
from nmt.models import LSTMConfig
from nmt.models.attention import LocalPConfig
from nmt.runs import checkpoint
from nmt.runs.directory import TOKENIZER, Run, save_config
from nmt.search import DecodeConfig
from nmt.translate.prefix import NO_PREFIX
from nmt.translate.translator import Translator

Attempt = Callable[[random.Random], None]


@dataclass(frozen=True)
class Part:
    """``prepare`` gets an empty folder and returns what is called for each input."""

    inputs: int
    prepare: Callable[[Path], Attempt]


# What programs stumble over.
BYTES = (
    *(b"", b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b"-", b"=", b":", b"#", b"'", b'"', b"\\", b"{", b"}", b"["),
    *(b"]", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1f\x8b"),
    *(b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"),
    *(b"\xc0\x80", b"!!python/object/apply:os.system [id]", b"${oc.env:HOME}"),
    *(b"-1", b"0", b"1e999", b"nan", b"inf", b"null", b"9" * 30, b"9" * 5000, b"0x10", b"1_000", b"&a [*a]", b"<<: *a"),
    *("é".encode(), "e\u0301".encode(), "\u200b".encode(), "\u2028".encode(), "\x85".encode(), "\u2581".encode()),
    *("\u2585".encode(), "\u0660".encode(), "²".encode(), "𝒳".encode(), "\U000e0001".encode(), "\u202e".encode()),
    *("\ufdfa".encode() * 20, "a\u0301".encode() * 50, "漢字".encode() * 30, b"x" * 3000, b"a b " * 700),
)  # fmt: skip


def mutated(rng: random.Random, data: bytes, most: int = 4) -> bytes:
    """The data with one to ``most`` changes."""
    for _ in range(rng.randint(1, most)):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        change = rng.randrange(7)
        if change == 0:
            data = data[:at] + rng.choice(BYTES) + data[at:]
        elif change == 1:
            data = data[:at] + rng.choice(BYTES) + data[end:]
        elif change == 2:
            data = data[:at] + data[end:]
        elif change == 3:
            data = data[:end] + data[at:end] + data[end:]
        elif change == 4:
            data = data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:]
        elif change == 5:
            data = data[:at] + bytes(b ^ (1 << rng.randrange(8)) for b in data[at : at + 1]) + data[at + 1 :]
        else:
            data = data[:at]
    return data


# Pharaoh.


def pharaoh(folder: Path) -> Attempt:
    """A line that is read says what its words say, and is written and read back as the same."""
    good = ["0-0 1-2 2p1", "", "10-3 3p4 4-4 5-5 6p7", "0-0"]

    def attempt(rng: random.Random) -> None:
        line = mutated(rng, rng.choice(good).encode()).decode(errors="surrogateescape")
        lengths = (rng.randint(0, 12), rng.randint(0, 12)) if rng.random() < 0.5 else None
        found = parse_line(line, "line 1", lengths)
        assert found.sure <= found.possible
        assert len(found.possible) <= len(line.split())
        assert parse_line(str(found), "again") == found
        if lengths:
            assert all(i < lengths[0] and j < lengths[1] for i, j in found.possible)

    return attempt


# Corpora.


def corpora(folder: Path) -> Attempt:
    """Pairs that training gets are NFC, stripped and text; every pair read is kept or counted as dropped."""
    good = [
        b"ein Hund .\nzwei Katzen .\n\nein Mann mit Hut .\n",
        b"a dog .\ntwo cats .\n\na man with a hat .\n",
        "é\r\nü\r\n".encode(),
    ]
    paths = folder / "a.txt", folder / "b.txt"

    def attempt(rng: random.Random) -> None:
        for path in paths:
            data = mutated(rng, rng.choice(good)) if rng.random() < 0.7 else rng.choice(good)
            path.write_bytes(mutated(rng, gzip.compress(data)) if rng.random() < 0.1 else data)
        config = ChecksConfig(rng.choice([Action.drop, Action.refuse]), max_characters=rng.choice([10, 2000]))
        for name in ("undecodable", "blank", "long", "ratio", "in_test"):
            setattr(config, name, rng.choice(list(Action)))
        table = CheckCounts()
        pairs = line_pairs(*paths, config.line_counts is Action.refuse)
        for pair in clean(pairs, config, table, ["ein Hund ."]):
            for text in pair:
                assert text == unicodedata.normalize("NFC", text).strip()
                text.encode()
                assert "\n" not in text
        assert table.read == table.kept + table.dropped.total()
        held_out = read_text("test", TextFiles(str(paths[0]), str(paths[1])), "data.tests.x")
        assert len(held_out.source) == len(held_out.target) > 0

    return attempt


# Configurations.


def configurations(folder: Path) -> Attempt:
    """A config.yaml that is read is written and read back as the same."""
    good = to_yaml(example_config()).encode()

    def attempt(rng: random.Random) -> None:
        config = from_yaml(mutated(rng, good).decode(errors="replace"))
        text = to_yaml(config)
        assert to_yaml(from_yaml(text)) == text

    return attempt


def example_config() -> Config:
    """A small model."""
    config = Config(
        name="x", model=LSTMConfig(hidden_size=8, attention=LocalPConfig(hidden_size=4)), data=PhrasesConfig()
    )
    config.data.tokenizer.vocab_size = 320
    return config


def words(folder: Path) -> Attempt:
    """A command line is understood or refused."""
    register(COMMAND)
    good = [
        *("seed=2", "model.attention=local_p", "-m", "seed=1,2", "'data.test=[a,b]'", "trainer.max_steps=null"),
        *("+data.tests.x={source:a,target:b}", "model=transformer", "--cfg", "job", "--config-dir", "name=a"),
        *("model.attention=glob(local*)", "seed=range(1,4)", "experiment=demo", "optim.lr=1e-3", "~data.name"),
        *("hydra.launcher.n_jobs=2", "a.b=@c"),
    ]  # fmt: skip

    def attempt(rng: random.Random) -> None:
        typed = [rng.choice(good) for _ in range(rng.randint(1, 4))]
        place = rng.randrange(len(typed))
        typed[place] = mutated(rng, typed[place].encode(), 2).replace(b"\0", b"").decode(errors="surrogateescape")
        args = parse(typed, COMMAND)
        assert all(isinstance(word, str) for word in args.overrides)

    return attempt


# Run directories.

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "socket.connect")


def run_directories(folder: Path) -> Attempt:
    """One file is broken: either the run is refused, or it is the same run.  Nothing is executed."""
    run = make_run(folder / "run")
    files = sorted(path for path in run.rglob("*") if path.is_file())
    whole = {path: path.read_bytes() for path in files}
    before = read_run(run)
    watching = [False]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if watching[0] and event in FORBIDDEN:
            raise AssertionError(f"reading a run directory calls {event}")

    sys.addaudithook(hook)

    def attempt(rng: random.Random) -> None:
        path = rng.choice(files)
        path.write_bytes(mutated(rng, whole[path], 2))
        watching[0] = True
        try:
            assert read_run(run) == before, path.name
        finally:
            watching[0] = False
            path.write_bytes(whole[path])

    return attempt


def make_run(directory: Path) -> Path:
    """A tiny run with random weights."""
    config = example_config()
    save_config(directory, config)
    texts = ["one two three four five six seven eight nine ten", "a small dog , a big cat ."]
    train_tokenizers(config.data.tokenizer, texts, texts, seed=1).save(directory / TOKENIZER)
    torch.manual_seed(1)
    weights = Run.open(directory).build().state_dict()
    state = {"model": weights, "step": 7, "metrics": {"loss": 1.0}, "precision": "fp32"}
    checkpoint.save(directory / checkpoint.BEST, state)
    return directory


def read_run(directory: Path) -> tuple[str, str, int, bytes]:
    """What a run is: its configuration, tokenizers, step and weights."""
    run = Run.open(directory)
    model, step = run.load_model("best", torch.device("cpu"))
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return to_yaml(run.config), run.tokenizers.digest(), step, weights


# Lines to translate.


def lines(folder: Path) -> Attempt:
    """A translation is one line of text, and the same when it is asked for again."""
    run = Run.open(make_run(folder / "run"))
    translator = Translator(run, DecodeConfig(beam_size=2, max_length=6), torch.device("cpu"))
    good = [b"a small dog , a big cat .", b"one two three four five", "eine große Katze .".encode(), b""]

    def attempt(rng: random.Random) -> None:
        raw = mutated(rng, rng.choice(good)).replace(b"\n", b"")
        text = decode(raw, rng.randint(1, 2), "standard input", strict=rng.random() < 0.3)
        text.encode()
        with contextlib.suppress(UserError):
            json = {"source": text, "prefix": rng.choice(["", "a", None])}
            assert "\n" not in parse_json(mutated(rng, dumps(json).encode(), 1).decode(errors="replace"), "line 1")[0]
        if rng.random() < 0.8:  # most are only tokenized and, where they are long, split
            (parts,) = translator.plan([text], [NO_PREFIX], lambda *_: None)
            assert "".join("".join(part.text.split()) for part in parts) in ("", "".join(text.split()))
            return
        (found,) = translator.translate([text])
        found.encode()
        assert not {"\n", "\r"} & {*found}
        if rng.random() < 0.1:
            assert translator.translate([text]) == [found]

    return attempt


PARTS = {
    "pharaoh": Part(784_000, pharaoh),
    "corpora": Part(100_000, corpora),
    "words": Part(20_000, words),
    "configurations": Part(8_000, configurations),
    "run_directories": Part(8_000, run_directories),
    "lines": Part(80_000, lines),
}
