"""The memory's gradient, summed once a batch, is the gradient whatever autograd is asked for."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from attention_reference import build
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from nmt.models.attention import (
    Attention,
    AttentionConfig,
    BahdanauConfig,
    GlobalConfig,
    LocalMConfig,
    LocalPConfig,
    Memory,
)
from nmt.models.attention.local_attention import LocalAttention
from nmt.models.ops import rows as rows_module
from nmt.models.ops.rows import Rows, RowWindow

CONFIGS: list[AttentionConfig] = [
    GlobalConfig(),
    GlobalConfig(score="dot"),
    BahdanauConfig(hidden_size=3),
    LocalMConfig(half_width=2, score="concat"),
    LocalPConfig(half_width=2, hidden_size=3),
]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=CONFIGS, ids=lambda c: c.name)
def module(request: pytest.FixtureRequest) -> Attention:
    found = build(request.param)
    if isinstance(found, LocalAttention):
        found.always_gather = True
    return found


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    query = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(3, 9, 4, dtype=torch.float64, requires_grad=True)
    return query, values, torch.tensor([9, 5, 2])


def steps(module: Attention, query: Tensor, memory: Memory) -> Tensor:
    """One query at a time, as with input feeding: the sum over steps of a loss."""
    outs = [module(query[:, n : n + 1], memory, torch.tensor([n])).context for n in range(query.size(1))]
    return torch.cat(outs, 1).pow(3).sum()


def plain(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Gradients of one ordinary backward pass."""
    query, values, lengths = inputs
    loss = steps(module, query, module.prepare(values, lengths))
    return list(torch.autograd.grad(loss, [query, values, *module.parameters()]))


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_several_backward_passes_each_give_the_gradient(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """With retain_graph the second pass starts from nothing, not from what the first one summed."""
    query, values, lengths = inputs
    leaves = [query, values, *module.parameters()]
    loss = steps(module, query, module.prepare(values, lengths))
    first = list(torch.autograd.grad(loss, leaves, retain_graph=True))
    second = list(torch.autograd.grad(loss, leaves))
    assert_equal(first, plain(module, inputs))
    assert_equal(second, first)


def test_a_pass_for_the_query_alone_leaves_nothing_behind(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """A backward pass that never reaches the memory must not add to the next one."""
    query, values, lengths = inputs
    loss = steps(module, query, module.prepare(values, lengths))
    torch.autograd.grad(loss, query, retain_graph=True)
    assert_equal(list(torch.autograd.grad(loss, [query, values, *module.parameters()])), plain(module, inputs))


def test_losses_of_separate_steps_add_up(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """One memory, a backward pass a step: .grad accumulates to the gradient of the sum."""
    query, values, lengths = inputs
    memory = module.prepare(values, lengths)
    parts = [module(query[:, n : n + 1], memory, torch.tensor([n])).context.pow(3).sum() for n in range(query.size(1))]
    totals = [torch.zeros_like(x) for x in (query, values, *module.parameters())]
    for part in parts:
        found = torch.autograd.grad(part, [query, values, *module.parameters()], retain_graph=True)
        totals = [t + f for t, f in zip(totals, found, strict=True)]
    assert_equal(totals, plain(module, inputs))


def test_a_memory_nobody_asked_has_no_gradient(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """No queries at all; and a memory that is used otherwise gets that gradient alone."""
    query, values, lengths = inputs
    memory = module.prepare(values, lengths)
    assert module(query[:, :0], memory, torch.zeros(0, dtype=torch.int64)).context.shape == (3, 0, 4)
    (found,) = torch.autograd.grad(memory.values.sum(), values)
    real = torch.arange(9) < lengths[:, None]
    assert torch.equal(found, real[..., None].double().expand_as(found))


def test_the_memory_may_be_read_beside_attention(inputs: tuple[Tensor, Tensor, Tensor]):
    """A plain use of memory.values, dense reads and windows in one pass: all three gradients arrive."""
    query, values, lengths = inputs
    found = []
    for forced in (True, False):
        module = build(LocalPConfig(half_width=2, hidden_size=3))
        assert isinstance(module, LocalAttention)
        memory = module.prepare(values, lengths)
        loss = memory.values.square().sum()
        for n in range(4):
            module.always_gather = forced if n % 2 else False
            loss = loss + module(query[:, n : n + 1], memory, torch.tensor([n])).context.pow(3).sum()
        found.append(torch.autograd.grad(loss, [query, values]))
    expected = plain(module, inputs)[1]
    real = (torch.arange(9) < lengths[:, None])[..., None]
    torch.testing.assert_close(found[0][1], expected + 2 * values.detach() * real, rtol=1e-12, atol=1e-12)
    assert_equal(list(found[0]), list(found[1]))


def test_checkpointed_steps_give_the_same_gradient(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    query, values, lengths = inputs
    memory = module.prepare(values, lengths)
    loss = checkpoint(steps, module, query, memory, use_reentrant=False)
    assert isinstance(loss, Tensor)
    assert_equal(list(torch.autograd.grad(loss, [query, values, *module.parameters()])), plain(module, inputs))


def test_without_gradients_the_numbers_are_the_same(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    query, values, lengths = inputs
    expected = steps(module, query, module.prepare(values, lengths))
    with torch.no_grad():
        torch.testing.assert_close(steps(module, query, module.prepare(values, lengths)), expected.detach())
    with torch.inference_mode():
        torch.testing.assert_close(steps(module, query, module.prepare(values, lengths)), expected.detach())


def test_a_memory_made_without_gradients_still_trains_the_module(
    module: Attention, inputs: tuple[Tensor, Tensor, Tensor]
):
    """A frozen encoder: every weight that acts on queries gets its whole gradient."""
    query, values, lengths = inputs
    with torch.no_grad():
        memory = module.prepare(values, lengths)
    names = [n for n, _ in module.named_parameters() if n != "score.key.weight" and n != "score.project.weight"]
    wanted = [query, *(module.get_parameter(n) for n in names)]
    found = torch.autograd.grad(steps(module, query, memory), wanted)
    loss = steps(module, query, module.prepare(values, lengths))
    assert_equal(list(found), list(torch.autograd.grad(loss, wanted)))


def test_second_derivatives_are_refused(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """The written-out gradients cannot be differentiated again, and say so."""
    query, values, lengths = inputs
    loss = steps(module, query, module.prepare(values, lengths))
    with pytest.raises(RuntimeError, match="has no derivative"):
        torch.autograd.grad(loss, values, create_graph=True)


def test_keep_is_preparing_those_sentences(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """Also twice over, in another order, and for gradients."""
    query, values, lengths = inputs
    rows = torch.tensor([2, 0])
    kept = module.prepare(values, lengths).keep(torch.tensor([0, 2])).keep(torch.tensor([1, 0]))
    direct = module.prepare(values[rows], lengths[rows])
    assert torch.equal(kept.lengths, direct.lengths)
    leaves = [values, *module.parameters()]
    a, b = (steps(module, query[rows], memory) for memory in (kept, direct))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert_equal(list(torch.autograd.grad(a, leaves)), list(torch.autograd.grad(b, leaves)))


@pytest.mark.parametrize("chunk", [1, 150, 10_000])
def test_windows_in_chunks_are_the_same(
    module: Attention, inputs: tuple[Tensor, Tensor, Tensor], chunk: int, monkeypatch: pytest.MonkeyPatch
):
    """All queries at once, their windows gathered one, two or four at a time."""
    query, values, lengths = inputs
    monkeypatch.setattr(rows_module, "GATHERED_ELEMENTS", chunk)
    loss = module(query, module.prepare(values, lengths), torch.arange(4)).context.pow(3).sum()
    found = torch.autograd.grad(loss, [query, values, *module.parameters()])
    assert_equal(list(found), plain(module, inputs))


def test_keys_of_windows_are_made_once_or_where_a_window_is(inputs: tuple[Tensor, Tensor, Tensor]):
    """concat projects all 9 rows, unless the windows of all queries together hold fewer; general projects queries."""
    _, values, lengths = inputs
    module = build(LocalPConfig(half_width=1, score="concat"))
    for queries, all_rows in ((None, True), (3, True), (2, False)):
        memory = module.prepare(values, lengths, queries)
        assert memory.keyed == all_rows
    module = build(LocalPConfig(half_width=1, score="general"))
    assert isinstance(module, LocalAttention)
    module.always_gather = True
    memory = module.prepare(values, lengths)
    assert not memory.keyed


def test_keys_of_all_rows_are_made_where_all_rows_are_read():
    """general: for one query of 100 rows a window is gathered; for five or ten all are read, and fewer than 100
    projections are made."""
    module = build(LocalPConfig(half_width=10, score="general"))
    assert isinstance(module, LocalAttention)
    values, lengths = torch.randn(2, 100, 4, dtype=torch.float64), torch.tensor([100, 90])
    for queries, at_once, expected in (
        *((None, 1, False), (None, 5, True), (250, 1, False), (250, 5, True)),
        *((10, 10, False), (99, 99, False), (100, 100, True), (None, 100, True)),
    ):
        memory = module.prepare(values, lengths, queries, at_once)
        assert memory.keyed == expected, (queries, at_once)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("deterministic", [False, True])
def test_gradient_sums_are_float32_under_autocast(device: str, deterministic: bool):
    """A thousand windows over one bf16 row: sums in bf16 would stop growing at 256."""
    previous = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        rows = torch.ones(1, 3, 2, dtype=torch.bfloat16, device=device, requires_grad=True)
        table = Rows(rows)
        s = torch.zeros(1, 1, 1, dtype=torch.int64, device=device)
        sum_of_rows = torch.zeros((), device=device)
        for _ in range(1000):
            sum_of_rows = sum_of_rows + RowWindow(table, s).gathered().sum()
        sum_of_rows.backward()
    finally:
        torch.use_deterministic_algorithms(previous)
    assert rows.grad is not None
    assert rows.grad.tolist() == [[[1000.0, 1000.0], [0.0, 0.0], [0.0, 0.0]]]


class Work(TorchDispatchMode):
    """Counts the tensors that operations write into memory of their own, and their elements."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: Counter[int] = Counter()

    @property
    def elements(self) -> int:
        return sum(size * times for size, times in self.sizes.items())

    def __torch_dispatch__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None):
        result = func(*args, **(kwargs or {}))
        known = {storage(x) for x in tree_leaves((args, kwargs))}
        new = {storage(x): x for x in tree_leaves(result) if isinstance(x, Tensor)}
        self.sizes.update(x.numel() for at, x in new.items() if at not in known)
        return result


def storage(x: object) -> int | None:
    return x.untyped_storage().data_ptr() if isinstance(x, Tensor) else None


@pytest.mark.parametrize("score", ["dot", "general", "concat", "location"])
@pytest.mark.parametrize("kind", [LocalMConfig, LocalPConfig])
def test_the_work_of_a_step_does_not_grow_with_the_source(kind: type[LocalMConfig], score: str):
    """Four more steps make the same number of elements at S=100 and S=1000, forward and backward together."""
    module = build(kind(half_width=2, score=score))

    def work(S: int, queries: int) -> int:
        query = torch.randn(2, queries, 4, dtype=torch.float64, requires_grad=True)
        values = torch.randn(2, S, 4, dtype=torch.float64, requires_grad=True)
        module.zero_grad()  # making a parameter's gradient is other work than adding to it
        with Work() as counted:
            steps(module, query, module.prepare(values, torch.tensor([S, S - 1]))).backward()
        return counted.elements

    assert work(100, 8) - work(100, 4) == work(1000, 8) - work(1000, 4)


@pytest.mark.parametrize(
    "config", [BahdanauConfig(hidden_size=3), LocalPConfig(half_width=2, hidden_size=3)], ids=lambda c: c.name
)
def test_weights_of_queries_get_one_gradient_a_batch(config: AttentionConfig):
    """Eight steps make as many tensors of the size of W_q, or of W_p, as four do."""
    module = build(config, size=7)
    if isinstance(module, LocalAttention):
        module.always_gather = True
    weights = [p for name, p in module.named_parameters() if name.split(".")[1] in {"query", "hidden", "project"}]
    assert len(weights) == (1 if isinstance(config, BahdanauConfig) else 2)
    sizes = {w.numel() for w in weights}

    def made(queries: int) -> int:
        query = torch.randn(2, queries, 7, dtype=torch.float64, requires_grad=True)
        values = torch.randn(2, 50, 7, dtype=torch.float64)
        with Work() as counted:
            steps(module, query, module.prepare(values, torch.tensor([50, 9]))).backward()
        return sum(counted.sizes[size] for size in sizes)

    made(4)
    assert made(4) == made(8) > 0


def test_a_backward_pass_leaves_nothing_with_the_memory(module: Attention, inputs: tuple[Tensor, Tensor, Tensor]):
    """Buffers and factors are freed although the memory lives on."""
    query, values, lengths = inputs
    memory = module.prepare(values, lengths)
    steps(module, query, memory).backward()
    for table in (memory.value_rows, memory.key_rows):
        assert table.gradient.total is None
        assert not table.gradient.factors


def test_a_gradient_nobody_needs_is_not_kept():
    """A memory without gradient leaves no buffers behind."""
    module = build(GlobalConfig())
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    query = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    memory = module.prepare(torch.randn(1, 3, 4, dtype=torch.float64), torch.tensor([3]))
    module(query, memory, torch.arange(2)).context.sum().backward()
    assert not memory.value_rows.gradient.factors
    assert not memory.key_rows.gradient.factors
