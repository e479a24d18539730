"""The trace bonus against loops over words, and that the attention of two directions comes to agree."""

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_fakes import HostReads, OneOfTwo, weights

import nmt
from nmt.batch import Batch, collate
from nmt.data.both_directions import BothDirections
from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import BahdanauConfig, GlobalConfig, LocalMConfig, LocalPConfig
from nmt.models.lstm.config import Mixture
from nmt.models.seq2seq import ModelConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig
from nmt.runs import checkpoint
from nmt.train.agreement import trace_bonus
from nmt.train.config import Normalization, TrainerConfig
from nmt.train.distributed import Ranks
from nmt.train.optim import OptimConfig, OptimizerName
from nmt.train.step import Updater

CPU = torch.device("cpu")
BOTH = BothDirections(([4, 5], [4, 6]))
PAIRS = [([4, 5, 7, 8, 9, 10], [9, 10]), ([4, 6, 7], [11, 8, 9, 7]), ([4, 6, 9, 7, 8], [8, 7, 10]), ([4, 5], [7])]
SMALL: dict[str, Any] = {"hidden_size": 8, "dropout": 0.0}
MODELS = {
    "global": LSTMConfig(attention=GlobalConfig(), **SMALL),
    "bahdanau": LSTMConfig(attention=BahdanauConfig(hidden_size=5), source_eos=True, **SMALL),
    "local_m": LSTMConfig(attention=LocalMConfig(half_width=1), **SMALL),
    "local_p": LSTMConfig(attention=LocalPConfig(hidden_size=4, half_width=2), **SMALL),
    "latent": LSTMConfig(attention=GlobalConfig(), mixture=Mixture.predictions, input_feeding=False, **SMALL),
    "transformer": TransformerConfig(
        self_attention=GlobalSelfAttentionConfig(), heads=2, ffn_size=8, num_layers=2, **SMALL
    ),
}


def both(pairs: list[tuple[list[int], list[int]]]) -> Batch:
    return BOTH.collate([s for s, _ in pairs], [t for _, t in pairs], list(range(len(pairs))))


def by_loops(weights: torch.Tensor, pairs: list[tuple[list[int], list[int]]], shift: int) -> torch.Tensor:
    """The bonus of weights (2B, T, S), pair by pair and word by word."""
    total = torch.zeros((), dtype=weights.dtype)
    for b, (source, target) in enumerate(pairs):
        for t in range(len(target)):
            for s in range(len(source) - 2):
                there = weights[b, t + shift, 2 + s]
                back = weights[len(pairs) + b, s + shift, 2 + t]
                total = total + there * back
    return total


@pytest.mark.parametrize("eos", [0, 1])
@pytest.mark.parametrize("shift", [0, 1])
def test_the_bonus_is_the_sum_over_pairs_of_words(shift, eos):
    """Of pairs of unequal length, one of them a tag alone, whatever stands at padding, tags and end-of-sentence."""
    torch.manual_seed(0)
    batch = both(PAIRS)
    shape = (8, batch.target_out.size(1), batch.source.size(1) + eos)
    scores = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    found, expected = trace_bonus(scores, batch, shift), by_loops(scores, PAIRS, shift)
    torch.testing.assert_close(found, expected)
    mine, theirs = (torch.autograd.grad(x, scores)[0] for x in (found, expected))
    torch.testing.assert_close(mine, theirs)
    assert torch.autograd.gradcheck(lambda x: trace_bonus(x.softmax(2), batch, shift), scores)


@pytest.mark.parametrize(("words", "others"), [(4, 4), (5, 3), (2, 6)])
def test_words_that_read_one_another_have_all_of_the_bonus(words, others):
    """As many as the shorter side has, each way; words that all read the same one have hardly any."""
    batch = both([([4, 5, *range(7, 7 + words)], [*range(7, 7 + others)])])
    width = batch.source.size(1)
    order = torch.randperm(min(words, others), generator=torch.Generator().manual_seed(1)).tolist()
    agreeing = torch.zeros(2, batch.target_out.size(1), width)
    for t, s in enumerate(order):
        agreeing[0, t, 2 + s] = agreeing[1, s, 2 + t] = 1
    assert trace_bonus(agreeing, batch) == min(words, others)
    first = torch.zeros(2, batch.target_out.size(1), width)
    first[:, :, 2] = 1
    assert trace_bonus(first, batch) == 1


def updater(
    config: ModelConfig, precision: Precision = Precision.fp32, double: bool = False, **keys: Any
) -> tuple[torch.nn.Module, Updater]:
    """Plain SGD at rate 1 without clipping: the step is the gradient."""
    torch.manual_seed(0)
    model = build_model(config, 12, 12, joint=True)
    model = model.double() if double else model
    sgd = OptimConfig(warmup=0, name=OptimizerName.sgd, lr=1.0)
    trainer = TrainerConfig(**{"clip": None, "agreement": 0.5, **keys})
    return model, Updater(model, trainer, sgd, precision, CPU, keys.pop("ranks", None) or Ranks())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("r_drop", [0.0, 1.0])
def test_training_subtracts_it(name, r_drop):
    """The gradient is that of loss_sum - weight * trace_bonus, of the head and the step that are named."""
    config = MODELS[name]
    named: dict[str, Any] = {"guided_layer": 2, "guided_head": 2} if name == "transformer" else {}
    model, u = updater(config, r_drop=r_drop, guided_shift=1, **named)
    _, objective = u.backward([both(PAIRS)], 1.0)
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    batch = both(PAIRS).doubled() if r_drop else both(PAIRS)
    output = model(batch, True, r_drop)
    pairs = [pair for pair in PAIRS for _ in range(2)] if r_drop else PAIRS
    expected = output.loss_sum - 0.5 * by_loops(output.maps.weights[:, -1, -1], pairs, 1)
    expected.backward()
    torch.testing.assert_close(objective, expected.detach())
    torch.testing.assert_close(found, [p.grad for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", MODELS)
def test_without_it_no_map_is_made_and_the_gradient_is_the_same_to_the_last_bit(name):
    """As with the default, of a batch as all other trainings have it."""
    batch = collate([s for s, _ in PAIRS], [t for _, t in PAIRS], list(range(len(PAIRS))))
    model, u = updater(MODELS[name], agreement=0.0)
    asked = []
    hook = model.register_forward_pre_hook(lambda _, args: asked.append(args[1]))
    u.backward([batch], 1.0)
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    hook.remove()
    model.zero_grad()
    model(batch).loss_sum.backward()
    assert asked == [False]
    assert all(map(torch.equal, found, (p.grad for p in model.parameters() if p.grad is not None)))


@pytest.mark.parametrize("normalization", Normalization)
def test_accumulated_batches_and_ranks_make_the_step_of_one_large_batch(normalization):
    """However they are divided and padded."""
    pairs = [*PAIRS, ([4, 6, *range(7, 12)], [*range(7, 12)] * 2)]
    tokens = normalization is Normalization.tokens
    total = sum(len(s) - 2 + len(t) + 2 for s, t in pairs) if tokens else 2 * len(pairs)

    def step(groups: list[list[tuple[list[int], list[int]]]], ranks: Ranks | None = None) -> torch.Tensor:
        model, u = updater(MODELS["global"], double=True, normalization=normalization, accumulate=len(groups))
        u.ranks = ranks or u.ranks
        before = weights(model)
        u.step([both(group) for group in groups], 1, 0.0)
        return before - weights(model)

    whole = step([pairs])
    torch.testing.assert_close(step([pairs[:1], pairs[1:3], pairs[3:]]), whole, rtol=1e-10, atol=1e-12)
    shares = [step([pairs[rank::2]], OneOfTwo(rank, total)) for rank in (0, 1)]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, whole, rtol=1e-10, atol=1e-12)
    reordered = [pairs[k] for k in (3, 0, 4, 1, 2)]
    torch.testing.assert_close(step([reordered]), whole, rtol=1e-10, atol=1e-12)


def test_autocast_does_not_round_the_bonus():
    """The objective in bfloat16 is that of the model's own weights and losses in bfloat16."""
    model, u = updater(MODELS["transformer"], Precision.bf16)
    with torch.autocast("cpu", torch.bfloat16):
        output = copy.deepcopy(model)(both(PAIRS), True)
    assert output.maps.weights.dtype == torch.float32
    expected = output.loss_sum - 0.5 * by_loops(output.maps.weights[:, 0, 0], PAIRS, 0)
    _, objective = u.backward([both(PAIRS)], 1.0)
    torch.testing.assert_close(objective, expected.detach())


def test_an_update_reads_nothing_back_but_a_count():
    _, u = updater(MODELS["global"], r_drop=1.0)
    with HostReads() as reads:
        u.step([both(PAIRS)], 1, 0.0)
    assert reads.count == 1


def shuffled(sentences: int = 24, words: int = 4) -> list[tuple[list[int], list[int]]]:
    """Sources of words in any order, and targets of a word for each of these in the same order."""
    draw = random.Random(0)
    sources = [draw.sample(range(7, 12), words) for _ in range(sentences)]
    return [([4, 5, *source], [word + 5 for word in source]) for source in sources]


@pytest.mark.parametrize("name", ["global", "transformer"])
def test_attention_comes_to_agree(name):
    """In a few steps, where the losses of both directions alone do not bring it about.

    All weight on one and the same word, in both directions, would be a quarter a word.
    """
    found = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        model = build_model(replace(MODELS[name], hidden_size=16), 17, 17, joint=True)
        trainer = TrainerConfig(agreement=weight, guided_layer=1)
        u = Updater(model, trainer, OptimConfig(warmup=0, lr=0.01), Precision.fp32, CPU, Ranks())
        batch = both(shuffled())
        for step in range(1, 81):
            u.step([batch], step, 0.0)
        with torch.no_grad():
            found[weight] = trace_bonus(model(batch, True).maps.weights[:, 0, 0], batch).item() / (24 * 4)
    assert found[2.0] > max(found[0.0] + 0.2, 0.4)


WORDS = [
    *("name=both", "data.pairs=[en-de,de-en]", "data.tags=true", "trainer.agreement=0.5", "model.hidden_size=16"),
    *("data.train_size=60", "data.validation_size=4", "data.test_size=3", "data.tokenizer.vocab_size=400"),
    *("decode=greedy", "decode.max_length=8", "logger.tensorboard=false", "device=cpu", "threads=1"),
    *("data.batching.tokens=200", "trainer.validate_every=2"),
]


def trained(folder: Path, *words: str) -> dict[str, torch.Tensor]:
    run = nmt.train([f"runs={folder}", f"data.cache={folder.parent}/cache", *WORDS, *words]).directory
    return checkpoint.load(run / checkpoint.LAST)["model"]


def test_a_resumed_training_is_the_one_that_was_not_interrupted(tmp_path):
    whole = trained(tmp_path / "a", "trainer.max_steps=4")
    trained(tmp_path / "b", "trainer.max_steps=2")
    again = trained(tmp_path / "b", "trainer.max_steps=4", "resume=true")
    assert whole.keys() == again.keys()
    assert all(whole[name].equal(again[name]) for name in whole)


def test_a_vocabulary_without_the_tags_is_refused_before_there_is_a_run(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.agreement turns pairs round by their tags, and <2de> is no piece"):
        trained(tmp_path, "data.tokenizer.kind=char")
    assert not (tmp_path / "both").exists()


def test_a_weight_below_0_is_refused():
    with pytest.raises(ConfigError, match=r"trainer\.agreement must be at least 0"):
        TrainerConfig(agreement=-1.0)
