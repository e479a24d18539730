"""The page to try a model with: one types sentences and sees translations and attention.

It is one HTML file without a network but /translate.  What came from a user, a model or a file is put into it as text,
never as HTML, and the browser is told to run the page's own script alone (Content-Security-Policy).
"""

import base64
import hashlib
from html import escape

from nmt.report.look import LOOK_STYLE, SHOW_ATTENTION
from nmt.report.page import STYLE

PAGE_STYLE = """
form { margin: 1rem 0 } textarea { width: 100%; box-sizing: border-box; font: inherit; padding: .4rem .6rem }
form label, form button, form input { font: inherit } form input { width: 4em } form p { margin: .5rem 0 }
article { margin-top: 1.6rem } article h2 { white-space: pre-wrap; overflow-wrap: anywhere }
.translation { font-size: 1.25rem; overflow-wrap: anywhere; min-height: 1.45em }
.score { color: #555; font-size: .85rem } #status.failed { color: #b00 }
"""

PAGE_SCRIPT = """
const form = document.querySelector('form'), status = document.querySelector('#status');
const results = document.querySelector('#results'), target = results.lang;
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
function menu(count) {
  const names = count > 1 ? [['mean', 'mean']] : [];
  for (let n = 0; n < count; n++) names.push([String(n), String(n + 1)]);
  return make('select', {}, ...names.map(([value, name]) => make('option', {value}, name)));
}
function tokens(kind, words, tabIndex) {
  const line = make('p', {className: `tokens ${kind}`, dir: 'auto'});
  for (const word of words) line.append(make('span', {tabIndex}, word), ' ');
  return line;
}
function attention(data) {
  const choose = make('p', {}, make('label', {}, 'layer ', menu(data.weights.length)), ' ',
    make('label', {}, 'head ', menu(data.weights[0].length)));
  const view = make('div', {className: 'view'}, choose, tokens('source', data.source, -1),
    tokens('target', data.target, 0), make('p', {className: 'said', dir: 'auto'}));
  showAttention(view, data);
  return view;
}
function result(text, answer) {
  const article = make('article', {}, make('h2', {dir: 'auto'}, text),
    make('p', {className: 'translation', dir: 'auto', lang: target}, answer.translation));
  if (answer.hypotheses.length > 1) {
    const score = h => make('span', {className: 'score'}, ` ${h.score.toFixed(3)}`);
    article.append(make('ol', {}, ...answer.hypotheses.map(h =>
      make('li', {}, make('span', {dir: 'auto', lang: target}, h.text), score(h)))));
  }
  for (const warning of answer.warnings) article.append(make('p', {className: 'note'}, warning));
  if (answer.attention) article.append(attention(answer.attention));
  return article;
}
async function ask(texts) {
  const body = JSON.stringify({texts, n_best: form.n_best.valueAsNumber, attention: true});
  const response = await fetch('translate', {method: 'POST', headers: {'Content-Type': 'application/json'}, body});
  const answer = await response.json().catch(() => ({error: `the server answered with status ${response.status}`}));
  if (!response.ok) throw new Error(answer.error);
  return answer.results;
}
async function translate() {
  const texts = form.text.value.split(/\\r?\\n/).filter(line => line.trim());
  if (!texts.length || form.button.disabled) return;
  form.button.disabled = true;
  status.className = '';
  status.textContent = 'translating';
  try {
    const answers = await ask(texts);
    results.replaceChildren(...texts.map((text, n) => result(text, answers[n])));
    status.textContent = '';
  } catch (error) {
    status.className = 'failed';
    status.textContent = error.message;
  } finally {
    form.button.disabled = false;
  }
}
form.addEventListener('submit', event => { event.preventDefault(); translate(); });
form.text.addEventListener('keydown', event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
});
"""

WHOLE_STYLE = STYLE + LOOK_STYLE + PAGE_STYLE
WHOLE_SCRIPT = f"{{\n{SHOW_ATTENTION}{PAGE_SCRIPT}}}"


def page(name: str, source: str, target: str, n_best: int, most: int) -> str:
    """The page of a run: its name, its languages, and how many translations one can ask for."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(name)}</title><style>{WHOLE_STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(name)}</h1>\n"
        f'<form><p><label for="text">Text ({escape(source)}), a sentence a line</label></p>\n'
        f'<textarea id="text" name="text" rows="4" dir="auto" lang="{escape(source)}" autofocus></textarea>\n'
        f'<p><label>translations <input name="n_best" type="number" min="1" max="{most}" value="{n_best}" required>'
        f'</label> <button name="button">Translate to {escape(target)}</button> (Ctrl+Enter)</p>\n'
        f'<p id="status" role="status"></p></form>\n<div id="results" lang="{escape(target)}"></div>\n'
        '<p class="note">Point at a target token, or go to it with the Tab key: the bluer a source token, the greater '
        "its weight. Underlined: the window of local attention, and thicker its centre.</p>\n"
        f"<script>{WHOLE_SCRIPT}</script></body></html>\n"
    )


def page_policy() -> str:
    """Content-Security-Policy: the page's own style and script, and requests to its own server; nothing else."""
    script, style = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (WHOLE_SCRIPT, WHOLE_STYLE)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
