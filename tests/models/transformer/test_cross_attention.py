"""model.cross_attention: mechanisms in the place of multi-head attention, against the formulas, and what is refused.

Padding, batches, gradients, steps of search, their order and the maps: tests/models/test_protocol.py, whose cases
"cross ..." are these models.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from attention_reference import attend_all
from command_line import refused, typed
from tiny_runs import MODELS, make_run
from transformer_cases import batch_of, build

import nmt
from nmt.config import from_yaml, restore, to_yaml
from nmt.errors import ConfigError, UserError
from nmt.eval.forced import align
from nmt.models import TransformerConfig, build_model
from nmt.models.attention import (
    ATTENTIONS,
    AttentionConfig,
    BahdanauConfig,
    Centre,
    FixedMemoryConfig,
    Gaussian,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    Shares,
    Sigma,
)
from nmt.models.ops.prepacked import cached_weights
from nmt.models.transformer.config import GlobalSelfAttentionConfig, Norm
from nmt.models.transformer.cross_attention import MechanismCrossAttention
from nmt.models.transformer.cross_config import CrossAttentions, MultiHeadConfig
from nmt.models.transformer.self_attention import FullAttention

KINDS: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=3),
    *(GlobalConfig(score=score) for score in ("general", "concat", "location")),
    GlobalConfig(score="dot", heads=2, normalizer="sparsemax"),
    LocalMConfig(score="scaled_dot", half_width=1),
    LocalPConfig(half_width=2, hidden_size=3, sigma=Sigma.learned),
    LocalPConfig(half_width=2, hidden_size=3, heads=4, gaussian=Gaussian.bias, centre=Centre.diagonal),
    HardConfig(),
    FixedMemoryConfig(vectors=3, shares=Shares.of_vector, position_encoding=True),
]
WITH_STATE = [
    config for config, module in ATTENTIONS.items() if config.name != "none" and config not in CrossAttentions()
]


def describe(kind: AttentionConfig) -> str:
    return "-".join(str(getattr(v, "name", v)) for v in vars(kind).values() if v is not None)


LOCAL_P = "model.cross_attention=local_p"
every_kind = pytest.mark.parametrize("kind", KINDS, ids=describe)


def by_the_formula(cross: Any, kind: AttentionConfig, x: torch.Tensor, source: torch.Tensor, lengths: Any, t: Any):
    """The context (B, N, D) from scalar loops; of several heads with what W_Q and W_M make for each of them."""
    if kind.heads == 1:
        weights, context = attend_all(cross.mechanism, kind, x, source, lengths, t)
        if isinstance(kind, HardConfig):
            chosen = weights.argmax(2, keepdim=True).expand(-1, -1, source.size(2))
            return source.gather(1, chosen)
        return context
    own = [
        rows.chunk(kind.heads, 2)
        for rows in (x @ cross.mechanism.query.weight.T, source @ cross.mechanism.memory.weight.T)
    ]
    contexts = [attend_all(cross.mechanism.mechanism, kind, q, m, lengths, t)[1] for q, m in zip(*own, strict=True)]
    return torch.cat(contexts, 2)


@pytest.mark.parametrize("norm", [Norm.before, Norm.after])
@every_kind
def test_a_layer_follows_the_formulas(kind, norm):
    """x + W_O attend(norm(x)) + b between self-attention and feed-forward; in windows and over all positions."""
    layer = build("before", cross_attention=kind, norm=norm).decoder.layers[1]
    generator = torch.Generator().manual_seed(5)
    x, source = (torch.randn(3, n, 8, generator=generator, dtype=torch.float64) for n in (6, 9))
    lengths, t = torch.tensor([9, 1, 4]), torch.arange(6)
    cross, attend = layer.cross_attention, FullAttention(x, None)

    def sublayer(around, f, y):
        return y + f(around.norm(y)) if norm is Norm.before else around.norm(y + f(y))

    expected = sublayer(layer.around_self, lambda y: layer.self_attention(y, attend, None), x)
    expected = sublayer(
        layer.around_cross, lambda y: cross.output(by_the_formula(cross, kind, y, source, lengths, t)), expected
    )
    expected = sublayer(layer.around_feed, layer.feed_forward, expected)
    for gathers in (True, False) if isinstance(kind, LocalMConfig) else (None,):
        for part in cross.modules():
            if hasattr(part, "always_gather"):
                part.always_gather = gathers
        got = layer(x, attend, None, cross.prepare(source, lengths, 6, 6), t, None)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@every_kind
def test_bfloat16_is_near_float32(kind):
    """In training and, with weights laid out once, in search; and every parameter has a gradient."""
    model = build("before", cross_attention=kind, source_eos=True).float()
    batch = batch_of()
    with torch.no_grad():
        expected = model(batch).nll
    with torch.autocast("cpu", torch.bfloat16):
        found = model(batch)
        found.loss_sum.backward()
        with torch.inference_mode(), cached_weights(model):
            state = model.start(model.encode(batch.source, batch.source_lengths))
            logits, state, _ = model.step(batch.target_in[:, :1], state)
            model.step(batch.target_in[:, 1:2], state.keep(torch.tensor([2, 0, 1])))
    if not isinstance(kind, HardConfig):  # which may choose another word
        torch.testing.assert_close(found.nll, expected, rtol=0.1, atol=0.25)
        step = -logits[:, 0].float().log_softmax(1).gather(1, batch.target_out[:, :1])[:, 0]
        torch.testing.assert_close(step, expected[:, 0], rtol=0.1, atol=0.25)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_maps_show_windows_of_every_layer_and_head():
    kind = LocalPConfig(half_width=1, hidden_size=3, heads=4)
    model = build("before", cross_attention=kind)
    maps = model(batch_of(), want_maps=True).maps
    assert model.config.attention_heads == (2, 4) == maps.weights.shape[1:3]
    assert maps.centre.shape == maps.weights.shape[:-1]
    assert maps.half_width == 1
    assert TransformerConfig(heads=2, hidden_size=8, num_layers=3).attention_heads == (3, 2)


def fresh(kind: AttentionConfig, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = TransformerConfig(
        hidden_size=64, heads=2, ffn_size=8, num_layers=1, cross_attention=kind,
        self_attention=GlobalSelfAttentionConfig(), **changes
    )  # fmt: skip
    return build_model(config, 9, 9, joint=True)


def test_scores_of_normalized_vectors_begin_with_variance_1():
    """score=general: as those of multi-head attention do."""
    cross = fresh(GlobalConfig()).decoder.layers[0].cross_attention
    x, source = (torch.nn.functional.layer_norm(torch.randn(40, 30, 64), (64,)) for _ in range(2))
    scores = cross.mechanism.score.over_all(x, cross.prepare(source, torch.full((40,), 30), 30, 30))
    assert 0.8 < scores.std() < 1.25


def test_windows_begin_in_the_middle_or_at_the_diagonal():
    source, lengths = torch.randn(2, 9, 64), torch.tensor([9, 4])
    for centre, expected in (
        (Centre.sentence, [[4.5] * 6, [2.0] * 6]),
        (Centre.diagonal, [[0.5, 1.5, 2.5, 3.5, 4.5, 5.5], [0.5, 1.5, 2.5, 3.5, 3.5, 3.5]]),
    ):
        cross = fresh(LocalPConfig(half_width=2, centre=centre)).decoder.layers[0].cross_attention
        record = []
        cross(torch.randn(2, 6, 64), cross.prepare(source, lengths, 6, 6), torch.arange(6), record)
        torch.testing.assert_close(record[0].centre[:, 0, 0], torch.tensor(expected))


def test_zero_outputs_begin_with_the_encoder_left_out():
    cross = fresh(GlobalConfig(), zero_outputs=True).decoder.layers[0].cross_attention
    assert not cross.output.weight.any()
    assert not cross.output.bias.any()


def test_parts_of_a_sharded_model_leave_mechanisms_to_the_whole():
    """Their memory holds weights between ``prepare`` and the steps."""
    assert not any(isinstance(p, MechanismCrossAttention) for p in fresh(GlobalConfig()).shared_parts())


def test_a_source_that_is_too_long_is_refused_by_key():
    """And search knows how long one may be."""
    model = fresh(GlobalConfig(score="location", max_source=4))
    assert model.longest_source == 4  # end-of-sentence is one of them
    model(batch_of([([5, 7, 4], [5])]))
    with pytest.raises(
        UserError, match=r"^model\.cross_attention\.max_source=4 .* model\.cross_attention\.max_source=5"
    ):
        model(batch_of([([5, 7, 4, 4], [5])]))
    assert fresh(GlobalConfig()).longest_source is None


# What can be chosen.


def test_every_row_without_a_state_can_serve():
    """In a config.yaml and, of one with its keys, on the command line, which names the run after it."""
    names = [config.name for config in CrossAttentions()]
    assert names == ["multi_head", "bahdanau", "global", "local_m", "local_p", "hard", "fixed_memory"]
    assert {kind.name for kind in KINDS} == {*names} - {"multi_head"}
    for name in names:
        tree = {"name": "transformer", "self_attention": {"name": "global"}, "cross_attention": {"name": name}}
        config = restore({"model": tree, "data": {"name": "phrases"}})
        assert config.model.cross_attention.name == name  # type: ignore[attr-defined]
        assert from_yaml(to_yaml(config)) == config
    (config,) = typed("model=transformer", LOCAL_P, "model.cross_attention.half_width=5")
    assert config.model.cross_attention == LocalPConfig(half_width=5)
    assert config.name == "transformer-cross_attention_local_p-cross_attention.half_width_5"


def test_names_of_runs_are_what_they_were():
    """Keys of model.cross_attention do not make those of model.attention longer."""
    (config,) = typed("model.attention=local_p", "model.attention.gaussian=bias")
    assert config.name == "local_p-gaussian_bias"


def test_a_run_of_before_has_multi_head_attention():
    tree = {"model": {"name": "transformer", "self_attention": {"name": "global"}}, "data": {"name": "phrases"}}
    assert restore(tree).model.cross_attention == MultiHeadConfig()  # type: ignore[attr-defined]
    assert TransformerConfig().cross_attention == MultiHeadConfig()


@pytest.mark.parametrize("kind", WITH_STATE, ids=lambda kind: kind.name)
def test_rows_with_a_state_are_refused_with_the_reason(kind):
    """In a config.yaml and in Python."""
    tree = {"name": "transformer", "cross_attention": {"name": kind.name}}
    with pytest.raises(ConfigError, match=f"^model.cross_attention={kind.name}: what it attends to depends on"):
        restore({"model": tree})
    with pytest.raises(ConfigError, match=f"^model.cross_attention={kind.name}: what it attends to depends on"):
        TransformerConfig(cross_attention=kind())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model.cross_attention=none"],
            "model.cross_attention=none: the Transformer's decoder sees the source through its cross-attention alone; "
            "choose one of multi_head, bahdanau, global, local_m, local_p, hard, fixed_memory",
        ),
        (["model.cross_attention=coverage"], "model.cross_attention=coverage: what it attends to depends on the"),
        ([LOCAL_P, "model.cross_attention.half_width=0"], "model.cross_attention.half_width must be 1 to 1000000"),
        (
            [LOCAL_P, "model.cross_attention.renormalize=true", "model.cross_attention.gaussian=bias"],
            "model.cross_attention.renormalize=true multiplies scores by the Gaussian: it does not apply to "
            "model.cross_attention.gaussian=bias",
        ),
        ([LOCAL_P, "model.cross_attention.heads=3"], "model.cross_attention.heads=3 must divide model.hidden_size=128"),
        ([LOCAL_P, "model.cross_attention_normalizer=sparsemax"], "model.cross_attention_normalizer=sparsemax b"),
        ([LOCAL_P, "model.sinks=all"], "model.sinks=all gives sinks to the heads of model.cross_attention=multi_head"),
        (["model.cross_attention.heads=2"], "model.cross_attention.heads belongs to model.cross_attention=bahdanau|"),
        (
            ["model.cross_attention=hard", "trainer.guided_alignment=0.1"],
            "trainer.guided_alignment teaches weights, and model.cross_attention=hard trains with one position",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused_in_a_line_by_key(words, message):
    said = refused("model=transformer_tiny", *words)
    assert said.startswith(f"error: {message}")
    assert "\n" not in said


def test_another_models_messages_keep_their_key():
    said = refused("model.attention=local_p", "model.attention.half_width=0")
    assert said == "error: model.attention.half_width must be 1 to 1000000, got 0"
    with pytest.raises(ConfigError, match=r"^model\.cross_attention\.half_width must be"):
        restore({"model": {"name": "transformer", "cross_attention": {"name": "local_p", "half_width": 0}}})


def test_a_run_is_read_as_any_other(tmp_path):
    """Translations, scores, links of a chosen layer and head, pictures with windows; alone and in an ensemble."""
    kind = LocalPConfig(half_width=1, hidden_size=4, heads=2)
    runs = [
        make_run(tmp_path / name, replace(MODELS["transformer"], cross_attention=kind), seed=n)
        for n, name in enumerate("ab")
    ]
    model = nmt.load(runs[0], device="cpu")
    [found] = model.hypotheses(["one two three"])
    if found[0].finished:
        assert model.score("one two three", found[0].text).log_prob == pytest.approx(found[0].log_prob, abs=1e-4)
    maps = model.attention("one two three", "eins zwei")
    assert maps.weights.shape == (2, 2, 3, 4)
    assert maps.plot()._repr_png_().startswith(b"\x89PNG")
    pair = ["one two"], ["eins zwei"]
    first, second = (
        next(align(model.model, model.tokenizers, *pair, model.forced, replace(model.align_config, **way)))
        for way in ({"layer": 1, "head": 2}, {"layer": 2, "head": 1})
    )
    assert first.shape == second.shape
    assert (first != second).any()
    assert nmt.load(runs, device="cpu").translate(["one two three"])
