"""Attention in the form that BertViz's ``head_view`` and ``model_view`` take (Vig 2019), for encoder-decoder models."""

from collections.abc import Sequence
from typing import Any

from nmt.eval.figures.picture import Picture


def bertviz_view(cross: Picture, own: Sequence[Picture] = ()) -> dict[str, Any]:
    """The arguments of ``head_view`` in JSON types; its lists of tensors are nested lists here.

    ``cross_attention``, and of a model with self-attention ``encoder_attention`` and ``decoder_attention``: for each
    layer 1 x heads x queries x keys.  ``encoder_tokens`` are the source's.  ``decoder_tokens`` are those that a decoder
    position predicts, or with self-attention those that it reads, which begin with <s>, because BertViz has one list
    for both.  ``include_layers`` are those that all of these have, counted from 0.
    """
    kinds = {"cross_attention": cross} | {f"{picture.kind}_attention": picture for picture in own}
    found: dict[str, Any] = {
        name: picture.maps.weights[:, None].float().numpy().round(6).tolist() for name, picture in kinds.items()
    }
    decoder = kinds.get("decoder_attention", cross)
    return found | {
        "encoder_tokens": cross.source,
        "decoder_tokens": decoder.target,
        "include_layers": list(range(min(len(picture.maps.weights) for picture in kinds.values()))),
    }
