"""The result of a search, from the files of its run folder: alphas, supernet, hybrid, components, scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from manticore.api.arguments import out_folder, source_folder
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError, UnknownName
from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import ALONE, build_component
from manticore.experiment.run_dir import RunDir, unused_folder
from manticore.experiment.searched import check_candidates, open_finished, saved_recipe, searched_supernet
from manticore.export.load import load_hybrid
from manticore.nas.architecture import Architecture
from manticore.nas.discretize import discretize
from manticore.nas.supernet import Supernet
from manticore.pipelines import export, finetune
from manticore.pipelines.finetune import FinetuneResult
from manticore.report.run.reading import Run, read_run
from manticore.report.run.tables import comparison_table
from manticore.results.search import ModelRow, SearchResult, SplitScore
from manticore.utils.console import make_console


@dataclass(frozen=True, eq=False)
class AlphaHistory:
    """Alphas or mixing weights over the steps of a search; `numpy.asarray` gives the values.

    Attributes:
        steps: the T recorded steps, (T,).
        candidates: names of the K candidates.
        values: (T, S, K).
    """

    steps: NDArray[np.int64]
    candidates: tuple[str, ...]
    values: NDArray[np.float64]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype)

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each step and columns (stage, candidate). Raises ManticoreError without pandas."""
        try:
            import pandas
        except ImportError:
            raise ManticoreError("to_pandas needs pandas: pip install pandas") from None
        stages = range(1, self.values.shape[1] + 1)
        columns = pandas.MultiIndex.from_product([stages, self.candidates], names=["stage", "candidate"])
        index = pandas.Index(self.steps, name="step")
        return pandas.DataFrame(self.values.reshape(len(self.steps), -1), index, columns)


class Components(Mapping[str, PreTrainedModel]):
    """The components of a run after training alone, by name; each is read from the run folder when it is looked up."""

    def __init__(self, result: Result) -> None:
        self._result = result
        checkpoints = RunDir(result.folder)
        self._names = [name for name in result.metrics.components if checkpoints.weights(f"{ALONE}{name}").is_file()]

    def __getitem__(self, name: str) -> PreTrainedModel:
        if name not in self._names:
            raise UnknownName("component that was trained alone", name, self._names)
        exp = self._result._experiment.for_component(name)
        model = build_component(exp, name, f"{ALONE}{name}")
        exp.run_dir.restore(f"{ALONE}{name}", model)
        return model.eval()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Result:
    """The result of a search.

    Its models are read from the run folder when they are first needed, in float32 and in evaluation mode.

    Attributes:
        folder: the run folder.
        architecture: the selected path, as the hybrid's configuration has it.
        metrics: the content of metrics.json.
    """

    def __init__(self, run: Run, trust_code: bool = False) -> None:
        self._run = run
        self._trust_code = trust_code
        self.folder = run.folder
        self.architecture: Architecture = run.architecture
        self.metrics: SearchResult = run.result

    @classmethod
    def load(cls, folder: Path | str, trust_code: bool = False) -> Result:
        """The result in the folder of a finished run. Raises ManticoreError if `folder` is none.

        `trust_code` imports the ops of its search space, when a model with them is first needed.
        """
        return cls(read_run(source_folder(folder)), trust_code)

    def __repr__(self) -> str:
        row = self.metrics.hybrid
        score = self.metrics.metric.format(row.score.value, row.score.margin)
        return f"Result({str(self.folder)!r}, {self.metrics.task}: {score}; {self.architecture.summary()})"

    def _repr_markdown_(self) -> str:
        """The comparison, as notebooks show it."""
        return comparison_table(self.metrics).markdown()

    @property
    def path(self) -> tuple[str, ...]:
        """The selected path: for each stage the name of a component or op, or `skip`."""
        return self.architecture.path

    @property
    def rows(self) -> tuple[ModelRow, ...]:
        """The comparison, scored on the test split."""
        return self.metrics.rows

    @property
    def scores(self) -> dict[str, SplitScore]:
        """The test score of every row of the comparison, by name."""
        return {row.name: row.score for row in self.rows}

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe of the run."""
        return saved_recipe(self.folder)

    @property
    def checkpoint(self) -> Path:
        """The folder of the exported hybrid."""
        return RunDir(self.folder).hybrid

    @cached_property
    def hybrid(self) -> PreTrainedModel:
        """The fine-tuned hybrid, as it was exported."""
        return load_hybrid(self.checkpoint, self._trust_code)

    @cached_property
    def components(self) -> Components:
        """Each component after training alone, by name; empty if the recipe left them out."""
        return Components(self)

    @cached_property
    def alphas(self) -> AlphaHistory:
        """The alphas over the steps of the search, (T, S, K). A search without training has one record, of step 0."""
        return self._history("alphas", lambda net: net.alpha_table)

    @cached_property
    def weights(self) -> AlphaHistory:
        """The mixing weights over the steps of the search, (T, S, K); see `alphas`."""
        return self._history("weights", Supernet.weights)

    def _history(self, key: str, final: Callable[[Supernet], Tensor]) -> AlphaHistory:
        """The entries `key` of the record of alphas; without a record what `final` returns for the supernet."""
        record = self._run.alphas
        if record is None:
            net = self.supernet()
            values = final(net).detach().cpu().numpy().astype(np.float64)
            return AlphaHistory(np.zeros(1, np.int64), net.candidates, values[None])
        return AlphaHistory(np.array(record.steps, np.int64), record.candidates, np.array(getattr(record, key)))

    @cached_property
    def _experiment(self) -> Experiment:
        return open_finished(self.folder, make_console(quiet=True), self._trust_code)

    def supernet(self) -> Supernet:
        """A copy of the searched supernet, with its weights and alphas, on the device of the recipe.

        Raises ManticoreError if the components or the data of the run are gone.
        """
        exp = self._experiment
        return searched_supernet(exp, self.metrics.base).to(exp.hardware.device)

    def discretize(self, path: Sequence[str]) -> PreTrainedModel:
        """The hybrid on a path, with the weights of the search; `finetune` trains it.

        Raises UnknownName for a name that is no candidate, and ManticoreError for another number of stages.
        """
        check_candidates(path, self.recipe.space)
        return discretize(self.supernet(), path, **self._experiment.task.config_fields())

    def export(self, out: Path | str, path: Sequence[str] | None = None, trained: bool = True) -> Path:
        """Write a path as a Hugging Face checkpoint; see `manticore.export`.

        Args:
            out: folder to write; must not exist.
            path: a candidate for each stage. Default: the selected path.
            trained: the weights after fine-tuning, where the run has trained this path; otherwise those of the search.
        """
        console = make_console(quiet=True)
        return export.run_from(self.folder, path or self.path, out_folder(out), console, trained, self._trust_code)

    def finetune(
        self,
        path: Sequence[str] | None = None,
        steps: int | None = None,
        *,
        lr: float | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        out: Path | str | None = None,
        resume: bool = False,
        quiet: bool = False,
    ) -> FinetuneResult:
        """Train a path on the task of the search.

        Args:
            path: a candidate for each stage. Another path than the selected one starts from the weights of the search.
                Default: the selected path, which starts from its weights after fine-tuning.
            steps, lr, batch_size, seed: length, peak learning rate, batches and seed. Default: those of the recipe.
            out: folder of the fine-tuning. Default: a new one in `finetuned/` of the run folder.
            resume: resume the fine-tuning in `out`.
            quiet: print nothing.

        Raises UnknownName for a name that is no candidate, and ManticoreError for another number of stages.
        """
        options, run = self.recipe.finetune, self.recipe.run
        weights = options.weights if lr is None else replace(options.weights, lr=lr)
        options = replace(
            options,
            steps=options.steps if steps is None else steps,
            batch_size=options.batch_size if batch_size is None else batch_size,
            weights=weights,
        )
        if out is None:
            out = unused_folder(self.folder / "finetuned", "-".join(path or self.path))
        run = run if seed is None else replace(run, seed=seed)
        return finetune.run_from(
            self.folder, path, options, run, out_folder(out), make_console(quiet), resume, self._trust_code
        )
