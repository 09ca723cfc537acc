"""The selected path as a diagram: the residual stream from embedding to head, and the segments that update it.

Segments of the base model carry the stream themselves. A donor segment reads the stream through the projector P and
adds its update through the projector Q; an op does so without projectors; a skipped stage leaves the stream unchanged.
In the hub topology every segment carries the stream.
"""

from __future__ import annotations

from math import ceil

from markupsafe import Markup

from manticore.components.spec import SKIP
from manticore.report.charts.palette import Palette
from manticore.report.charts.svg import drawing, el, joined
from manticore.report.run.reading import Run
from manticore.utils.formatting import percent

BOX_W, BOX_H, LANE = 112, 42, 54
STAGE_W = 172
STREAM_Y, FIRST_LANE = 40, 66
END_W, GAP = 104, 12
MAX_STAGES_PER_ROW = 4
MAX_NAME = 14


def draw_path(run: Run, palette: Palette) -> Markup:
    """The diagram; more than `MAX_STAGES_PER_ROW` stages are spread evenly over several rows."""
    path = run.architecture.path
    columns = ceil(len(path) / ceil(len(path) / MAX_STAGES_PER_ROW))
    rows = [range(first, min(first + columns, len(path))) for first in range(0, len(path), columns)]
    height = FIRST_LANE + LANE * len(run.candidates) + 6
    width = 2 * (END_W + GAP) + STAGE_W * columns
    drawn = (
        el("g", _row(run, palette, stages), transform=f"translate(0 {height * index})")
        for index, stages in enumerate(rows)
    )
    label = f"The selected path: {run.architecture.summary()}; the base model is {run.architecture.base}"
    style = f"max-width:{1.2 * width:.0f}px;min-width:{0.8 * width:.0f}px"
    return drawing(width, height * len(rows) - 12, label, *drawn, class_="diagram", style=style)


def _row(run: Run, palette: Palette, stages: range) -> Markup:
    """One row of stages; the first begins with the embedding, the last ends with the head."""
    start = END_W + GAP
    end = start + STAGE_W * len(stages)
    first, last = stages.start == 0, stages.stop == run.architecture.stages
    base = run.architecture.base
    color = palette[base]
    left = _end(0, "embedding", base, color) if first else _continued(END_W, "end")
    right = _end(end + GAP, "norm + head", base, color) if last else _continued(end + GAP, "start")
    stream = (
        _stream(END_W - 2 if first else END_W + 4, start, color),
        _stream(end, end + GAP + 2 if last else end + GAP - 4, color),
    )
    columns = (
        el("g", _stage(run, palette, stage), transform=f"translate({start + STAGE_W * index} 0)")
        for index, stage in enumerate(stages)
    )
    return joined(*stream, *columns, left, right)


def _stage(run: Run, palette: Palette, stage: int) -> Markup:
    """One column: the stream on top, a box for every candidate below, the chosen one connected to the stream."""
    chosen = run.architecture.path[stage]
    color, left = palette[run.architecture.base], (STAGE_W - BOX_W) / 2
    middle = FIRST_LANE + LANE * run.candidates.index(chosen) + BOX_H / 2
    heading = el("text", f"stage {stage + 1}", x=STAGE_W / 2, y=16, class_="stage", text_anchor="middle")
    names = run.choices.names(stage)
    boxes = (_box(run, palette, stage, index, left) for index, name in enumerate(run.candidates) if name in names)
    lines: tuple[Markup, ...] = (_stream(0, STAGE_W, color),)
    if run.carries_stream(stage):
        entry, exit_ = left - 16, left + BOX_W + 16
        down = f"M0 {STREAM_Y}H{entry - 8}q8 0 8 8V{middle - 8}q0 8 8 8H{left}"
        up = f"M{left + BOX_W} {middle}H{exit_ - 8}q8 0 8 -8V{STREAM_Y + 8}q0 -8 8 -8H{STAGE_W}"
        lines = (_stream_line(down, color), _stream_line(up, color))
    elif chosen != SKIP:
        lines += _update(left, middle, palette[chosen])
        lines += _projector_letters(left, palette[chosen]) if run.has_projectors(stage) else ()
    return joined(heading, *lines, *boxes)


def _update(left: float, middle: float, color: str) -> tuple[Markup, ...]:
    """A line from the stream to the box, and one from the box to the sum."""
    entry, exit_ = left - 16, left + BOX_W + 16
    down = f"M{entry} {STREAM_Y}V{middle - 6}q0 6 6 6H{left - 6}"
    up = f"M{left + BOX_W} {middle}H{exit_ - 6}q6 0 6 -6V{STREAM_Y + 11}"
    return (
        el("circle", cx=entry, cy=STREAM_Y, r=3.5, fill=color),
        el("path", d=down, class_="thin", stroke=color),
        el("path", d=f"M{left - 7} {middle - 4}l7 4l-7 4z", fill=color),
        el("path", d=up, class_="thin", stroke=color),
        el("circle", cx=exit_, cy=STREAM_Y, r=7, class_="plus", stroke=color),
        el("path", d=f"M{exit_ - 3.5} {STREAM_Y}h7M{exit_} {STREAM_Y - 3.5}v7", class_="thin", stroke=color),
        el("path", d=f"M{exit_ - 4} {STREAM_Y + 14}l4 -7l4 7z", fill=color),
    )


def _projector_letters(left: float, color: str) -> tuple[Markup, ...]:
    """P beside the line to the box, Q beside the line to the sum."""
    entry, exit_ = left - 16, left + BOX_W + 16
    letter_y = (STREAM_Y + FIRST_LANE) / 2 + 6
    return (
        _letter("P", entry + 6, letter_y, color, "start", "P projects the stream to the width of the donor"),
        _letter("Q", exit_ - 6, letter_y, color, "end", "Q projects the donor's update to the width of the stream"),
    )


def _letter(text: str, x: float, y: float, color: str, anchor: str, tooltip: str) -> Markup:
    return el("text", text, el("title", tooltip), x=x, y=y, fill=color, text_anchor=anchor, class_="letter")


def _box(run: Run, palette: Palette, stage: int, index: int, left: float) -> Markup:
    """A candidate: filled if chosen, else tinted over the share of the width that is its mixing weight."""
    name, top = run.candidates[index], FIRST_LANE + LANE * index
    weight, chosen = run.final_weight(stage, name), run.architecture.path[stage] == name
    layers = run.layers(name, stage)
    details = [layers, "" if weight is None else f"{weight:.2f}"]
    tooltip = f"stage {stage + 1}: {name}, {layers or 'layers not recorded'}"
    tooltip += "" if weight is None else f", final mixing weight {percent(weight)}"
    tint = None
    if weight is not None and not chosen:
        tint = el("rect", x=left, y=top, width=BOX_W * weight, height=BOX_H, rx=6, fill=palette[name], opacity=0.16)
    frame = el(
        "rect",
        x=left,
        y=top,
        width=BOX_W,
        height=BOX_H,
        rx=6,
        fill=palette[name] if chosen else "none",
        stroke=palette[name],
        class_="box" if chosen else "box faint",
    )
    center, class_ = left + BOX_W / 2, "chosen" if chosen else "rejected"
    return el(
        "g",
        el("title", tooltip + (" (chosen)" if chosen else "")),
        tint,
        frame,
        _centered(_shortened(name), center, top + 18, f"name {class_}"),
        _centered(" · ".join(filter(None, details)), center, top + 33, f"detail {class_}"),
    )


def _end(x: float, what: str, base: str, color: str) -> Markup:
    """The embedding or the head, with the name of the base model."""
    return el(
        "g",
        el("rect", x=x, y=STREAM_Y - 19, width=END_W, height=38, rx=19, fill=color),
        _centered(what, x + END_W / 2, STREAM_Y - 3, "name chosen"),
        _centered(_shortened(base), x + END_W / 2, STREAM_Y + 11, "detail chosen"),
    )


def _centered(text: str, x: float, y: float, class_: str) -> Markup:
    return el("text", text, x=x, y=y, text_anchor="middle", class_=class_)


def _continued(x: float, anchor: str) -> Markup:
    """An ellipsis where the stream continues in another row."""
    return el("text", "…", x=x, y=STREAM_Y + 4, text_anchor=anchor, class_="detail")


def _stream(start: float, end: float, color: str) -> Markup:
    return _stream_line(f"M{start} {STREAM_Y}H{end}", color)


def _stream_line(d: str, color: str) -> Markup:
    return el("path", d=d, class_="stream", stroke=color)


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 2]}…"
