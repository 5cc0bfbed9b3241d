"""The report as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detr_hf.html_page import head, picture_address, script_tag, text
from detr_hf.report import tables
from detr_hf.report.charts import STYLE as CHART_STYLE
from detr_hf.report.charts import sparkline
from detr_hf.report.figures import course_of_training, size_chart, threshold_charts
from detr_hf.report.pictures import Drawn
from detr_hf.report.words import CONFUSION, QUALITY, RANKED_BY, SIZES, subtitle

STYLE = (
    CHART_STYLE
    + """
body { max-width: 1200px; } h1 { font-size: 1.7rem; } h2 { margin-top: 2.6rem; font-size: 1.25rem; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { background: var(--soft); border-radius: 10px; padding: .7rem 1.1rem; min-width: 6.5rem; }
.tile b { display: block; font-size: 1.75rem; line-height: 1.2; font-weight: 650; }
.tile span { color: var(--dim); font-size: .85rem; }
.two { display: grid; gap: 1rem 2.5rem;
       grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr));
       align-items: start; margin: 1rem 0; }
.note { background: var(--bad); border-radius: 6px; padding: .5rem .8rem; margin: .8rem 0; }
td.bar { --b: color-mix(in srgb, var(--c0) 24%, transparent);
         background: linear-gradient(90deg, var(--b) var(--p), transparent 0); }
table.sortable th { cursor: pointer; } table.sortable th:hover { color: var(--accent); }
th[aria-sort=ascending]::after { content: " \\25B4"; } th[aria-sort=descending]::after { content: " \\25BE"; }
.classes td, .classes th { padding: .22rem .5rem; vertical-align: middle; }
.classes td:first-child, .confusion th:first-child { position: sticky; left: 0; background: var(--paper); }
.spark { width: 90px; height: 22px; vertical-align: middle; }
.confusion { width: auto; font-size: .82rem; } .confusion td, .confusion th { padding: .15rem .3rem; }
.confusion td { text-align: center; min-width: 1.7rem; border: 1px solid var(--line);
                vertical-align: middle; }
.confusion thead th { vertical-align: bottom; border: 0; }
.confusion tbody th { text-align: right; white-space: nowrap; }
.confusion thead span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap;
                        max-height: 13rem; overflow: hidden; text-overflow: ellipsis; }
.confusion td.right { background: color-mix(in srgb, var(--c0) var(--p), transparent); }
.confusion td.wrong { background: color-mix(in srgb, var(--c1) var(--p), transparent); }
.confusion td.zero { color: var(--faint); } .strong { color: #fff; font-weight: 600; }
@media (prefers-color-scheme: dark) { .strong { color: #10131a; } }
.pairs { display: grid; gap: 1.4rem;
         grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 230px), 1fr)); gap: .3rem; }
.pair img { width: 100%; height: auto; display: block; border-radius: 4px; }
.pairs figcaption { font-size: .85rem; margin-bottom: .3rem; } .none { border-radius: 4px; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .25rem 1.2rem; }
dt { color: var(--dim); } dd { margin: 0; } pre { overflow-x: auto; background: var(--soft); padding: .8rem;
     border-radius: 6px; font-size: .85rem; }
"""
)

SCRIPT = """
document.querySelectorAll('table.sortable').forEach(table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, at) => row.cells[at].dataset.v ?? row.cells[at].textContent;
  heads.forEach((head, at) => {
    const sort = () => {
      const now = head.getAttribute('aria-sort');
      const down = now ? now === 'ascending' : head.dataset.first === 'down';
      const known = row => value(row, at) !== '-';
      const compared = (one, other) => isNaN(one) || isNaN(other) ? one.localeCompare(other) : one - other;
      const order = (a, b) => known(b) - known(a) || (down ? -1 : 1) * compared(value(a, at), value(b, at));
      body.append(...[...body.rows].sort(order));
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    };
    head.tabIndex = 0;
    head.addEventListener('click', sort);
    head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(); });
  });
});
"""


def report_page(
    numbers: Mapping[str, Any], worst: Sequence[Drawn], best: Sequence[Drawn], recipe_text: str
) -> str:
    """The whole page.

    Args:
        numbers: as ``subject.numbers_of`` gives them.
        worst, best: images with their drawings, the worst and the best first.
        recipe_text: the recipe as it was recorded.
    """
    return "".join(_page(numbers, worst, best, recipe_text))


def _page(
    numbers: Mapping[str, Any], worst: Sequence[Drawn], best: Sequence[Drawn], recipe_text: str
) -> Iterator[str]:
    yield head(f"Report of {numbers['run']}", STYLE, SCRIPT)
    yield f'<h1>{text(numbers["run"])}</h1><p class="dim">{text(subtitle(numbers))}</p>\n'
    yield from (f'<p class="note">{text(note)}</p>\n' for note in numbers["notes"])
    yield _tiles(numbers["results"])
    yield _results(numbers["results"])
    yield (
        '<h2>Course of the training</h2>\n<div class="charts">'
        + "".join(course_of_training(numbers))
        + "</div>\n"
    )
    yield "<h2>Classes</h2>\n" + _classes(numbers)
    if numbers["threshold_sweep"]:
        yield from _boxes(numbers)
    if numbers["confusion"]:
        yield "<h2>Confusion of things</h2>\n" + "".join(_confusion(numbers["confusion"]))
    yield from _images(numbers, worst, best)
    yield "<h2>The run</h2>\n" + _facts(numbers["facts"])
    yield f"<details><summary>recipe.yaml</summary><pre>{_lines(recipe_text)}</pre></details>\n"
    yield f'<p class="dim">Made by {text(numbers["made_by"])}. All numbers: report.json.</p>\n'
    yield script_tag(SCRIPT) + "</html>\n"


def _tiles(results: Mapping[str, Any]) -> str:
    boxes, segments = results.get("detection") or {}, (results.get("panoptic") or {}).get("All") or {}
    shown = [(name, tables.said(segments.get(name.lower()), True)) for name in ("PQ", "SQ", "RQ") if segments]
    shown += [(f"box {name}", tables.said(boxes.get(name))) for name in ("AP", "AP50", "AR") if name in boxes]
    tiles = (f'<div class="tile"><b>{text(value)}</b><span>{name}</span></div>' for name, value in shown)
    return f'<div class="tiles">{"".join(tiles)}</div>\n'


def _results(results: Mapping[str, Any]) -> str:
    panoptic, boxes = tables.panoptic_rows(results), tables.box_rows(results)
    parts = [_table(["Panoptic", "PQ", "SQ", "RQ", "N"], panoptic)] if panoptic else []
    if boxes:
        parts.append(_table(["Boxes", "area", "maxDets", "value"], boxes))
    return f'<div class="two">{"".join(parts)}</div>\n' if parts else "<p>No result is recorded.</p>\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = cells
        return f"<tr><{tag}>{text(first)}</{tag}>" + "".join(
            f'<{tag} class="n">{text(cell)}</{tag}>' for cell in others
        )

    body = "".join(line(row, "td") + "</tr>" for row in rows)
    table = f"<table><thead>{line(heads, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>\n'


def _classes(numbers: Mapping[str, Any]) -> str:
    classes, others = tables.occurring(numbers["classes"])
    columns = tables.class_columns(classes)
    curves = (numbers["precision_recall"] or {}).get("classes") or {}
    heads = "".join(
        f'<th{_aligned(c)} title="{text(c.means)}" data-first="{"up" if c.key == "kind" else "down"}">'
        f"{text(c.head)}</th>"
        for c in columns
    )
    if curves:
        heads += '<th title="precision over recall, both from 0 to 1, at IoU 0.50">precision / recall</th>'
    rows = []
    for row in classes:
        cells = "".join(_cell(row.get(column.key), column) for column in columns)
        if curves:
            cells += f'<td data-v="{tables.said(row.get("AP50"))}">{sparkline(curves.get(row["class"]))}</td>'
        rows.append(f"<tr><td>{text(row['class'])}</td>{cells}</tr>\n")
    return (
        f'<p class="dim">A click on a head sorts by it. {others}</p>\n'
        '<div class="scroll"><table class="sortable classes">'
        f"<thead><tr><th>class</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _cell(value: Any, column: tables.Column) -> str:
    said = text(tables.said(value, column.in_percent, column.digits))
    if column.bar and isinstance(value, float):
        return f'<td class="n bar" style="--p:{100 * value:.1f}%">{said}</td>'
    return f"<td{_aligned(column)}>{said}</td>"


def _aligned(column: tables.Column) -> str:
    return "" if column.key == "kind" else ' class="n"'


def _boxes(numbers: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>Boxes</h2>\n<p>{text(tables.best_threshold(numbers['threshold_sweep']))}</p>\n"
    yield (
        '<div class="charts">'
        + "".join(threshold_charts(numbers))
        + size_chart(numbers["sizes"])
        + "</div>\n"
    )
    sweep = _table(
        ["score above", "precision", "recall", "F1"], tables.sweep_rows(numbers["threshold_sweep"])
    )
    sizes = _table(["object size", "objects", "AP", "AR"], tables.size_rows(numbers["sizes"]))
    yield f'<div class="two">{sweep}<div>{sizes}<p class="dim">{text(SIZES)}</p></div></div>\n'


def _confusion(confusion: Mapping[str, Any]) -> Iterator[str]:
    names, counts, more = tables.readable_confusion(confusion)
    said = text(f"{CONFUSION.format(**confusion)} Colors show shares of a row. {more}")
    yield f'<p class="dim">{said}</p>\n<div class="scroll"><table class="confusion">'
    heads = "".join(f"<th><span>{text(name)}</span></th>" for name in names)
    yield f"<thead><tr><th>truth \\ prediction</th>{heads}</tr></thead><tbody>"
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        whole = sum(row) or 1
        cells = (
            _confused(count, count / whole, names[i], names[j], i == j)
            if i < len(names) - 1 or j < len(names) - 1
            else "<td></td>"
            for j, count in enumerate(row)
        )
        yield f"<tr><th>{text(name)}</th>{''.join(cells)}</tr>\n"
    yield "</tbody></table></div>\n"


def _confused(count: int, part: float, truth: str, found: str, right: bool) -> str:
    if not count:
        return '<td class="zero">·</td>'
    strong = " strong" if part > 0.7 else ""
    title = text(f"{count} of {truth} taken for {found}, {100 * part:.0f}% of the row")
    kind = "right" if right else "wrong"
    return f'<td class="{kind}{strong}" style="--p:{10 + 80 * part:.0f}%" title="{title}">{count}</td>'


def _images(numbers: Mapping[str, Any], worst: Sequence[Drawn], best: Sequence[Drawn]) -> Iterator[str]:
    if not worst:
        return
    stage = "segments" if "panoptic" in numbers["results"] else "boxes"
    ranked = RANKED_BY[stage].format(threshold=numbers["score_threshold"])
    for title, drawn in (("Worst images", worst), ("Best images", best)):
        if drawn:
            yield f'<h2>{title}</h2>\n<p class="dim">The truth first, the prediction second. '
            yield f"{text(ranked)} {text(QUALITY)}</p>\n"
            yield f'<div class="pairs">{"".join(map(_pair, drawn))}</div>\n'


def _pair(drawn: Drawn) -> str:
    one = drawn.quality
    said = (
        f"<b>{text(drawn.file_name or 'image')}</b> (id {one.image_id}): "
        f"quality {text(tables.said(one.quality))}; "
        f"{one.matched} matched, {one.false} false, {one.missed} missed"
    )
    shown = [
        f'<img src="{picture_address(picture)}" alt="{name} of {text(drawn.file_name)}">'
        for name, picture in (("truth", drawn.truth), ("prediction", drawn.prediction))
        if picture is not None
    ]
    if drawn.fault:
        shown.append(f'<div class="none">This picture cannot be shown: {text(drawn.fault)}</div>')
    return f'<figure><figcaption>{said}</figcaption><div class="pair">{"".join(shown)}</div></figure>\n'


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts.items()) + "</dl>\n"


def _lines(recipe_text: str) -> str:
    return "\n".join(text(line) for line in recipe_text.splitlines())
