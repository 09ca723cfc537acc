"""The validation loss of every path of a supernet, without training: a large table for searches of few evaluations.

    python benchmarks/subpaths.py FILE

The supernet has the two shipped language models and `skip` at six stages, 3^6 paths, with projectors in closed form.
Paths are evaluated with its weights on two documents of the validation split, with one thread in 5 minutes.
`benchmarks/pareto_fronts.py` reads the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from manticore.config.commands import RecipeCommand
from manticore.config.loading import load_command
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import Validation
from manticore.experiment.projectors import build_aligned_supernet
from manticore.experiment.run_dir import RunDir
from manticore.nas.choices import skips_all
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Resource
from manticore.utils.console import make_console
from manticore.utils.io import write_json

MODELS, BASE, STAGES, CACHE = ["gpt-neo-nano", "mamba-nano"], "gpt-neo-nano", 6, Resource("cache_bytes", 8192)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    space = {"components": MODELS, "base": BASE, "stages": STAGES, "skip": True}
    command = RecipeCommand(keys={"space": space, "task": {"name": "text", "val": 2}})
    with TemporaryDirectory() as folder:
        exp = Experiment.open(load_command(command).recipe, RunDir(Path(folder)), make_console()).for_component(BASE)
        net = build_aligned_supernet(exp, BASE, "softmax", "search")
        validation, costs = Validation(exp, net), PathCosts(net, exp.task.max_length)
        paths = [path for path in net.choices.paths() if not skips_all(path)]
        rows = [
            {"path": path, "loss": round(validation.loss(path=path), 5), "cache_bytes": costs.cost(path, CACHE)}
            for path in paths
        ]
    machine = {**environment_info(), "threads": 1}
    write_json(args.file, {"task": "text", "resource": str(CACHE), "machine": machine, "paths": rows})


if __name__ == "__main__":
    main()
