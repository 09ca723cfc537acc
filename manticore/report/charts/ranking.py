"""All paths of a search space, ranked by score, with the chosen ones marked."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from manticore.report.charts.intervals import Mark, Scale, axis_limits, draw_mark, tick_labels
from manticore.report.charts.palette import ACCENT, MUTED, Palette
from manticore.report.charts.svg import drawing, el, joined
from manticore.results.study import PathResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import counted
from manticore.utils.path_text import path_text

WIDTH, LEFT, TOP, PLOT_HEIGHT = 920, 62, 22, 130
BLOCK, MAX_COLUMN = 13, 44


def ranking_chart(paths: Sequence[PathResult], metric: Metric, palette: Palette) -> Markup:
    """One column per path: a dot with its interval, and below it one block per stage, stage 1 on top.

    Args:
        paths: the best first.
        metric: the metric of their scores.
        palette: colors of the components.
    """
    column = min(float(MAX_COLUMN), (WIDTH - LEFT - 8) / len(paths))
    marks = [Mark(path.score, ACCENT if path.times_chosen else MUTED, _tooltip(path, metric)) for path in paths]
    scale = Scale(*axis_limits(marks, bounds=metric.range), PLOT_HEIGHT)
    columns = (
        el("g", *_column(path, mark, scale, column, palette), transform=f"translate({LEFT + column * index:.2f} 0)")
        for index, (path, mark) in enumerate(zip(paths, marks, strict=True))
    )
    stages = max(len(path.path) for path in paths)
    label = f"All {len(paths)} paths, best first: {'; '.join(mark.tooltip for mark in marks)}"
    width, height = LEFT + column * len(paths) + 8, TOP + PLOT_HEIGHT + 14 + BLOCK * stages
    style = f"max-width:{width:.0f}px;min-width:{0.7 * width:.0f}px"
    axis = _axis(scale, metric, width)
    return drawing(width, height, label, axis, _stage_names(stages), *columns, class_="chart", style=style)


def _tooltip(path: PathResult, metric: Metric) -> str:
    text = f"{path_text(path.path)}: {metric.format(path.score.mean, path.score.margin)}"
    return f"{text}, chosen by {counted(path.times_chosen, 'seed')}" if path.times_chosen else text


def _column(path: PathResult, mark: Mark, scale: Scale, width: float, palette: Palette) -> list[Markup]:
    """One path; the column of a chosen path is tinted and has the number of seeds that chose it."""
    stages = len(path.path)
    parts = [el("title", mark.tooltip)]
    if path.times_chosen:
        height = PLOT_HEIGHT + 18 + BLOCK * stages
        parts.append(el("rect", x=0, y=TOP - 4, width=width, height=height, rx=3, fill=mark.color, opacity=0.14))
        parts.append(
            el("text", f"{path.times_chosen}×", x=width / 2, y=TOP - 9, fill=mark.color, class_="value middle")
        )
    upright = f"translate(0 {TOP + PLOT_HEIGHT}) rotate(-90)"
    return [
        *parts,
        el("g", draw_mark(mark, width / 2, scale), transform=upright),
        *(
            el("rect", x=0.14 * width, y=_top(stage), width=0.72 * width, height=BLOCK - 2, rx=1.5, fill=palette[name])
            for stage, name in enumerate(path.path)
        ),
    ]


def _axis(scale: Scale, metric: Metric, width: float) -> Markup:
    """Horizontal grid lines with their values."""
    labels = [(text, TOP + PLOT_HEIGHT - scale.position(value)) for value, text in tick_labels(scale, metric)]
    return joined(
        *(
            joined(
                el("path", d=f"M{LEFT} {y:.1f}H{width - 8:.1f}", class_="grid"),
                el("text", text, x=LEFT - 8, y=y + 3.5, text_anchor="end", class_="tick"),
            )
            for text, y in labels
        )
    )


def _stage_names(stages: int) -> Markup:
    return joined(
        *(
            el("text", f"stage {stage + 1}", x=LEFT - 8, y=_top(stage) + 9, text_anchor="end", class_="tick")
            for stage in range(stages)
        )
    )


def _top(stage: int) -> int:
    """Vertical coordinate of the block of a stage."""
    return TOP + PLOT_HEIGHT + 9 + BLOCK * stage
