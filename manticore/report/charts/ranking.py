"""Every path of a space from best to worst, with the chosen ones marked. Knows nothing of how they were trained."""

from __future__ import annotations

from collections.abc import Sequence

from manticore.report.charts.intervals import LinearScale, Mark, glyph, hairlines, span
from manticore.report.charts.theme import Colours
from manticore.report.markup import Html, el, joined, picture
from manticore.results.task_result import PathResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import counted

WIDTH, LEFT, TOP, TALL = 920, 62, 22, 130
BLOCK, WIDEST = 13, 44


def ranking_chart(paths: Sequence[PathResult], metric: Metric, colours: Colours) -> Html:
    """The picture: a dot with its interval for each path, and under it the path itself as blocks, stage 1 on top.

    Args:
        paths: best first.
        metric: what they are measured by.
        colours: of the components.
    """
    wide = min(float(WIDEST), (WIDTH - LEFT - 8) / len(paths))
    marks = [Mark(tried.reached, _colour(tried), _told(tried, metric)) for tried in paths]
    scale = LinearScale(*span(marks, within=metric.range), TALL)
    columns = (
        el("g", *_column(tried, mark, scale, wide, colours), transform=f"translate({LEFT + wide * place:.2f} 0)")
        for place, (tried, mark) in enumerate(zip(paths, marks, strict=True))
    )
    stages = max(len(tried.path) for tried in paths)
    label = f"All {len(paths)} paths, best first: {'; '.join(mark.told for mark in marks)}"
    width, height = LEFT + wide * len(paths) + 8, TOP + TALL + 14 + BLOCK * stages
    drawn = picture(width, height, label, _axis(scale, metric, width), _stages(stages), *columns, class_="dots")
    return el("div", el("div", drawn, style=f"max-width:{width:.0f}px;min-width:{0.7 * width:.0f}px"), class_="scroll")


def _colour(tried: PathResult) -> str:
    return "var(--accent)" if tried.chosen else "var(--soft)"


def _told(tried: PathResult, metric: Metric) -> str:
    told = f"{' · '.join(tried.path)}: {metric.format(tried.reached.mean, tried.reached.margin)}"
    return f"{told}, chosen by {counted(tried.chosen, 'seed')}" if tried.chosen else told


def _column(tried: PathResult, mark: Mark, scale: LinearScale, wide: float, colours: Colours) -> list[Html]:
    """One path; a chosen one is tinted from top to bottom and says how many seeds chose it."""
    stages = len(tried.path)
    parts = [el("title", mark.told)]
    if tried.chosen:
        tall = TALL + 18 + BLOCK * stages
        parts.append(el("rect", x=0, y=TOP - 4, width=wide, height=tall, rx=3, fill=mark.colour, opacity=0.14))
        parts.append(el("text", f"{tried.chosen}×", x=wide / 2, y=TOP - 9, fill=mark.colour, class_="value middle"))
    upright = f"translate(0 {TOP + TALL}) rotate(-90)"
    return [
        *parts,
        el("g", glyph(mark, wide / 2, scale), transform=upright),
        *(
            el("rect", x=0.14 * wide, y=_top(stage), width=0.72 * wide, height=BLOCK - 2, rx=1.5, fill=colours[name])
            for stage, name in enumerate(tried.path)
        ),
    ]


def _axis(scale: LinearScale, metric: Metric, width: float) -> Html:
    """Hairlines with their values."""
    held = [(text, TOP + TALL - scale.x(value)) for value, text in hairlines(scale, metric)]
    return joined(
        *(
            joined(
                el("path", d=f"M{LEFT} {y:.1f}H{width - 8:.1f}", class_="hair"),
                el("text", text, x=LEFT - 8, y=y + 3.5, text_anchor="end", class_="tick"),
            )
            for text, y in held
        )
    )


def _stages(stages: int) -> Html:
    """What the blocks are."""
    return joined(
        *(
            el("text", f"stage {stage + 1}", x=LEFT - 8, y=_top(stage) + 9, text_anchor="end", class_="tick")
            for stage in range(stages)
        )
    )


def _top(stage: int) -> int:
    return TOP + TALL + 9 + BLOCK * stage
