"""data.noise: what it changes and what it leaves alone."""

import re
from collections import Counter

import numpy as np
import pytest

from nmt.data.batching import BatchingConfig, plan_epoch
from nmt.data.corpus import FilesConfig, TextFiles
from nmt.data.encode import SampledCorpus
from nmt.data.noise import NoiseConfig, add_noise, with_slip
from nmt.data.prepare import Prepared, prepare
from nmt.errors import ConfigError

SOURCE = "The old Dog sees 12 cats , and runs ."
TARGET = "Der alte Hund sieht 12 Katzen und rennt ."
COUNT = 2000


def both(config: NoiseConfig, seed: int = 3, source: str = SOURCE) -> list[tuple[str, str]]:
    """The pair SOURCE, TARGET as pairs 0 to COUNT - 1 of a corpus."""
    sides = (
        add_noise([text] * COUNT, side, config, seed, 0) for side, text in (("source", source), ("target", TARGET))
    )
    return [*zip(*sides, strict=True)]


def about(share: float, found: int, of: int = COUNT) -> bool:
    """Whether a count is within five standard deviations of a binomial's mean."""
    return abs(found - share * of) <= 5 * (of * share * (1 - share)) ** 0.5


def distance(a: str, b: str) -> int:
    """Optimal string alignment: insertions, deletions, substitutions and exchanges of neighbours, by the recurrence."""
    d = {(i, -1): i + 1 for i in range(-1, len(a))} | {(-1, j): j + 1 for j in range(-1, len(b))}
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (x != y))
            if i and j and x == b[j - 1] and y == a[i - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(a) - 1, len(b) - 1]


def test_case_changes_both_sides_to_capitals_or_the_source_to_lower_case():
    found = Counter(both(NoiseConfig(case=0.3)))
    assert set(found) == {(SOURCE, TARGET), (SOURCE.upper(), TARGET.upper()), (SOURCE.lower(), TARGET)}
    assert about(0.7, found[SOURCE, TARGET])
    assert about(0.15, found[SOURCE.lower(), TARGET])


def test_typos_are_one_slip_in_so_many_words_of_the_source():
    pairs = both(NoiseConfig(typos=0.25))
    assert {target for _, target in pairs} == {TARGET}
    changed = Counter()
    for source, _ in pairs:
        for word, original in zip(source.split(" "), SOURCE.split(" "), strict=True):
            assert distance(original, word) <= 1
            changed[original] += word != original
    assert changed["12"] == changed[","] == changed["."] == 0  # no letters
    assert all(about(0.25, changed[word]) for word in ("old", "cats"))  # each slip of a word of unequal letters shows


def test_all_four_slips_are_made():
    def slips(*drawn: float) -> str:
        numbers = iter(drawn)
        return with_slip("dogs", lambda: next(numbers))

    assert slips(0.0, 0.3) == "dgs"
    assert slips(0.25, 0.3) == "doogs"
    assert slips(0.5, 0.3) == "dgos"
    assert slips(0.5, 0.9) == "dosg"  # the last letter has its neighbour before it
    assert slips(0.75, 0.3, 0.9) == "dsgs"
    assert with_slip("a", lambda: 0.0) == "a"
    assert with_slip("12", lambda: 0.0) == "12"


@pytest.mark.parametrize("drawn", [k / 40 for k in range(40)])
def test_slips_move_no_space(drawn):
    """Word alignments count words: a tab or a no-break space stays where it is."""
    for word in ("a\tb", "a\u00a0b", "d'un\tmot"):
        assert re.sub(r"\w", "", with_slip(word, lambda: drawn)) == re.sub(r"\w", "", word)


@pytest.mark.parametrize(
    ("key", "form"), [("emoji", r"([\U0001F300-\U0001F64F])\1{0,2}"), ("urls", r"https://[a-z]+\.\S+")]
)
def test_emoji_and_addresses_end_both_sides(key, form):
    pairs, ended = both(NoiseConfig(**{key: 0.2})), 0
    for source, target in pairs:
        assert source.removeprefix(SOURCE) == target.removeprefix(TARGET)
        if source != SOURCE:
            ended += 1
            assert re.fullmatch(f" {form}", source.removeprefix(SOURCE))
    assert about(0.2, ended)
    assert len(set(pairs)) > 50


EVERYTHING = NoiseConfig(case=0.5, typos=0.3, emoji=0.5, urls=0.5)


def test_what_is_drawn_depends_on_the_seed_and_on_the_number_of_the_pair_alone():
    texts = [f"{SOURCE} {i}" for i in range(50)]
    whole = add_noise(texts, "source", EVERYTHING, 7, 0)
    parts = [add_noise(texts[i : i + 7], "source", EVERYTHING, 7, i) for i in range(0, 50, 7)]
    assert whole == [text for part in parts for text in part]
    assert whole != add_noise(texts, "source", EVERYTHING, 8, 0)


def test_tags_stay():
    tagged = add_noise(["<2de> A dog"] * 99, "source", NoiseConfig(case=1.0, typos=1.0), 1, 0, ["<2de>"])
    assert {text.partition(" ")[0] for text in tagged} == {"<2de>"}
    assert all(text.partition(" ")[2] != "A dog" for text in tagged)


def test_rates_are_shares():
    with pytest.raises(ConfigError, match=r"data\.noise\.typos must be 0 to 1, got 1\.5"):
        NoiseConfig(typos=1.5)


ENGLISH = [f"The {a} dog sees {n} cats" for a in ("old", "young") for n in range(20)]
GERMAN = [f"Der {a} Hund sieht {n} Katzen" for a in ("alte", "junge") for n in range(20)]


@pytest.fixture
def data(tmp_path):
    def files(name: str, *sides: list[str]) -> TextFiles:
        paths = [tmp_path / f"{name}.{language}" for language in ("en", "de")]
        for path, lines in zip(paths, sides, strict=True):
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return TextFiles(*map(str, paths))

    config = FilesConfig(
        train=files("train", ENGLISH, GERMAN), validation=files("dev", ["A cat"], ["Eine Katze"]), cache=str(tmp_path)
    )
    config.tokenizer.vocab_size = 330
    return config


def sources(prepared: Prepared, epoch: int) -> list[str]:
    """The source text of an epoch of training."""
    corpus = plan_epoch(prepared.train, BatchingConfig(), 1, epoch).corpus
    return prepared.tokenizers.source.decode(corpus.read(np.arange(len(corpus)))[0])


@pytest.mark.parametrize("sampling", [0.0, 0.2])
def test_every_epoch_has_other_noise_and_the_same_one_again(data, sampling):
    """So that a training that was killed goes on as it would have; what is cached and validated on is without noise."""
    data.tokenizer.sampling = sampling
    plain = prepare(data, seed=1)
    data.noise = EVERYTHING
    noisy = prepare(data, seed=1)
    assert noisy.table.folder == plain.table.folder
    assert noisy.validation == plain.validation
    assert any("typos in 30.0% of the source's words" in note for note in noisy.table.notes)
    assert sources(plain, 0) == sources(plain, 1) == ENGLISH
    first, second = sources(noisy, 0), sources(noisy, 1)
    assert first == sources(noisy, 0)
    assert all(sum(a != b for a, b in zip(x, y, strict=True)) > 20 for x, y in [(first, second), (first, ENGLISH)])


def test_without_noise_nothing_is_drawn(data):
    assert not isinstance(prepare(data, seed=1).train, SampledCorpus)
