"""The whole report of run directories written by hand, in its four forms; and of two tiny models, their attention."""

import csv
import io
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from command_line import refused
from test_comparison import REFERENCES, worse, write
from tiny_runs import ENGLISH, GERMAN, MODELS, make_run
from written_runs import write_result

from nmt.cli.report import COMMAND, with_key
from nmt.cli.report import report as report_command
from nmt.errors import ConfigError
from nmt.report.formats import latex
from nmt.report.report import FILES, ReportOptions, make_report, refuse_other_files
from nmt.report.tables import p_shown

ATTENTIONS = {"none": 3, "global": 10}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two configurations, two seeds; one run has another signature on a second set."""
    folder = tmp_path_factory.mktemp("sweep")
    for name, every in ATTENTIONS.items():
        for seed in (1, 2):
            run = write(folder, name, seed, worse(REFERENCES, every + seed))
            aer = {f"shift {shift}": {"aer": 0.25 + shift / 10 + seed / 100} for shift in (0, 1)}
            lengths = [{"shortest": 1, "longest": 10, "sentences": 5, "bleu": 10.0 * seed}]
            faults = {"cut": {"part": seed, "of": 8}, "empty": {"part": 0, "of": 0}, "unaligned": None}
            more = {"perplexity": 5.0 + seed, "alignment": aer, "by_length": lengths, "tokens_per_second": 900.0}
            more["challenges"] = faults
            write_result(run / "scores" / "flickr", "flickr", {"bleu": 50.0 + seed, "ter": 40.0}, **more)
            signature = "tok:zh" if (name, seed) == ("global", 2) else "tok:13a"
            write_result(run / "scores" / "coco", "coco", {"bleu": 20.0}, signature)
    return folder


@pytest.fixture(scope="module")
def report(sweep):
    return make_report([sweep], ReportOptions("none", trials=20, alignments=0))


def table(report, title):
    (found,) = [t for t in report.tables if t.title.startswith(title)]
    return found


def test_means_and_spreads(report):
    """Sample deviations by hand: of 51 and 52, of 26 and 27 per cent, of 6 and 7."""
    scores, quality = table(report, "Scores"), table(report, "Perplexity")
    assert scores.rows[0][scores.head.index("bleu flickr")] == "51.50 ± 0.71 (51.00 to 52.00)"
    assert quality.rows[0][quality.head.index("perplexity flickr")] == "6.50 ± 0.71 (6.00 to 7.00)"
    for shift, shown in enumerate(("26.5 ± 0.7 (26.0 to 27.0)", "36.5 ± 0.7 (36.0 to 37.0)")):
        assert quality.rows[0][quality.head.index(f"AER flickr, align.shift={shift}")] == shown
    lengths = table(report, "BLEU by words of the source, flickr")
    assert lengths.rows[0][2:] == ["15.00 ± 7.07 (10.00 to 20.00)"]
    cost = table(report, "Cost")
    assert cost.rows[0][cost.head.index("parameters")] == "1,000"


def test_faults_are_shares_over_seeds(report):
    """Those that were counted, and of something."""
    found = table(report, "Faults that a mean hides, per cent")
    assert found.head == ["configuration", "seeds", "flickr: cut translations"]
    assert found.rows[0][2] == "18.75 ± 8.84 (12.50 to 25.00)"


def test_unequal_signatures_are_in_two_columns(report):
    scores = table(report, "Scores")
    first, second = (scores.head.index(f"bleu coco [tok:{tok}]") for tok in ("13a", "zh"))
    assert [[row[0], row[first], row[second]] for row in scores.rows] == [
        ["model.attention=global", "20.00, 1 of 2 seeds", "20.00, 1 of 2 seeds"],
        ["model.attention=none", "20.00 ± 0.00 (20.00 to 20.00)", "-"],
    ]
    assert any("not in one column" in note for note in report.notes)


def test_the_baseline_is_tested(report):
    rows = [row[:3] for row in table(report, "Against model.attention=none").rows if row[1] == "bleu flickr"]
    assert rows == [["model.attention=global", "bleu flickr", "1, 2"]]


def test_files_of_somebody_else_are_not_replaced(report, tmp_path):
    report.write(tmp_path)
    refuse_other_files(tmp_path)
    for name in FILES:
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / name).write_text("a week of work\n")
        with pytest.raises(ConfigError, match=rf"notes/{re.escape(name)} is there and is no report"):
            refuse_other_files(tmp_path / "notes")
        (tmp_path / "notes" / name).unlink()
    with pytest.raises(ConfigError, match=r"report\.md is a file"):
        refuse_other_files(tmp_path / "report.md")


def test_four_files_are_written(report, tmp_path):
    files = {path.suffix: path.read_text(encoding="utf-8") for path in report.write(tmp_path / "new")}
    assert files.keys() == {".md", ".csv", ".tex", ".html"}
    assert files[".md"] == report.markdown
    rows = list(csv.DictReader(io.StringIO(files[".csv"])))
    (row,) = [r for r in rows if (r["configuration"], r["measure"]) == ("model.attention=global", "bleu flickr")]
    assert (float(row["mean"]), row["seeds"], row["signature"]) == (51.5, "2", "tok:13a")
    assert float(row["p bs"]) <= 1
    for rows_of in re.findall(r"\\begin{tabular}{(l\w*)}(.*?)\\end{tabular}", files[".tex"], re.DOTALL):
        for line in (line for line in rows_of[1].splitlines() if "&" in line):
            assert line.count(" & ") == len(rows_of[0]) - 1


class Elements(HTMLParser):
    """Which elements are not closed, and what the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.wanted = [], []

    def handle_starttag(self, tag, attrs):
        self.wanted += [
            v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith(("#", "data:"))
        ]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(report, tmp_path):
    page = report.write(tmp_path)[-1].read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    assert (elements.open, elements.wanted) == ([], [])
    assert "url(http" not in page
    assert "<script" not in page
    assert page.count("<svg") == 2, "the curve of the loss, and BLEU by length"


def test_text_that_looks_like_html_is_text(report, tmp_path):
    changed = type(report)(**{**vars(report), "title": "<b>&"})
    assert "<h1>&lt;b&gt;&amp;</h1>" in changed.write(tmp_path)[-1].read_text(encoding="utf-8")


def test_attention_of_two_models_to_one_sentence(tmp_path):
    """Models that attend have a picture each; what has no weights is named."""
    for name in ("local_p", "bahdanau-like"):
        run = make_run(tmp_path / name, MODELS[name])
        write_result(run / "scores" / "test", "test", {"bleu": 1.0})
        for file, lines in (("source", ENGLISH), ("reference", GERMAN), ("hypotheses", GERMAN)):
            (run / "scores" / "test" / f"{file}.txt").write_text("".join(f"{line}\n" for line in lines))
    shutil.copytree(run, tmp_path / "empty")
    (tmp_path / "empty" / "checkpoints" / "best.pt").unlink()
    text = (tmp_path / "empty" / "config.yaml").read_text().replace("hidden_size: 8", "hidden_size: 16")
    (tmp_path / "empty" / "config.yaml").write_text(
        "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    )
    made = make_report([tmp_path], ReportOptions(alignments=1, device=torch.device("cpu")))
    (sentence,) = made.alignments
    assert len(sentence.pictures) == 2
    assert sentence.source in ENGLISH
    assert any("no alignments of" in note and "best.pt" in note for note in made.notes)


def test_sets_that_nobody_has_are_refused(sweep):
    with pytest.raises(ConfigError, match="choose no scores; there are bleu coco"):
        make_report([sweep], ReportOptions(sets=["nothing"]))


def test_folders_are_typed_without_a_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert with_key(["runs/x", "baseline=none", "a=b"]) == ["of=['runs/x','a=b']", "baseline=none"]
    assert with_key(["--config-dir", "d", "--help"]) == ["--config-dir", "d", "--help"]
    assert COMMAND.module == "nmt.report"


@pytest.mark.parametrize("words", [[], ["of=[]"], ["of=null"], ["baseline=none"]])
def test_without_a_folder_the_command_says_what_to_type(words):
    assert refused(*words, command=COMMAND, job=report_command) == "error: which runs?  python -m nmt.report runs/SWEEP"


def test_more_threads_than_a_command_takes_are_refused():
    assert refused("of=[runs/x]", "threads=1025", command=COMMAND).endswith("threads must be 1 to 1024, got 1025")


def test_small_things():
    assert latex("a_b & 3% ± 1") == r"a\_b \& 3\% $\pm$ 1"
    assert (p_shown(0.0), p_shown(0.05)) == ("< 0.0001", "0.0500")
