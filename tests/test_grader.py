"""The grader of teaching/: all points for the solution, none for the empty file; a mistake costs what it breaks."""

import ast
import sys
from pathlib import Path

import pytest

from nmt.models.attention import ATTENTIONS

TEACHING = Path(__file__).parents[1] / "teaching"
RAISES = 'raise NotImplementedError("forward is not written yet")'  # all that forward of the assignment does
ASSIGNMENT, SOLUTION = TEACHING / "local_p.py", TEACHING / "solutions" / "local_p.py"


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Call it with the text of an answer: the properties that do not hold."""
    monkeypatch.syspath_prepend(str(TEACHING))
    before = dict(ATTENTIONS)

    import grade

    def graded(text: str) -> set[str]:
        path = tmp_path / "answer.py"
        path.write_text(text, encoding="utf-8")
        module = grade.answer(path)
        found = grade.grade(module.MyLocalP, module.MyLocalPConfig(half_width=grade.HALF_WIDTH))
        assert list(found) == list(grade.POINTS)
        return {name for name, wrong in found.items() if wrong}

    yield graded
    ATTENTIONS.clear()
    ATTENTIONS.update(before)
    for name in ("grade", "answer"):
        sys.modules.pop(name, None)


def without_forward(text: str) -> str:
    """A file's code without imports, docstrings of file and class, and what forward does."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            del node.body[1:]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    del classes[-1].body[0]
    kept = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, kept))


def test_the_solution_is_the_assignment_but_for_its_forward_pass():
    """It is a whole file, as a plug-in has to be, and must not drift from what is handed out."""
    found, given = (without_forward(path.read_text(encoding="utf-8")) for path in (SOLUTION, ASSIGNMENT))
    assert "def project_keys" in given
    assert found == given


def test_the_solution_gets_all_points_and_the_empty_file_none(graded):
    import grade

    assert graded(SOLUTION.read_text(encoding="utf-8")) == set()
    assert graded(ASSIGNMENT.read_text(encoding="utf-8")) == set(grade.POINTS)


@pytest.mark.parametrize(
    "returned",
    [
        "return 3",
        "raise SystemExit",
        "return None",
        "return Attended(3, 3)",
        "return Attended(query, memory.padding)",
        "return Attended(query, query)",
        "return Attended(query * 0, memory.padding.expand(-1, query.size(1), -1) * 0.0)",
    ],
)
def test_what_is_no_attention_gets_no_points(returned, graded):
    import grade

    text = ASSIGNMENT.read_text(encoding="utf-8")
    assert text.count(RAISES) == 1
    assert graded(text.replace(RAISES, returned)) == set(grade.POINTS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", r"answer\.py cannot be read: SyntaxError: "),
        ("import nothing_of_that_name\n", r"answer\.py cannot be read: ModuleNotFoundError: "),
        ("exit()\n", r"answer\.py cannot be read: SystemExit"),
        ("class MyLocalP: pass\n", r"answer\.py has no MyLocalPConfig; the names of teaching/local_p\.py have to stay"),
    ],
)
def test_a_file_that_is_no_answer_is_refused_in_a_line(graded, text, said):
    with pytest.raises(SystemExit, match=said):
        graded(text)


@pytest.mark.parametrize(
    ("right", "wrong", "lost"),
    [
        (" | memory.padding", "", {"padding", "batch"}),
        ("memory.keys.transpose(1, 2)", "memory.keys.transpose(1, 2) / query.size(2) ** 0.5", {"shape"}),
        ("(D / 2) ** 2", "D**2", {"shape", "sum"}),
        ("((s - p.floor()).abs() > D) | memory.padding", "memory.padding", {"window", "sum"}),
        ("p.floor()", "p.round()", {"window", "sum"}),
        ("(s - p) ** 2)", "(s - p.detach()) ** 2)", {"gradients"}),
        (
            "* gaussian\n",
            "* gaussian\n        weights = weights / weights.sum(2, keepdim=True)\n",
            {"sum"},
        ),
        (
            "return Attended(memory.value_rows.weighted_sum(weights)",
            "return Attended((weights[..., None] * memory.values[:, None]).sum(2)",
            {"memory"},
        ),
    ],
    ids=["padding attended", "scores scaled", "sigma D", "no window", "rounded", "no gradient", "sums to 1", "copies"],
)
def test_a_mistake_costs_what_it_breaks(right, wrong, lost, graded):
    text = SOLUTION.read_text(encoding="utf-8")
    assert text.count(right) == 1
    assert graded(text.replace(right, wrong)) == lost


def test_the_command_prints_points_and_sentences(graded, monkeypatch, capsys):
    import grade

    monkeypatch.setattr(sys, "argv", ["grade.py", str(ASSIGNMENT)])
    grade.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 of 3  shape      NotImplementedError: forward is not written yet"
    assert lines[-1] == "0 of 15 points"
