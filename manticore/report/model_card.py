"""Model cards: the README.md of every exported folder. Their texts are the templates `*_card.md.j2`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from manticore.alignment import StageFit
from manticore.alignment.projector_set import ProjectorSet
from manticore.components import Component
from manticore.components.licenses import DerivedLicense
from manticore.components.spec import SKIP
from manticore.config.pretrain import PretrainRecipe
from manticore.report.rendering import render
from manticore.report.run.reading import Run
from manticore.report.run.summary import component_sentences, path_warnings, precision_sentence, sentences
from manticore.report.run.tables import comparison_table
from manticore.report.table import Row, Table
from manticore.report.usage import Usage, usage_of
from manticore.results.growth import GrowthResult
from manticore.results.search import ComponentInfo, ModelRow
from manticore.training.scoring import Score
from manticore.utils.formatting import DASH
from manticore.utils.text_files import read_text

TAGS = ("manticore", "hybrid", "neural-architecture-search")


def search_card(run: Run) -> str:
    """The card of the hybrid that a search exports."""
    parts = (run.architecture.base, *run.architecture.path)
    used = [name for name in run.architecture.components if name in parts]
    title = f"A hybrid of {' and '.join(used)}, trained on {run.result.task}"
    return _search_card(run, run.result.hybrid, used, title if len(used) > 1 else _component_title(run, used[0]))


def component_card(run: Run) -> str:
    """The card of the component that scored better than the hybrid on the validation split."""
    name = run.result.best_model
    return _search_card(run, run.result.best_row, [name], _component_title(run, name))


def _component_title(run: Run, name: str) -> str:
    return f"{name}, trained on {run.result.task} in a search for hybrids"


def _search_card(run: Run, row: ModelRow, used: Sequence[str], title: str) -> str:
    """The card of the model of a row, which has parts of the `used` components."""
    result, usage = run.result, usage_of(run.result.kind)
    is_hybrid = row == result.hybrid
    parents = {name: result.components[name] for name in used if result.components[name].pretrained}
    license = DerivedLicense({name: component.license for name, component in parents.items()})
    return render(
        "search_card.md.j2",
        data=_search_data(run, row, title, used, usage, parents, license),
        license=license,
        title=title,
        sentences=[*sentences(run), *path_warnings(result.stage_scores)] if is_hybrid else component_sentences(run),
        code=usage.code(result.task, result.example),
        run=run,
        is_hybrid=is_hybrid,
        precision=precision_sentence(run.architecture),
        stages=[(stage + 1, name, _role(run, stage)) for stage, name in enumerate(run.architecture.path)],
        table=comparison_table(result, leads=True).markdown(),
        from_scratch=not any(component.pretrained for component in result.components.values()),
    )


def manual_card(
    components: Sequence[Component],
    used: Sequence[str],
    path: str,
    base: str,
    kind: str,
    note: str,
    native: str = "",
) -> str:
    """The card of a hybrid on a path that no search has evaluated.

    Args:
        components: the components of the space.
        used: names of the candidates on the path.
        path: the path as a sentence.
        base: name of the base model.
        kind: head type of the task.
        note: state of its weights, as a sentence.
        native: paragraph on the class of transformers that it is written as; empty: it is written as a hybrid.
    """
    usage = usage_of(kind)
    parents = {each.name: each for each in components if each.pretrained and each.name in (base, *used)}
    license = DerivedLicense({name: component.license for name, component in parents.items()})
    return render(
        "manual_card.md.j2",
        data=_data(usage, TAGS[:2], parents, license).to_yaml(),
        license=license,
        components=components,
        path=path,
        base=base,
        note=note,
        usage=usage,
        native=native,
    )


def finetuned_card(
    card: str,
    task: str,
    steps: int,
    batch_size: int,
    tokens: int,
    lr: float,
    before: Score,
    after: Score,
    teacher: str | None = None,
) -> str:
    """The card of an exported hybrid with a section on its fine-tuning.

    Args:
        card: the card of the hybrid before; empty: the section alone.
        task: name of the task.
        steps, batch_size, tokens, lr: the training, `lr` at its peak.
        before, after: scores on the validation split.
        teacher: model whose predictions were learned instead of the labels; None: the labels were learned.
    """
    goal = "" if teacher is None else f", by the divergence from the predictions of {teacher}"
    scores = " → ".join(score.metric.format(score.value) for score in (before, after))
    return (
        f"{card}\n## Fine-tuned further\n\n{steps} steps of {batch_size} sequences ({tokens:,} tokens) on {task}, peak "
        f"learning rate {lr:g}{goal}: on the validation split {scores}.\n"
    )


def read_card(hybrid: Path) -> str:
    """The card of an exported folder, or of the hybrid of a run folder; empty if there is none.

    Raises BadFile if it is no text.
    """
    cards = (hybrid / "README.md", hybrid / "hybrid" / "README.md")
    return next((read_text(file) for file in cards if file.exists()), "")


def pretrain_card(recipe: PretrainRecipe, parameters: int, tokens: int, bits: Mapping[str, float]) -> str:
    """The card of a pretrained model.

    Args:
        recipe: how it was trained.
        parameters: their number.
        tokens: training tokens.
        bits: bits per byte of the held-out text by file, and of `all` together.
    """
    rows = tuple(Row((name, f"{value:.3f}")) for name, value in bits.items())
    return render(
        "pretrain_card.md.j2",
        data=_data(usage_of("lm"), (), {}, DerivedLicense({})).to_yaml(),
        recipe=recipe,
        parameters=parameters,
        tokens=tokens,
        bits=bits["all"],
        table=Table(("file", "bits per byte"), rows).markdown(),
    )


def projector_card(
    projectors: ProjectorSet, fits: Sequence[StageFit], losses: Mapping[str, float | None], text: Sequence[str]
) -> str:
    """The card of a projector set; its first line names the components, for `manticore ls projectors`.

    Args:
        projectors: the set.
        fits: quality of the fit at each stage.
        losses: mean loss of the mixed paths in nats per token, by when it was measured.
        text: names of the files that the projectors were fitted on.
    """
    return render(
        "projector_card.md.j2",
        projectors=projectors,
        donors=[name for name in projectors.components if name != projectors.base],
        text=text,
        table=fit_table(fits).markdown(),
        losses={when: loss for when, loss in losses.items() if loss is not None},
    )


def twin_card(component: Component, result: GrowthResult) -> str:
    """The card of a twin, with how well each layer reproduces its parent's attention."""
    return render(
        "twin_card.md.j2",
        data=_data(
            usage_of("lm"),
            ("manticore", "state-space"),
            {component.name: component},
            DerivedLicense({component.name: component.license}),
        ).to_yaml(),
        component=component,
        result=result,
        usage=usage_of("lm"),
        table=growth_table(result).markdown(),
    )


def growth_table(result: GrowthResult, title: str = "") -> Table:
    """How well each layer of a twin reproduces its parent's attention."""
    columns = ("layer", "error at the start", "error", "loss alone", "above the parent", "seconds")
    short = ("layer", "start", "error", "nats alone", "above", "s")
    rows = (
        Row(
            (
                str(layer.layer),
                f"{layer.start:.3f}",
                f"{layer.error:.3f}",
                f"{layer.loss:.4f}",
                f"{layer.loss - result.loss:+.4f}",
                f"{layer.seconds:.0f}",
            )
        )
        for layer in result.layers
    )
    return Table(columns, tuple(rows), title, short)


def fit_table(fits: Sequence[StageFit], title: str = "") -> Table:
    """How well each donor was aligned at each stage. Lengths of updates are root mean squares."""
    columns = ("stage", "donor", "R² of P", "gain", "R² of Q", "base update", "update before", "update after")
    rows = []
    for fit in fits:
        numbers = (fit.r2_in, fit.gain, fit.r2_out, fit.base_update, fit.update_before, fit.update)
        cells = (DASH if number is None else f"{number:.3g}" for number in numbers)
        rows.append(Row((str(fit.stage + 1), fit.component, *cells)))
    return Table(columns, tuple(rows), title)


def _data(
    usage: Usage, tags: Sequence[str], parents: Mapping[str, Component | ComponentInfo], license: DerivedLicense
) -> ModelCardData:
    """The part of the front matter that all models have.

    Args:
        usage, tags: of the model.
        parents: the pretrained components that it has weights of, by name.
        license: its licence.
    """
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=usage.pipeline,
        tags=list(tags) or None,
        base_model=[hub_id for component in parents.values() if (hub_id := _hub_id(component))] or None,
        **license.front_matter(),
    )


def _search_data(
    run: Run,
    row: ModelRow,
    title: str,
    used: Sequence[str],
    usage: Usage,
    parents: Mapping[str, ComponentInfo],
    license: DerivedLicense,
) -> str:
    """The front matter of a searched model, with its test score."""
    result = run.result
    data = _data(usage, (*TAGS, *used), parents, license)
    data.metrics = [result.metric.name]
    data.model_name = title
    data.eval_results = [
        EvalResult(
            task_type=usage.pipeline,
            dataset_type=result.task,
            dataset_name=result.task,
            dataset_split="test",
            metric_type=result.metric.name,
            metric_value=round(row.score.value, 4),
        )
    ]
    return data.to_yaml()


def _hub_id(component: Component | ComponentInfo) -> str | None:
    """The hub id of a pretrained component; None for a local folder and for fresh weights."""
    on_hub = component.revision and re.fullmatch(r"[\w.-]+/[\w.-]+", component.source)
    return component.source if on_hub else None


def _role(run: Run, stage: int) -> str:
    """What the chosen segment of a stage does: `layers 3–4, carries the stream`."""
    name = run.architecture.path[stage]
    role = "reads the stream through P, adds its update through Q"
    if run.carries_stream(stage):
        role = "carries the stream"
    elif name == SKIP:
        role = "leaves the stream unchanged"
    elif name in run.architecture.ops:
        role = "reads the stream, adds its output"
    return f"{run.layers(name, stage)}, {role}"
