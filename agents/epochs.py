"""Which epochs are kept, which one a roll-back leads to, and when a new one is due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.events.codebooks import FitReason, RollBack
from streams.settings import IndexSettings

PROVISIONAL = 0
"""Epoch 0 has no tree: its leaves are filled one after the other."""


def live_epochs(fitted: Iterable[int], active: int) -> tuple[int, ...]:
    """Of the epochs that have a tree: the active one, the one before it, newer ones. Epoch 0 is before 1."""
    known = sorted(fitted)
    if not known or known[0] == 1:
        known.insert(0, PROVISIONAL)
    position = known.index(active) if active in known else 0
    return tuple(known[max(0, position - 1) :])


def why_not_back(asked: RollBack | None, *, fitted: Iterable[int], active: int) -> str | None:
    """Why there is no way back from the active epoch to the one before it; None when there is.

    `asked` is a request that is carried out, None when one is about to be made. An epoch that is being built must
    be finished first: its documents get their ids beside those of two others.
    """
    live = live_epochs(fitted, active)
    if live[-1] > active:
        return f"epoch {live[-1]} is being built: wait until it is active, then go back"
    if live[0] in (active, PROVISIONAL):
        return f"there is nothing to go back to: no tree is kept from before epoch {active}"
    if asked is not None and (asked.from_epoch, asked.to_epoch) != (active, live[0]):
        return f"epoch {active} is active by now, and epoch {live[0]} before it"
    return None


@dataclass(frozen=True)
class Corpus:
    """What a decision to fit follows from.

    count: live documents. fitted_on: how many the newest tree was fitted on, or was gone back to with; None without
    a tree. churn: how many came or went since it serves. recall_fell: whether the sampled recall did.
    """

    count: int
    fitted_on: int | None
    churn: int
    recall_fell: bool


def fit_reason(corpus: Corpus, index: IndexSettings) -> FitReason | None:
    """Why a tree is to be fitted now, None when it is not.

    First at `ids_from` documents, then at `exact_up_to`, then when there are `refit_at` times as many, or as many
    came and went. Also when the sampled recall has fallen, unless hardly a document is new: the same ones would
    give the same tree.
    """
    count, fitted_on = corpus.count, corpus.fitted_on
    if fitted_on is None:
        return "first" if count >= index.ids_from else None
    if count < index.exact_up_to:
        return None
    if fitted_on < index.exact_up_to or count >= index.refit_at * fitted_on:
        return "growth"
    if corpus.recall_fell:
        return "recall" if corpus.churn > fitted_on // 10 else None
    return "churn" if corpus.churn >= (index.refit_at - 1) * fitted_on else None
