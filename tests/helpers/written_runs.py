"""Run directories written by hand, without a model: configuration, log and results."""

import json
from pathlib import Path
from typing import Any

import yaml

TRAINED = (
    {"event": "built", "time": 1.0, "parameters": 1000, "sets": ["validation", "flickr"]},
    {"event": "train", "time": 2.0, "step": 50, "tokens_per_second": 100.0, "memory": 300.0, "loss": 4.0},
    {"event": "train", "time": 3.0, "step": 100, "tokens_per_second": 300.0, "memory": 500.0, "loss": 3.0},
    {"event": "validation", "time": 4.0, "step": 100, "loss": 3.5, "ppl": 33.1},
    {"event": "end", "time": 5.0, "ending": "steps", "step": 100, "minutes": 2.0},
)


def scored(*sets: str) -> list[dict[str, Any]]:
    """Events of sets that were scored."""
    return [{"event": "scored", "time": 6.0, "set": name, "step": 100} for name in sets]


def write_log(folder: Path, *events: dict[str, Any]) -> None:
    """log.jsonl."""
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


def write_result(folder: Path, name: str, scores: dict[str, float], signature: str = "tok:13a", **more: Any) -> None:
    """scores/.../results.json in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    how = {"decode": {"beam_size": 5}, "checkpoint": "best", "sentences": 9, "set_sentences": 9, "difference": {}}
    found = {m: {"name": m, "value": v, "signature": signature, "detail": ""} for m, v in scores.items()}
    tree = {"name": name, "scores": found, **how, **more}
    (folder / "results.json").write_text(json.dumps(tree), encoding="utf-8")


def write_run(
    folder: Path, attention: dict[str, Any], seed: int, bleu: float | None = None, hour: float = 0.0, **more: Any
) -> Path:
    """A finished run; without ``bleu`` one without results.  ``hour`` is when it was made, ``more`` goes to results."""
    folder.mkdir(parents=True)
    model = {"name": "lstm", "hidden_size": 8, "attention": attention}
    config = {"name": folder.name, "seed": seed, "model": model, "data": {"name": "phrases"}, "logger": {"every": seed}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    events = [*TRAINED, *(scored("validation", "flickr") if bleu is not None else [])]
    write_log(folder, *({**event, "time": event["time"] + 3600 * hour} for event in events))
    if bleu is not None:
        for name, value in {"flickr": bleu, "validation": 0.0}.items():
            write_result(folder / "scores" / name, name, {"bleu": value, "chrf": 2 * value}, **more)
    return folder
