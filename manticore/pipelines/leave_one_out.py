"""Leave-one-domain-out: fine-tunings on a mix of texts without each of them, and what this does to the others.

Training on related tasks beside the target may be better than on the target alone (the cocktail effect, arXiv
2410.01109). All trainings have as many steps, start from the same weights, and are scored on the same documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedModel

from manticore.adapters.options import TRIALS
from manticore.config.commands import FinetuneCommand
from manticore.errors import ManticoreError
from manticore.export.load import load_hybrid
from manticore.report.finetune_page import leave_one_out_table, write_finetune_report
from manticore.results.leave_one_out import LeaveOneOut
from manticore.tasks.language.domains import Domains
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.training.metrics import metrics
from manticore.training.shared_scoring import score_together
from manticore.training.trainer import Hardware
from manticore.utils.console import info
from manticore.utils.io import slug

FOLDER = "without"
"""Folder in that of a fine-tuning with a fine-tuning for each domain that is left out."""


@dataclass(frozen=True)
class MixTrainings:
    """The trainings on a mix of domains without one of them.

    Attributes:
        domains: the files of the text.
        out: folder of the training on all of them.
        steps, batch_size: steps of each training; sequences that are scored together.
        trust_code: see `load_hybrid`.
    """

    domains: Domains
    out: Path
    steps: int
    batch_size: int
    trust_code: bool

    @classmethod
    def of(cls, options: FinetuneCommand, task: TaskOptions) -> MixTrainings:
        """Those of a fine-tuning. Raises ManticoreError if its text has no domains, or its sizes are searched."""
        if options.adapter.name == TRIALS:
            raise ManticoreError(
                f"--leave-one-out needs one adapter, and {TRIALS} tries several; name the one it chose"
            )
        batch_size = options.run.micro_batch_size or options.run.eval_batch_size
        return cls(Domains.of(task), options.out, options.finetune.steps, batch_size, options.trust_code)

    def check(self, task: Any) -> None:
        """Raises ManticoreError for a domain that is missing in a split of the task."""
        self.domains.check(task)

    def run(
        self,
        start: PreTrainedModel,
        task: Any,
        train: Callable[[Task, Path], None],
        hardware: Hardware,
        console: Console,
    ) -> LeaveOneOut:
        """Train without each domain, score all models on each, and write `leave_one_out.json` and the page.

        Args:
            start: the hybrid before the training.
            task: with all domains.
            train: trains on a task into a folder, or continues there.
            hardware: of the scoring.
            console: where progress is printed.
        """
        examples, metric = self.domains.validation(task), metrics[task.metric]

        def scores(model: PreTrainedModel) -> dict[str, float]:
            parts = {
                name: score_together(hardware, model, part, task.collate, self.batch_size, metric).to_dict()
                for name, part in examples.items()
            }
            return {name: part[metric.name] for name, part in parts.items()}

        without = {}
        for number, domain in enumerate(self.domains.names, start=1):
            info(console, f"training without {domain}")
            folder = self.out / FOLDER / f"{number}-{slug(domain)}"
            train(self.domains.without(task, domain), folder)
            without[domain] = scores(load_hybrid(folder, self.trust_code))
        mix = scores(load_hybrid(self.out, self.trust_code))
        result = LeaveOneOut(task.name, metric, self.steps, scores(start), mix, without)
        result.save(self.out)
        console.print(leave_one_out_table(result).rich())
        info(console, f"report: {write_finetune_report(self.out)}")
        return result
