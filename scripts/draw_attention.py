"""Draw what a run attends to in a validation sentence:  python scripts/draw_attention.py RUN 37 heatmap.png"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from nmt.data.corpus import ParallelText, validation_text
from nmt.device import resolve_device
from nmt.errors import UserError
from nmt.eval.evaluate import EvaluationOptions, PictureRequest, evaluate
from nmt.runs.directory import Run


def draw(directory: Path, sentence: int, file: Path, dpi: int, kind: str = "translation") -> None:
    """Write the map of the run's own translation of validation sentence ``sentence``, counted from 0.

    ``kind`` "encoder" or "decoder" draws the self-attention of a Transformer instead.
    """
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
    drawn = {picture.kind: picture for picture in found.pictures}
    if kind not in drawn:
        raise UserError(f"--self-attention {kind}: this model has none there")
    picture = replace(drawn[kind], sentence=sentence)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.draw(step).savefig(file, dpi=dpi)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("sentence", type=int, help="its place in the validation set, from 0")
    parser.add_argument("file", type=Path, help="picture to write; its ending says the format")
    parser.add_argument("--dpi", type=int, default=100, help="dots an inch (%(default)s)")
    sides = ["encoder", "decoder"]
    parser.add_argument(
        "--self-attention", choices=sides, help="of a Transformer, in the place of attention to the source"
    )
    given = parser.parse_args()
    try:
        draw(given.run, given.sentence, given.file, given.dpi, given.self_attention or "translation")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
