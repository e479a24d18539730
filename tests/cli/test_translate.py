"""The command: lines in, lines out, in every form, and ends that leave no mess."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, make_run
from tqdm import tqdm

from nmt.cli.streams import Sink, refuse_same_file
from nmt.cli.translate import TranslateConfig, Writer, main, translate_windows
from nmt.cli.translation_input import Window
from nmt.errors import ConfigError
from nmt.eval.alignment import hard_alignment
from nmt.translate.options import TranslateOptions
from nmt.translate.translation import Translation

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "a", MODELS["local_p"])


@pytest.fixture
def command(run, monkeypatch, tmp_path):
    """Type words after the command, in an empty folder; returns the lines of file ``out``."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def command(*words: str, text: str = "one two\n\nthree four five\n") -> list[str]:
        (tmp_path / "in").write_text(text, encoding="utf-8")
        typed = ["nmt", f"run={run}", "device=cpu", "threads=1", "input=in", "output=out", *words]
        monkeypatch.setattr(sys, "argv", typed)
        main()
        return (tmp_path / "out").read_text(encoding="utf-8").split("\n")

    yield command
    torch.set_num_threads(threads)


class Upper:
    """A translator that can be checked by eye."""

    def hypotheses(self, texts, progress, warn, prefixes):
        return [[Translation(text.upper(), 0.0, 0.0, True, [])] if text.strip() else [] for text in texts]


def test_one_line_out_for_each_line_in_before_more_is_read():
    """Blank ones too; whatever white space a line holds, it stays one."""
    out = io.BytesIO()
    lines = ["a", "", "  ", "b\u2028c", "d\x0be", "\x85", "f\x0c", "g"]

    def windows():
        for number in range(0, len(lines), 3):
            assert out.getvalue().count(b"\n") == number
            yield Window(lines[number : number + 3])

    translate_windows(windows(), Upper(), Writer(TranslateOptions(), Sink("out", out)), tqdm(disable=True))  # type: ignore[arg-type]
    expected = [line.upper() if line.strip() else "" for line in lines]
    assert out.getvalue().decode().split("\n") == [*expected, ""]


def test_n_best_lists_as_lines():
    """In the form of Moses: the number of the text from 0, each of its translations, and a line for a blank text."""

    class Two(Upper):
        def hypotheses(self, texts, progress, warn, prefixes):
            found = super().hypotheses(texts, progress, warn, prefixes)
            return [[*best, *(replace(t, text=t.text * 2, log_prob=-2.5, score=-1.25) for t in best)] for best in found]

    out = io.BytesIO()
    write = Writer(TranslateOptions(), Sink("out", out), lists=True)
    translate_windows([Window(["a", ""]), Window(["b"])], Two(), write, tqdm(disable=True))  # type: ignore[arg-type]
    zeros = "logprob= 0.000000 ||| 0.000000"
    assert out.getvalue().decode().splitlines() == [
        f"0 ||| A ||| {zeros}",
        "0 ||| AA ||| logprob= -2.500000 ||| -1.250000",
        f"1 |||  ||| {zeros}",
        f"2 ||| B ||| {zeros}",
        "2 ||| BB ||| logprob= -2.500000 ||| -1.250000",
    ]


def test_n_best_lists_are_printed_where_they_are_asked_for(command):
    """As many translations a line as in JSON, the same ones."""
    *lines, end = command("decode.n_best=3")
    assert end == ""
    *trees, end = map(str.strip, command("decode.n_best=3", "translate.format=jsonl"))
    texts = [(n, h["text"]) for n, tree in enumerate(trees) for h in json.loads(tree)["hypotheses"] or [{"text": ""}]]
    assert [(int(line.split(" ||| ")[0]), line.split(" ||| ")[1]) for line in lines] == texts


def test_the_bar_counts_lines(capsys):
    """Not parts: blank lines have none, long ones several."""

    class Parts(Upper):
        def hypotheses(self, texts, progress, warn, prefixes):
            progress(5)
            return super().hypotheses(texts, progress, warn, prefixes)

    with tqdm(file=io.StringIO(), total=4) as bar:
        write = Writer(TranslateOptions(), Sink("out", io.BytesIO()))
        translate_windows([Window(["a", ""]), Window(["b", "c"])], Parts(), write, bar)  # type: ignore[arg-type]
        assert bar.n == 4


def test_files_and_n_best_as_json_lines(command, capsys):
    """One object a line, blank lines included; text is the best of them; nothing on either stream."""
    best = command()
    assert len(best) == 4
    assert best[1] == best[3] == ""
    options = ("decode.n_best=3", "translate.format=jsonl", "translate.token_scores=true", "translate.alignments=hard")
    *lines, end = command(*options)
    assert end == ""
    trees = [json.loads(line) for line in lines]
    assert [tree["line"] for tree in trees] == [1, 2, 3]
    assert [tree["source"] for tree in trees] == ["one two", "", "three four five"]
    assert [tree["translation"] for tree in trees] == best[:3]
    assert [len(tree["hypotheses"]) for tree in trees] == [3, 0, 3]
    for tree in (trees[0], trees[2]):
        assert tree["hypotheses"][0]["text"] == tree["translation"]
        for h in tree["hypotheses"]:
            assert set(h) == {"text", "score", "log_prob", "finished", "tokens", "token_log_probs", "links"}
            assert len(h["tokens"]) == len(h["token_log_probs"]) == len(h["text"].split()) + 1
            links = [tuple(map(int, link.split("-"))) for link in h["links"].split()]
            assert all(j < len(h["text"].split()) and i < len(tree["source"].split()) for i, j in links)
    assert capsys.readouterr() == ("", "")


def test_alignments_in_a_file_of_their_own(command, tmp_path):
    """Hard ones are the soft ones' largest weights; a line for each line."""
    to_file = "translate.alignments_file=links"
    text = command("translate.alignments=soft", to_file)
    soft = (tmp_path / "links").read_text().split("\n")
    assert command("translate.alignments=hard", to_file) == text
    hard = (tmp_path / "links").read_text().split("\n")
    assert [len(row.split()) for row in soft] == [len(row.split()) for row in text]
    assert len(hard) == len(soft) == 4
    *lines, _ = command("translate.alignments=soft", "translate.format=jsonl")
    for line, links, weights in zip(lines, hard, soft, strict=False):
        for h in json.loads(line)["hypotheses"]:
            assert h["links"] == links == str(hard_alignment(np.array(h["weights"])))
            rows = [[float(x) for x in row.split(",")] for row in weights.split()]
            assert torch.allclose(torch.tensor(rows), torch.tensor(h["weights"]), atol=1e-3)


def test_tags_come_back_and_numbers_are_counted(command, capsys):
    """The tiny model's words have no digits: a number is dropped, one inside a tag is not."""
    plain = command(text="one 1984\n\nthree four five\n")
    text = '<a href="http://x.org/7">one 1984</a>\n\n<br/>three <b>four</b> five\n'
    found = command("translate.tags=true", text=text)
    assert found[0] == f'<a href="http://x.org/7">{plain[0]}</a>'
    assert found[1] == ""
    assert found[2].replace("<b>", "").replace("</b>", "") == "<br/>" + plain[2]
    expected = "numbers: 1 of 1 dropped, 0 invented; URLs: 0 of 1 dropped, 0 invented"
    assert capsys.readouterr().err.splitlines() == [expected]


def test_warnings_name_the_line(command, tmp_path, capsys):
    """A long line and an odd byte, each by its number in the file; both give their line."""
    words = ["translate.max_source=2", "decode.batch_size=1"]
    assert len(command(*words, text="one\ntwo three four\nfive\n")) == 4
    assert capsys.readouterr().err == (
        "warning: line 2: 3 pieces, over 2: translated in 2 parts, split between words, for want of marks\n"
    )


def test_an_ensemble_and_an_error_leave_no_file(command, run, tmp_path):
    """run=[A,A] is A; a mistake is one message, and the old output stays."""
    alone = command()
    assert command(f"run=[{run},{run}]", "decode.ensemble=log_probabilities") == alone
    for words, message in (
        (["checkpoint=avg:2"], "has none; train with trainer.keep_last=2"),
        (["translate.alignments=hard"], "has nowhere to go"),
        (["input=nowhere"], "input=nowhere: No such file"),
        (["output=no/where"], "output=no/where: No such file"),
    ):
        with pytest.raises(SystemExit, match=message):
            command(*words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    assert (tmp_path / "out").read_text().split("\n") == alone


def test_translations_begin_as_the_prefix_file_says(command, tmp_path):
    """A line for each line of input, from a file of the same length; without one nothing changes."""
    plain = command()
    (tmp_path / "prefixes").write_text("zwei drei\r\n\n\n")
    found = command("translate.prefix_file=prefixes", "decode.batch_size=1")
    assert found[0] == "zwei drei" or found[0].startswith("zwei drei ")
    assert found[1:] == plain[1:]
    *lines, _ = command("translate.prefix_file=prefixes", "translate.format=jsonl", "decode.n_best=2")
    assert all(h["text"].startswith("zwei drei") for h in json.loads(lines[0])["hypotheses"])


def test_json_lines_bring_their_prefixes(command):
    """Other keys are ignored; a blank line stays one; what lines hold may be odd, but is a line out."""
    plain = command()
    text = (
        '{"source": "one two", "prefix": "zwei drei", "id": 7}\n\n'
        '{"source": "three\\nfour five", "prefix": null}\n{"source": "\\ud800 one"}\n'
    )
    found = command("translate.input_format=jsonl", text=text)
    assert len(found) == 5
    assert found[0] == "zwei drei" or found[0].startswith("zwei drei ")
    assert found[1:3] == plain[1:3]
    *lines, _ = command("translate.input_format=jsonl", "translate.format=jsonl", text=text)
    assert [json.loads(line)["source"] for line in lines] == ["one two", "", "three four five", "\ufffd one"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["translate.prefix_file=two"], "two has 2 lines, and input=in 3"),
        (["translate.prefix_file=four"], "four has 4 lines, and input=in 3"),
        (["translate.prefix_file=bytes"], r"bytes: line 2 is not UTF-8 \(byte 2 is 0xff\)"),
        (["translate.prefix_file=nowhere"], "translate.prefix_file=nowhere: No such file"),
        (["translate.prefix_file=two", "--interactive"], "translate.prefix_file is for input from a file or a pipe"),
        (["translate.prefix_file=two", "translate.input_format=jsonl"], 'each line has its own "prefix"'),
        (["translate.input_format=jsonl"], "input=in: line 1 is not JSON: .*translate.input_format=jsonl"),
    ],
)
def test_prefixes_that_do_not_fit_are_refused_in_one_line(command, tmp_path, words, message):
    """Before anything is written."""
    (tmp_path / "two").write_text("a\nb\n")
    (tmp_path / "four").write_text("a\nb\nc\nd")
    (tmp_path / "bytes").write_bytes(b"a\nb\xff\n\n")
    with pytest.raises(SystemExit, match=message) as caught:
        command(*words)
    assert "\n" not in str(caught.value).strip()
    assert not (tmp_path / "out").exists()


def test_prefixes_of_typed_lines_are_no_file(command, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(SystemExit, match=r"translate\.prefix_file is for input from a file or a pipe"):
        command("input=null", "translate.prefix_file=in")


def test_control_c_is_quiet(command, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nmt.cli.translate.translate_windows", interrupted)
    with pytest.raises(SystemExit) as caught:
        command()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_a_conversation_over_pipes(run):
    """Each line is answered before the next is sent; a reader that leaves, and Ctrl-C, end without a word."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "nmt.translate", f"run={run}", "device=cpu", "decode.min_length=1", "--interactive"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # Where the tests run in the background, children would inherit that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    left, stopped = (subprocess.Popen(words, env=env, **pipes) for _ in range(2))
    signal.signal(signal.SIGINT, before)
    for process in (left, stopped):
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"one two\n", b"\n", b"three\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert bool(process.stdout.readline().strip()) == (line != b"\n")
    stopped.send_signal(signal.SIGINT)
    assert left.stdout is not None
    left.stdout.close()
    assert left.stdin is not None
    left.stdin.write(b"one\n")
    left.stdin.close()
    for process, code in ((stopped, 130), (left, 141)):
        assert process.wait(300) == code
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("other", ["in.txt", "./in.txt", "link.txt"])
def test_the_input_is_never_written_over(tmp_path, monkeypatch, other):
    """Also not under another name."""
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text("one\n")
    Path("link.txt").symlink_to("in.txt")
    with pytest.raises(ConfigError, match=f"output={other} is the same file as input"):
        TranslateConfig(input="in.txt", output=other)
    with pytest.raises(ConfigError, match=r"alignments_file=out\.txt is the same file as output"):
        refuse_same_file({"input": "in.txt"}, {"output": "out.txt", "translate.alignments_file": "out.txt"})
    refuse_same_file({"input": None}, {"output": "/dev/null", "translate.alignments_file": "/dev/null"})
