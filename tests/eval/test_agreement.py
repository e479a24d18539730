"""The choice of a layer by the agreement of two directions, on links where the answer is known."""

import random

from eval_fakes import FakeModel, thirds

from nmt.data.pharaoh import Alignment
from nmt.device import resolve_device
from nmt.eval.agreement import Reading, agreement, links_by_reading, most_agreeing
from nmt.eval.alignment import AlignConfig, hard_alignment
from nmt.eval.forced import align
from nmt.search import ForcedOptions

SOURCE = ["ant badger fox", "elephants", "dolphin ant cat cat fox"]
TARGET = ["badger", "ant dolphin elephants", "fox fox ant cat dolphin"]
TOKENIZERS = thirds(SOURCE, TARGET)


def of_pairs(*pairs: tuple[int, int]) -> Alignment:
    return Alignment(frozenset(pairs), frozenset(pairs))


def test_agreement_counts_links_of_both_twice():
    forward, reverse = [of_pairs((0, 0), (1, 1)), of_pairs((2, 0))], [of_pairs((0, 0)), of_pairs((1, 0), (2, 0))]
    assert agreement(forward, reverse) == 2 * 2 / (3 + 3)
    assert agreement(forward, forward) == 1


def test_the_readings_that_share_most_links_are_found():
    """All others are noise of the same size."""
    draw = random.Random(5)

    def noise() -> list[Alignment]:
        return [of_pairs(*((draw.randrange(9), j) for j in range(9))) for _ in range(20)]

    truth = noise()
    forward = {Reading(layer, shift): noise() for layer in (1, 2, 3) for shift in (0, 1)}
    reverse = {Reading(layer, shift): noise() for layer in (1, 2) for shift in (0, 1)}
    forward[Reading(2, 1)], reverse[Reading(1, 1)] = truth, truth[:15] + noise()[:5]
    mine, theirs, agreed = most_agreeing(forward, reverse)
    assert (mine, theirs) == (Reading(2, 1), Reading(1, 1))
    assert agreed > 0.7


def test_every_layer_and_shift_is_read():
    model, options = FakeModel(TOKENIZERS.source.size).eval(), ForcedOptions(resolve_device("cpu"))
    found = links_by_reading(model, TOKENIZERS, (SOURCE, TARGET), options, AlignConfig(), (2, (0, 1)))
    assert list(found) == [Reading(layer, shift) for layer in (1, 2) for shift in (0, 1)]
    for reading, links in found.items():
        config = AlignConfig(layer=reading.layer, shift=reading.shift)
        assert links == [hard_alignment(w) for w in align(model, TOKENIZERS, SOURCE, TARGET, options, config)]
    assert len({tuple(map(str, links)) for links in found.values()}) > 1
