"""Line panels: mixing weights and training losses over the steps of a phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from markupsafe import Markup

from manticore.report.charts.palette import ACCENT, Palette
from manticore.report.charts.svg import drawing, el, joined

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 280, 158
LEFT, RIGHT, TOP, BOTTOM = 32, 40, 26, 22
LABEL_SPACING = 11.0
MAX_POINTS = 300

BANDS = 24
"""Of a panel: the widths in which the pointer shows the values of a step."""


@dataclass(frozen=True)
class HoveredLine:
    """A line whose values are shown under the pointer, with its name in words."""

    name: str
    color: str
    points: Points


@dataclass(frozen=True)
class Axes:
    """Maps steps from `x_min` to `x_max` and values from `y_min` to `y_max` to coordinates of the panel."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float

    def x(self, step: float) -> float:
        """Horizontal coordinate of a step."""
        span = (self.x_max - self.x_min) or 1.0
        return LEFT + (step - self.x_min) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Vertical coordinate of a value; values outside the axis are drawn at its end."""
        span = (self.y_max - self.y_min) or 1.0
        share = min(1.0, max(0.0, (value - self.y_min) / span))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def grid(self, ticks: Sequence[float]) -> Markup:
        """Horizontal lines with their values, and the first and last step."""
        digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)) if len(ticks) > 1 else 2
        lines = (
            joined(
                el("path", d=f"M{LEFT} {self.y(tick):.1f}H{WIDTH - RIGHT}", class_="grid"),
                el("text", f"{tick:.{digits}f}", x=LEFT - 6, y=self.y(tick) + 3.5, text_anchor="end", class_="tick"),
            )
            for tick in ticks
        )
        bottom = HEIGHT - 6
        return joined(
            *lines,
            el("text", f"{self.x_min:,.0f}", x=LEFT, y=bottom, class_="tick"),
            el("text", f"step {self.x_max:,.0f}", x=WIDTH - RIGHT, y=bottom, text_anchor="end", class_="tick"),
        )

    def line(self, points: Points, color: str, tooltip: str, class_: str = "line") -> Markup:
        """A line through the points."""
        coordinates = " L".join(f"{self.x(step):.1f} {self.y(value):.1f}" for step, value in thinned(points))
        return el("path", el("title", tooltip), d=f"M{coordinates}", stroke=color, class_=class_)

    def hovers(self, lines: Sequence[HoveredLine], digits: int) -> Markup:
        """The step and the values of all lines under the pointer: in colors above the panel, and in words as tooltip.

        Args:
            lines: they need not have the same steps.
            digits: decimals of the values.
        """
        edges = [LEFT + index * (WIDTH - LEFT - RIGHT) / BANDS for index in range(BANDS + 1)]
        return joined(*(self._hover(start, stop, lines, digits) for start, stop in pairwise(edges)))

    def _hover(self, start: float, stop: float, lines: Sequence[HoveredLine], digits: int) -> Markup:
        """The values nearest to the middle of a band from `start` to `stop`, which show while the pointer is in it."""
        step = self.x_min + ((start + stop) / 2 - LEFT) / (WIDTH - LEFT - RIGHT) * (self.x_max - self.x_min)
        nearest = [min(line.points, key=lambda point: abs(point[0] - step)) for line in lines]
        shown, texts = nearest[0][0], [f"{value:.{digits}f}" for _, value in nearest]
        values = (el("tspan", text, dx=5, fill=line.color) for line, text in zip(lines, texts, strict=True))
        tooltip = ", ".join(f"{line.name} {text}" for line, text in zip(lines, texts, strict=True))
        return el(
            "g",
            el("title", f"step {shown:,.0f}: {tooltip}"),
            el("rect", x=start, y=TOP, width=stop - start, height=HEIGHT - TOP - BOTTOM),
            el("path", d=f"M{self.x(shown):.1f} {TOP}V{HEIGHT - BOTTOM}", class_="grid"),
            el("text", f"step {shown:,.0f}", *values, x=WIDTH - 2, y=14, text_anchor="end"),
            class_="at",
        )


@dataclass(frozen=True)
class EndLabel:
    """The last value of a line, written to its right."""

    y: float
    text: str
    color: str
    bold: bool


def weights_panel(stage: int, chosen: str, weights: Mapping[str, Points], palette: Palette) -> Markup:
    """Mixing weights of all candidates at one stage over the search; the line of the chosen one is thick.

    Args:
        stage: counted from 0.
        chosen: the candidate that the selected path takes.
        weights: (step, weight) by candidate, in the order of the label.
        palette: colors of the candidates.
    """
    steps = [step for step, _ in weights[chosen]]
    axes = Axes(min(0.0, steps[0]), steps[-1], 0.0, 1.0)
    lines, labels = [], []
    for name in sorted(weights, key=lambda name: name == chosen):  # the chosen line is drawn last, on top
        points, bold = weights[name], name == chosen
        (_, first), (step, last) = points[0], points[-1]
        tooltip = f"{name}: {first:.2f} → {last:.2f}"
        lines.append(axes.line(points, palette[name], tooltip, "line bold" if bold else "line"))
        lines.append(el("circle", cx=axes.x(step), cy=axes.y(last), r=2.5, fill=palette[name]))
        labels.append(EndLabel(axes.y(last), f"{last:.2f}", palette[name], bold))
    final = ", ".join(f"{name} {points[-1][1]:.2f}" for name, points in weights.items())
    return drawing(
        WIDTH,
        HEIGHT,
        f"Mixing weights at stage {stage + 1} during the search. Final weights: {final}",
        _heading(f"stage {stage + 1}", chosen, palette[chosen]),
        axes.grid([0.0, 0.5, 1.0]),
        *lines,
        *_end_labels(labels),
        axes.hovers([HoveredLine(name, palette[name], points) for name, points in weights.items()], 2),
        class_="panel",
    )


def loss_panel(phase: str, loss: Points, alpha_loss: Points, y_range: tuple[float, float], palette: Palette) -> Markup:
    """Training loss of one phase: smoothed, with the raw values behind; the loss of the alphas is dashed.

    Args:
        phase: its name.
        loss: (step, loss) on the examples that train the weights, in nats.
        alpha_loss: the same on the examples that train the alphas; empty in a phase without a search.
        y_range: ends of the vertical axis, see `loss_range`.
        palette: colors of the components.
    """
    axes = Axes(min(0.0, loss[0][0]), loss[-1][0], *y_range)
    color = palette.of_phase(phase)
    smooth = smoothed(loss)
    first, last = smooth[0][1], smooth[-1][1]
    lines = [
        axes.line(loss, color, "loss at each logged step", "line raw"),
        axes.line(smooth, color, f"smoothed loss on the training split; final value {last:.3f}"),
    ]
    labels = [EndLabel(axes.y(last), f"{last:.2f}", color, True)]
    hovered = [HoveredLine("loss", color, smooth)]
    if alpha_loss:
        smooth = smoothed(alpha_loss)
        final = smooth[-1][1]
        tooltip = f"smoothed loss on the split that trains the alphas; final value {final:.3f}"
        lines.append(axes.line(smooth, ACCENT, tooltip, "line dashed"))
        labels.append(EndLabel(axes.y(final), f"{final:.2f}", ACCENT, False))
        hovered.append(HoveredLine("loss of the alphas", ACCENT, smooth))
    return drawing(
        WIDTH,
        HEIGHT,
        f"Training loss of {phase}: {first:.2f} nats at the start, {last:.2f} at the end",
        _heading(phase),
        axes.grid(axis_ticks(*y_range)),
        *lines,
        *_end_labels(labels),
        axes.hovers(hovered, 3),
        class_="panel",
    )


def loss_range(losses: Sequence[Points], alpha_losses: Sequence[Points]) -> tuple[float, float]:
    """Ends of one vertical axis for all panels: every smoothed value, and 98 % of the raw ones.

    Args:
        losses, alpha_losses: as `loss_panel` takes them, one for each panel.
    """
    smooth = [value for points in (*losses, *alpha_losses) for _, value in smoothed(points)]
    raw = sorted(value for points in losses for _, value in points)
    low = min(*smooth, raw[len(raw) // 100])
    high = max(*smooth, raw[-1 - len(raw) // 100])
    pad = 0.04 * (high - low) or 0.1
    return low - pad, high + pad


def smoothed(points: Points) -> list[tuple[float, float]]:
    """A centered moving average over a twentieth of the points, over fewer near both ends."""
    half, count = len(points) // 40, len(points)
    sums = [0.0, *accumulate(value for _, value in points)]
    out = []
    for index, (step, _) in enumerate(points):
        start, stop = max(0, index - half), min(count, index + half + 1)
        out.append((step, (sums[stop] - sums[start]) / (stop - start)))
    return out


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most `MAX_POINTS` points at equal distances, and the last one."""
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    kept = list(points[::stride])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def axis_ticks(low: float, high: float) -> list[float]:
    """Three to five round values between two numbers."""
    span = (high - low) or 1.0
    unit = 10.0 ** math.floor(math.log10(span))
    step = next((size * unit for size in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (size * unit) < 5), 5 * unit)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _heading(text: str, chosen: str = "", color: str = "") -> Markup:
    """Title of the panel, followed by the chosen candidate in its color."""
    suffix = el("tspan", chosen, dx=6, fill=color, class_="chosen") if chosen else None
    return el("text", text, suffix, x=LEFT, y=14, class_="heading")


def _end_labels(labels: list[EndLabel]) -> list[Markup]:
    """Last values at the right edge, at least `LABEL_SPACING` apart, none below the axis."""
    labels = sorted(labels, key=lambda label: label.y)
    ys = list[float]()
    for label in labels:
        ys.append(max(label.y, ys[-1] + LABEL_SPACING) if ys else label.y)
    # What was pushed below the axis is pushed back up, from the lowest label to the highest.
    limit = float(HEIGHT - BOTTOM)
    for index in reversed(range(len(ys))):
        ys[index] = min(ys[index], limit)
        limit = ys[index] - LABEL_SPACING
    return [
        el(
            "text",
            label.text,
            x=WIDTH - RIGHT + 7,
            y=y + 3.5,
            fill=label.color,
            class_="value bold" if label.bold else "value",
        )
        for label, y in zip(labels, ys, strict=True)
    ]
