"""Draw what a run attends to in a validation sentence or in a text:  python scripts/draw_attention.py RUN 37 map.png"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

import nmt
from nmt.data.corpus import ParallelText, validation_text
from nmt.device import Precision, resolve_device
from nmt.errors import UserError
from nmt.eval.evaluate import EvaluationOptions, PictureRequest, evaluate
from nmt.eval.figures.heatmap import NotebookFigure, draw_heatmap
from nmt.eval.figures.picture import Picture
from nmt.runs.directory import Run


def of_sentence(directory: Path, sentence: int, kind: str) -> NotebookFigure:
    """The map of the run's own translation of validation sentence ``sentence``, counted from 0."""
    run, device = Run.open(directory), resolve_device("cpu")
    text = validation_text(run.config.data)
    if not 0 <= sentence < len(text):
        raise UserError(f"sentence {sentence}: the validation set has the sentences 0 to {len(text) - 1}")
    model, step = run.load_model("best", device)
    found = evaluate(
        model,
        run.tokenizers,
        ParallelText(text.name, [text.source[sentence]], [text.target[sentence]]),
        EvaluationOptions(device, run.config.decode),
        PictureRequest([0], self_attention=kind != "translation"),
    )
    return replace(chosen(found.pictures, kind), sentence=sentence).draw(step)


def of_text(directory: Path, text: str, kind: str, target: str | None = None) -> NotebookFigure:
    """The map of a text and its translation, the run's own or a given one, in float32 so that every processor gives
    the same."""
    model = nmt.load(directory, device="cpu")
    model.decode.precision = Precision.fp32
    picture = (
        model.attention(text, target).picture if kind == "translation" else chosen(model.self_attention(text), kind)
    )
    return draw_heatmap(picture.maps, picture.source, picture.target, f"{directory.name}: {kind}")


def chosen(pictures: list[Picture], kind: str) -> Picture:
    """The picture of that kind; raises UserError where there is none."""
    for picture in pictures:
        if picture.kind == kind:
            return picture
    raise UserError(f"--self-attention {kind}: this model has none there")


def save(figure: NotebookFigure, file: Path, dpi: int) -> None:
    """Write the picture.  An SVG has neither a date nor random names in it: drawn again, it is the same file."""
    formats = figure.canvas.get_supported_filetypes()
    if file.suffix.lstrip(".") not in formats:
        raise UserError(f"{file}: its ending is none of {', '.join(sorted(formats))}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": file.name}):
        figure.savefig(file, dpi=dpi, metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("sentence", help="its place in the validation set, from 0, or a text to translate")
    parser.add_argument("file", type=Path, help="picture to write; its ending says the format")
    parser.add_argument("--dpi", type=int, default=100, help="dots an inch (%(default)s)")
    sides = ["encoder", "decoder"]
    parser.add_argument(
        "--self-attention", choices=sides, help="of a Transformer, in the place of attention to the source"
    )
    parser.add_argument("--target", metavar="TEXT", help="a translation of the text, in the place of the run's own")
    given = parser.parse_args()
    kind = given.self_attention or "translation"
    if given.target is not None and (given.sentence.isdecimal() or given.self_attention):
        parser.error("--target is the translation of a text, and for attention to the source")
    try:
        if given.sentence.isdecimal():
            figure = of_sentence(given.run, int(given.sentence), kind)
        else:
            figure = of_text(given.run, given.sentence, kind, given.target)
        save(figure, given.file, given.dpi)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
