"""How many kernels an update launches on a CUDA device, counted on one that is not there: a small model on a GPU
waits for launches and not for arithmetic, so that a step of a decoder must not get more of them unseen.

Counted are the operators that are neither views nor allocations.  The encoder counts too many, because without cuDNN
its LSTM is a loop; so what is held is what one more target position adds.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fake_cuda import DEVICE, backward, fake_cuda
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.batch import BOS, Batch
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import GlobalConfig, LocalPConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig

pytestmark = pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
# The models of benchmarks/peers.py but for their width; the most kernels of a target position, forward and backward.
MODELS = {
    "A": (LSTMConfig(hidden_size=8, attention=GlobalConfig()), 23),
    "B": (LSTMConfig(hidden_size=8, attention=GlobalConfig(score="concat")), 35),
    "local_p": (LSTMConfig(hidden_size=8, attention=LocalPConfig()), 58),
    "C": (
        TransformerConfig(
            self_attention=GlobalSelfAttentionConfig(), num_layers=3, hidden_size=8, ffn_size=16, heads=2, dropout=0.1
        ),
        0,
    ),
}
NO_KERNEL = ("prim::", "aten::empty", "aten::detach", "aten::promote_types", "aten::lift_fresh", "aten::_unsafe_view")


class Launches(TorchDispatchMode):
    """Counts operators that a device computes, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(out.alias_info is not None and not out.alias_info.is_write for out in func._schema.returns)
        if not views and not func.name().startswith(NO_KERNEL):
            self.found[func.name()] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def fake() -> Iterator[None]:
    with fake_cuda():
        yield


def launched(config: Any, positions: int) -> Counter[str]:
    """By the forward and backward pass of two sentences of four source words and so many target positions."""
    with DEVICE:
        model = build_model(config, 20, 20, joint=True, label_smoothing=0.1).train()
        words = torch.full((2, positions), BOS)
        lengths, ids = torch.full((2,), 4), torch.arange(2)
        batch = Batch(torch.full((2, 4), 5), lengths, words, words, ids)
    with Launches() as launches:
        output = model(batch)
        backward(output.loss_sum)
    return launches.found


@pytest.mark.parametrize("name", MODELS)
def test_a_target_position_launches_few_kernels(name):
    config, most = MODELS[name]
    more = launched(config, 4)
    more.subtract(launched(config, 2))
    a_position = sum(more.values()) / 2
    assert a_position <= most, more.most_common(40)


def test_a_transformer_launches_few_kernels():
    """Whatever the number of positions."""
    found = launched(MODELS["C"][0], 2)
    assert found.total() <= 516, found.most_common(40)


def test_what_is_counted():
    """Not views and allocations; what an operator of its own would launch once more."""
    with Launches() as launches:
        x = torch.ones(2, 3, device=DEVICE)
        torch.empty_like(x)
        x.t()[:1].detach().view(2).add_(1)
        torch.mul(x, x)
    assert launches.found == {"aten::ones": 1, "aten::add_.Tensor": 1, "aten::mul.Tensor": 1}
