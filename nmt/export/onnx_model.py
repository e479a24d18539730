"""A model that onnxruntime runs, behind the protocol of nmt/models/seq2seq.py, for this project's search."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nmt.batch import BOS, PAD, Batch
from nmt.errors import ConfigError
from nmt.export.onnx_graphs import LONGEST, Graphs
from nmt.libraries import needed
from nmt.models.lstm.model import LSTM
from nmt.models.ops.plain import plain_operations
from nmt.models.ops.prepacked import cached_weights
from nmt.models.seq2seq import AttentionMaps, Output, Seq2Seq, State
from nmt.models.transformer.config import Positions
from nmt.models.transformer.model import Transformer

ENCODER, STEP = "encoder.onnx", "step.onnx"
OPSET = 17
NO_ATTENTION = "attention is not to be had with engine=onnx; engine=torch has it"
READ_BY = "decode.coverage, translate.alignments, translate.replace_unknown and translate.tags read attention: "


def write_graphs(graphs: Graphs, folder: Path) -> None:
    """Write ENCODER and STEP; any number of sentences, positions and hypotheses can be put in."""
    needed("onnx", "to=onnx")
    memory = {f"memory_{name}": memory_axes(places) for name, places in graphs.memory.items()}
    of_sentences, of_hypotheses = {0: "sentences"}, {0: "sentences", 1: "hypotheses"}
    with plain_operations(), cached_weights(graphs):
        source, lengths = torch.tensor([[5, 6, 7], [6, 7, 8]]), torch.tensor([3, 2])
        found = graphs.encode(source, lengths)
        starts = ["state"] * (len(found) - len(memory))
        axes = {"source": {0: "sentences", 1: "words"}, "lengths": of_sentences, "state": of_sentences} | memory
        trace(Encoder(graphs), (source, lengths), folder / ENCODER, ["source", "lengths"], [*starts, *memory], axes)
        before = after = of_hypotheses
        if starts:
            state = torch.stack([found[0]] * 3, 1)
        else:  # keys and values of a token
            state = cache(found[-1], 3, 1)
            before, after = ({**of_hypotheses, 4: size} for size in ("read", "read_now"))
        example = torch.tensor([[BOS] * 3] * 2), torch.tensor(1), state, *found[len(starts) :]
        axes = {"tokens": of_hypotheses, "state": before, "logits": of_hypotheses, "next_state": after} | memory
        inputs = ["tokens", "position", "state", *memory]
        trace(Step(graphs), example, folder / STEP, inputs, ["logits", "next_state"], axes)


def memory_axes(places: int | None) -> dict[int, str]:
    """The axes of a tensor of the memory that have another size in each batch; ``places``: that of source positions."""
    return {0: "sentences"} if places is None else {0: "sentences", places: "positions"}


def cache(keys_values: Tensor, hypotheses: int, read: int) -> Tensor:
    """Keys and values of ``read`` tokens, all 0, like those of the source (B, layers, S, 2, heads, features)."""
    B, layers, _, _, heads, features = keys_values.shape
    return keys_values.new_zeros(B, hypotheses, layers, 2, read, heads, features)


class Encoder(nn.Module):
    """``Graphs.encode`` as the forward pass that an exporter traces."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self.graphs = graphs

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        return self.graphs.encode(source, lengths)


class Step(Encoder):
    """``Graphs.step``, likewise."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, tokens: Tensor, position: Tensor, state: Tensor, *memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.graphs.step(tokens, position, state, *memory)


def trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    """Write one graph by the exporter that traces a call: it turns torch's LSTM into the operator of that name."""
    with quiet():
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Within, the exporter's remarks on what it takes for constant are not shown: the check of the export sees them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@dataclass(frozen=True)
class OnnxState:
    """K hypotheses for each of B sentences."""

    rows: Tensor  # (B, K, ...) what each hypothesis carries on
    memory: dict[str, Tensor]  # (B, ...) what all hypotheses of a sentence read
    position: int  # target positions read so far

    def reorder(self, parent: Tensor) -> "OnnxState":
        """parent (B, K') in [0, K)"""
        B, K = self.rows.shape[:2]
        flat = (parent + torch.arange(B)[:, None] * K).flatten()
        return replace(self, rows=self.rows.flatten(0, 1).index_select(0, flat).unflatten(0, (B, parent.size(1))))

    def keep(self, sentences: Tensor) -> "OnnxState":
        """sentences (B',) int64"""
        memory = {name: tensor.index_select(0, sentences) for name, tensor in self.memory.items()}
        return replace(self, rows=self.rows.index_select(0, sentences), memory=memory)


class OnnxModel(Seq2Seq):
    """A folder with ENCODER and STEP, on the CPU, in float32."""

    def __init__(self, folder: Path, facts: dict[str, Any], threads: int) -> None:
        """``facts`` as ``onnx_facts`` gives them; ``threads`` of an operator."""
        super().__init__()
        library = needed("onnxruntime", "engine=onnx")
        options = library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        providers = ["CPUExecutionProvider"]
        self.sessions = [
            library.InferenceSession(str(folder / name), options, providers=providers) for name in (ENCODER, STEP)
        ]
        self.source_eos, self.target_size = facts["source_eos"], facts["target_size"]
        self.longest_source, self.longest_target = facts["longest_source"], facts["longest_target"]
        self.wanted = {entry.name for entry in self.sessions[1].get_inputs()}

    def encode(self, source: Tensor, lengths: Tensor, hypotheses: int = 1) -> OnnxState:
        encoder = self.sessions[0]
        names = [entry.name for entry in encoder.get_outputs()]
        given = {"source": source.numpy(), "lengths": lengths.numpy()}
        found = dict(zip(names, map(torch.from_numpy, encoder.run(names, given)), strict=True))
        state = found.pop("state")[:, None] if "state" in found else cache(found["memory_keys_values"], 1, 0)
        return OnnxState(state, found, 0)

    def start(self, encoded: OnnxState) -> OnnxState:
        return encoded

    def step(self, tokens: Tensor, state: State, want_maps: bool = False) -> tuple[Tensor, State, AttentionMaps | None]:
        assert isinstance(state, OnnxState)
        if want_maps:
            raise ConfigError(READ_BY + NO_ATTENTION)
        given = {"tokens": tokens, "position": torch.tensor(state.position), "state": state.rows, **state.memory}
        arrays = {name: tensor.contiguous().numpy() for name, tensor in given.items() if name in self.wanted}
        logits, rows = map(torch.from_numpy, self.sessions[1].run(["logits", "next_state"], arrays))
        return logits, replace(state, rows=rows, position=state.position + 1), None

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        """Teacher forcing, step by step."""
        if want_maps:
            raise ConfigError(NO_ATTENTION)
        state: State = self.start(self.encode(batch.source, batch.source_lengths))
        nll = []
        for tokens, wanted in zip(batch.target_in.unbind(1), batch.target_out.unbind(1), strict=True):
            logits, state, _ = self.step(tokens[:, None], state)
            nll.append(-logits[:, 0].log_softmax(-1).gather(1, wanted[:, None]))
        real = batch.target_out != PAD
        found = torch.cat(nll, 1).masked_fill(~real, 0.0)
        return Output(found.sum(), real.sum(), found)


def onnx_facts(model: Seq2Seq) -> dict[str, Any]:
    """What search must know of an exported model: the attributes of ``Seq2Seq``."""
    longest = [model.longest_source, model.longest_target]
    if isinstance(model, Transformer) and model.config.positions is not Positions.learned:
        longest = [LONGEST, LONGEST]
    return {
        "source_eos": model.source_eos,
        "target_size": model.target_size,
        "longest_source": longest[0],
        "longest_target": longest[1],
        "kind": "lstm" if isinstance(model, LSTM) else "transformer",
    }
