"""Results lie where nothing else is overwritten by them."""

import pytest

from nmt.config import to_tree
from nmt.device import Precision
from nmt.runs.results import difference_from, folder_of, put_aside, read_results, set_folder, way, write_results
from nmt.search import DecodeConfig

USUAL = way("best", None, Precision.fp32, DecodeConfig())
LINES = (["a"], ["b"], ["c"])


def tree(**more):
    return {"scores": {"bleu": {"value": 1.0}}, "by_length": [], **more}


@pytest.mark.parametrize(
    ("one", "other"), [("test[:50%]", "test[50%:]"), ("a/b", "a_b"), ("a b", "a_b"), ("données", "donn_es")]
)
def test_every_set_has_a_folder_of_its_own(one, other):
    assert set_folder(one) != set_folder(other)
    assert {set_folder(name) for name in (one, other)} == {set_folder(name) for name in (one, other)}
    assert "/" not in set_folder(one) + set_folder(other)


def test_ordinary_names_are_their_own_folders():
    for name in ("test", "test_2016_flickr", "newstest2014", "a.b-c"):
        assert set_folder(name) == name


@pytest.mark.parametrize(
    ("made", "folder"),
    [
        (USUAL, ""),
        (way("best", 20, Precision.fp32, DecodeConfig(beam_size=3)), "limit_20-beam_size_3"),
        (way("avg:3", None, Precision.fp32, DecodeConfig()), "checkpoint_avg_3"),
        (way("best", None, Precision.bf16, DecodeConfig(max_ratio=None)), "precision_bf16-max_ratio_None"),
        (way("best", None, Precision.fp32, DecodeConfig(batch_size=1, precision=Precision.fp32)), ""),
    ],
)
def test_results_made_in_another_way_lie_inside_under_a_name_that_says_how(tmp_path, made, folder):
    assert folder_of(tmp_path, difference_from(tmp_path, made, USUAL)) == tmp_path / folder


def test_another_machine_with_another_precision_does_not_overwrite(tmp_path):
    """decode.precision=auto is bf16 here and fp32 there; each finds its own results again."""
    here, there = (way("best", None, precision, DecodeConfig()) for precision in (Precision.bf16, Precision.fp32))
    write_results(tmp_path, tree(precision="bf16"), LINES)
    assert folder_of(tmp_path, difference_from(tmp_path, there, there)) == tmp_path / "precision_fp32"
    assert folder_of(tmp_path, difference_from(tmp_path, here, here)) == tmp_path


def test_scores_by_other_metrics_of_the_same_translations_stay(tmp_path):
    write_results(tmp_path, tree(by_length=[1]), LINES)
    write_results(tmp_path, {"scores": {"chrf": {"value": 2.0}}, "by_length": []}, LINES)
    found = read_results(tmp_path)
    assert found == {"scores": {"bleu": {"value": 1.0}, "chrf": {"value": 2.0}}, "by_length": [1]}
    write_results(tmp_path, {"scores": {"ter": {"value": 3.0}}, "by_length": []}, (["a"], ["b"], ["another"]))
    assert set(read_results(tmp_path)["scores"]) == {"ter"}, "the others are of other translations"


def test_what_an_earlier_version_left_in_the_place_of_the_runs_own_results_is_moved(tmp_path):
    decode = {"beam_size": 3, "length_alpha": 1.0}
    write_results(tmp_path, tree(checkpoint="best", sentences=20, decode=decode, precision="fp32"), LINES)
    put_aside(tmp_path, USUAL, total=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["limit_20-beam_size_3"]
    moved = tmp_path / "limit_20-beam_size_3"
    assert {path.name for path in moved.iterdir()} == {"results.json", "source.txt", "reference.txt", "hypotheses.txt"}
    assert read_results(moved)["difference"] == {"limit": 20, "beam_size": 3}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"scores": 1}'])
def test_damaged_results_are_no_results(tmp_path, content):
    (tmp_path / "results.json").write_text(content, encoding="utf-8")
    put_aside(tmp_path, USUAL, total=1)
    write_results(tmp_path, tree(), LINES)
    assert read_results(tmp_path) == tree()


def test_usual_results_stay_where_they_are(tmp_path):
    usual = {"checkpoint": "best", "sentences": 1000, "decode": to_tree(DecodeConfig())}  # with precision=auto
    write_results(tmp_path, tree(**usual), LINES)
    put_aside(tmp_path, USUAL, total=1000)
    assert read_results(tmp_path) == tree(**usual)
    write_results(tmp_path, tree(**usual, set_sentences=1000), LINES)
    put_aside(tmp_path, USUAL, total=900)  # the file of the set has become shorter since
    assert not (tmp_path / "limit_1000").exists()
