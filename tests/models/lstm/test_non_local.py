"""The non-local block against its equation, and on top of the LSTM encoder."""

import math

import pytest
import torch
from closeness import assert_close
from lstm_cases import batch_of, build

from nmt.errors import ConfigError
from nmt.models import LSTMConfig, build_model
from nmt.models.attention import GlobalConfig, NoneConfig
from nmt.models.lstm.config import EncoderBlock
from nmt.models.lstm.non_local import NonLocalBlock


@torch.no_grad()
def test_the_block_follows_its_equation():
    """z_i = x_i + W_z sum_j softmax_j(theta_i . phi_j) g_j over the words of each sentence, one position at a time."""
    torch.manual_seed(0)
    block = NonLocalBlock(6).double()
    torch.nn.init.normal_(block.output.weight)
    torch.nn.init.normal_(block.output.bias)
    x, lengths = torch.randn(3, 5, 6, dtype=torch.float64), [5, 1, 3]
    got = block(x, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        theta, phi, g = (x[b, :length] @ block.inputs.weight.T + block.inputs.bias).split(3, 1)
        for i in range(length):
            f = [math.exp(theta[i] @ phi[j]) for j in range(length)]
            y = torch.stack([f[j] / sum(f) * g[j] for j in range(length)]).sum(0)
            assert_close(got[b, i], x[b, i] + block.output.weight @ y + block.output.bias)


def test_it_starts_as_the_identity_and_learns():
    """Whatever the range of the other weights, the model with the block begins as the model without it."""
    models = []
    for block in EncoderBlock:
        torch.manual_seed(0)
        config = LSTMConfig(attention=GlobalConfig(), hidden_size=6, dropout=0.0, encoder_block=block)
        model = build_model(config, 13, 11, joint=False).double()
        for name, p in model.named_parameters():
            if "block" not in name:
                torch.manual_seed(len(name))
                torch.nn.init.normal_(p)
        models.append(model)
    without, model = (m(batch_of()).loss_sum for m in models)
    assert_close(without, model)
    (gradient,) = torch.autograd.grad(model, models[1].get_parameter("encoder.block.output.weight"))
    assert gradient.any()


def test_companions_change_nothing():
    """Attention over positions does not reach into padding or other sentences."""
    model = build("global", encoder_block=EncoderBlock.non_local)
    pairs = [([5, 7, 4], [9, 4]), ([12], [5]), ([8, 4, 6, 11, 9, 4, 10], [10, 7, 5])]
    together = model(batch_of(pairs)).nll
    for b, pair in enumerate(pairs):
        alone = model(batch_of([pair])).nll[0]
        assert_close(together[b, : len(alone)], alone)
    without = build("global")
    without.load_state_dict({k: v for k, v in model.state_dict().items() if "block" not in k})
    assert (without(batch_of(pairs)).nll - together).abs().max() > 1e-3


def test_it_needs_an_attention_to_read_it():
    with pytest.raises(ConfigError, match=r"model\.encoder_block=non_local .* model\.attention=none"):
        LSTMConfig(attention=NoneConfig(), encoder_block=EncoderBlock.non_local)
