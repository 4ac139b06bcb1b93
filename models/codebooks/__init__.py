"""Codebooks: the tree of meanings that gives documents their ids. Fitted, kept good while documents come, saved.

Read `tree.py` first (what a tree is, how it finds the leaf of a vector), then `fit.py` (where it comes from) and
`growth.py` (how it is kept good between two fits). All work on arrays: no Kafka, no files. May import `streams`.
"""

from models.codebooks.arrays import AnyVectors, Codes, Documents, Vectors
from models.codebooks.fit import fit_codebook
from models.codebooks.growth import (
    HYSTERESIS,
    Decision,
    Members,
    merge,
    outgrown,
    oversized,
    recentre,
    split,
    undersized,
)
from models.codebooks.regrouping import regroup
from models.codebooks.second_leaf import second_leaves
from models.codebooks.tree import Codebook, LeafChange, Subcategory

__all__ = [
    "HYSTERESIS",
    "AnyVectors",
    "Codebook",
    "Codes",
    "Decision",
    "Documents",
    "LeafChange",
    "Members",
    "Subcategory",
    "Vectors",
    "fit_codebook",
    "merge",
    "outgrown",
    "oversized",
    "recentre",
    "regroup",
    "second_leaves",
    "split",
    "undersized",
]
