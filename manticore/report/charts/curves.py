"""Small line pictures: mixing weights and losses over steps. Knows nothing of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from manticore.report.charts.theme import Colours
from manticore.report.markup import Html, el, joined, picture
from manticore.report.run.reading import Curve, Run

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 280, 158
LEFT, RIGHT, TOP, BOTTOM = 32, 40, 26, 22
MOST_POINTS = 300


@dataclass(frozen=True)
class Frame:
    """The panel's scales: steps from `x_low` to `x_high`, values from `y_low` to `y_high`."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, step: float) -> float:
        """Where a step is, in units of the picture."""
        span = (self.x_high - self.x_low) or 1.0
        return LEFT + (step - self.x_low) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value is; what lies outside is drawn at the edge."""
        span = (self.y_high - self.y_low) or 1.0
        share = min(1.0, max(0.0, (value - self.y_low) / span))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def grid(self, ticks: Sequence[float]) -> Html:
        """Hairlines with their values, and the first and last step."""
        digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)) if len(ticks) > 1 else 2
        lines = (
            joined(
                el("path", d=f"M{LEFT} {self.y(tick):.1f}H{WIDTH - RIGHT}", class_="hair"),
                el("text", f"{tick:.{digits}f}", x=LEFT - 6, y=self.y(tick) + 3.5, text_anchor="end", class_="tick"),
            )
            for tick in ticks
        )
        bottom = HEIGHT - 6
        return joined(
            *lines,
            el("text", f"{self.x_low:,.0f}", x=LEFT, y=bottom, class_="tick"),
            el("text", f"step {self.x_high:,.0f}", x=WIDTH - RIGHT, y=bottom, text_anchor="end", class_="tick"),
        )

    def line(self, points: Points, colour: str, title: str, class_: str = "line") -> Html:
        """A line that says what it is when pointed at."""
        steps = " L".join(f"{self.x(step):.1f} {self.y(value):.1f}" for step, value in thinned(points))
        return el("path", el("title", title), d=f"M{steps}", stroke=colour, class_=class_)


def weights_panel(run: Run, stage: int, colours: Colours) -> Html:
    """Mixing weights of every candidate at one stage (counted from 0); the chosen one is drawn strong."""
    assert run.alphas is not None
    chosen = run.architecture.path[stage]
    frame = Frame(min(0.0, run.alphas.steps[0]), run.alphas.steps[-1], 0.0, 1.0)
    lines, ends = [], []
    # The chosen line comes last, on top of the others.
    for name in sorted(run.alphas.candidates, key=lambda name: name == chosen):
        points = run.alphas.series(stage, run.alphas.candidates.index(name))
        last = points[-1][1]
        weight = "line strong" if name == chosen else "line"
        lines.append(frame.line(points, colours[name], f"{name}: {points[0][1]:.2f} → {last:.2f}", weight))
        lines.append(el("circle", cx=frame.x(points[-1][0]), cy=frame.y(last), r=2.5, fill=colours[name]))
        ends.append((frame.y(last), f"{last:.2f}", colours[name], name == chosen))
    told = ", ".join(f"{name} {run.final_weight(stage, name):.2f}" for name in run.candidates)
    return picture(
        WIDTH,
        HEIGHT,
        f"Mixing weights at stage {stage + 1} over the search, at the end: {told}",
        _title(f"stage {stage + 1}", chosen, colours[chosen]),
        frame.grid([0.0, 0.5, 1.0]),
        *lines,
        *_labels(ends),
        class_="panel",
    )


def loss_panel(curve: Curve, colours: Colours, y_range: tuple[float, float]) -> Html:
    """Training loss of one phase: smoothed, the raw values behind; the alphas' loss dashed."""
    low, high = y_range
    steps = [step for step, _ in curve.loss]
    frame = Frame(min(0.0, steps[0]), steps[-1], low, high)
    colour = colours.of_phase(curve.phase)
    smooth = smoothed(curve.loss)
    last = smooth[-1][1]
    lines = [
        frame.line(curve.loss, colour, "loss at each logged step", "line raw"),
        frame.line(smooth, colour, f"loss on the weights' examples, smoothed; at the end {last:.3f}"),
    ]
    ends = [(frame.y(last), f"{last:.2f}", colour, True)]
    if curve.alpha_loss:
        dashed = smoothed(curve.alpha_loss)
        final = dashed[-1][1]
        lines.append(
            frame.line(dashed, "var(--accent)", f"loss on the alphas' examples; at the end {final:.3f}", "line dashed")
        )
        ends.append((frame.y(final), f"{final:.2f}", "var(--accent)", False))
    return picture(
        WIDTH,
        HEIGHT,
        f"Training loss of {curve.phase}: {smooth[0][1]:.2f} at first, {last:.2f} at the end, in nats",
        _title(curve.phase, "", colour),
        frame.grid(ticks(low, high)),
        *lines,
        *_labels(ends),
        class_="panel",
    )


def loss_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """One scale for all panels: every smoothed value, and nearly every raw one."""
    smooth = [value for curve in curves for series in (curve.loss, curve.alpha_loss) for _, value in smoothed(series)]
    raw = sorted(value for curve in curves for _, value in curve.loss)
    low = min(*smooth, raw[len(raw) // 100])
    high = max(*smooth, raw[-1 - len(raw) // 100])
    pad = 0.04 * (high - low) or 0.1
    return low - pad, high + pad


def smoothed(points: Points) -> list[tuple[float, float]]:
    """A centred moving average over a twentieth of the curve; at its ends over what there is of that."""
    reach, count = len(points) // 40, len(points)
    sums = [0.0, *accumulate(value for _, value in points)]
    out = []
    for place, (step, _) in enumerate(points):
        first, after = max(0, place - reach), min(count, place + reach + 1)
        out.append((step, (sums[after] - sums[first]) / (after - first)))
    return out


def thinned(points: Points) -> list[tuple[float, float]]:
    """No more points than a small picture can show, the last one kept."""
    stride = max(1, math.ceil(len(points) / MOST_POINTS))
    kept = list(points[::stride])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def ticks(low: float, high: float) -> list[float]:
    """Three to five round values between two numbers."""
    span = (high - low) or 1.0
    unit = 10.0 ** math.floor(math.log10(span))
    step = next((size * unit for size in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (size * unit) < 5), 5 * unit)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _title(text: str, more: str, colour: str) -> Html:
    """The panel's name, and who was chosen in their colour."""
    return el(
        "text",
        text,
        el("tspan", more, dx=6, fill=colour, class_="who") if more else None,
        x=LEFT,
        y=14,
        class_="heading",
    )


def _labels(ends: list[tuple[float, str, str, bool]]) -> list[Html]:
    """Last values at the right edge, moved apart where they would touch."""
    apart, placed = 11.0, list[float]()
    ends = sorted(ends)
    for y, *_ in ends:
        placed.append(max(y, placed[-1] + apart) if placed else y)
    over = max(0.0, placed[-1] - (HEIGHT - BOTTOM))
    for place in range(len(placed) - 1, -1, -1):
        ceiling = placed[place] - over if place == len(placed) - 1 else placed[place + 1] - apart
        placed[place] = min(placed[place], ceiling)
    return [
        el("text", text, x=WIDTH - RIGHT + 7, y=y + 3.5, fill=colour, class_="value strong" if strong else "value")
        for y, (_, text, colour, strong) in zip(placed, ends, strict=True)
    ]
