"""Checks across the sections of a training's configuration, made before anything is read or written."""

import os
import sys

from nmt.config import Config, flat, to_tree
from nmt.data.corpus import DATASETS, DataConfig, open_corpus
from nmt.data.pieces import SUBWORDS
from nmt.data.text import Corpus
from nmt.device import named_device
from nmt.errors import ConfigError
from nmt.models.attention import HardConfig, MixtureWindowConfig, MonotonicConfig
from nmt.models.lstm.config import NO_SECOND_PASS, LSTMConfig, Mixture
from nmt.models.seq2seq import ModelConfig, Tied, check_tied, zero_based
from nmt.models.transformer.config import HardCodedSelfAttentionConfig, TransformerConfig
from nmt.search.config import NO_COVERAGE
from nmt.train.agreement import NOTHING_TO_AGREE
from nmt.train.config import ALIGNMENT_ERROR, COMMAND, COMMAND_LOWER, NO_GOLD_LINKS
from nmt.train.coverage import NOTHING_TO_COVER
from nmt.train.distributed import check_strategy
from nmt.train.guided import NOTHING_TO_GUIDE
from nmt.train.optim import check_cosine

FIXED_PIECES = 256 + 4  # bytes and special ids, which every vocabulary of subwords holds


def check_sections(config: Config) -> None:
    """Raise ConfigError, naming the keys, where no training of this configuration can succeed.

    Everything that can be told from the configuration alone is told here: what one section asks for and another rules
    out.  Whoever starts a training calls it, a sweep for each of its jobs before the first one starts.  Reading the
    config.yaml of a run does not: a run of an earlier version may have been trained with what would not be started now,
    and other keys given with it (``run=DIR decode.coverage=0``) make it useful.
    """
    check_encodable(config)
    config.decode.check_candidates()
    if config.device != "auto":
        named_device(config.device)
    check_vocabulary(config)
    check_cosine(config.optim, config.trainer.max_steps)
    check_strategy(config.trainer, config.optim)
    if config.model.attention_heads is None:
        check_without_attention(config)
    check_languages(config.data)
    open_corpus(config.data)  # which checks its languages, too
    if config.trainer.guided_alignment:
        check_guided(config)
    if config.trainer.agreement:
        check_agreement(config)
    if config.trainer.r_drop or config.trainer.cutoff:
        check_second_pass(config)
    check_weights(config.model)
    if config.trainer.metric == ALIGNMENT_ERROR:
        check_gold_links(config.data)
    if config.trainer.metric in (COMMAND, COMMAND_LOWER) and config.trainer.validate_command is None:
        raise ConfigError(f"trainer.metric={config.trainer.metric} needs trainer.validate_command: type that, too")


def check_languages(data: DataConfig) -> None:
    """Raise ConfigError for Norwegian that YAML took for false."""
    for key, language in (("source", data.source), ("target", data.target)):
        if language in ("True", "False"):
            raise ConfigError(
                f"data.{key}={language} is no language: YAML takes no and yes for false and true; write 'no' in quotes"
            )


def check_encodable(config: Config) -> None:
    """Raise ConfigError for text that the locale cannot encode: no file could have that name, no file hold it."""
    for key, value in flat(to_tree(config)).items():
        try:
            if isinstance(value, str):
                value.encode()  # what the locale did not understand on the command line are lone surrogates
                os.fsencode(value)
        except UnicodeEncodeError:
            raise ConfigError(not_of_this_locale(f"{key}={value}")) from None


def not_of_this_locale(word: str) -> str:
    """What is said of KEY=VALUE that the locale cannot encode."""
    return (
        f"{ascii(word)[1:-1]} has characters that this locale ({sys.getfilesystemencoding()}) does not have; "
        "set the environment variable LC_ALL=C.UTF-8"
    )


def check_vocabulary(config: Config) -> None:
    """Raise ConfigError for shared word vectors without a shared vocabulary, and for one too small to be learnt."""
    tokenizer = config.data.tokenizer
    check_tied(getattr(config.model, "tied", Tied.none), tokenizer.joint)
    if tokenizer.kind in SUBWORDS and tokenizer.vocab_size < FIXED_PIECES:
        raise ConfigError(
            f"data.tokenizer.vocab_size must be at least {FIXED_PIECES} with data.tokenizer.kind={tokenizer.kind.name} "
            f"(256 bytes and 4 special ids), got {tokenizer.vocab_size}"
        )


def check_without_attention(config: Config) -> None:
    """Raise ConfigError where something is to be done with attention that the model does not have."""
    if config.trainer.guided_alignment:
        raise ConfigError(f"{NOTHING_TO_GUIDE}; choose another model.attention")
    if config.trainer.agreement:
        raise ConfigError(f"{NOTHING_TO_AGREE}; choose another model.attention")
    if config.trainer.coverage_loss:
        raise ConfigError(f"{NOTHING_TO_COVER}; choose another model.attention")
    if config.trainer.metric == ALIGNMENT_ERROR:
        raise ConfigError(
            "trainer.metric=aer: this model has no attention to read alignments from; choose another model.attention"
        )
    if config.decode.coverage:
        raise ConfigError(NO_COVERAGE)


def check_guided(config: Config) -> None:
    """Raise ConfigError where guided alignment has no head to teach or no alignment to teach it."""
    check_taught_head(config, "trainer.guided_alignment")
    brings_none = (
        DATASETS[type(config.data)].linked_pairs is Corpus.linked_pairs or config.data.pairs or config.data.tags
    )
    if config.data.alignments is None and brings_none:
        open_corpus(config.data).linked_pairs(config.seed)  # raises the ConfigError that says what is missing


def check_agreement(config: Config) -> None:
    """Raise ConfigError where trainer.agreement has no two directions to compare, or no head to compare them by."""
    check_taught_head(config, "trainer.agreement")
    directions = config.data.directions()
    if not config.data.tags or len(directions) != 2 or directions[0] != directions[1][::-1]:
        raise ConfigError(
            "trainer.agreement compares the two directions of one model: 'data.pairs=[A-B,B-A]' data.tags=true, "
            "with the codes of your languages for A and B"
        )
    if not config.data.tokenizer.joint:
        raise ConfigError(
            "trainer.agreement turns pairs round, which needs one vocabulary for both sides: data.tokenizer.joint=true"
        )
    for key in ("case", "typos"):
        if getattr(config.data.noise, key):
            raise ConfigError(
                f"trainer.agreement turns pairs round, so that data.noise.{key} in sources would be learnt as a "
                "translation; leave one of the two out"
            )


def check_second_pass(config: Config) -> None:
    """Raise ConfigError where two passes have nothing to agree on, or one of them would not know its language."""
    if getattr(config.model, "mixture", None) is Mixture.lexical:
        raise ConfigError(NO_SECOND_PASS)
    if config.trainer.cutoff and config.data.tags:
        raise ConfigError(
            "trainer.cutoff cuts out words, and with data.tags=true the first one says which language is wanted; leave "
            "one of the two out"
        )


def check_weights(model: ModelConfig) -> None:
    """Raise ConfigError where attention has no use for what is asked of it, or may give what others cannot use."""
    if isinstance(model, LSTMConfig) and model.mixture is not Mixture.contexts:
        kind = model.attention
        if isinstance(kind, MonotonicConfig | MixtureWindowConfig):
            raise ConfigError(
                f"model.mixture={model.mixture.name} mixes what positions predict, and the weights of "
                f"model.attention={kind.name} may all be 0, past the end of the source; choose another model.attention"
            )
    if isinstance(model, TransformerConfig):
        for side, layers, normalizer in (
            ("encoder", model.encoder_layers, model.encoder_normalizer),
            ("decoder", model.decoder_layers, model.decoder_normalizer),
        ):
            kinds = [model.self_attention_of(layer + 1) for layer in range(layers or model.num_layers)]
            if not all(isinstance(kind, HardCodedSelfAttentionConfig) for kind in kinds):
                continue
            unused = "model.self_attention=hard_coded has no scores in any layer, so that "
            if normalizer != "softmax":
                raise ConfigError(f"{unused}model.{side}_normalizer={normalizer} would do nothing")
            if model.sinks.in_self_attention:
                raise ConfigError(
                    f"{unused}model.sinks={model.sinks.name} would do nothing there; "
                    "model.sinks=cross_attention can be combined"
                )


def check_taught_head(config: Config, key: str) -> None:
    """Raise ConfigError where there is no head of attention that what ``key`` asks for could teach."""
    for name in config.model.choices:
        if isinstance(getattr(config.model, name), HardConfig):
            raise ConfigError(
                f"{key} teaches weights, and model.{name}=hard trains with one position that is drawn from them; "
                f"choose another model.{name}"
            )
    layers, heads = config.model.attention_heads or (0, 0)
    zero_based(config.trainer.guided_layer, layers, "trainer.guided_layer")
    zero_based(config.trainer.guided_head, heads, "trainer.guided_head")


def check_gold_links(data: DataConfig) -> None:
    """Raise ConfigError for trainer.metric=aer on data that has no gold links, whatever its files hold."""
    if data.gold is None and not open_corpus(data).validation_has_gold():
        raise ConfigError(NO_GOLD_LINKS)
