"""One page about one candidate, for whoever decides: what each gate measured, what changed, how sure that is.

A single HTML file with its pictures inside: no script, no network. The same as JSON, without pictures.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import orjson

from models.gates.decision import Check, Decision
from models.gates.exposure import Spread, spread_of
from models.gates.metrics import Metric, click_metrics, guard_metrics
from models.gates.plots import Plot, draw
from models.gates.verdict import Evidence, Judgement

_NAMES = {
    "ndcg_change": "nDCG@10, relative change",
    "mrr_change": "MRR, relative change",
    "absent_ndcg_change": "nDCG@10 in languages that do not occur in the log",
    "absent_mrr_change": "MRR in languages that do not occur in the log",
    "utility_change": "utility of clicks, relative change",
    "rise": "largest rise of a document's share of lists",
}
_NO_PLOTS = (
    "No plots: matplotlib is not installed. It comes with the extra train: pip install 'trieflow[train]'"
)
_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #22211f; --faint: #77736c; --line: #e4e0d8;
  --good: #2d8a4e; --bad: #b3391f; }
@media (prefers-color-scheme: dark) { :root { --paper: #191a1c; --ink: #ecebe7; --faint: #9b978f; --line: #35383b;
  --good: #5cc282; --bad: #ef8a6f; } }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Noto Sans", sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; } h2 { margin: 2rem 0 .4rem; font-size: 1.15rem; }
p, figcaption { color: var(--faint); margin: .3rem 0; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pass { color: var(--good); } .refuse { color: var(--bad); } .scroll { overflow-x: auto; }
figure { margin: 1rem 0; } img { width: 100%; background: #fff; border-radius: .4rem; }
"""


@dataclass(frozen=True)
class Report:
    """A judgement with the figures around it. guard, clicks: metrics by what they were judged by."""

    candidate: str
    incumbent: str
    evidence: Evidence
    judgement: Judgement
    guard: Sequence[Metric]
    clicks: Sequence[Metric]
    spread: tuple[Spread, Spread]


def make_report(
    candidate: str, incumbent: str, evidence: Evidence, judgement: Judgement, *, documents: int
) -> Report:
    """Measure what the report tells beside the gates. candidate, incumbent: `name@version`; documents: how many
    there are. Raises GateError when packages of the extra `train` are missing."""
    return Report(
        candidate,
        incumbent,
        evidence,
        judgement,
        guard_metrics(evidence.guard),
        click_metrics(evidence.clicks),
        spread_of(evidence.lists, documents=documents),
    )


def to_json(report: Report) -> bytes:
    """All figures; plots and what they are drawn from are left out."""
    judgement = report.judgement
    return orjson.dumps(
        {
            "candidate": report.candidate,
            "incumbent": report.incumbent,
            "verdict": judgement.verdict,
            "sentence": judgement.sentence,
            "gates": {
                decision.gate: {
                    "outcome": decision.outcome,
                    "sentence": decision.sentence,
                    "counts": decision.counts,
                    "checks": [asdict(check) | {"holds": check.holds} for check in decision.checks],
                }
                for decision in judgement.decisions
            },
            "metrics": {
                "guard": [asdict(metric) for metric in report.guard],
                "clicks": [asdict(metric) for metric in report.clicks],
            },
            "exposure": dict(zip(("before", "after"), map(asdict, report.spread), strict=True)),
        },
        option=orjson.OPT_INDENT_2,
    )


def write_report(report: Report, path: Path) -> None:
    """Write the page as one file, whole or not at all. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(to_html(report), encoding="utf-8")
    os.replace(new, path)


def to_html(report: Report) -> str:
    """The page. Without matplotlib it has tables only, and says how to get plots."""
    try:
        plots = "\n".join(map(_figure, draw(report.evidence, report.judgement)))
    except ImportError:
        plots = f"<p>{escape(_NO_PLOTS)}</p>"
    judgement = report.judgement
    colour = "refuse" if judgement.verdict == "refuse" else "pass"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(report.candidate)}</title><style>{_STYLE}</style></head>\n<body>"
        f"<h1>{escape(report.candidate)}</h1><p>compared with {escape(report.incumbent)}</p>"
        f'<p class="{colour}"><b>{escape(judgement.sentence)}</b></p>\n'
        f"<h2>Gates</h2>{_gates(judgement)}\n<h2>Before and after</h2>{_metrics(report)}\n"
        f"<h2>Exposure</h2>{_spread(report)}\n<h2>Plots</h2>{plots}\n</body></html>\n"
    )


def _gates(judgement: Judgement) -> str:
    rows = [row for decision in judgement.decisions for row in _decision(decision)]
    return _table(["gate", "says", "measured", "value", "compared", "wanted"], rows, numbers=3) + "".join(
        f"<p>{escape(decision.gate)}: {escape(decision.sentence)}</p>" for decision in judgement.decisions
    )


def _decision(decision: Decision) -> Iterable[list[str]]:
    said = f'<span class="{decision.outcome}">{decision.outcome}</span>'
    if not decision.checks:
        yield [decision.gate, said, "", "", "", ""]
    for place, check in enumerate(decision.checks):
        first = [decision.gate, said] if not place else ["", ""]
        yield [*first, *_check(check)]


def _check(check: Check) -> list[str]:
    wanted = f"{check.rule} {check.limit:+.1%}"
    return [escape(_NAMES[check.name]), f"{check.value:+.2%}", f"{check.bound:+.2%}", wanted]


def _metrics(report: Report) -> str:
    rows = [
        [by, metric.name, f"{metric.before:.4f}", f"{metric.after:.4f}", _p(metric.p), f"{metric.units:,}"]
        for by, metrics in (("guard queries", report.guard), ("clicks", report.clicks))
        for metric in metrics
    ]
    return (
        _table(["judged by", "metric", "before", "after", "p", "of"], rows, numbers=2)
        + "<p>Means; p by a paired t-test, for one figure at a time. RR averaged is MRR, AP is mAP. Clicks were "
        "made on what the incumbent showed: figures judged by them favour it, and no gate looks at them.</p>"
    )


def _p(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _spread(report: Report) -> str:
    before, after = report.spread
    return _table(
        ["", "before", "after"],
        [
            [
                "documents outside the top tenth that are shown at all",
                f"{before.tail_coverage:.1%}",
                f"{after.tail_coverage:.1%}",
            ],
            ["Gini coefficient of exposure", f"{before.gini:.3f}", f"{after.gini:.3f}"],
        ],
        numbers=1,
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> str:
    """numbers: from which column on they are. Cells are HTML."""
    classes = ["" if place < numbers else ' class="number"' for place in range(len(header))]
    head = "".join(f"<th{kind}>{cell}</th>" for kind, cell in zip(classes, header, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(classes, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _figure(plot: Plot) -> str:
    data = base64.b64encode(plot.png).decode()
    return (
        f'<figure><b>{escape(plot.title)}</b><img alt="{escape(plot.title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(plot.about)}</figcaption></figure>"
    )
