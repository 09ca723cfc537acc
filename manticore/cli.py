"""Words to calls. Knows how to read a command line and to say what went wrong in one line; nothing else.

Heavy modules are imported by the command that needs them, so `--help` and `ls` answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from manticore import terminal
from manticore.errors import ManticoreError, UnknownName

Command = Callable[[argparse.Namespace], None]


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        if "argument COMMAND: invalid choice" in message:
            given, known = message.split("'")[1], message.split("choose from ")[1].split(",")
            message = str(UnknownName("command", given, [name.strip(" ')") for name in known]))
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 2 for what the user can mend, 130 for an interrupt."""
    # How long idle OpenMP threads spin, read when torch loads. The default, some 60 times longer, makes small models
    # many times slower beside other programs, and no faster on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except ManticoreError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("manticore: interrupted; what was saved is kept (search goes on with --resume)", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{error.filename}: {error.strerror}")
    return 0


def _refuse(message: str) -> int:
    """Say what cannot be, in one line; returns the exit status."""
    print(f"manticore: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def at_least(least: int) -> Callable[[str], int]:
    """What argparse calls to read a whole number that must not be below `least`."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text}")
        return int(text)

    return read


def above_zero(text: str) -> float:
    """What argparse calls to read a finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return number


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="manticore",
        description="Cut language models into stages, search who runs each stage, get one Hugging Face checkpoint.",
        epilog="First steps: manticore search --models gpt-neo,mamba --task lra-listops",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for add in (_search, _finetune, _evaluate, _export, _report, _data, _ls, _show, _cp, _validate):
        add(commands)
    return top


def _command(commands: Any, name: str, run: Command, summary: str, example: str, **more: Any) -> Parser:
    made: Parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )
    made.set_defaults(run=run)
    return made


def _search(commands: Any) -> None:
    made = _command(
        commands,
        "search",
        run_search,
        "search the best hybrid for a task, fine-tune it, compare it, export it",
        "manticore search --models gpt-neo,mamba --task lra-listops --out runs/first\n"
        "  manticore search --space gpt-neo+mamba --task lra-listops --set search.steps=1000 --set space.stages=2\n"
        "\nmanticore show recipe lists every key that --set takes.",
    )
    made.add_argument("--models", metavar="M,M", help="two or more aliases, hub ids or local folders (ls models)")
    made.add_argument("--task", metavar="T", help="task to search on (ls tasks); default: the recipe's")
    made.add_argument("--config", metavar="R", help="recipe by name or path (ls configs); default: the task's own")
    made.add_argument("--space", metavar="S", help="search space by name or path (ls spaces)")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), help="scale; auto: paper where there is a CUDA GPU")
    made.add_argument(
        "--home", metavar="M", help="component that lends embedding, stream and head; default: best alone"
    )
    made.add_argument("--strategy", metavar="X", help="how alphas move: darts (default) or simultaneous")
    made.add_argument("--topology", metavar="X", help="how stages are joined: residual (default) or hub (the paper's)")
    made.add_argument("--projector", metavar="X", help="linear (default), low-rank, two-layer, identity")
    made.add_argument("--stages", type=int, metavar="N", help="number of stages")
    made.add_argument("--data-dir", metavar="DIR", help="folder with the task's official files; default: generate")
    made.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: a new one under runs/")
    made.add_argument("--seed", type=at_least(0), metavar="N", help="seed of weights, batches and the random path")
    made.add_argument("--resume", action="store_true", help="go on with the run in --out, if it holds one")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any recipe key; may be repeated")


def run_search(given: argparse.Namespace) -> None:
    """`manticore search`."""
    if given.models and given.space:
        raise ManticoreError("--models and --space both say what the components are; give one of them")
    if given.resume and given.out is None:
        raise ManticoreError("--resume needs --out: the folder of the run to go on with")
    from manticore import library
    from manticore.api import recipe_for
    from manticore.recipe import from_dotted, merged
    from manticore.runs.folder import free_folder
    from manticore.runs.search import run
    from manticore.space import SearchSpace

    saved = given.out / "recipe.yaml" if given.resume else None
    if saved is not None and saved.exists() and not (given.models or given.space or given.config or given.task):
        given.config = str(saved)
    space: dict[str, Any] = {}
    if given.models:
        space["components"] = _names(given.models)
    if given.space:
        space.update(SearchSpace.load(library.find("spaces", given.space)).to_dict())
    options = {"home": given.home, "topology": given.topology, "projector": given.projector, "stages": given.stages}
    space.update({key: value for key, value in options.items() if value is not None})
    task = {"name": given.task, "preset": given.preset, "data_dir": given.data_dir}
    flags: dict[str, Any] = {
        "space": space,
        "task": {key: value for key, value in task.items() if value is not None},
        "search": {} if given.strategy is None else {"strategy": given.strategy},
        "run": {} if given.seed is None else {"seed": given.seed},
    }
    recipe = recipe_for(given.config, merged(flags, from_dotted(given.set)))
    found = recipe.search_space()
    out = given.out or free_folder(f"{recipe.task.name}-{'+'.join(found.names)}")
    run(recipe, out, given.resume, terminal.console())


def _finetune(commands: Any) -> None:
    made = _command(
        commands,
        "finetune",
        run_finetune,
        "train an exported hybrid further on a task",
        "manticore finetune runs/first/hybrid --task lra-listops --out runs/longer --steps 2000",
    )
    made.add_argument("hybrid", type=Path, metavar="HYBRID", help="exported folder, or run folder")
    _task_flags(made)
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the trained hybrid")
    made.add_argument("--steps", type=at_least(1), default=400, metavar="N", help="optimizer steps (default 400)")
    made.add_argument("--lr", type=above_zero, default=1e-3, metavar="X", help="peak learning rate (default 1e-3)")
    made.add_argument(
        "--batch-size", type=at_least(1), default=64, metavar="N", help="sequences in a batch (default 64)"
    )
    made.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of the batches")
    made.add_argument("--resume", action="store_true", help="go on with the fine-tuning in --out")


def _task_flags(made: Parser) -> None:
    made.add_argument("--task", default="lra-listops", metavar="T", help="task (ls tasks; default lra-listops)")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), default="auto", help="scale of the task")
    made.add_argument("--data-dir", metavar="DIR", help="folder with the task's official files")


def run_finetune(given: argparse.Namespace) -> None:
    """`manticore finetune`."""
    from manticore.runs.finetune import run
    from manticore.training.optim import WeightOptions

    run(
        given.hybrid,
        _task(given),
        given.out,
        given.steps,
        given.batch_size,
        WeightOptions(lr=given.lr),
        given.seed,
        given.resume,
        terminal.console(),
    )


def _task(given: argparse.Namespace) -> Any:
    from manticore.tasks.base import TaskOptions

    return TaskOptions(name=given.task, preset=given.preset, data_dir=given.data_dir)


def _evaluate(commands: Any) -> None:
    made = _command(
        commands,
        "evaluate",
        run_evaluate,
        "score an exported hybrid on a task's test split",
        "manticore evaluate runs/first/hybrid --task lra-listops",
    )
    made.add_argument("hybrid", type=Path, metavar="HYBRID", help="exported folder, or run folder")
    _task_flags(made)
    made.add_argument(
        "--batch-size", type=at_least(1), default=256, metavar="N", help="sequences in a batch (default 256)"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here as well")


def run_evaluate(given: argparse.Namespace) -> None:
    """`manticore evaluate`."""
    from manticore.runs.evaluate import run

    run(given.hybrid, _task(given), given.batch_size, given.json, terminal.console())


def _export(commands: Any) -> None:
    made = _command(
        commands,
        "export",
        run_export,
        "write a path of a finished run, or a hybrid made by hand, as a Hugging Face checkpoint",
        "manticore export runs/first --out my-hybrid\n"
        "  manticore export runs/first --path mamba,gpt-neo,mamba,mamba --out another-path\n"
        "  manticore export --models gpt-neo,mamba --path gpt-neo,gpt-neo,mamba,gpt-neo --out by-hand",
    )
    made.add_argument("folder", type=Path, nargs="?", metavar="RUN", help="run folder")
    made.add_argument("--models", metavar="M,M", help="make a language model by hand from these pretrained models")
    made.add_argument("--home", metavar="M", help="with --models: who lends embedding, stream and head; default: first")
    made.add_argument("--path", metavar="M,M,...", help="a choice for each stage; default: what the run exported")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; must not exist")


def run_export(given: argparse.Namespace) -> None:
    """`manticore export`."""
    path = None if given.path is None else _names(given.path)
    if (given.folder is None) == (given.models is None):
        raise ManticoreError("export takes a run folder, or --models to make a hybrid by hand: one of the two")
    if given.models is None:
        if given.home is not None:
            raise ManticoreError("--home goes with --models; a run has its home already")
        from manticore.runs.reexport import run

        run(given.folder, path, given.out, terminal.console())
        return
    if path is None:
        raise ManticoreError("a hybrid by hand needs --path: a choice for each stage")
    from manticore.runs.byhand import run as by_hand

    by_hand(_names(given.models), path, given.home, given.out, terminal.console())


def _names(given: str) -> list[str]:
    """The names between commas."""
    return [name.strip() for name in given.split(",") if name.strip()]


def _report(commands: Any) -> None:
    made = _command(
        commands, "report", run_report, "write the report page of a run anew", "manticore report runs/first"
    )
    made.add_argument("folder", type=Path, metavar="RUN", help="run folder")


def run_report(given: argparse.Namespace) -> None:
    """`manticore report`."""
    from manticore.report.page import write_report
    from manticore.runs.folder import finished_run

    print(write_report(finished_run(given.folder).root))


def _data(commands: Any) -> None:
    made = _command(
        commands,
        "data",
        run_data,
        "write a task in its official file format",
        "manticore data lra-listops --out listops --train 96000 --val 2000 --test 2000 --seed 0",
    )
    made.add_argument("task", metavar="TASK", help="task (ls tasks)")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    for part in ("train", "val", "test"):
        made.add_argument(f"--{part}", type=int, metavar="N", help=f"{part} examples; default: the official number")
    made.add_argument("--seed", type=at_least(0), default=0, metavar="S", help="seed of the generator")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), default="auto", help="scale; auto means paper here")
    made.add_argument("--workers", type=int, default=0, metavar="N", help="processes; 0: all cores")


def run_data(given: argparse.Namespace) -> None:
    """`manticore data`."""
    from manticore.tasks.base import TaskOptions
    from manticore.tasks.catalog import write_task

    options = TaskOptions(
        name=given.task,
        preset=given.preset,
        train=given.train,
        val=given.val,
        test=given.test,
        seed=given.seed,
        workers=given.workers,
    )
    for file in write_task(options, given.out):
        print(file)


def _ls(commands: Any) -> None:
    made = _command(commands, "ls", run_ls, "list what there is to pick from", "manticore ls models")
    made.add_argument(
        "kind", nargs="?", metavar="KIND", help="models, tasks, spaces, projectors or configs; default: all"
    )


def run_ls(given: argparse.Namespace) -> None:
    """`manticore ls`."""
    from manticore import shelf

    print(shelf.listing(given.kind))


def _show(commands: Any) -> None:
    made = _command(
        commands, "show", run_show, "print a thing by name, or the keys of a recipe", "manticore show gpt-neo+mamba"
    )
    made.add_argument("name", metavar="NAME", help="a model, task, space, projector set or recipe; or the word recipe")


def run_show(given: argparse.Namespace) -> None:
    """`manticore show`."""
    from manticore import shelf

    print(shelf.show(given.name))


def _cp(commands: Any) -> None:
    made = _command(
        commands, "cp", run_cp, "copy a space or recipe to edit", "manticore cp search/lra-listops my-recipe.yaml"
    )
    made.add_argument("name", metavar="NAME", help="space, projector set or recipe (ls)")
    made.add_argument("dest", type=Path, metavar="DEST", help="file or folder to make; must not exist")


def run_cp(given: argparse.Namespace) -> None:
    """`manticore cp`."""
    from manticore import shelf

    print(shelf.copy(given.name, given.dest))


def _validate(commands: Any) -> None:
    made = _command(
        commands,
        "validate",
        run_validate,
        "check a recipe or search space without running it",
        "manticore validate r.yaml",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="YAML of a recipe or a search space")


def run_validate(given: argparse.Namespace) -> None:
    """`manticore validate`."""
    from manticore import shelf

    print(shelf.validate(given.file))


if __name__ == "__main__":
    raise SystemExit(main())
