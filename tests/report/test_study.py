"""The page of a study: whole, self-contained, escaped, and saying what comparison.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manticore.errors import BadFile
from manticore.report.charts.intervals import Mark, Scale, axis_limits
from manticore.report.study.page import write_study_report
from manticore.utils.io import write_json, write_text
from manticore.utils.statistics import Interval
from tests.helpers.html import Reader, assert_asks_for_nothing
from tests.helpers.study_results import comparison, interval, task, text_task


def page(folder: Path, held: Any) -> Reader:
    write_json(folder / "comparison.json", held)
    return Reader(write_study_report(folder).read_text(encoding="utf-8"))


def test_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "comparison.json", comparison())
    written = write_study_report(tmp_path)
    assert written == tmp_path / "report.html"
    assert_asks_for_nothing(written.read_text(encoding="utf-8"))


def test_page_says_what_the_numbers_say(tmp_path: Path) -> None:
    words = page(tmp_path, comparison()).words
    for said in (
        "manticore 0.1.0 · 5 models · 2 tasks · 3 seeds gpt-neo + mamba on 2 tasks",
        "Given the same training tokens: The hybrid beats mamba alone on both tasks; the interval of the difference",
        "Given the same training FLOPs: The hybrid loses to mambaformer on both tasks.",
        "Bars and margins are 95% intervals over 3 seeds",
        "Everybody was given 36,800 training sequences or, in the other table, 1.2 T FLOPs of training. Base is mamba.",
        "majority token (11.0 %) and last token (69.0 %)",
        "gpt-neo alone 72.0 ± 2.0 % +8.0 ± 5.0 118 k 241 k 1.2 M 1 min 35 s 0.0005",
        "mambaformer best 83.0 ± 2.0 % −3.0 ± 5.0",
        "The hybrid's path: mamba · gpt-neo (2 of 3 seeds). From the soft mixture to the one-hot path it went from "
        "78.0 ± 2.0 % to 73.0 ± 1.0 % (−5.0 points); fine-tuning then brought it to 80.0 ± 2.0 %.",
        "What is exported, it or a better component: 81.0 ± 2.0 %.",
        "The paths that the searches found are 1.2 ± 0.4 points below the best of 3.",
        "with what the paths reach is 0.62 (−0.10 to 0.90).",
        "of 0.0005, 0.001 and 0.002 the best on the validation split, with 1 seed",
        "0, 1 and 2, the same for everybody",
        "read once",
        "GPU none",
        "55 min 12 s with 2 workers",
    ):
        assert said in words, said


def test_page_of_text_is_in_bits_and_less_is_better(tmp_path: Path) -> None:
    reader = page(tmp_path, {**comparison(), "tasks": [text_task("text-a"), text_task("text-b")]})
    for said in (
        "The hybrid's lead over each opponent in bits per byte, paired over seeds: right of the line it is ahead.",
        "Bits per byte, less being better, the best of each task set strong.",
        "Less bits per byte is better.",
        "gpt-neo alone 1.280 ± 0.020 +0.080 ± 0.050 118 k",
        "mambaformer best 1.170 ± 0.020 −0.030 ± 0.050",
        "From the soft mixture to the one-hot path it went from 1.220 ± 0.020 bits per byte to 1.270 ± 0.010 bits per "
        "byte (+0.050 bits per byte); fine-tuning then brought it to 1.200 ± 0.020 bits per byte.",
        "What is exported, it or a better component: 1.190 ± 0.020 bits per byte.",
        "Every path trained by itself, 3 seeds, best first",
        "The paths that the searches found are 0.012 ± 0.004 bits per byte above the best of 3.",
        "scores with how few bits per byte the paths need is 0.62 (−0.10 to 0.90).",
    ):
        assert said in reader.words, said
    assert reader.text.count("\nbest\n") == 4
    ranked = next(label for label in reader.labels if label.startswith("All 3 paths"))
    assert ranked.split(": ", 1)[1].startswith("gpt-neo · mamba: 1.180 ± 0.020 bits per byte, chosen by 1 seed; mamba")
    assert "points" not in reader.words
    assert "%" not in reader.words.replace("95% interval", "")


def test_who_could_not_take_part_is_said(tmp_path: Path) -> None:
    held = {**text_task("text-a"), "absent": ["the hub, which has no base", "MambaFormer, which has no weights"]}
    told = page(tmp_path, {**comparison(), "tasks": [held, text_task("text-b")]}).words
    assert told.count("Not here: the hub, which has no base; MambaFormer, which has no weights.") == 1


def test_each_unit_has_its_own_picture(tmp_path: Path) -> None:
    reader = page(tmp_path, {**comparison(), "tasks": [task("mad"), text_task("text")]})
    assert "in percentage points or, in the other picture, bits per byte, paired" in reader.words
    assert "Accuracy in percent or bits per byte, less being better, the best" in reader.words
    leads = [label for label in reader.labels if label.startswith("The hybrid's lead")]
    assert [("mad," in label, "text," in label) for label in leads] == [(True, False), (False, True)] * 2
    assert "mad 80.0 ± 2.0 % 72.0" in reader.words  # two units need their signs
    assert "text 1.200 ± 0.020 1.280" in reader.words


def test_best_of_each_task_is_marked_once_a_table(tmp_path: Path) -> None:
    reader = page(tmp_path, comparison())
    best = [attrs for tag, attrs in reader.tags if tag == "td" and attrs.get("class") == "number best"]
    assert len(best) == 2 * 2 + 2 * 2  # two tasks under two budgets, in the overview and in their own tables
    assert reader.text.count("\nbest\n") == 4


def test_pictures_say_what_they_show(tmp_path: Path) -> None:
    reader = page(tmp_path, comparison())
    assert len(reader.labels) == 2 + 2 * 2  # leads under each budget; baselines and paths of each task
    assert any(label.startswith("accuracy on mad-compress: hybrid 50.0 ± 2.0 %") for label in reader.labels)
    assert any("mad-compress, against mambaformer: −3.0 ± 5.0 points" in label for label in reader.labels)
    ranked = next(label for label in reader.labels if label.startswith("All 3 paths"))
    assert ranked.split(": ", 1)[1].split("; ") == [
        "gpt-neo · mamba: 82.0 ± 2.0 %, chosen by 1 seed",
        "mamba · gpt-neo: 81.0 ± 2.0 %, chosen by 2 seeds",
        "mamba · mamba: 76.0 ± 2.0 %",
    ]


def test_dots_seeds_and_near_guesses_are_drawn(tmp_path: Path) -> None:
    held = comparison()
    held["tasks"] = held["tasks"][:1]
    held["tasks"][0].update(paths=[], differences={})
    del held["tasks"][0]["tables"]["flops"]
    tags = page(tmp_path, held).tags
    assert sum(attrs.get("class") == "dot" for _, attrs in tags) == 5
    singles = [attrs["d"] or "" for _, attrs in tags if attrs.get("class") == "seeds"]
    assert [path.count("M") for path in singles] == [3] * 5
    assert sum(attrs.get("class") == "reference" for _, attrs in tags) == 1  # 69 % is near, 11 % is far


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    held: dict[str, Any] = {"tasks": comparison()["tasks"][:1]}
    one = held["tasks"][0]
    for name in ("sequences", "train_flops", "base", "guesses", "differences"):
        del one[name]
    one.update(gap=None, paths=[], regret=None, correlation=None)
    del one["tables"]["flops"]
    for arm in one["tables"]["tokens"]:
        arm["path"] = None
    reader = page(tmp_path, held)
    for said in ("FLOPs of training", "Everybody", "Base", "Guesses", "paths", "soft", "lead over", "Machine", "Given"):
        assert said not in reader.text, said
    assert "same training FLOPs" not in reader.text
    assert "hybrid\n80.0" in reader.text.replace("\u00a0", " ")
    assert "1 task" in reader.words


def test_one_seed_has_no_intervals(tmp_path: Path) -> None:
    held = comparison()
    for one in held["tasks"]:
        one.update(paths=[], gap=None, exported=None)
        for arm in (*one["tables"]["tokens"], *one["tables"]["flops"]):
            arm.update(accuracy=interval(0.7, None, 1), values={"0": 0.7})
        one["differences"] = {"tokens": {"mamba alone": interval(0.0, None, 1)}}
    reader = page(tmp_path, held)
    assert "There is one seed, so there are no intervals." in reader.words
    assert "70.0 %" in reader.words
    assert "±" not in reader.words.replace("1.2 ± 0.4 points", "")


def test_different_paths_are_told_apart(tmp_path: Path) -> None:
    held = comparison()
    held["tasks"][0]["tables"]["flops"][0]["path"] = "mamba · mamba (3 of 3 seeds)"
    assert (
        "The hybrid's path: with the same training tokens mamba · gpt-neo (2 of 3 seeds); "
        "with the same training FLOPs mamba · mamba (3 of 3 seeds)."
    ) in page(tmp_path, held).words


def test_nothing_is_taken_for_markup(tmp_path: Path) -> None:
    held = comparison()
    one = held["tasks"][0]
    one["task"] = "<b>task"
    one["tables"]["tokens"][1].update(name='"><script>x</script>', group="<b>")
    one["guesses"] = {"<b>guess": 0.7}
    one["paths"][0]["path"] = ["<b>", "mamba"]
    held["verdicts"]["tokens"] = ["<b>verdict"]
    held["machine"]["cpu"] = "<b>cpu"
    reader = page(tmp_path, held)
    assert not {"b", "script"} & {tag for tag, _ in reader.tags}
    for said in ("<b>task", '"><script>x</script>', "<b>guess", "<b>verdict", "<b>cpu"):
        assert said in reader.text, said


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"tasks": []}',
        '{"tasks": [{"task": "x", "tables": {}}]}',
        '{"tasks": [{"task": "x", "tables": {"tokens": "abc"}}]}',
        '{"tasks": [{"task": "x", "tables": {"tokens": [{"name": "y", "group": "hybrid"}]}}]}',
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "comparison.json", text)
    with pytest.raises(BadFile, match=r"comparison.json"):
        write_study_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"comparison.json: cannot be read"):
        write_study_report(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("accuracy", {"mean": 81.0, "low": None, "high": None, "count": 3}, r"accuracy of 81 is not within 0 and 1"),
        ("accuracy", {"mean": float("nan"), "low": None, "high": None, "count": 3}, "not finite"),
        ("accuracy", {"mean": 0.8}, "has no 'count'"),
        ("values", [0.8], "not an object"),
        ("parameters", "many", "not a number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, key: str, value: object, told: str) -> None:
    held = comparison()
    held["tasks"][1]["tables"]["tokens"][2][key] = value
    with pytest.raises(BadFile, match=f"row 'mamba alone' .*{told}"):
        page(tmp_path, held)


def mark(mean: float, margin: float) -> Mark:
    return Mark(Interval(mean, mean - margin, mean + margin, 3), "", "")


def test_a_wide_interval_does_not_squeeze_the_others() -> None:
    low, high = axis_limits([mark(0.5, 0.01), mark(0.6, 0.45)])
    assert 0.38 < low < 0.42
    assert 0.68 < high < 0.72
    assert Scale(low, high, 100.0).position(1.05) == 100.0


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_a_scale_is_never_empty(mean: float) -> None:
    low, high = axis_limits([mark(mean, 0.0)], bounds=(0.0, 1.0))
    assert 0 <= low < high <= 1


def test_only_near_lines_widen_the_scale() -> None:
    held = [mark(0.7, 0.01), mark(0.8, 0.01)]
    assert axis_limits(held, [0.1]) == axis_limits(held)
    assert axis_limits(held, [0.65])[0] < 0.65
