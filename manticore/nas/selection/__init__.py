"""Selection: how a path is chosen from a searched supernet. One rule per file."""

from manticore.nas.selection.base import SelectionContext, Selector, selectors
from manticore.nas.selection.beam import beam
from manticore.nas.selection.budget import Budget, best_path_within
from manticore.nas.selection.evaluated_paths import evaluated_paths
from manticore.nas.selection.largest_weight import largest_weight, log_weight
from manticore.nas.selection.paired import Difference, loss_difference, survivors
from manticore.nas.selection.perturbation import perturbation
from manticore.nas.selection.replace_one import replace_one, replace_pairs
from manticore.nas.selection.runner_up import runner_up
from manticore.nas.selection.scores import ChainScores, ListedScores, PathScores, StageScoreTable

__all__ = [
    "Budget",
    "ChainScores",
    "Difference",
    "ListedScores",
    "PathScores",
    "SelectionContext",
    "Selector",
    "StageScoreTable",
    "beam",
    "best_path_within",
    "evaluated_paths",
    "largest_weight",
    "log_weight",
    "loss_difference",
    "perturbation",
    "replace_one",
    "replace_pairs",
    "runner_up",
    "selectors",
    "survivors",
]
