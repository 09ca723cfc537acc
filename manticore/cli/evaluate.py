"""`manticore evaluate`: the score of a hybrid or a component."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import EvaluateCommand
from manticore.config.flags import EVALUATE, EVALUATE_OTHERS


def add(commands: Any) -> None:
    """Add `manticore evaluate` to the subparsers."""
    command(
        commands,
        "evaluate",
        EvaluateCommand,
        {**EVALUATE, **EVALUATE_OTHERS},
        run,
        "score a hybrid or a component on a task's test split",
        examples=(
            "manticore evaluate runs/first",
            "manticore evaluate my-hybrid --task text --data-dir my-notes",
            "manticore evaluate gpt-neo-nano --task text",
            "manticore evaluate runs/text --generation",
            "manticore evaluate runs/text --lm-eval arc_easy,lambada_openai",
        ),
        notes="The task is that of the run, unless --task names another; an exported folder has the name of its task "
        "only. Other keys of task and run are set with --set.",
    )


def run(options: EvaluateCommand) -> None:
    """Evaluate."""
    from manticore.pipelines import evaluate, generation_scores, harness_scores
    from manticore.utils.console import make_console

    if options.lm_eval:
        harness_scores.run(options, make_console())
    elif options.generation:
        generation_scores.run(options, make_console())
    else:
        evaluate.run(options, make_console())
