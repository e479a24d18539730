"""A report as one HTML page that needs no network and no other file."""

from collections.abc import Sequence
from html import escape

from nmt.report.alignments import Sentence
from nmt.report.tables import Table

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff }
body { margin: 2rem auto; max-width: 1200px; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap }
th { border-bottom: 2px solid #888; text-align: right; white-space: normal; vertical-align: bottom }
th:first-child, td:first-child { text-align: left } tr:hover td { background: #f4f8fc }
p.note, li { color: #555; font-size: .85rem; overflow-wrap: anywhere } svg { max-width: 100%; height: auto }
.side { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
figure { margin: 0; max-width: 100% } figcaption { font-size: .85rem } img { max-width: 100%; height: auto }
"""


def as_html(
    title: str,
    tables: Sequence[Table],
    plots: Sequence[tuple[str, str]],
    alignments: Sequence[Sentence],
    notes: Sequence[str],
) -> str:
    """Tables, plots (title and SVG), alignments side by side, and notes; every picture is inside the page."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for table in tables:
        parts.append(f'<h2>{escape(table.title)}</h2>\n<div class="wide">{html_table(table)}</div>')
        parts += [f'<p class="note">{escape(table.note)}</p>'] if table.note else []
    parts += [f"<h2>{escape(name)}</h2>\n{svg}" for name, svg in plots if svg]
    if alignments:
        parts.append("<h2>Alignments side by side</h2>")
        parts.append('<p class="note">Attention while the reference is read, the mean of layers and heads.</p>')
    for sentence in alignments:
        figures = "".join(
            f"<figure><figcaption>{escape(drawn.configuration)}</figcaption>"
            f'<img alt="attention of {escape(drawn.configuration)}" src="data:image/png;base64,{drawn.png}"></figure>'
            for drawn in sentence.pictures
        )
        parts.append(
            f'<p>{escape(sentence.source)}<br>{escape(sentence.reference)}</p>\n<div class="side">{figures}</div>'
        )
    if notes:
        parts.append("<h2>Notes</h2>\n<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>")
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def html_table(table: Table) -> str:
    """A table element."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"
