"""The chosen path as a picture: a stream from embedding to head, and who writes to it at each stage.

Base's segments carry the stream itself; a donor segment hangs off it, reading through P and writing its update back
through Q; skip leaves it alone. In the hub topology every segment carries the stream. Knows nothing of numbers' origin.
"""

from __future__ import annotations

from math import ceil

from manticore.components.spec import SKIP
from manticore.report.charts.theme import Colours
from manticore.report.markup import Html, el, joined, picture
from manticore.report.run.reading import Run
from manticore.utils.formatting import percent

BOX_W, BOX_H, LANE = 112, 42, 54
STAGE_W = 172
RAIL_Y, FIRST_LANE = 40, 66
PILL_W, GAP = 104, 12
PER_LINE = 4


def draw_path(run: Run, colours: Colours) -> Html:
    """The diagram; more than `PER_LINE` stages are spread evenly over lines."""
    path = run.architecture.path
    across = ceil(len(path) / ceil(len(path) / PER_LINE))
    lines = [range(first, min(first + across, len(path))) for first in range(0, len(path), across)]
    height = FIRST_LANE + LANE * len(run.candidates) + 6
    width = 2 * (PILL_W + GAP) + STAGE_W * across
    drawn = (
        el("g", _line(run, colours, stages), transform=f"translate(0 {height * place})")
        for place, stages in enumerate(lines)
    )
    label = f"The chosen path: {run.architecture.words()}; base is {run.architecture.base}"
    drawing = picture(width, height * len(lines) - 12, label, *drawn, class_="diagram")
    return el("div", drawing, style=f"max-width:{1.2 * width:.0f}px;min-width:{0.8 * width:.0f}px")


def carries(run: Run, stage: int) -> bool:
    """Whether the chosen segment carries the stream itself, rather than adding to it."""
    choice = run.architecture.path[stage]
    return choice != SKIP and (choice == run.architecture.base or run.architecture.topology == "hub")


def _line(run: Run, colours: Colours, stages: range) -> Html:
    """One line of stages with what stands at its two ends."""
    start = PILL_W + GAP
    end = start + STAGE_W * len(stages)
    last = stages.stop == run.architecture.stages
    lender = run.architecture.base
    stream = colours[lender]
    opening = _pill(0, "embedding", lender, stream) if stages.start == 0 else _note(0, PILL_W, "…", "end")
    closing = _pill(end + GAP, "norm + head", lender, stream) if last else _note(end + GAP, 0, "…", "start")
    ends = (
        _rail(PILL_W - 2 if stages.start == 0 else PILL_W + 4, start, stream),
        _rail(end, end + GAP + 2 if last else end + GAP - 4, stream),
    )
    columns = (
        el("g", _stage(run, colours, stage), transform=f"translate({start + STAGE_W * place} 0)")
        for place, stage in enumerate(stages)
    )
    return joined(*ends, *columns, opening, closing)


def _stage(run: Run, colours: Colours, stage: int) -> Html:
    """One column: the stream on top, a box for every candidate below, the chosen one joined to the stream."""
    chosen = run.architecture.path[stage]
    stream, left = colours[run.architecture.base], (STAGE_W - BOX_W) / 2
    lane = run.candidates.index(chosen)
    middle = FIRST_LANE + LANE * lane + BOX_H / 2
    title = el("text", f"stage {stage + 1}", x=STAGE_W / 2, y=16, class_="stage", text_anchor="middle")
    boxes = (_box(run, colours, stage, place, left) for place in range(len(run.candidates)))
    wires: tuple[Html, ...] = (_rail(0, STAGE_W, stream),)
    if carries(run, stage):
        entry, leave = left - 16, left + BOX_W + 16
        proj_in = f"M0 {RAIL_Y}H{entry - 8}q8 0 8 8V{middle - 8}q0 8 8 8H{left}"
        proj_out = f"M{left + BOX_W} {middle}H{leave - 8}q8 0 8 -8V{RAIL_Y + 8}q0 -8 8 -8H{STAGE_W}"
        wires = (_wire(proj_in, stream), _wire(proj_out, stream))
    elif chosen != SKIP:
        wires += _translators(left, middle, colours[chosen])
    return joined(title, *wires, *boxes)


def _translators(left: float, middle: float, colour: str) -> tuple[Html, ...]:
    """P leaving the stream, Q joining it."""
    out, back = left - 16, left + BOX_W + 16
    proj_in = f"M{out} {RAIL_Y}V{middle - 6}q0 6 6 6H{left - 6}"
    proj_out = f"M{left + BOX_W} {middle}H{back - 6}q6 0 6 -6V{RAIL_Y + 11}"
    half = (RAIL_Y + FIRST_LANE) / 2 + 6
    return (
        el("circle", cx=out, cy=RAIL_Y, r=3.5, fill=colour),
        el("path", d=proj_in, class_="thin", stroke=colour),
        el("path", d=f"M{left - 7} {middle - 4}l7 4l-7 4z", fill=colour),
        el("path", d=proj_out, class_="thin", stroke=colour),
        el("circle", cx=back, cy=RAIL_Y, r=7, class_="plus", stroke=colour),
        el("path", d=f"M{back - 3.5} {RAIL_Y}h7M{back} {RAIL_Y - 3.5}v7", class_="thin", stroke=colour),
        el("path", d=f"M{back - 4} {RAIL_Y + 14}l4 -7l4 7z", fill=colour),
        _letter("P", out + 6, half, colour, "start", "P: from the stream to the component's own space"),
        _letter("Q", back - 6, half, colour, "end", "Q: from the component's update to the stream"),
    )


def _letter(text: str, x: float, y: float, colour: str, anchor: str, title: str) -> Html:
    return el("text", text, el("title", title), x=x, y=y, fill=colour, text_anchor=anchor, class_="letter")


def _box(run: Run, colours: Colours, stage: int, place: int, left: float) -> Html:
    """A candidate: filled if chosen, else tinted as far as its mixing weight reaches."""
    name, top = run.candidates[place], FIRST_LANE + LANE * place
    weight, chosen = run.final_weight(stage, name), run.architecture.path[stage] == name
    layers = layers_of(run, name, stage)
    said = [layers, None if weight is None else f"{weight:.2f}"]
    told = f"stage {stage + 1}: {name}, {layers or 'layers not recorded'}"
    told += "" if weight is None else f", final mixing weight {percent(weight)}"
    tint = None
    if weight is not None and not chosen:
        tint = el("rect", x=left, y=top, width=BOX_W * weight, height=BOX_H, rx=6, fill=colours[name], opacity=0.16)
    frame = el(
        "rect",
        x=left,
        y=top,
        width=BOX_W,
        height=BOX_H,
        rx=6,
        fill=colours[name] if chosen else "none",
        stroke=colours[name],
        class_="box" if chosen else "box other",
    )
    centre, kind = left + BOX_W / 2, "chosen" if chosen else "passed"
    return el(
        "g",
        el("title", told + (" (chosen)" if chosen else "")),
        tint,
        frame,
        el("text", _short(name), x=centre, y=top + 18, text_anchor="middle", class_=f"name {kind}"),
        el("text", " · ".join(filter(None, said)), x=centre, y=top + 33, text_anchor="middle", class_=f"said {kind}"),
    )


def layers_of(run: Run, name: str, stage: int) -> str:
    """`layers 3–4`: which of its layers a component runs at a stage; empty if the run does not say."""
    if name == SKIP:
        return "no layers"
    cuts = (run.metrics.get("components") or {}).get(name, {}).get("layer_boundaries") or []
    if len(cuts) != run.architecture.stages + 1:
        return ""
    first, last = cuts[stage] + 1, cuts[stage + 1]
    if first > last:
        return "no layers"
    return f"layer {first}" if first == last else f"layers {first}–{last}"


def _pill(x: float, what: str, lender: str, colour: str) -> Html:
    """Embedding or head, lent by base."""
    return el(
        "g",
        el("rect", x=x, y=RAIL_Y - 19, width=PILL_W, height=38, rx=19, fill=colour),
        el("text", what, x=x + PILL_W / 2, y=RAIL_Y - 3, text_anchor="middle", class_="name chosen"),
        el("text", _short(lender), x=x + PILL_W / 2, y=RAIL_Y + 11, text_anchor="middle", class_="said chosen"),
    )


def _note(x: float, width: float, text: str, anchor: str) -> Html:
    """What stands where a line is broken."""
    return el("text", text, x=x + width, y=RAIL_Y + 4, text_anchor=anchor, class_="said")


def _rail(start: float, end: float, colour: str) -> Html:
    return _wire(f"M{start} {RAIL_Y}H{end}", colour)


def _wire(d: str, colour: str) -> Html:
    return el("path", d=d, class_="wire", stroke=colour)


def _short(name: str) -> str:
    """A name that fits a box."""
    return name if len(name) <= 14 else f"{name[:12]}…"
