"""Mean and spread over seeds of each configuration of a sweep, as a Markdown table.

    python scripts/compare_runs.py runs/2026-01-31_12-00-00 [runs/other ...] [--metric bleu] [--set test_2016_flickr]

Reads config.yaml, scores/SET/results.json and log.jsonl of every run directory below the ones given.  Runs whose
configurations differ in the seed alone make one row: mean ± sample standard deviation (lowest to highest) of each
metric on each test set, with the minutes of training and the target tokens a second.  Of runs that are equal in seed,
too, the newest counts.  Results made in another way than training makes them (eval.limit=20, checkpoint=avg:3) have
columns of their own, which say so.
"""

import argparse
import sys
from pathlib import Path

from nmt.errors import RunError
from nmt.runs.summary import read_runs
from nmt.runs.table import markdown, newest_of_each_seed, remarks, table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directories", nargs="+", type=Path, help="runs, or folders of runs such as a sweep's")
    parser.add_argument("--metric", action="append", help="bleu, chrf, ...; may be repeated; default: all")
    parser.add_argument("--set", action="append", help="test set; may be repeated; default: all but the validation set")
    options = parser.parse_args()
    try:
        runs, left_out = newest_of_each_seed(read_runs(options.directories))
    except RunError as error:
        sys.exit(f"error: {error}")
    for note in (note for run in runs for note in run.notes):
        print(f"warning: {note}", file=sys.stderr)
    print(markdown(table(runs, options.metric, options.set)))
    for remark in remarks(runs, left_out):
        print(f"\n{remark}")


if __name__ == "__main__":
    main()
