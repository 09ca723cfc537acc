"""The terminal: text is printed as it is, and a progress bar needs a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from manticore.utils.console import info, progress_bar


def test_info_adds_nothing_to_the_text() -> None:
    out = io.StringIO()
    text = "[bold] :smile: " + "x" * 200
    info(Console(file=out, width=40, force_terminal=True), text)
    assert out.getvalue() == text + "\n"


def test_a_progress_bar_shows_completed_units_and_the_note_on_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with progress_bar("[phase]", 4, console=console) as update:
        update(3, "loss [1.0]")
    assert "[phase]" in out.getvalue()
    assert "3/4" in out.getvalue()
    assert "loss [1.0]" in out.getvalue()


def test_a_progress_bar_draws_nothing_elsewhere() -> None:
    out = io.StringIO()
    with progress_bar("phase", 4, console=Console(file=out, width=120)) as update:
        update(4, "done")
    with progress_bar("phase", 4, shown=False, console=Console(file=out, force_terminal=True)) as update:
        update(4, "done")
    assert out.getvalue() == ""
