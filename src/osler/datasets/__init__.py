"""Labelled studies: layouts on disk, the manifest, splits, fingerprint and plan.

from osler.datasets.layouts import open_dataset
from osler.datasets.splits import assign_splits

dataset = assign_splits(open_dataset("data/hippocampus"), seed=0)
"""
