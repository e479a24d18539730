"""The LSTM model by the equations: one sentence at a time, one step at a time, plain autograd, no padding."""

import math

import torch

from nmt.batch import BOS, EOS
from nmt.models.lstm.config import EncoderKind, Fusion, Mixture, Tied


def lstm_cell(layer, x, state, added: torch.Tensor | float = 0.0):
    """x (I,), state (h, c) each (H,): one step of one layer, with something added to c."""
    h, c = state
    z = layer.weight_ih_l0 @ x + layer.weight_hh_l0 @ h
    if layer.bias:
        z = z + layer.bias_ih_l0 + layer.bias_hh_l0
    H = len(h)
    i, f, g, o = (z[k * H : (k + 1) * H] for k in range(4))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g) + added
    return torch.sigmoid(o) * torch.tanh(c), c


def run(layer, xs):
    """One layer over a list of inputs: every output, and the last state."""
    state = (xs[0].new_zeros(layer.hidden_size), xs[0].new_zeros(layer.hidden_size))
    outputs = []
    for x in xs:
        state = lstm_cell(layer, x, state)
        outputs.append(state[0])
    return outputs, state


def remember(layer, xs, remembered, memories=None):
    """One LSTMN layer over a list of inputs: every output, and the last state.

    What each word remembers, and the memory tape, are added to lists.
    """
    H, hidden, memories = layer.hidden_size, [], [] if memories is None else memories
    summary = memory = xs[0].new_zeros(H)
    for x in xs:
        if hidden:
            scores = []
            for h in hidden:
                inner = layer.key.weight @ h + layer.word.weight @ x + layer.summary.weight @ summary
                scores.append(layer.energy.weight[0] @ torch.tanh(inner))
            s = torch.stack(scores).softmax(0)
            summary = sum(w * h for w, h in zip(s, hidden, strict=True))
            memory = sum(w * c for w, c in zip(s, memories, strict=True))
            remembered.append(s)
        z = layer.input.weight @ x + layer.recurrent.weight @ summary
        if layer.input.bias is not None:
            z = z + layer.input.bias
        i, f, g, o = (z[k * H : (k + 1) * H] for k in range(4))
        c = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
        hidden.append(torch.sigmoid(o) * torch.tanh(c))
        memories.append(c)
    return hidden, (hidden[-1], memories[-1])


def encode(model, source, remembered=None, tapes=None):
    """Word ids -> memory rows in natural order, and every layer's final state.

    What the words remember, layer by layer and direction by direction in the order in which they are read, is added to
    the list ``remembered``, and the top layer's hidden and memory tape, in the same order, to ``tapes``.
    """
    config = model.config
    read, memories = run, []
    if config.encoder is EncoderKind.lstmn:

        def read(layer, xs):
            found = []
            memories.append([])
            result = remember(layer, xs, found, memories[-1])
            if remembered is not None:
                remembered.append(found)
            return result

    order = list(range(len(source)))
    if config.reverse_source:
        order.reverse()
    if model.source_eos:
        order.append(len(source))
        source = [*source, EOS]
    xs, final = [model.source_embedding.weight[source[s]] for s in order], []
    layers = list(model.encoder.layers)
    for depth in range(0, len(layers), 2 if config.bidirectional else 1):
        outputs, (h, c) = read(layers[depth], xs)
        if config.bidirectional:
            back, (back_h, back_c) = read(layers[depth + 1], xs[::-1])
            outputs = [torch.cat([a, b]) for a, b in zip(outputs, back[::-1], strict=True)]
            h, c = torch.cat([h, back_h]), torch.cat([c, back_c])
        if config.residual and depth:
            outputs = [a + b for a, b in zip(outputs, xs, strict=True)]
        xs = outputs
        final.append((h, c))
    if tapes is not None:
        top = memories[-2:] if config.bidirectional else memories[-1:]
        top = [tape[:: -1 if backward else 1] for backward, tape in enumerate(top)]
        tapes += [xs, [torch.cat(c) for c in zip(*top, strict=True)]]
    memory = [torch.empty(0)] * len(order)
    for place, x in zip(order, xs, strict=True):
        memory[place] = x
    return torch.stack(memory), final


def log_probs(model, source, target, posteriors=None, near=None):
    """log p(. | y_<t, x) at every position of target and its end-of-sentence: (T, V).

    Where predictions are mixed, p(s | x, y_t) (S,) of each position is added to the list ``posteriors``; of words that
    predict alone the same log p, of weights near the diagonal, to the list ``near``.
    """
    config, decoder, tapes = model.config, model.decoder, []
    memory, final = encode(model, source, tapes=tapes if model.config.fusion is Fusion.deep else None)
    L = len(decoder.layers)
    states = [final[max(len(final) - L + depth, 0)] for depth in range(L)]
    feed, weights, rows = torch.zeros_like(states[0][0]), torch.empty(0), []
    prepared = decoder.attention and decoder.attention.prepare(memory[None], torch.tensor([len(memory)]))

    def attend(query, t):
        """The context, and the weight of each source position."""
        nonlocal prepared
        attended = decoder.attention(query[None, None], prepared, torch.tensor([t]))
        prepared = prepared.after(attended)
        return attended.context[0, 0], attended.dense_weights(len(memory))[0, 0]

    def predicted(vector):
        logits = (model.projection if config.tied is Tied.none else model.target_embedding).weight @ vector
        return (logits + model.projection.bias if config.bias else logits).log_softmax(0)

    def fuse(x):
        """r_t alpha~_t."""
        nonlocal summary
        fusion, (hidden, memories), H = decoder.fusion, tapes, config.hidden_size
        W_x, of_gate = fusion.word.weight[:H], fusion.word.weight[H:] @ x
        before = W_x @ x + fusion.look.weight @ summary
        if config.bias:
            before, of_gate = before + fusion.word.bias[:H], of_gate + fusion.word.bias[H:]
        u = fusion.energy.weight[0]
        p = torch.stack([u @ torch.tanh(fusion.key.weight @ h + before) for h in hidden]).softmax(0)
        summary = sum(w * h for w, h in zip(p, hidden, strict=True))
        memory = sum(w * c for w, c in zip(p, memories, strict=True))
        return torch.sigmoid(fusion.gate.weight @ summary + of_gate) * memory

    written, summary = [], torch.zeros_like(feed)
    words = [*source, EOS] if model.source_eos else source
    for t, (word, next_word) in enumerate(zip([BOS, *target], [*target, EOS], strict=True)):
        x = model.target_embedding.weight[word]
        added = fuse(x) if tapes else 0.0
        before_step, seen = config.attention.previous_state, feed
        if before_step:
            seen, weights = attend(states[-1][0], t)
            x = torch.cat([x, seen])
        elif config.input_feeding is not False:
            x = torch.cat([x, feed])
        for depth, layer in enumerate(decoder.layers):
            states[depth] = lstm_cell(layer, x, states[depth], 0.0 if depth else added)
            x = states[depth][0] + x if config.residual and depth else states[depth][0]
        if decoder.attention is None:
            feed = x
        else:
            if not before_step:
                seen, weights = attend(x, t)
            parts = [seen, x]
            if config.intra_attention:
                parts.append(torch.zeros_like(x))
                if written:
                    a = torch.stack([x @ (decoder.intra.project.weight @ h) for h in written]).softmax(0)
                    parts[2] = sum(w * h for w, h in zip(a, written, strict=True))
                written.append(x)
            feed = torch.tanh(decoder.readout.weight @ torch.cat(parts))
        if config.mixture is Mixture.contexts:
            rows.append(predicted(feed))
            continue
        if config.mixture is Mixture.lexical:
            alone = decoder.readout.weight[:, : config.hidden_size]
            of_words = [predicted(torch.tanh(alone @ model.source_embedding.weight[i])).exp() for i in words]
            joint = torch.stack([w * p for w, p in zip(weights / weights.sum(), of_words, strict=True)])
            rows.append(joint.sum(0).log())
            if near is not None:
                at = min(1.0, (t + 0.5) / max(len(target), 1))
                d = [math.exp(-model.lexical.tension * abs((s + 0.5) / len(words) - at)) for s in range(len(words))]
                near.append((torch.tensor(d, dtype=torch.float64) / sum(d) @ torch.stack(of_words)).log())
            if posteriors is not None:
                posteriors.append((joint[:, next_word] / joint[:, next_word].sum()).detach())
            continue
        p, joint = torch.zeros(model.target_size, dtype=torch.float64), torch.zeros(len(memory), dtype=torch.float64)
        best = weights.argsort(descending=True)[: config.mixture_top_k]
        for s in best.tolist():
            of_position = predicted(torch.tanh(decoder.readout.weight @ torch.cat([memory[s], x]))).exp()
            p = p + weights[s] / weights[best].sum() * of_position
            joint[s] = (weights[s] * of_position[next_word]).detach()
        rows.append(p.log())
        if posteriors is not None:
            posteriors.append(joint / joint.sum())
    return torch.stack(rows)


def loss(model, pairs, eps):
    """Summed label-smoothed loss, and each sentence's NLL (T,)."""
    total, nll = torch.zeros((), dtype=torch.float64), []
    for source, target in pairs:
        near = []
        log_p = log_probs(model, source, target, near=near)
        each = -torch.stack([row[y] for row, y in zip(log_p, [*target, EOS], strict=True)])
        for row, y in zip(near, [*target, EOS] if near else [], strict=True):
            total = total - model.lexical.factor * row[y]
        total = total + (1 - eps) * each.sum() - eps * log_p.mean(1).sum()
        nll.append(each)
    return total, nll
