"""The model card: README.md of a repository on the hub, which says in YAML and in words what the model is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from nmt.config import to_tree
from nmt.data.text import DataConfig
from nmt.export.check import own_text
from nmt.export.request import ExportRequest
from nmt.languages import language_of
from nmt.runs.plugins import FOLDER
from nmt.runs.results import read_results

CARD = """\
---
{header}---

# {name}: {source} to {target}

{what}, trained with nmt {version} for {step:,} updates on the data `{data}`.

    pip install '.[export]'    # in the source tree of nmt {version}; the package nmt of PyPI is another project

```python
import nmt

translator = nmt.load("hf://OWNER/{name}"{trust})  # or the path of this folder
print(translator.translate([{example!r}]))
```

{code} when it is loaded: the weights are in `model.safetensors`, the vocabulary in
`tokenizer/`, the whole configuration of the training in `config.yaml`.

## Scores

{scores}

## Configuration of the model

```yaml
{model}```

## Licence

{licence}
"""
NO_SCORES = "These weights were not scored before they were exported."
PLUGGED = (
    "The model needs the Python code in `plugins/`, which `trust=True` executes: read it before. Nothing else in this "
    "repository is executed"
)
UNKNOWN_LICENCE = (
    "Not stated. Whoever passes the model on has to look at the licence of the data it was trained on, and then write "
    "one in the first lines of this file (`license:`)."
)


def model_card(request: ExportRequest, step: int) -> str:
    """The card of a run's weights of ``step``, with the scores that were made with them."""
    run, config = request.run, request.run.config
    results = list(results_of(request, step))
    name = run.directory.resolve().name
    plugged = (run.directory / FOLDER).is_dir()
    return CARD.format(
        header=yaml.safe_dump(front_matter(request, name, results), sort_keys=False, allow_unicode=True),
        name=name,
        trust=", trust=True" if plugged else "",
        code=PLUGGED if plugged else "Nothing in this repository is executed",
        source=config.data.source,
        target=config.data.target,
        what="A Transformer" if config.model.name == "transformer" else "An LSTM encoder-decoder",
        version=request.record()["nmt"],
        step=step,
        data=corpus_name(config.data),
        example=next(iter(own_text(run)[1]), "A man in an orange hat."),
        scores=score_table(results),
        model=yaml.safe_dump(to_tree(config.model), sort_keys=False),
        licence=UNKNOWN_LICENCE if request.license is None else request.license,
    )


def results_of(request: ExportRequest, step: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sets and results.json of each that was scored as a whole with these weights, decoding as config.yaml says."""
    paths = request.run.scores.glob("*/results.json"), request.run.scores.glob("*/*/results.json")
    for path in sorted(path for found in paths for path in found):
        results = read_results(path.parent)
        if results.get("checkpoint") != request.checkpoint or results.get("step") != step:
            continue
        if set(results.get("difference", {})) <= {"checkpoint"}:
            yield str(results.get("name", path.parent.name)), results


def front_matter(request: ExportRequest, name: str, results: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """What the hub reads of a card (its "model card metadata")."""
    data = request.run.config.data
    task = {"type": "translation", "name": "Translation"}
    usual = data.source, data.target
    found = [
        {
            "task": task,
            "dataset": {"name": test, "type": corpus_name(data), "args": "-".join(scored.get("languages", usual))},
            "metrics": [
                {"type": kind, "name": score["name"], "value": round(score["value"], 2), "args": score["signature"]}
                for kind, score in scored["scores"].items()
            ],
        }
        for test, scored in results
    ]
    header: dict[str, Any] = {
        "language": [language_of(data.source), language_of(data.target)],
        "license": request.license or "unknown",
        "library_name": "nmt",
        "pipeline_tag": "translation",
        "tags": ["translation", request.run.config.model.name],
    }
    path = getattr(data, "path", "")  # a repository of the hub, unless it is a folder or a kind of file
    if "/" in path and not Path(path).exists():
        header["datasets"] = [path]
    return {**header, "model-index": [{"name": name, "results": found}]} if found else header


def corpus_name(data: DataConfig) -> str:
    """What the data are called: a named corpus, a repository of the hub, or a kind of files."""
    return getattr(data, "path", "") or data.name


def score_table(results: list[tuple[str, dict[str, Any]]]) -> str:
    """Every score with its signature, which says how to compute it again."""
    rows = [
        f"| {test} | {scored['sentences']:,} | {score['name']} | {score['value']:.2f} | "
        f"`{in_cell(score['signature'])}` |"
        for test, scored in results
        for score in scored["scores"].values()
    ]
    head = ["| set | sentences | metric | value | signature of sacreBLEU |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else NO_SCORES


def in_cell(text: str) -> str:
    """Text for a Markdown table, where | ends a cell, in backquotes too."""
    return text.replace("|", "\\|")
