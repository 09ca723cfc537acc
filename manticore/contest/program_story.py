"""What is trained to program a hybrid, in rounds: searches on the proxies, every path on all tasks. Knows no files.

Every choice is made on model-choice splits; of the target's models the test split is read as well, once. Components
correspond by their place in the list, since the target may have others than the proxies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from manticore.contest.meeting import Meeting, Side
from manticore.contest.rounds import Results, Story, play
from manticore.contest.trials import Trial


@dataclass(frozen=True)
class Ground:
    """One task, proxy or target, and what was trained on it.

    Attributes:
        task: its name.
        meeting: components, seeds, learning rates.
        home: the component that is home here.
        results: by side, a result for each seed; `hybrid` if there was a search, then the paths by their words. The
            target has its components alone too.
    """

    task: str
    meeting: Meeting
    home: str
    results: dict[str, Results]

    @property
    def paths(self) -> list[Results]:
        """The results of each path, in the order of `Meeting.all_paths`."""
        return [self.results[side.name] for side in path_sides(self.meeting, self.home)]

    @property
    def alone(self) -> list[Results]:
        """The results of each component alone, in the order of the components."""
        return [self.results[f"{name} alone"] for name in self.meeting.space.names]


def train(
    names: Sequence[str], meetings: Sequence[Meeting], search_target: bool, run: Callable[[list[Trial]], Results]
) -> list[Ground]:
    """Train everything that is needed.

    Args:
        names: of the tasks, the target's last.
        meetings: one for each task.
        search_target: whether the target is searched itself, to compare with.
        run: see `play`.
    """
    scores = play([meeting.tune(alone(meeting)) for meeting in meetings], run)
    place = home_place(meetings, scores[:-1])
    homes = [meeting.space.names[place] for meeting in meetings]
    stories = [proxy_story(*held) for held in zip(meetings[:-1], homes[:-1], strict=True)]
    told = play([*stories, target_story(meetings[-1], homes[-1], search_target)], run)
    return [Ground(*held) for held in zip(names, meetings, homes, told, strict=True)]


def home_place(meetings: Sequence[Meeting], scores: Sequence[dict[str, float]]) -> int:
    """The place of home: what was asked for, or who is best alone in the mean over proxies.

    Args:
        meetings: of all tasks.
        scores: of each proxy, what `Meeting.tune` found of the components alone, in their order.
    """
    for held in meetings:
        if held.space.home is not None:
            return held.space.names.index(held.space.home)
    means = [fmean(values) for values in zip(*(held.values() for held in scores), strict=True)]
    return means.index(max(means))


def proxy_story(meeting: Meeting, home: str) -> Story:
    """The search and every path from scratch, with every seed; no test."""
    sides = yield from _ready(meeting, home, True)
    results = yield [meeting.trial(side, seed, meeting.rates[side.name]) for side in sides for seed in meeting.seeds]
    told = iter(results)
    return {side.name: [next(told) for _ in meeting.seeds] for side in sides}


def target_story(meeting: Meeting, home: str, search: bool) -> Story:
    """Every component alone and every path from scratch, with every seed, and their tests; the search, if wanted."""
    sides = yield from _ready(meeting, home, search)
    held: dict[str, Any] = yield from meeting.rounds([*alone(meeting), *sides])
    return held


def _ready(meeting: Meeting, home: str, search: bool) -> Generator[list[Trial], Results, list[Side]]:
    """The search, if wanted, with a learning rate of its own, and the paths with that of home alone."""
    searches = [meeting.hybrid(home)] if search else []
    if searches:
        yield from meeting.tune(searches)
    paths = path_sides(meeting, home)
    meeting.rates |= dict.fromkeys((side.name for side in paths), meeting.rates[f"{home} alone"])
    return [*searches, *paths]


def alone(meeting: Meeting) -> list[Side]:
    """Each component alone."""
    return [meeting.component(name) for name in meeting.space.names]


def path_sides(meeting: Meeting, home: str) -> list[Side]:
    """Every path from scratch, in the order of `Meeting.all_paths`."""
    return [meeting.one_path(home, path) for path in meeting.all_paths()]
