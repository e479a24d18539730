"""The encoder and one step of the decoder as modules of plain torch code with tensors alone, which can be traced.

Both models look the same from outside.  Shapes: B sentences, K hypotheses a sentence, S source positions, V words.

    encoder    source (B, S), lengths (B,) without end-of-sentence -> of an LSTM the state (B, ...); and the memory,
               some tensors (B, ...) that all hypotheses read
    step       tokens (B, K), position (), state (B, K, ...), memory -> logits (B, K, V), state (B, K, ...)

The state is what a hypothesis carries from one position to the next: of an LSTM h and c of each layer and h~
(2 layers + 1, H), of the Transformer the keys and values of what it has read (layers, 2, t, heads, features), at first
with t = 0.
"""

import torch
from torch import Tensor, nn

from nmt.errors import ConfigError
from nmt.models.attention import Memory
from nmt.models.attention.base import real_positions
from nmt.models.attention.local_attention import LocalAttention
from nmt.models.attention.several_heads import for_heads
from nmt.models.lstm.config import EncoderKind
from nmt.models.lstm.model import LSTM, LSTMSearchState, Recurrent
from nmt.models.ops.plain import plain_operations
from nmt.models.ops.rows import Rows
from nmt.models.seq2seq import Seq2Seq, append_eos
from nmt.models.transformer.layers import SourceMemory
from nmt.models.transformer.model import Transformer
from nmt.models.transformer.multi_head import Weigh, attend
from nmt.models.transformer.positions import Embedding, Sinusoids

LONGEST = 4096  # positions that a table of sinusoids or rotations has rows for


class Graphs(nn.Module):
    """An encoder and a step."""

    def __init__(self, memory: dict[str, int | None]) -> None:
        """``memory``: what the encoder gives beside the state, by name, each with its axis of source positions."""
        super().__init__()
        self.memory = memory

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """The state before the first token, where there is something in it, and the memory."""
        raise NotImplementedError

    def step(self, tokens: Tensor, position: Tensor, state: Tensor, *memory: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the next state."""
        raise NotImplementedError


class LSTMGraphs(Graphs):
    """Those of an LSTM.  Local attention reads all positions and forgets those outside of its window."""

    def __init__(self, model: LSTM) -> None:
        super().__init__({})
        self.model = model
        for module in model.modules():
            if isinstance(module, LocalAttention):
                module.always_gather = False
        with plain_operations():
            example = model.encode(torch.tensor([[5]]), torch.tensor([1]), 2)
            # Made before the graph is traced, so that they are constants in it; in no library's own order, which a
            # graph cannot hold.
            self.weights = model.search_weights(model.start(example).rows)
        self.keyed = example.memory is not None and example.memory.keyed
        if example.memory is not None:
            places = 1 if example.memory.heads == 1 else 2  # values and keys (B, [heads,] S, F)
            self.memory = {"lengths": None, "values": places} | ({"keys": places} if self.keyed else {})
            self.memory |= {"terms": 1} if model.decoder.mixes_predictions else {}

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        encoded = self.model.encode(source, lengths, 2)
        memory, start = encoded.memory, encoded.start
        c = start[0].c
        state = Recurrent(start, torch.zeros_like(c)).pack(c.dtype)
        if memory is None:
            return (state,)
        H, rows = memory.heads, [memory.values, *([memory.keys] if self.keyed else [])]
        if H > 1:
            rows = [x.unflatten(0, (-1, H)) for x in rows]
        found = [state, memory.lengths[::H], *rows]
        terms = self.model.source_terms(encoded, self.weights)
        return tuple(found if terms is None else [*found, terms])

    def step(self, tokens: Tensor, position: Tensor, state: Tensor, *memory: Tensor) -> tuple[Tensor, Tensor]:
        read = dict(zip(self.memory, memory, strict=True))
        before = LSTMSearchState(state, self.attention_memory(**read), position, self.weights, read.get("terms"))
        logits, after, _ = self.model.step(tokens, before)
        assert isinstance(after, LSTMSearchState)
        return logits, after.rows

    def attention_memory(
        self,
        lengths: Tensor | None = None,
        values: Tensor | None = None,
        keys: Tensor | None = None,
        terms: Tensor | None = None,
    ) -> Memory | None:
        """What ``Attention.prepare`` returned in the encoder; ``terms`` are no part of it."""
        attention = self.model.decoder.attention
        if attention is None or lengths is None or values is None:
            return None
        if attention.heads > 1:
            lengths, values = for_heads(lengths, attention.heads), values.flatten(0, 1)
            keys = None if keys is None else keys.flatten(0, 1)
        rows = Rows(values)
        padding = ~real_positions(lengths, values.size(1))[:, None]
        projections = attention.projections(values.dtype, self.keyed)
        of_heads = attention.head_projection(values.dtype)
        keys_of = rows if keys is None else Rows(keys)
        return Memory(rows, keys_of, lengths, padding, *projections, None, attention.heads, of_heads)


class TransformerGraphs(Graphs):
    """Those of a Transformer."""

    def __init__(self, model: Transformer) -> None:
        super().__init__({"mask": 3, "keys_values": 2})  # (B, 1, 1, S) and (B, layers, S, 2, heads, features)
        self.model = model
        like = model.projection.weight.detach()
        self.rotations = None if model.rotary is None else table(model.rotary, like)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        if model.source_eos:
            source, lengths = append_eos(source, lengths)
        places = torch.arange(source.size(1), device=source.device)
        x = embed(model.source_embedding, source, places)
        real = real_positions(lengths, source.size(1))
        seen = real[:, None, None]
        reach = model.config.self_attention.reach
        if reach is not None:
            near = (places[:, None] - places).abs() <= reach
            seen = (seen & near) | (places[:, None] == places)
        own = additive(seen, x)

        def attend_all(q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
            return attend(q, k, v, own)

        x = model.encoder(x, [attend_all] * len(model.encoder.layers), self.turned(places))
        mask = additive(real[:, None, None], x)
        layers = [rows for rows in model.decoder.memory(x, lengths, mask).layers if isinstance(rows, Tensor)]
        return mask, torch.stack(layers, 1)

    def step(self, tokens: Tensor, position: Tensor, state: Tensor, *memory: Tensor) -> tuple[Tensor, Tensor]:
        model, (mask, keys_values) = self.model, memory
        place = position[None]
        x = embed(model.target_embedding, tokens, place)
        written: list[Tensor] = []

        def write_and_attend(q: Tensor, k: Tensor, v: Tensor, weigh: Weigh | None = None) -> Tensor:
            # Each hypothesis reads its own, with no axis flattened: ONNX's Reshape takes a size of 0 (t at first) for
            # "as it is".
            new = torch.stack([k, v], 2)[:, :, :, None]
            rows = torch.cat([state[:, :, len(written)], new], 3)  # (B, K, 2, t, H, F)
            written.append(rows)
            keys, values = rows[:, :, 0].permute(0, 1, 3, 4, 2), rows[:, :, 1].transpose(2, 3)
            weights = (q[:, :, :, None] @ keys * q.size(3) ** -0.5).softmax(-1)  # (B, K, H, 1, t)
            return (weights @ values)[:, :, :, 0]

        layers = list(keys_values.unbind(1))
        x = model.decoder(x, [write_and_attend] * len(layers), self.turned(place), SourceMemory(layers, mask))
        after, reach = torch.stack(written, 2), model.config.self_attention.reach
        return model.projection(x), after if reach is None else after[:, :, :, :, -reach:]

    def turned(self, places: Tensor) -> Tensor | None:
        """Rotations of rotary positions at some places (N,)."""
        return None if self.rotations is None else self.rotations[places]


def table(sinusoids: Sinusoids, like: Tensor) -> Tensor:
    """What sinusoids give for LONGEST positions."""
    return sinusoids(range(LONGEST), like).clone()


def embed(embedding: Embedding, ids: Tensor, places: Tensor) -> Tensor:
    """``Embedding.forward`` at places that are a tensor (N,)."""
    D = embedding.words.embedding_dim
    x = embedding.words(ids) * D**0.5
    if embedding.sinusoids is not None:
        return x + table(embedding.sinusoids, x.detach()).flatten(1)[:, :D][places]
    return x if embedding.places is None else x + embedding.places.weight[places]


def additive(seen: Tensor, like: Tensor) -> Tensor:
    """0 where ``seen`` and minus infinity where not, in the dtype of ``like``."""
    return torch.where(seen, 0.0, float("-inf")).to(like.dtype)


def refuse_loops(model: LSTM, name: str) -> None:
    """Raise ConfigError, beginning with ``name``, where encoder or attention know of all steps before."""
    if model.config.encoder is EncoderKind.lstmn:
        raise ConfigError(
            f"{name} has model.encoder=lstmn, whose words look at all words before them in turn: "
            "the graphs of to=onnx have no such loop; translate with this project"
        )
    if model.config.intra_attention:
        raise ConfigError(
            f"{name} has model.intra_attention=true, whose steps read all decoder states before them: "
            "the graphs of to=onnx have no place for that; translate with this project"
        )
    with torch.no_grad():
        memory = model.encode(torch.tensor([[5]]), torch.tensor([1])).memory
    if memory is not None and memory.carried is not None:
        kind = model.config.attention.name
        raise ConfigError(
            f"{name} has model.attention={kind}, whose steps carry {' and '.join(memory.carried)} weights or means on: "
            "the graphs of to=onnx have no place for that; translate with this project"
        )


def graphs_of(model: Seq2Seq, name: str) -> Graphs:
    """The graphs of a model; raises ConfigError, beginning with ``name``, for one that is of neither kind."""
    if isinstance(model, LSTM):
        refuse_loops(model, name)
        return LSTMGraphs(model)
    if isinstance(model, Transformer):
        for typed in model.config.beyond_softmax():
            raise ConfigError(
                f"{name} has {typed}, which the graphs of to=onnx do not have; translate with engine=torch"
            )
        return TransformerGraphs(model)
    raise ConfigError(f"{name} is a {type(model).__name__}: to=onnx holds the LSTM and the Transformer")
