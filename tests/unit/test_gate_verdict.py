"""The gates together: refuse by default, and what stands in a manifest says the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from models.bundles import Bundle, GateResult, Manifest
from models.gates.exposure import TopLists
from models.gates.verdict import judge, verdict_of
from tests.gate_evidence import clicks_on, evidence, guard_of, guard_ranks, worse


def test_a_good_candidate_is_accepted():
    judgement = judge(evidence())
    assert judgement.verdict == "accept"
    assert judgement.refused_by == []


def test_with_too_few_clicks_the_canary_alone_decides_and_that_is_said():
    judgement = judge(replace(evidence(), clicks=clicks_on(sessions=100)))
    assert judgement.verdict == "canary_only"
    assert "canary alone" in judgement.sentence


def test_each_gate_refuses_alone_and_is_named():
    good = evidence()
    forgotten = guard_of(guard_ranks(), guard_ranks() + 1)
    flooded = np.array(good.lists.after)
    flooded[:, 0] = 7
    bad = {
        "guard": replace(good, guard=forgotten),
        "clicks": replace(good, clicks=worse(clicks_on())),
        "exposure": replace(good, lists=TopLists(good.lists.before, flooded, good.lists.times)),
    }
    for gate, each in bad.items():
        judgement = judge(each)
        assert judgement.verdict == "refuse"
        assert judgement.refused_by == [gate]
        assert gate in judgement.sentence


def test_no_evidence_at_all_refuses():
    nothing = replace(
        evidence(),
        guard=guard_of(np.ones(0), np.ones(0)),
        clicks=clicks_on(sessions=0),
        lists=TopLists(np.zeros((0, 10), dtype=np.int64), np.zeros((0, 10), dtype=np.int64), []),
    )
    assert judge(nothing).refused_by == ["guard", "exposure"]


@pytest.mark.parametrize("sessions", [3_000, 100])
def test_a_manifest_says_what_the_gates_said(sessions):
    good = evidence()
    for each in (good, replace(good, clicks=worse(clicks_on(sessions=sessions)))):
        judgement = judge(each)
        manifest = Manifest(name="m", version="1", encoder_stamp="e", gates=judgement.results())
        read = Manifest.model_validate_json(Bundle.of(manifest, {}).manifest.model_dump_json())
        assert verdict_of(read.gates) == judgement.verdict


@pytest.mark.parametrize("missing", ["guard", "clicks", "exposure"])
def test_a_gate_that_is_missing_in_a_manifest_refuses(missing):
    gates = judge(evidence()).results()
    assert verdict_of(gates) == "accept"
    assert verdict_of({name: result for name, result in gates.items() if name != missing}) == "refuse"
    assert verdict_of({}) == "refuse"


@pytest.mark.parametrize("gate", ["guard", "exposure"])
def test_only_clicks_may_be_inconclusive(gate):
    gates = judge(evidence()).results() | {gate: GateResult(passed=False, figures={"inconclusive": 1})}
    assert verdict_of(gates) == "refuse"


def test_deciding_needs_neither_torch_nor_scipy_nor_matplotlib():
    code = (
        "import sys; import models.gates.verdict, models.gates.canary, models.gates.widening, "
        "models.gates.interleaving, models.gates.report; "
        "print(sorted({'torch', 'scipy', 'matplotlib', 'ir_measures', 'numba'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
