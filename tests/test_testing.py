"""nmt.testing.check_attention passes what is right and names what is not."""

import pytest
import torch

from nmt.models.attention import ATTENTIONS, Attended, Attention, BahdanauConfig, GlobalConfig, LocalMConfig
from nmt.models.attention.global_attention import GlobalAttention
from nmt.testing import check_attention, what_fails

RIGHT = [GlobalConfig(), GlobalConfig(score="concat"), BahdanauConfig(hidden_size=3), LocalMConfig(half_width=1)]


@pytest.mark.parametrize("config", RIGHT, ids=lambda config: f"{config.name} {getattr(config, 'score', '')}")
def test_mechanisms_of_the_package_pass(config):
    module = ATTENTIONS[type(config)]
    assert module is not None
    check_attention(module, config)


class Leaks(GlobalAttention):
    """Padding has weight."""

    def forward(self, query, memory, position):
        weights = self.score.over_all(query, memory).softmax(2)
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


class Mixes(GlobalAttention):
    """A query depends on the others."""

    def forward(self, query, memory, position):
        return super().forward(query - query.mean(1, keepdim=True), memory, position)


class Detached(GlobalAttention):
    """No gradient through the weights."""

    def forward(self, query, memory, position):
        weights = self.attention_weights(query, memory).detach()
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


class Fixed(GlobalAttention):
    """Nothing of it is trained."""

    def __init__(self, *settings):
        super().__init__(*settings)
        self.requires_grad_(False)


class CutOff(GlobalAttention):
    """W_a takes part, and has no gradient."""

    def forward(self, query, memory, position):
        weight = self.score.project.weight.detach()  # type: ignore[union-attr,operator]
        e = (query @ weight) @ memory.values.transpose(1, 2)
        weights = e.masked_fill(memory.padding, -torch.inf).softmax(2)
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


class LeaksInTraining(Leaks):
    """Padding has weight where dropout and the like are on."""

    def forward(self, query, memory, position):
        if self.training:
            return super().forward(query, memory, position)
        return GlobalAttention.forward(self, query, memory, position)


class Negative(GlobalAttention):
    """Weights below 0."""

    def forward(self, query, memory, position):
        weights = -self.attention_weights(query, memory)
        return Attended(memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


class Loops(GlobalAttention):
    """Query by query."""

    def forward(self, query, memory, position):
        each = [super(Loops, self).forward(query[:, n : n + 1], memory, position) for n in range(query.size(1))]
        return Attended(torch.cat([a.context for a in each], 1), torch.cat([a.weights for a in each], 1))


class Copies(GlobalAttention):
    """The encoder states are multiplied for each query before they are summed."""

    def forward(self, query, memory, position):
        weights = self.attention_weights(query, memory)
        return Attended((weights[..., None].to(query.dtype) * memory.values[:, None]).sum(2), weights)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Leaks, "padding: positions"),
        (LeaksInTraining, "padding: in training"),
        (Mixes, "queries"),
        (Detached, "gradients"),
        (Fixed, r"gradients: \S+ is not trained"),
        (CutOff, "gradients: of score.project.weight"),
        (Loops, "cost"),
        (Copies, "memory"),
    ],
)
def test_mistakes_are_named(module: type[Attention], message):
    with pytest.raises(AssertionError, match=f"^{message}"):
        check_attention(module, GlobalConfig())


def test_a_weight_below_zero_is_none():
    assert set(what_fails(Negative, GlobalConfig()).values()) == {"a weight is below 0"}


def test_an_object_is_no_class():
    with pytest.raises(TypeError, match="check_attention takes the class GlobalAttention"):
        check_attention(GlobalAttention(GlobalConfig(), 4, 4))  # type: ignore[arg-type]


def test_a_row_of_the_table_needs_no_settings():
    check_attention(GlobalAttention)
    with pytest.raises(ValueError, match=r"^Leaks has no row in .*ATTENTIONS; give its settings, too$"):
        check_attention(Leaks)


def test_what_fails_has_a_sentence_for_every_check():
    class Unfinished(GlobalAttention):
        def forward(self, query, memory, position):
            raise NotImplementedError

    assert set(what_fails(Unfinished, GlobalConfig()).values()) == {"NotImplementedError"}
    found = what_fails(Copies, GlobalConfig())
    assert list(found) == ["padding", "batch", "queries", "gradients", "autocast", "cost", "memory"]
    assert [name for name, wrong in found.items() if wrong] == ["memory"]
    assert "copied for each query" in found["memory"]
