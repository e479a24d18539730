"""The program of some lines in an exported folder, which translates with it and knows nothing of this project."""

from nmt.data.pieces import SUBWORDS, TokenizerKind, normalize
from nmt.data.tokenizer import Tokenizers
from nmt.runs.directory import TOKENIZER

CTRANSLATE2 = """\
# pip install {packages}
from pathlib import Path

import {imports}

folder = Path(__file__).parent
{load}translator = ctranslate2.Translator(str(folder))
source = {encode}
forbidden = [["<pad>"], ["<s>"], ["<unk>"]]
found = translator.translate_batch([source], beam_size=5, suppress_sequences=forbidden, max_input_length=0)
print({decode})
"""


def ctranslate2_example(tokenizers: Tokenizers, text: str) -> str:
    """A program that translates ``text``."""
    kind, best = tokenizers.source.kind, "found[0].hypotheses[0]"
    given = repr(normalize(text, tokenizers.source.lowercase))
    fill = {"packages": "ctranslate2", "imports": "ctranslate2", "load": ""}
    if kind in SUBWORDS:
        names = ("pieces", "pieces") if tokenizers.joint else ("source_pieces", "target_pieces")
        files = ("joint",) if tokenizers.joint else ("source", "target")
        fill["packages"], fill["imports"] = "ctranslate2 sentencepiece", "ctranslate2\nimport sentencepiece"
        for name, file in zip(names, files, strict=False):
            path = f'str(folder / "{TOKENIZER}/{file}.model")'
            fill["load"] += f"{name} = sentencepiece.SentencePieceProcessor({path})\n"
        fill["encode"], fill["decode"] = f"{names[0]}.encode({given}, out_type=str)", f"{names[1]}.decode({best})"
    elif kind is TokenizerKind.word:
        fill["encode"], fill["decode"] = f"{given}.split()", f'" ".join({best})'
    else:
        space = '" ", "\\u2581"'
        fill["encode"] = f"list({given}.replace({space}))"
        fill["decode"] = f'"".join({best}).replace("\\u2581", " ")'
    return CTRANSLATE2.format(**fill)
