"""Where local_p looks while it learns: how far p_t is from the word that matters, and what is left of the context.

    python benchmarks/centres.py threads=1 model.hidden_size=128 data.train_size=20000
    python benchmarks/centres.py --variants half_width=5,half_width=5+centre=diagonal data.alignments=LINKS seed=2 ...

A variant is KEY=VALUE[+KEY=VALUE] of model.attention=local_p; everything else are the overrides of python -m nmt.train.
The gold position of a target token is the mean of those it is linked to, by the word alignment of the training text:
that of the embedded corpus, which is true, or data.alignments.  --plot FILE draws distance and context.  Some batches
are put aside; before the first update and after every ``--every`` of them, over their linked target tokens:

    distance    mean |p_t - gold|, in source positions
    context     mean |c_t| over the mean |h_s| of the encoder states
    weight      mean sum_s a_{t,s}: what is left of 1
    nll         -log p of a target token, mean over all of them
"""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from common import markdown
from torch import Tensor, nn
from tqdm import tqdm

from nmt.batch import PAD, Batch
from nmt.cli import compose
from nmt.cli.train import COMMAND
from nmt.config import Config
from nmt.data.batching import TrainBatches
from nmt.data.prepare import Prepared, prepare
from nmt.device import resolve_device, resolve_precision, seed_everything, set_up
from nmt.models import build_model
from nmt.models.attention import Attended
from nmt.models.lstm.model import LSTM
from nmt.train.distributed import Ranks
from nmt.train.step import Updater

VARIANTS = (
    "half_width=5,half_width=5+centre=diagonal,half_width=5+sigma=learned+sigma_start=20,half_width=5+gaussian=bias,"
    "half_width=5+gaussian=bias+centre=diagonal,half_width=5+renormalize=true,half_width=20"
)


class Point(NamedTuple):
    """One measurement: see the module's docstring."""

    distance: float
    context: float
    weight: float
    nll: float


def gold_positions(links: Tensor, shape: tuple[int, int]) -> Tensor:
    """The mean source position that each target token (B, T) of ``shape`` is linked to; nan where to none.

    links (L, 3): sentence, target and source position.
    """
    sentence, target, source = links.unbind(1)
    total, count = torch.zeros(2, *shape, device=links.device).unbind()
    total.index_put_((sentence, target), source.to(total.dtype), accumulate=True)
    count.index_put_((sentence, target), torch.ones_like(source, dtype=total.dtype), accumulate=True)
    return total / count


class Watch:
    """Keeps what attention returns while a model reads a batch."""

    def __init__(self, attention: nn.Module) -> None:
        self.attended: list[Attended] = []
        self.values = torch.empty(0)  # (B, S, M) the encoder states
        attention.register_forward_hook(self.after)

    def after(self, module: nn.Module, inputs: Any, attended: Attended) -> None:
        if not module.training:
            self.attended.append(attended)
            self.values = inputs[1].values


@torch.no_grad()
def measure(model: LSTM, watch: Watch, batches: list[Batch]) -> Point:
    """Over the linked target tokens of all batches."""
    model.eval()
    distance, context, weight, nll, height, tokens, linked, positions = [torch.zeros(()) for _ in range(8)]
    for batch in batches:
        assert batch.links is not None
        watch.attended.clear()
        nll = nll + model(batch).nll.sum()
        tokens = tokens + (batch.target_out != PAD).sum()
        gold = gold_positions(batch.links, (batch.target_out.size(0), batch.target_out.size(1)))
        real = ~gold.isnan()
        p = torch.cat([a.centre for a in watch.attended if a.centre is not None], 1)
        distance = distance + (p - gold)[real].abs().sum()
        context = context + torch.cat([a.context for a in watch.attended], 1).norm(dim=2)[real].sum()
        weight = weight + torch.cat([a.weights.sum(2) for a in watch.attended], 1)[real].sum()
        linked = linked + real.sum()
        norms = watch.values.norm(dim=2)
        height = height + norms.sum()
        positions = positions + (norms > 0).sum()
    model.train()
    mean = height / positions
    return Point(float(distance / linked), float(context / linked / mean), float(weight / linked), float(nll / tokens))


def curve(config: Config, data: Prepared, options: argparse.Namespace, bar: tqdm) -> list[Point]:
    """The measurements of one variant."""
    device = resolve_device(config.device)
    seed_everything(config.seed)
    sizes = data.tokenizers.source.size, data.tokenizers.target.size
    model = build_model(config.model, *sizes, data.tokenizers.joint, config.trainer.label_smoothing).to(device)
    assert isinstance(model, LSTM)
    assert model.decoder.attention is not None
    watch = Watch(model.decoder.attention)
    precision = resolve_precision(config.trainer.precision, device)
    updater = Updater(model, config.trainer, config.optim, precision, device, Ranks())
    batches = iter(TrainBatches(data.train, config.data.batching, config.seed))
    aside = [batch.to(device) for batch in islice(batches, options.aside)]
    points = [measure(model, watch, aside)]
    for number in range(1, options.updates + 1):
        updater.step(list(islice(batches, config.trainer.accumulate)), number, epoch=0.0)
        bar.update()
        if number % options.every == 0:
            points.append(measure(model, watch, aside))
    return points


def report(variants: list[str], curves: list[list[Point]], every: int) -> str:
    """A table for each figure: a line for each variant, a column for each measurement."""
    parts = []
    for figure in Point._fields:
        head = [f"{figure} after so many updates", *(str(every * n) for n in range(len(curves[0])))]
        rows = [[v, *(f"{getattr(x, figure):.3g}" for x in c)] for v, c in zip(variants, curves, strict=True)]
        parts.append(markdown(head, rows))
    return "\n\n".join(parts) + "\n"


def plot(variants: list[str], curves: list[list[Point]], every: int, file: Path) -> None:
    """Distance and context over updates, side by side."""
    from matplotlib.figure import Figure  # here: it takes half a second

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    updates = [every * n for n in range(len(curves[0]))]
    for variant, points in zip(variants, curves, strict=True):
        axes[0].plot(updates, [point.distance for point in points], label=variant.replace("+", ", "))
        axes[1].plot(updates, [point.context for point in points])
    for one, label in zip(axes, ("|p - gold|, source positions", "|context| over |encoder state|"), strict=True):
        one.set_xlabel("updates")
        one.set_ylabel(label)
        one.set_ylim(bottom=0)
        one.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=lambda t: t.split(","), default=VARIANTS.split(","))
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--every", type=int, default=100, help="updates from one measurement to the next")
    parser.add_argument("--aside", type=int, default=10, help="batches that are put aside and measured")
    parser.add_argument("--plot", type=Path, help="picture of the curves; its ending says the format")
    options, overrides = parser.parse_known_args()
    compose.register(COMMAND)
    configs = []
    for variant in options.variants:
        keys = [f"model.attention.{key}" for key in variant.split("+") if key]
        configs.append(cast(Config, compose.configs(COMMAND, [*overrides, "model.attention=local_p", *keys])))
    set_up(configs[0].threads, configs[0].deterministic)
    data = prepare(configs[0].data, configs[0].seed, linked=True)
    with tqdm(total=len(configs) * options.updates, desc="centres", unit=" updates", disable=None) as bar:
        curves = [curve(config, data, options, bar) for config in configs]
    print(report(options.variants, curves, options.every))
    if options.plot is not None:
        plot(options.variants, curves, options.every, options.plot)


if __name__ == "__main__":
    main()
