"""A page to look at attention with: one HTML file that needs no network.

Tokens are text, which the browser sets with its own fonts and in its own direction.  Pointing at a target token, or
going to it with the Tab key, colours the source tokens by their weights; the centre and the window of local attention
are underlined and said.  Several runs stand side by side; layer and head are chosen above each.
"""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from nmt.eval.figures.picture import Picture
from nmt.report.page import STYLE

LOOK_STYLE = """
.view { border: 1px solid #ddd; border-radius: .4rem; padding: .6rem .8rem; flex: 1 1 24rem; min-width: 0 }
.view h3 { font-size: 1rem; margin: 0 0 .4rem } .tokens { line-height: 2; overflow-wrap: anywhere }
.tokens span { padding: .1rem .25rem; border-radius: .2rem; border-bottom: 2px solid transparent }
.tokens span { unicode-bidi: isolate } .source span.inside { border-bottom-color: #c33 }
.target span { cursor: pointer } .target span.on { background: #ffe2a8 }
.source span.centre { border-bottom-width: 5px } .said { color: #555; font-size: .85rem; min-height: 2.6em }
"""

# showAttention(view, data): colour the tokens of an element as ``view`` makes it by the numbers of ``values``.
SHOW_ATTENTION = """
function showAttention(view, data) {
  const [layer, head] = view.querySelectorAll('select');
  const source = [...view.querySelectorAll('.source span')], target = [...view.querySelectorAll('.target span')];
  const said = view.querySelector('.said');
  let token = 0;
  const chosen = (select, count) => select.value === 'mean' ? [...Array(count).keys()] : [Number(select.value)];
  function show() {
    const layers = chosen(layer, data.weights.length), heads = chosen(head, data.weights[0].length);
    const row = source.map((_, s) => {
      let sum = 0;
      for (const l of layers) for (const h of heads) sum += data.weights[l][h][token][s];
      return sum / (layers.length * heads.length);
    });
    const one = layers.length === 1 && heads.length === 1 && data.centre !== null;
    const centre = one ? data.centre[layers[0]][heads[0]][token] : null;
    source.forEach((span, s) => {
      span.style.background = `rgba(30, 110, 220, ${Math.min(1, row[s])})`;
      span.style.color = row[s] > 0.6 ? '#fff' : '';
      span.title = row[s].toFixed(3);
      span.classList.toggle('inside', one && Math.abs(s - Math.floor(centre)) <= data.half_width);
      span.classList.toggle('centre', one && s === Math.floor(centre));
    });
    target.forEach((span, t) => span.classList.toggle('on', t === token));
    const best = row.map((w, s) => [w, s]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([w]) => w > 0.005);
    said.textContent = best.map(([w, s]) => `${source[s].textContent} ${w.toFixed(2)}`).join(', ') +
      (one ? ` \\u2013 centre ${centre.toFixed(2)}, window of ${data.half_width} on either side` : '');
  }
  target.forEach((span, t) => {
    for (const event of ['mouseenter', 'focus', 'click']) span.addEventListener(event, () => { token = t; show(); });
  });
  layer.addEventListener('change', show);
  head.addEventListener('change', show);
  show();
}
"""
THOUSAND = 1000  # weights stand in the page as whole numbers: the page divides by what ``view`` multiplied by
SCRIPT = f"""{SHOW_ATTENTION}
const weights = part => Array.isArray(part) ? part.map(weights) : part / {THOUSAND};
for (const view of document.querySelectorAll('.view')) {{
  const data = JSON.parse(view.querySelector('script').textContent);
  showAttention(view, {{...data, weights: weights(data.thousandths)}});
}}
"""


def look_page(title: str, sentences: Sequence[tuple[str, Sequence[tuple[str, Picture]]]]) -> str:
    """The page of some sentences: the text of each, and of each view its name and what is attended to there."""
    parts = [f"<h1>{escape(title)}</h1>"]
    parts.append(
        '<p class="note">Point at a target token: the bluer a source token, the greater its weight. '
        "Underlined: the window of local attention, and thicker its centre.</p>"
    )
    for text, views in sentences:
        parts.append(f'<h2 dir="auto">{escape(text)}</h2>\n<div class="side">')
        parts += [view(name, picture) for name, picture in views]
        parts.append("</div>")
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{LOOK_STYLE}</style></head>\n"
        f"<body>\n{body}\n<script>{SCRIPT}</script></body></html>\n"
    )


def view(name: str, picture: Picture) -> str:
    """One run's attention to one sentence, or of one sentence to itself."""
    layers, heads = picture.maps.weights.shape[:2]
    data = values(picture)
    # Whole numbers: a page is nearly all weights, and most of them are 0.
    data["thousandths"] = (picture.maps.weights.nan_to_num() * THOUSAND).round().int().tolist()
    del data["weights"]
    # Inside a script element only "</" could end it early; in JSON any character may be written so.
    written = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="view"><h3>{escape(name)}</h3>'
        f"<p>layer {choice(layers)} head {choice(heads)}</p>"
        f'<p class="tokens source" dir="auto">{tokens(picture.source)}</p>'
        f'<p class="tokens target" dir="auto">{tokens(picture.target, focus=True)}</p>'
        f'<p class="said" dir="auto"></p><script type="application/json">{written}</script></div>'
    )


def values(picture: Picture) -> dict[str, Any]:
    """The numbers of a view, in JSON types: weights[layer][head][target][source] with three decimals."""
    maps = picture.maps
    return {
        "weights": rounded(maps.weights.nan_to_num().tolist()),
        "centre": None if maps.centre is None else rounded(maps.centre.nan_to_num().tolist()),
        "half_width": maps.half_width,
    }


def rounded(tree: Any) -> Any:
    """Nested lists of numbers with three decimals."""
    return [rounded(part) for part in tree] if isinstance(tree, list) else round(tree, 3)


def choice(count: int) -> str:
    """A menu of the mean and of each layer or head, counted from 1; where there is one, that one is chosen."""
    names = ["<option value=mean>mean</option>"] * (count > 1)
    return f"<select>{''.join([*names, *(f'<option value={n}>{n + 1}</option>' for n in range(count))])}</select>"


def tokens(words: Sequence[str], focus: bool = False) -> str:
    """Tokens as text, one element each."""
    opened = '<span tabindex="0">' if focus else "<span>"
    return " ".join(f"{opened}{escape(word)}</span>" for word in words)
