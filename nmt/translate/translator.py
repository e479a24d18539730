"""From source text to target text with the model of a run, or of several as an ensemble."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import torch

from nmt.batch import EOS, UNK
from nmt.data.checks import blank
from nmt.data.directions import toward
from nmt.data.pharaoh import split_words
from nmt.data.pieces import normalize
from nmt.errors import ConfigError, DataError
from nmt.eval.alignment import AlignConfig
from nmt.eval.figures.painter import Painter, Pair
from nmt.eval.figures.picture import Picture
from nmt.eval.forced import NoAttentionError, PairMap
from nmt.eval.metrics import one_line
from nmt.eval.reranking import reranking
from nmt.export import export, export_request
from nmt.export.onnx_model import OnnxModel
from nmt.languages import without_spaces
from nmt.models.seq2seq import Seq2Seq
from nmt.runs.directory import Run, alignment_config
from nmt.runs.ensemble import EnsembleRun
from nmt.search import DecodeConfig, ForcedOptions, Hypothesis, evaluating
from nmt.search.engine import Engine, ModelEngine
from nmt.translate.arguments import check_characters, check_str, given_texts
from nmt.translate.attention import Attention
from nmt.translate.markup import take_out
from nmt.translate.options import ORDINARY, AlignmentOutput, TranslateOptions, check_spaces, check_words
from nmt.translate.parts import TextDivider, TextPart
from nmt.translate.prefix import Prefix, check_prefix, tokenize_prefixes
from nmt.translate.put_back import with_marks
from nmt.translate.sentence_split import sentence_spans
from nmt.translate.translation import Translation, join_parts
from nmt.translate.unknown_words import read_dictionary, replace_unknown

Progress = Callable[[int], object]  # called with how many more are done
Warn = Callable[[int, str], object]  # called with the place of a text and a message


class Translator:
    """Text to text with the model of a run, or with the models of several as an ensemble.

    ``decode`` (nmt.search.DecodeConfig) may be changed between calls: ``translator.decode.n_best = 3``.  Sampling
    draws other translations at each call, because the sentences are numbered on from call to call.
    """

    def __init__(
        self,
        run: Run | EnsembleRun,
        decode: DecodeConfig,
        device: torch.device,
        checkpoint: str = "best",
        options: TranslateOptions | None = None,
        align: AlignConfig | None = None,
        engine: Engine | None = None,
    ) -> None:
        """``engine`` is what runs the model (``nmt.export.engines.open_engine``); None: torch, on ``device``.

        Raises ConfigError, or NoAttentionError, for ``options`` that this run cannot have.
        """
        self.options, self.align_config = options or TranslateOptions(), alignment_config(run.config, align)
        self.name, self.decode, self.device = run.name, decode, device
        self.tokenizers, self.source_language, self.language = toward(
            run.tokenizers, run.config.data, self.options.into, "translate.into"
        )
        # What stands between the translations of the parts of a text.
        self.between = "" if without_spaces(self.language) else " "
        self.dictionary: dict[str, str] = {}
        if (option := self.options.reads_attention) is not None and run.config.model.attention_heads is None:
            raise NoAttentionError(f"{run.name} has no attention, which {option} reads")
        if self.options.tags:
            check_spaces(self.source_language, self.language)
        if self.options.paragraphs:
            sentence_spans("", self.source_language)  # says what to install before anything is read
        if self.options.replace_unknown:
            check_words(run.name, self.tokenizers.target)
            self.decode = replace(decode, allow_unk=True)
            if self.options.dictionary is not None:
                self.dictionary = read_dictionary(Path(self.options.dictionary), self.normalize_source)
        self.run, self.checkpoint = run, checkpoint
        self.engine = engine or ModelEngine(run.load_model(checkpoint, device)[0], device)
        self.translated = 0  # sentences so far; sampling is seeded with a sentence's number

    @property
    def model(self) -> Seq2Seq:
        """The model in torch; raises ConfigError where another program runs it."""
        if isinstance(self.engine, ModelEngine) and not isinstance(self.engine.model, OnnxModel):
            return self.engine.model
        raise ConfigError("the model is not in torch; load it with engine=torch")

    def export(
        self,
        to: str,
        output: str | Path | None = None,
        quantization: str | None = None,
        license: str | None = None,
    ) -> Path:
        """Write the model for other programs, as ``python -m nmt.export`` does, and return the folder.

        Args:
            to: the form, a row of ``nmt.export.EXPORTS``: ctranslate2, onnx, safetensors, huggingface.
            output: the folder to write; None: DIR/exports/FORM.  An earlier export there is replaced.
            quantization: the type of the weights (``nmt.export.Quantization``): fp32, bf16, int8, ...; None: fp32.
            license: what a model card names, as mit or cc-by-4.0.

        Raises:
            TypeError: an argument is something else.
            ConfigError: an ensemble, or what the form does not have.
            RunError: the exported model does not translate as this one does, or the folder cannot be written.
        """
        check_str("to", to)
        return export(export_request(self.run, to, self.checkpoint, quantization, output, license))[0]

    # A str is an iterable of str, too: the first that fits counts.
    @overload
    def translate(  # pyright: ignore[reportOverlappingOverload]
        self, texts: str, progress: Progress | None = None, prefixes: str | None = None
    ) -> str: ...

    @overload
    def translate(
        self, texts: Iterable[str], progress: Progress | None = None, prefixes: Iterable[str | None] | None = None
    ) -> list[str]: ...

    def translate(
        self,
        texts: str | Iterable[str],
        progress: Progress | None = None,
        prefixes: str | Iterable[str | None] | None = None,
    ) -> str | list[str]:
        """The best translation of each text, in order, without line breaks; of blank text an empty string.

        A str is one text, and one str is returned.  For arguments and errors see ``hypotheses``.
        """
        listed, forced = given_texts(texts, prefixes)
        best = [found[0].text if found else "" for found in self.hypotheses(listed, progress, prefixes=forced)]
        return best[0] if isinstance(texts, str) else best

    @overload
    def hypotheses(  # pyright: ignore[reportOverlappingOverload]
        self, texts: str, progress: Progress | None = None, warn: Warn | None = None, prefixes: str | None = None
    ) -> list[Translation]: ...

    @overload
    def hypotheses(
        self,
        texts: Iterable[str],
        progress: Progress | None = None,
        warn: Warn | None = None,
        prefixes: Iterable[str | None] | None = None,
    ) -> list[list[Translation]]: ...

    def hypotheses(
        self,
        texts: str | Iterable[str],
        progress: Progress | None = None,
        warn: Warn | None = None,
        prefixes: str | Iterable[str | None] | None = None,
    ) -> list[Translation] | list[list[Translation]]:
        """Up to ``decode.n_best`` translations of each text, the best first, no two of them equal.

        Args:
            texts: source sentences, or one as a str.  One of more pieces than ``source_limit`` is translated in parts;
                their best translations are joined, then their second best, and so on.  So is, with
                ``options.paragraphs``, a text of several sentences.
            progress: called with the number of parts translated since its last call.
            warn: called with the place of a text among ``texts``, from 0, and a message, when a text is translated in
                parts or a prefix cannot have its usual effect; by default a Python warning.
            prefixes: for each text (a str for one text as a str), the target text that its translations begin with;
                None or blank: any.  A prefix is normalized and tokenized by itself, as a target sentence is.  With
                subwords and characters, what follows begins a new word or continues the last word of the prefix, as
                the model likes.  The prefix of a text in parts begins the translation of its first part.  A prefix as
                long as the length limit or longer is the whole translation.  Words of the prefix that the target
                vocabulary lacks are given to the model as <unk> and stand in the translation as they are.

        Returns:
            A list for each text, in order; an empty one for a blank text, whatever its prefix.  For one text as a str
            its list alone.

        Raises:
            TypeError: texts or prefixes are no text.
            DataError: there are more or fewer prefixes than texts.
            TextError: a prefix has more pieces than the model can write.
            NoAttentionError: ``options`` ask for alignments or tags, and the model has no attention.
            ConfigError: ``decode`` was changed to values that cannot work.
            UserError: the model's probabilities are not finite.
        """
        listed, given = given_texts(texts, prefixes)
        marked = [take_out(text) for text in listed] if self.options.tags else []
        listed = [each.text for each in marked] or listed
        forced = tokenize_prefixes(self.tokenizers.target, given, len(listed))
        plan = list(self.plan(listed, forced, warn or warn_in_python))
        parts = [part for group in plan for part in group]
        found = iter(self.search(parts, progress))
        joined = [
            self.join(text, group, [next(found) for _ in group]) for text, group in zip(listed, plan, strict=True)
        ]
        if marked:
            keep = self.options.alignments is not AlignmentOutput.none
            joined = [with_marks(each, found, keep) for each, found in zip(marked, joined, strict=True)]
        return joined[0] if isinstance(texts, str) else joined

    def attention(self, text: str, target: str | None = None) -> Attention:
        """What the model attends to in a text while it reads ``target``, or its own translation where that is None.

        The object has ``source`` and ``target`` tokens, ``weights`` (layers, heads, T, S) and, of local attention,
        ``centre`` and ``half_width``, all on the CPU; ``plot()`` makes a figure.

        Raises:
            TypeError: an argument is no text.
            DataError: the text, the target or the translation is blank.
            NoAttentionError: the model has no attention.
            ConfigError: the model runs in another program than torch.
        """
        pictures = self.pictures(text, target, lambda painter, pair: painter.attention([pair], "attention"))
        if not pictures:
            raise NoAttentionError(f"{self.name} has no attention to look at")
        return Attention(pictures[0])

    def self_attention(self, text: str, target: str | None = None) -> list[Picture]:
        """The same of the encoder's and of the decoder's attention to itself; nothing where there is none.

        Raises what ``attention`` raises, but for NoAttentionError.
        """
        return self.pictures(text, target, lambda painter, pair: painter.self_attention([pair]))

    def pictures(self, text: str, target: str | None, paint: Callable[[Painter, Pair], list[Picture]]) -> list[Picture]:
        """What ``paint`` makes of a text and ``target``, or its own translation where that is None."""
        check_str("text", text)
        check_characters("text", [text])
        if target is None:
            target = "" if blank(text) else self.translate(text)
        check_str("target", target)
        check_characters("target", [target])
        for name, value in (("text", text), ("target", target)):
            if blank(value):
                raise DataError(f"{name} is blank: there is nothing to attend to")
        ids = [side.encode([t])[0] for side, t in ((self.tokenizers.source, text), (self.tokenizers.target, target))]
        painter = Painter(self.model, self.tokenizers, ForcedOptions(self.device, self.decode.precision))
        with evaluating(self.model):
            return paint(painter, Pair(0, *ids))

    def source_ceiling(self) -> int | None:
        """The most source pieces that the model can read, without end-of-sentence; None: any number."""
        longest = self.engine.longest_source
        return None if longest is None else max(1, longest - self.engine.source_eos)

    def source_limit(self) -> int:
        """The most source pieces translated at once, unless a text has no place to split: no more than can be read."""
        chosen, ceiling = self.options.max_source or max(self.decode.max_length, ORDINARY), self.source_ceiling()
        return chosen if ceiling is None else min(chosen, ceiling)

    def plan(
        self, texts: Sequence[str], prefixes: Sequence[Prefix], warn: Callable[[int, str], object]
    ) -> Iterator[list[TextPart]]:
        """The parts of each text: none of a blank one, one of most."""
        divider = TextDivider(
            self.tokenizers.source,
            self.source_language,
            self.options.paragraphs,
            self.source_limit(),
            self.source_ceiling(),
        )
        for number, ((parts, messages), prefix) in enumerate(zip(divider.parts(texts), prefixes, strict=True)):
            if not parts:
                if prefix.ids:
                    warn(number, "there is nothing to translate, so the prefix is ignored")
                yield []
                continue
            first = "; the prefix begins the translation of the first part" * bool(prefix.ids and len(parts) > 1)
            for message in messages:
                warn(number, message + first)
            parts[0] = parts[0]._replace(prefix=prefix)
            if prefix.ids:
                _, most = self.decode.lengths(len(parts[0].ids))
                check_prefix(number, len(prefix.ids), most, self.engine.longest_target, warn)
            yield parts

    def search(self, parts: Sequence[TextPart], progress: Callable[[int], object] | None) -> list[list[Translation]]:
        """The best translations of each part, ``decode.n_best`` of them if so many differ as texts.

        Several segmentations may spell one text; it has the score of the best of them.
        """
        sources, options = [part.ids for part in parts], self.options
        prefixes = [part.prefix.ids for part in parts]
        decode = self.decode.checked()  # a caller may have changed it
        count = decode.n_best
        if count > 1:
            decode = replace(decode, n_best=decode.candidates)
        attended = options.reads_attention is not None
        found = self.engine.translate_ids(
            sources,
            decode,
            want_maps=attended,
            progress=progress,
            prefixes=prefixes if any(prefixes) else None,
            first=self.translated,
            reranking=reranking(decode, self.tokenizers, self.language),
        )
        self.translated += len(parts)
        best: list[dict[str, tuple[Hypothesis, Translation]]] = []
        for part, hypotheses in zip(parts, found, strict=True):
            best.append({})
            for h in hypotheses:
                translation = self.translation(part, h, attended)
                best[-1].setdefault(translation.text, (h, translation))
                if len(best[-1]) == count:
                    break
        rows = [list(texts.values()) for texts in best]
        if not options.token_scores:
            return [[translation for _, translation in row] for row in rows]
        scored = self.engine.score_ids(sources, [[h.ids for h, _ in row] for row in rows], decode)
        return [
            [replace(t, token_log_probs=given.tokens) for (_, t), given in zip(row, scores, strict=True)]
            for row, scores in zip(rows, scored, strict=True)
        ]

    def translation(self, part: TextPart, h: Hypothesis, attended: bool) -> Translation:
        """A hypothesis as text; words of the prefix that the vocabulary lacks stand as they were given."""
        target, prefix = self.tokenizers.target, part.prefix
        text, tokens = one_line(target.decode([h.ids])[0]), target.pieces([*h.ids, EOS])
        words = self.word_attention(part, h) if attended else None
        if UNK in prefix.ids:
            text = prefix.text + text[len(target.decode([prefix.ids])[0]) :]
        if self.options.replace_unknown and words is not None and UNK in h.ids[len(prefix.ids) :]:
            unknown = [i == UNK and place >= len(prefix.ids) for place, i in enumerate(h.ids)]
            source = list(map(self.normalize_source, split_words(part.text)))
            shown = [*prefix.text.split(), *tokens[len(prefix.ids) : -1]]
            text = " ".join(replace_unknown(shown, unknown, words, source, self.dictionary))
        wanted = self.options.alignments is not AlignmentOutput.none or self.options.tags
        alignment = words if wanted else None
        return Translation(text, h.score, h.log_prob, h.finished, tokens, alignment=alignment)

    def word_attention(self, part: TextPart, h: Hypothesis) -> np.ndarray:
        """Attention between the words of a part and of its translation: (target words, source words)."""
        if h.maps is None:
            raise NoAttentionError(
                f"{self.name} has no attention, "
                "which translate.alignments, translate.replace_unknown and translate.tags read"
            )
        pair = PairMap.of(h.maps, self.tokenizers, (part.text, None), (part.ids, h.ids), self.align_config)
        return pair.between_words(self.align_config.steps_later, self.align_config.pool)

    def join(self, text: str, parts: Sequence[TextPart], found: Sequence[list[Translation]]) -> list[Translation]:
        """The hypotheses of a text from those of its parts."""
        if len(parts) == 1:
            return found[0]
        starts = [part.start for part in parts]
        joined: dict[str, Translation] = {}
        for ranked in zip(*found, strict=False):
            translation = join_parts(self.between, text, starts, ranked)
            joined.setdefault(translation.text, translation)
        return list(joined.values())

    def normalize_source(self, text: str) -> str:
        """Source text in the form that its tokenizer encodes."""
        return normalize(text, self.tokenizers.source.lowercase)


def warn_in_python(number: int, message: str) -> None:
    """A Python warning that names a text by its place among the texts of the call, from 0."""
    warnings.warn(f"text {number}: {message}", stacklevel=4)
