"""One LSTM layer against torch's own, and against running each row alone."""

import pytest
import torch
from closeness import assert_close

from nmt.models.ops import lstm_layer
from nmt.models.ops.lstm_layer import LSTMLayer, cell
from nmt.models.ops.recurrent_linear import RecurrentLinear

T, B, E, H = 6, 3, 4, 5


def build(bias=True):
    torch.manual_seed(0)
    layer = LSTMLayer(E, H, bias).double()
    for p in layer.parameters():  # large enough to saturate some gates
        torch.nn.init.normal_(p)
    return layer


def inputs():
    torch.manual_seed(1)
    return [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((T, B, E), (B, H), (B, H))]


def assert_all_close(found, expected, atol=1e-12):
    for x, y in zip(found, expected, strict=True):
        assert_close(x, y, atol)


@pytest.mark.parametrize("bias", [True, False])
def test_states_equal_torch(bias):
    """h, the last c, and the gradients of inputs, first state and weights."""
    layer, (x, h0, c0) = build(bias), inputs()
    h, c = layer.states(x, h0, c0)
    theirs, (_, c_last) = layer(x, (h0[None], c0[None]))
    assert_all_close([h, c[-1]], [theirs, c_last[0]])
    leaves = [x, h0, c0, *layer.parameters()]
    probe = torch.randn(T, B, H, dtype=torch.float64)
    assert_all_close(
        torch.autograd.grad((h * probe).sum() + c[-1].square().sum(), leaves),
        torch.autograd.grad((theirs * probe).sum() + c_last.square().sum(), leaves),
        atol=1e-11,
    )


def test_outputs_are_the_same_in_float32():
    """float32 takes torch's own layer, other dtypes this one."""
    layer = build().float()
    x, h0, c0 = (t.detach().float() for t in inputs())
    torch.testing.assert_close(layer.outputs(x, h0, c0), layer.states(x, h0, c0)[0], rtol=1e-5, atol=1e-5)


def test_every_cell_equals_the_run_that_stops_there():
    layer, (x, h0, c0) = build(), inputs()
    _, c = layer.states(x, h0, c0)
    for t in range(T):
        _, (_, expected) = layer(x[: t + 1], (h0[None], c0[None]))
        assert_all_close([c[t]], [expected[0]])


def test_masked_reverse_run_reads_each_row_from_its_own_end():
    """States and gradients equal those of each row alone, turned around; beyond a row's end the state is zero."""
    layer, (x, _, _) = build(), inputs()
    lengths = [6, 1, 4]
    mask = torch.tensor([[[t < n] for n in lengths] for t in range(T)], dtype=torch.float64)
    h, c = layer.states(x, mask=mask, reverse=True)
    probe = torch.randn(T, B, H, dtype=torch.float64)
    expected = torch.zeros(())
    for b, n in enumerate(lengths):
        alone, (_, c_last) = layer(x[:n, b : b + 1].flip(0))
        assert_all_close([h[:n, b], c[0, b]], [alone.flip(0)[:, 0], c_last[0, 0]])
        assert not h[n:, b].any()
        expected = expected + (alone.flip(0)[:, 0] * probe[:n, b]).sum() + c_last.sum()
    leaves = [x, *layer.parameters()]
    assert_all_close(
        torch.autograd.grad((h * probe).sum() + c[0].sum(), leaves),
        torch.autograd.grad(expected, leaves),
        atol=1e-11,
    )


def test_gradcheck():
    layer, (x, h0, c0) = build(), inputs()
    assert torch.autograd.gradcheck(layer.states, (x, h0, c0))
    z, c = torch.randn(B, 4 * H, dtype=torch.float64, requires_grad=True), c0
    assert torch.autograd.gradcheck(lambda z, c: tuple(cell(z, c)), (z, c))


def test_cells_in_a_loop_equal_the_layer():
    layer, (x, h, c) = build(), inputs()
    expected, _ = layer.states(x, h, c)
    for t in range(T):
        assert layer.total_bias is not None
        h, c = cell(x[t] @ layer.weight_ih_l0.T + h @ layer.weight_hh_l0.T + layer.total_bias, c)
        assert_all_close([h], [expected[t]])


def test_a_second_backward_pass_gives_the_same():
    layer, (x, h0, c0) = build(), inputs()
    h, _ = layer.states(x, h0, c0)
    leaves = [x, *layer.parameters()]
    assert_all_close(
        torch.autograd.grad(h.sum(), leaves, retain_graph=True),
        torch.autograd.grad(h.sum(), leaves),
        atol=0,
    )


def test_autocast_rounds_products_and_nothing_else():
    layer = build().float()
    for p in layer.parameters():
        p.data *= 0.5
    x = inputs()[0].detach().float().requires_grad_()
    exact, exact_c = layer.states(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_c = layer.states(x)
    assert rough.dtype == torch.bfloat16
    assert rough_c.dtype == torch.float32
    torch.testing.assert_close(rough_c, exact_c, rtol=0.03, atol=0.03)
    for mine, theirs in zip(
        torch.autograd.grad(rough.float().sum(), [x, *layer.parameters()]),
        torch.autograd.grad(exact.sum(), [x, *layer.parameters()]),
        strict=True,
    ):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 0.03 * theirs.norm()


def test_loop_linear_equals_plain_autograd():
    """y_t = a_t + W tanh(y_{t-1}): values and gradients, also if the loss reads only some steps, also twice."""
    torch.manual_seed(2)
    w = torch.randn(H, H, dtype=torch.float64, requires_grad=True)
    a = torch.randn(T, B, H, dtype=torch.float64, requires_grad=True)

    def run(step, terms):
        y, ys = torch.zeros(B, H, dtype=torch.float64), []
        for term in terms:
            y = step(y.tanh(), term)
            ys.append(y)
        return ys

    linear = RecurrentLinear(w)
    mine = run(linear, linear.terms(a))
    theirs = run(lambda x, term: term + x @ w.T, a)
    assert_all_close(mine, theirs)
    for read in (slice(None), slice(2, 4)):
        expected = torch.autograd.grad(torch.stack(theirs[read]).square().sum(), [a, w], retain_graph=True)
        for _ in range(2):
            got = torch.autograd.grad(torch.stack(mine[read]).square().sum(), [a, w], retain_graph=True)
            assert_all_close(got, expected, atol=1e-10)


def test_loop_linear_keeps_nothing_without_gradients():
    linear = RecurrentLinear(torch.ones(2, 2))
    with torch.no_grad():
        linear(torch.ones(1, 2), linear.terms(torch.ones(1, 1, 2))[0])
    assert linear.inputs is None


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_torchs_own_lstm_over_padded_rows_is_the_loop(directions, bias):
    """The path for CUDA, run here on the CPU in float64: outputs of real steps, final states, and every gradient."""
    torch.manual_seed(0)
    layers = [LSTMLayer(3, 4, bias).double() for _ in range(directions)]
    lengths = torch.tensor([6, 1, 4, 3])
    real = (torch.arange(6)[:, None] < lengths)[..., None]
    x = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True)
    leaves = [x, *(p for layer in layers for p in layer.parameters())]
    scale = torch.randn(6, 4, 4 * directions, dtype=torch.float64)
    found = []
    for read in (lstm_layer._by_states, lstm_layer._by_cudnn):
        h, (h_last, c_last) = read(layers, x, lengths)
        loss = (h * real * scale).sum() + (h_last * scale[0]).sum() + (c_last * scale[1]).sum()
        found.append([h * real, h_last, c_last, *torch.autograd.grad(loss, leaves)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_what_stands_at_padding_reaches_nothing():
    """torch's own LSTM over padded rows: other, huge values there change neither real outputs nor final states."""
    torch.manual_seed(0)
    layers = [LSTMLayer(3, 4, True).double() for _ in range(2)]
    lengths = torch.tensor([5, 2])
    real = (torch.arange(5)[:, None] < lengths)[..., None]
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for read in (lstm_layer._by_states, lstm_layer._by_cudnn):
        h, state = read(layers, x, lengths)
        other, other_state = read(layers, torch.where(real, x, 1e2), lengths)
        assert torch.equal(h * real, other * real)
        assert all(torch.equal(a, b) for a, b in zip(state, other_state, strict=True))
        assert other.isfinite().all()
