"""What scripts/compare_commits.py trains: each case is the words that a user would type after ``nmt.train``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

# Small enough for twenty updates to take a second, large enough for every part to have something to do.
COMMON = (
    "threads=1 device=cpu seed=1 logger.tensorboard=false logger.heatmaps=0 logger.samples=2 logger.every=1 "
    "data.train_size=400 data.validation_size=2 data.test_size=1 data.max_words=12 "
    "data.tokenizer.vocab_size=360 data.batching.tokens=400 "
    "model.hidden_size=32 optim.lr=0.01 optim.warmup=2 trainer.validation_sentences=2 trainer.metric=loss "
    "decode.beam_size=5 decode.n_best=3 decode.batch_size=16"
)
LSTM = "model=lstm model.dropout=0.1"
TRANSFORMER = "model=transformer model.heads=2 model.num_layers=2 model.ffn_size=48 model.dropout=0.1"
LOCAL = "model.attention.half_width=3"
P = f"{LSTM} model.attention=local_p model.attention.hidden_size=16 {LOCAL}"
GLOBAL = f"{LSTM} model.attention=global"
# Keys that choose a file of configs/, in the order in which Hydra has to be told.
GROUPS = ("model", "model.attention", "model.self_attention", "optim")


def attentions() -> dict[str, str]:
    """Every mechanism with and without input feeding, every score, every option of a mechanism."""
    found = {"bahdanau": f"{LSTM} model.attention=bahdanau model.attention.hidden_size=24"}
    for name, more in {"none": "", "global": "", "local_m": LOCAL, "local_p": "", "hard": ""}.items():
        base = P if name == "local_p" else f"{LSTM} model.attention={name} {more}"
        for feeding in ("true", "false"):
            found[f"{name}-{'feeding' if feeding == 'true' else 'plain'}"] = f"{base} model.input_feeding={feeding}"
    for score in ("dot", "general", "concat", "location", "scaled_dot"):
        for name, base in {"global": GLOBAL, "local_p": P}.items():
            found[f"{name}-{score}"] = f"{base} model.attention.score={score}"
    identity = "model.attention.score=concat model.attention.concat_source=identity"
    return found | {
        "global-concat_identity": f"{GLOBAL} {identity}",
        "local_p-concat_identity": f"{P} {identity}",
        "global-sparsemax": f"{GLOBAL} model.attention.normalizer=sparsemax",
        "local_p-entmax15": f"{P} model.attention.normalizer=entmax15",
        "local_p-renormalize": f"{P} model.attention.renormalize=true",
        "local_p-bias": f"{P} model.attention.gaussian=bias",
        "local_p-diagonal": f"{P} model.attention.centre=diagonal",
        "local_p-sigma": f"{P} model.attention.sigma=learned",
    }


def lstms() -> dict[str, str]:
    """What else an LSTM can be."""
    luong = "model.num_layers=2 model.reverse_source=true model.bidirectional=false model.bias=false"
    return {
        "lstm-non_local": f"{P} model.encoder_block=non_local",
        "lstm-latent": f"{P} model.mixture=predictions trainer.label_smoothing=0.1",
        "lstm-lexical": f"{GLOBAL} model.mixture=lexical",
        "lstm-latent_top_k": f"{GLOBAL} model.mixture=predictions model.mixture_top_k=3",
        "lstm-layers_residual": f"{GLOBAL} model.num_layers=3 model.residual=true",
        "lstm-bahdanau_layers": f"{LSTM} model.attention=bahdanau model.num_layers=2 model.decoder_layers=3",
        "lstm-placement_luong": f"{P} model.dropout_placement=luong",
        "lstm-one_direction": f"{GLOBAL} model.bidirectional=false",
        "lstm-reverse_source": f"{P} model.reverse_source=true",
        "lstm-like_luong2015": f"{P} {luong} model.dropout_placement=luong",
        "lstm-source_eos": f"{P} model.source_eos=true model.embedding_size=20",
        "lstm-tied_target": f"{GLOBAL} model.tied=target model.init_range=null",
        "lstm-tied_all": f"{P} model.tied=all",
    }


def transformers() -> dict[str, str]:
    """Both self-attentions, and every other choice once at least."""
    near = "model.self_attention=local model.self_attention.half_width=3"
    return {
        "transformer-global": TRANSFORMER,
        "transformer-local": f"{TRANSFORMER} {near}",
        "transformer-learned": f"{TRANSFORMER} model.positions=learned model.tied=none",
        "transformer-rotary": f"{TRANSFORMER} model.positions=rotary model.tied=all",
        "transformer-local_rotary": f"{TRANSFORMER} {near} model.positions=rotary",
        "transformer-norm_after": f"{TRANSFORMER} model.norm=after model.attention_dropout=0.1",
        "transformer-swiglu": f"{TRANSFORMER} model.activation=swiglu model.activation_dropout=0.1",
        "transformer-gelu": f"{TRANSFORMER} model.activation=gelu model.encoder_layers=3",
    }


def trainings() -> dict[str, str]:
    """Losses, averages, optimizers and data."""
    plain = "optim.lr=0.5 trainer.normalization=sentences trainer.clip=5"
    return {
        "train-r_drop_lstm": f"{P} trainer.r_drop=5",
        "train-r_drop_transformer": f"{TRANSFORMER} trainer.r_drop=5 trainer.label_smoothing=0.1",
        "train-guided_lstm": f"{P} trainer.guided_alignment=0.05 trainer.guided_layer=-1",
        "train-guided_global": f"{GLOBAL} trainer.guided_alignment=0.05 trainer.guided_layer=-1",
        "train-guided_transformer": f"{TRANSFORMER} trainer.guided_alignment=0.05",
        "train-ema": f"{GLOBAL} trainer.ema=0.9",
        "train-accumulate": f"{GLOBAL} trainer.accumulate=2",
        "train-label_smoothing": f"{P} trainer.label_smoothing=0.1",
        "train-sgd": f"{GLOBAL} optim=sgd {plain}",
        "train-luong2015": f"{P} optim=luong2015 {plain} optim.halve_after=0.2 optim.halve_every=0.2",
        "train-vaswani2017": f"{TRANSFORMER} optim=vaswani2017 optim.warmup=5",
        "train-adamw_cosine": f"{TRANSFORMER} optim=adamw optim.schedule=cosine",
        # No data.tokenizer.sampling: with SentencePiece 0.2.3 two processes draw other pieces from one seed.
        "train-words": f"{GLOBAL} data.tokenizer.kind=word data.tokenizer.joint=false",
    }


def cases() -> dict[str, str]:
    """Every case by name."""
    return attentions() | lstms() | transformers() | trainings()


# For these the command itself translates, too, with token scores and attention; a process takes as long as ten cases.
BY_COMMAND = ("local_p-feeding", "bahdanau", "transformer-global")

# Large enough for arithmetic and not Python to take the time.
SPEED_COMMON = (
    "threads=1 device=cpu seed=1 logger.tensorboard=false logger.heatmaps=0 logger.samples=0 logger.every=5 "
    "data.train_size=4000 data.validation_size=4 data.test_size=2 data.max_words=20 data.tokenizer.vocab_size=1000 "
    "trainer.validation_sentences=4 trainer.metric=loss trainer.precision=fp32 decode.precision=fp32"
)
SPEED = {
    "lstm-local_p": "model=lstm model.hidden_size=256 model.attention=local_p model.input_feeding=true",
    "lstm-global": "model=lstm model.hidden_size=256 model.attention=global model.input_feeding=false",
    "transformer_tiny": "model=transformer_tiny",
}


def sources(count: int) -> list[str]:
    """Sentences to translate, made here because the corpus is made by the code that is compared."""
    places = ("Japan", "New Zealand", "French and Dutch", "the Isle of Man", "Türkiye, Chile and Peru", "Žilina")
    amounts = ("3.5 kilometers", "€12.80", "one hundred and six", "2 hr, 41 min", "-17", "99.5%")
    times = ("May 4, 2019", "next month", "Tuesday at 10:05 PM", "12/31/99")
    lines = [f"{a}, {b} {c}" for a in places for b in amounts for c in times]
    return [f"{lines[i * 41 % len(lines)]}{' and Oslo' * (i % 5)}" for i in range(count)]


def write_experiments(chosen: Mapping[str, str], common: str, folder: Path) -> None:
    """FOLDER/experiment/CASE.yaml for each case, so that one sweep over ``+experiment`` trains cases of any kind."""
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    for name, words in chosen.items():
        text = "# @package _global_\n" + yaml.safe_dump(experiment(f"{common} {words}"), sort_keys=False)
        (folder / "experiment" / f"{name}.yaml").write_text(text, encoding="utf-8")


def sweep(names: Iterable[str]) -> str:
    """The word that trains them all; with ``choice`` a single one is a sweep, too, and its run has the case's name."""
    return f"+experiment=choice({','.join(names)})"


def experiment(words: str) -> dict[str, Any]:
    """KEY=VALUE words as the tree of a Hydra experiment; a later word overrides an earlier one."""
    typed = dict(word.split("=", 1) for word in words.split())
    defaults = [{f"override /{group}": typed.pop(group)} for group in GROUPS if group in typed]
    tree: dict[str, Any] = {"defaults": [*defaults, "_self_"]}
    for key, value in typed.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = yaml.safe_load(value)
    return tree
