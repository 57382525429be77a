"""The audit's page: what was checked, the tree of streams, and what any step drew. Self-contained, asks no network."""

from __future__ import annotations

import json
from pathlib import Path

from growjax.record.digested import write_with_digests
from growjax.report import style
from growjax.report.formatting import Row as Record
from growjax.report.formatting import count, text

_SCRIPT = """
const streams = JSON.parse(document.getElementById('streams').textContent);
const chosen = document.getElementById('stream'), step = document.getElementById('step');
streams.forEach((s, i) => chosen.add(new Option(s.place, i)));
function show() {
  const s = streams[chosen.value], n = Number(step.value), body = document.getElementById('drawn');
  step.min = s.first; step.max = s.last;
  body.replaceChildren();
  for (const site of s.sites) {
    const at = site.steps[n];
    if (at === undefined) continue;
    const row = body.insertRow(), [key, bits] = at.split(' ');
    for (const reported of [site.at || 'the step itself', site.what, site.shape, key, bits]) {
      const code = document.createElement('code');
      code.textContent = reported;
      row.insertCell().append(code);
    }
  }
  if (!body.rows.length) {
    body.insertRow().insertCell().textContent = `draws nothing at step ${n}: live from ${s.first} to ${s.last}`;
  }
}
chosen.onchange = () => { step.value = streams[chosen.value].first; show(); };
step.oninput = show;
if (streams.length) { step.value = streams[0].first; show(); }
"""


def write_audit(directory: Path, result: Record) -> Path:
    """Writes `audit.html` under `directory`; its bytes depend on the result alone."""
    (path,) = write_with_digests(directory, {"audit.html": page(result)}, digests="audit-digests.json")
    return path


def _place(row: Record) -> str:
    return " / ".join([f"{row['root']['purpose']} seed {row['root']['seed']}", *map(str, row["path"])])


def _what(draw: Record) -> str:
    kind = draw["distribution"]
    more = {"mask": f"keeps {1 - draw.get('rate', 0):g}", "integers": f"0 to {draw.get('high', 0) - 1}",
            "uniform": f"{draw.get('low')} to {draw.get('high')}"}.get(kind, "mean 0, variance 1")  # fmt: skip
    return f"{kind}, {more}, from {draw['dtype']}" if kind == "mask" else f"{kind} ({more}), {draw['dtype']}"


def verdict(result: Record) -> str:
    """What an audit came to, in a few words."""
    if not result["holds"]:
        return f"{len(result['faults'])} things do not hold"
    return "what was checked holds" if result["not_checked"] else "every draw is accounted for"


def _injected(result: Record) -> str:
    """What was asked of the cells that were run again."""
    if result["not_checked"]:
        return ""
    asked = "Some cells are run again with their recorded draws as data in place of keys. They must ask for each once "
    if result["injected"] and not result["counts"]["of those cells, compared in their states too"]:
        return (
            asked + "and for no other; on this device, where that is another program, their states are not compared. "
        )
    return asked + "and for no other, and give the recorded bits. "


def page(result: Record) -> str:
    """The whole HTML document."""
    found = verdict(result)
    lines = [*result["faults"], *(f"not checked: {what}" for what in result["not_checked"])]
    faults = "".join(f"<li>{text(line)}</li>" for line in lines)
    counts = "".join(f'<tr><th scope="row">{text(k)}</th><td class="n">{count(v)}</td></tr>\n'
                     for k, v in result["counts"].items())  # fmt: skip
    far = "; ".join(f"{d}: {v:.1f}" for d, v in sorted(result["normal_distance"].items())) or "no normals were drawn"
    data = [
        {"place": _place(row), "first": row["first"], "last": row["last"],
         "sites": [{"at": s["at"], "what": _what(s["draw"]), "shape": " x ".join(map(str, s["draw"]["shape"])),
                    "steps": s["steps"]} for s in row["sites"]]}
        for row in result["streams"]
    ]  # fmt: skip
    embedded = json.dumps(data, sort_keys=True, separators=(",", ":")).replace("</", "<\\/")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit of the randomness</title>\n<style>\n{style.css()}</style>\n</head>\n<body>\n<main>\n"
        f'<header>\n<h1>Audit of the randomness</h1>\n<p class="lead">{found[0].upper()}{found[1:]}.</p>\n'
        f"<p>Run with root <code>{text(result['root'])}</code>.</p>\n"
        f"{f'<ul>{faults}</ul>' if faults else ''}</header>\n"
        '<section id="checked">\n<h2>What was checked</h2>\n'
        "<p>Each cell's ledger follows from its recipe; it is compared with what the run recorded. Every draw is "
        "derived by JAX and in plain NumPy, word for word. Every training program is walked: each random primitive "
        f"belongs to a stream and a step. {_injected(result)}Keys of one owner serve once; candidates that are "
        "compared share theirs.</p>"
        f'<div class="wide" tabindex="0"><table><caption>Counts. Normals by JAX and derived lie apart by at most (in '
        f"units in the last place, carried through the tails): {far}.</caption>\n<tbody>\n{counts}</tbody></table>"
        f'</div>\n</section>\n<section id="tree">\n<h2>The tree of streams</h2>\n{_tree(result)}</section>\n'
        '<section id="drawn-at">\n<h2>What a step drew</h2>\n'
        "<p>Steps count from the start of the source's training, or from the widening.</p>\n"
        '<p><label>stream <select id="stream"></select></label> '
        '<label>step <input id="step" type="number" min="0" value="0"></label></p>\n'
        '<div class="wide" tabindex="0"><table><caption>Site, distribution, shape, key, and the start of the '
        'SHA-256 of the bits drawn.</caption>\n<thead><tr><th scope="col">site</th><th scope="col">drawn</th>'
        '<th scope="col">shape</th><th scope="col">key</th><th scope="col">bits</th></tr></thead>\n'
        '<tbody id="drawn"></tbody></table></div>\n</section>\n'
        f'<section id="cells">\n<h2>The cells</h2>\n{_cells(result)}</section>\n</main>\n'
        f'<script type="application/json" id="streams">{embedded}</script>\n<script>{_SCRIPT}</script>\n'
        "</body>\n</html>\n"
    )


def _tree(result: Record) -> str:
    """Streams under their roots, each with its key, its steps and the cells in which it is live."""
    roots: dict[str, list[Record]] = {}
    for row in result["streams"]:
        roots.setdefault(f"{row['root']['purpose']}, seed {row['root']['seed']}", []).append(row)
    parts = []
    for name, found in roots.items():
        items = "".join(
            f"<li>{text(' / '.join(map(str, row['path'])))} <code>{row['key']}</code>, steps {row['first']} to "
            f"{row['last']}, live in {text(', '.join(f'{n} {w}' for w, n in sorted(row['live'].items())))}</li>\n"
            for row in found
        )
        parts.append(f"<li>root <strong>{text(name)}</strong>\n<ul>\n{items}</ul></li>\n")
    return f"<ul>\n{''.join(parts)}</ul>\n" if parts else "<p>No stream is live in this run.</p>\n"


def _cells(result: Record) -> str:
    head = ("cell", "kind", "source", "operator", "regime", "replicate", "streams (values; SHA-256 of the bits)")
    body = []
    for cell in result["cells"]:
        described = "<br>".join(
            f"{text(name)}: {count(e['draws'])}; <code>{e['bits'][:16]}</code>" for name, e in cell["streams"].items()
        )
        fields = (cell["id"], cell["kind"], cell["source"], cell["operator"], cell["regime"], cell["replicate"])
        body.append("".join(f"<td>{text(f)}</td>" for f in fields) + f"<td>{described or 'drew nothing'}</td>")
    rows = "".join(f"<tr>{row}</tr>\n" for row in body)
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        '<div class="wide" tabindex="0"><table><caption>Every cell, with the digest of all bits it drew from each '
        f"stream.</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
