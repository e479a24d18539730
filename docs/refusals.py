"""The page of bad input and what is answered: read from the tests that hold the messages, without running them."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
MESSAGES = ("message", "said")  # what tests call the text, or the regular expression, that an answer must have
# The folders of tests, in the order of the page; what no user meets (scripts, classes of the models) is left out.
PARTS = {
    "cli": "Commands and keys",
    "data": "Text, tables and links",
    "runs": "Run directories",
    "train": "Training",
    "search": "Search",
    "translate": "Translating",
    "eval": "Evaluating",
    "export": "Exporting",
    "augment": "Augmenting",
    "serve": "Serving",
}


def refusals_page() -> str:
    """The page, in Markdown."""
    parts = [
        "# Bad input and its message\n",
        "Made from the tests when the documentation is built: each row is an input that a test gives, and words that\n"
        "the answer has; `.*` stands for any.\n",
    ]
    for folder, title in PARTS.items():
        parts.append(f"## {title}\n")
        for file in sorted((TESTS / folder).rglob("test_*.py")):
            parts += [section(file, function, rows) for function, rows in refusals(file)]
    return "\n".join(parts)


def refusals(file: Path) -> Iterator[tuple[ast.FunctionDef, list[tuple[str, str]]]]:
    """The tests of a file that name an answer, each with its inputs and answers as far as they are literal."""
    for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.parametrize"):
                continue
            names, values = decorator.args[:2]
            named = literal(names)
            if isinstance(named, tuple) and named[-1] in MESSAGES and isinstance(values, ast.List):
                rows = [row for row in map(literal, values.elts) if isinstance(row, tuple)]
                found = [(shown(row[:-1]), row[-1]) for row in rows if isinstance(row[-1], str)]
                if found:
                    yield function, found


def literal(node: ast.expr) -> object:
    """The value of an expression made of literals; None for another."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def shown(inputs: tuple[object, ...]) -> str:
    """An input as it is typed, or as Python writes it."""
    return ", ".join(value if isinstance(value, str) else repr(value) for value in inputs)


def section(file: Path, function: ast.FunctionDef, rows: list[tuple[str, str]]) -> str:
    """The table of one test."""
    title = function.name.removeprefix("test_").replace("_", " ")
    place = file.relative_to(TESTS.parent).as_posix()
    lines = [f"**{title[0].upper()}{title[1:]}** ({place})\n", "| input | the answer has |", "| --- | --- |"]
    return "\n".join(
        [*lines, *(f"| {cell(given)} | {cell(answer.replace(chr(92), ''))} |" for given, answer in rows), ""]
    )


def cell(text: str, most: int = 200) -> str:
    """A text in a cell of a table, cut where it is very long."""
    text = text if len(text) <= most else f"{text[:most]}..."
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}".replace("|", "\\|") if text.strip() else "(nothing)"
