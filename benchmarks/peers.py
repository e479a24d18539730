"""This project's side of a benchmark of several frameworks: the same pieces, the same sizes, the same clock.

    python benchmarks/peers.py entry > peer.json                   # what to name in BENCH_EXTRA_PEERS
    BENCH_EXTRA_PEERS=peer.json python $PEERS/bench.py ckpt --peers nmt,onmt --configs A --tokens 1300000
    BENCH_EXTRA_PEERS=peer.json python $PEERS/bench.py decode --peers nmt,nmt-auto,onmt --configs A

PEERS is the folder of the program that runs and times all frameworks; it is not part of this project.
bench.py calls this file with ``train`` or ``decode`` and adds the folder of its meter (``--meter``).  Pieces are given,
so the tokenizer is the one of whole words.  ``nmt`` computes in fp32, as the others do, and ``nmt-auto`` in what
precision=auto chooses.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

LSTM = ("model.attention=global", "model.dropout=0.2", "data.batching.sentences=64")
MODELS = {
    "A": LSTM,
    # The additive score of the new state, as the other frameworks have it; Bahdanau's own is model.attention=bahdanau.
    "B": (*LSTM, "model.attention.score=concat"),
    "C": (
        *("model=transformer", "model.num_layers=3", "model.hidden_size=256", "model.ffn_size=1024", "model.heads=4"),
        *("model.dropout=0.1", "model.attention_dropout=0.1", "trainer.label_smoothing=0.1"),
        "data.batching.tokens=4096",
    ),
}
TRAINING = (
    *("optim.lr=0.001", "optim.betas=[0.9,0.999]", "trainer.clip=1", "logger.tensorboard=false"),
    *("trainer.max_steps=null", "trainer.max_epochs=1000", "trainer.validate_every=1000000", "trainer.metric=loss"),
)


def main() -> None:
    args = arguments()
    if args.action == "entry":
        print(json.dumps(entry(), indent=1))
        return
    sys.path.insert(0, args.meter)
    if args.action == "train":
        train(args)
    else:
        decode(args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meter", help="folder of meter.py")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("action", choices=["entry", "train", "decode"])
    parser.add_argument("--config", choices=list(MODELS))
    for name in ("data", "model", "src", "out"):
        parser.add_argument(f"--{name}")
    for name, default in (("batch", 32), ("beam", 5), ("maxlen", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def entry() -> dict[str, Any]:
    """Two peers that share their models; bench.py fills in {HERE}, its own folder."""
    run = [sys.executable, str(Path(__file__).resolve()), "--meter", "{HERE}"]
    return {
        "nmt": {"run": run, "train": "ABC", "decode": "ABC"},
        "nmt-auto": {"run": [*run, "--precision", "auto"], "train": "ABC", "decode": "ABC", "model_of": "nmt"},
    }


def train(args: argparse.Namespace) -> None:
    """nmt.train with a meter in its loop, until the meter has seen enough."""
    from meter import Meter  # pyright: ignore[reportMissingImports]

    from nmt.batch import PAD
    from nmt.cli.train import main as nmt_train
    from nmt.train.loop import Ending, Trainer
    from nmt.train.step import Updater

    meter, step, ending = Meter(), Updater.step, Trainer.ending

    def metered(self: Updater, group: list[Any], number: int, epoch: float) -> None:
        meter.info["params"] = sum(p.numel() for p in self.parameters)
        for batch in group:
            meter.batch(
                tgt=int((batch.target_out != PAD).sum()),
                tgt_cells=batch.target_out.numel(),
                src=int(batch.source_lengths.sum()),
                src_cells=batch.source.numel(),
                sents=len(batch.source),
            )
        step(self, group, number, epoch)
        meter.step()

    Updater.step = metered
    Trainer.ending = lambda self: Ending.steps if meter.done() else ending(self)
    folder = Path(args.model).resolve()
    shutil.rmtree(folder, ignore_errors=True)  # bench.py expects the model there, and no second one beside it
    files = [
        f"data.{part}.{side}={args.data}/{name}.sp.{language}"
        for part, name in (("train", "train"), ("validation", "val"))
        for side, language in (("source", "en"), ("target", "de"))
    ]
    sys.argv = [
        *(
            "nmt.train",
            "data=files",
            "data.source=en",
            "data.target=de",
            *files,
            f"data.cache={folder.parent}/nmt.cache",
        ),
        *("data.tokenizer.kind=word", "data.tokenizer.vocab_size=8100", *MODELS[args.config], *TRAINING),
        *(f"runs={folder.parent}", f"name={folder.name}", f"trainer.precision={args.precision}"),
        f"threads={os.environ.get('OMP_NUM_THREADS', '2')}",
    ]
    nmt_train()
    meter.write()


def decode(args: argparse.Namespace) -> None:
    """``nmt.load(...).translate``, timed without loading."""
    from meter import Timer, write_decode  # pyright: ignore[reportMissingImports]

    import nmt
    from nmt.device import Precision, set_up

    set_up(int(os.environ.get("OMP_NUM_THREADS", "2")), deterministic=False)
    translator = nmt.load(args.model)
    how = translator.decode
    how.beam_size, how.batch_size, how.precision = args.beam, args.batch, Precision[args.precision]
    how.max_length, how.max_ratio = args.maxlen, None
    lines = Path(args.src).read_text(encoding="utf-8").splitlines()
    with Timer() as timer:
        found = translator.translate(lines)
    Path(args.out).write_text("".join(line + "\n" for line in found), encoding="utf-8")
    write_decode(timer)


if __name__ == "__main__":
    main()
