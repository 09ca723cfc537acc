"""The page of a study: complete, self-contained, escaped, with the numbers of comparison.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manticore.errors import BadFile
from manticore.report.charts.intervals import Mark, Scale, axis_limits
from manticore.report.study.page import write_study_report
from manticore.results.codec import decode, encode
from manticore.results.study import StudyResult
from manticore.utils.io import write_text
from manticore.utils.statistics import Interval
from tests.helpers.html import Reader, assert_self_contained
from tests.helpers.study_results import interval, study_result, task_result, text_task, with_arm


def page(folder: Path, study: StudyResult) -> Reader:
    study.save(folder)
    return Reader(write_study_report(folder).read_text(encoding="utf-8"))


def test_page_is_self_contained(tmp_path: Path) -> None:
    study_result().save(tmp_path)
    written = write_study_report(tmp_path)
    assert written == tmp_path / "report.html"
    assert_self_contained(written.read_text(encoding="utf-8"))


def test_page_shows_every_number(tmp_path: Path) -> None:
    text = page(tmp_path, study_result()).plain_text
    for part in (
        "manticore 0.2.0 · 5 models · 2 tasks · 3 seeds gpt-neo + mamba on 2 tasks",
        "With the same training tokens: The hybrid beats mamba alone on both tasks; the interval of the difference",
        "With the same training FLOPs: The hybrid loses to mambaformer on both tasks.",
        "Bars and margins are 95% confidence intervals over 3 seeds",
        "All models were trained on 36,800 sequences or, in the second table, with 1.2 T FLOPs. "
        "The base model is mamba.",
        "majority token (11.0 %) and last token (69.0 %)",
        "gpt-neo alone 72.0 ± 2.0 % better by 8.0 ± 5.0 118 k 241 k 1.2 M 1 min 35 s 0.0005",
        "mambaformer best 83.0 ± 2.0 % worse by 3.0 ± 5.0",
        "Path of the hybrid: mamba · gpt-neo (2 of 3 seeds). Discretization: the score is 78.0 ± 2.0 % as a "
        "soft mixture and 73.0 ± 1.0 % as one path, worse by 5.0 points; fine-tuning brings it to 80.0 ± 2.0 %.",
        "The better of hybrid and components on the validation split reaches 81.0 ± 2.0 %.",
        "The paths that the searches chose are 1.2 ± 0.4 points below the best of 3.",
        "ranking of the paths and their ranking by accuracy is 0.62 (−0.10 to 0.90).",
        "the best of 0.0005, 0.001 and 0.002 on the validation split with 1 seed",
        "0, 1 and 2 for all models",
        "read once",
        "GPU none",
        "55 min 12 s with 2 workers",
    ):
        assert part in text, part


def test_page_of_text_is_in_bits_per_byte(tmp_path: Path) -> None:
    reader = page(tmp_path, study_result(text_task("text-a"), text_task("text-b")))
    for part in (
        "Lead of the hybrid over each opponent in bits per byte, paired over seeds; right of the line the hybrid is "
        "better.",
        "Bits per byte (lower is better); the best score on each task is bold.",
        "Lower bits per byte are better.",
        "gpt-neo alone 1.280 ± 0.020 better by 0.080 ± 0.050 118 k",
        "mambaformer best 1.170 ± 0.020 worse by 0.030 ± 0.050",
        "Discretization: the score is 1.220 ± 0.020 bits per byte as a soft mixture and 1.270 ± 0.010 bits per byte as "
        "one path, worse by 0.050 bits per byte; fine-tuning brings it to 1.200 ± 0.020 bits per byte.",
        "The better of hybrid and components on the validation split reaches 1.190 ± 0.020 bits per byte.",
        "Each path was trained alone with 3 seeds; the best is first.",
        "The paths that the searches chose are 0.012 ± 0.004 bits per byte above the best of 3.",
        "ranking of the paths and their ranking by bits per byte is 0.62 (−0.10 to 0.90).",
    ):
        assert part in reader.plain_text, part
    assert reader.text.count("\nbest\n") == 4
    ranked = next(label for label in reader.labels if label.startswith("All 3 paths"))
    assert ranked.split(": ", 1)[1].startswith("gpt-neo · mamba: 1.180 ± 0.020 bits per byte, chosen by 1 seed; mamba")
    assert "points" not in reader.plain_text
    assert "%" not in reader.plain_text.replace("95% confidence interval", "")


def test_excluded_baselines_are_listed(tmp_path: Path) -> None:
    excluded = ("the hub, which has no base", "MambaFormer, which has no weights")
    task = replace(text_task("text-a"), excluded=excluded)
    text = page(tmp_path, study_result(task, text_task("text-b"))).plain_text
    assert text.count("Excluded: the hub, which has no base; MambaFormer, which has no weights.") == 1


def test_each_metric_has_a_chart_of_leads(tmp_path: Path) -> None:
    reader = page(tmp_path, study_result(task_result("mad"), text_task("text")))
    assert "in percentage points or, in the second chart, bits per byte, paired" in reader.plain_text
    assert "Accuracy in percent or bits per byte (lower is better); the best" in reader.plain_text
    leads = [label for label in reader.labels if label.startswith("Lead of the hybrid")]
    assert [("mad:" in label, "text:" in label) for label in leads] == [(True, False), (False, True)] * 2
    assert "mad 80.0 ± 2.0 % 72.0" in reader.plain_text  # two units need their signs
    assert "text 1.200 ± 0.020 1.280" in reader.plain_text


def test_best_of_each_task_is_marked_once_a_table(tmp_path: Path) -> None:
    reader = page(tmp_path, study_result())
    best = [attrs for tag, attrs in reader.tags if tag == "td" and attrs.get("class") == "number best"]
    assert len(best) == 2 * 2 + 2 * 2  # two tasks under two budgets, in the overview and in their own tables
    assert reader.text.count("\nbest\n") == 4


def test_charts_have_labels(tmp_path: Path) -> None:
    reader = page(tmp_path, study_result())
    assert len(reader.labels) == 2 + 2 * 2  # leads under each budget; baselines and paths of each task
    assert any(label.startswith("accuracy on mad-compress: hybrid 50.0 ± 2.0 %") for label in reader.labels)
    assert any(
        "mad-compress: the hybrid is worse by 3.0 ± 5.0 points than mambaformer" in label for label in reader.labels
    )
    ranked = next(label for label in reader.labels if label.startswith("All 3 paths"))
    assert ranked.split(": ", 1)[1].split("; ") == [
        "gpt-neo · mamba: 82.0 ± 2.0 %, chosen by 1 seed",
        "mamba · gpt-neo: 81.0 ± 2.0 %, chosen by 2 seeds",
        "mamba · mamba: 76.0 ± 2.0 %",
    ]


def test_dots_seeds_and_near_heuristics_are_drawn(tmp_path: Path) -> None:
    task = study_result().tasks[0]
    task = replace(task, paths=(), leads={}, tables={"tokens": task.tables["tokens"]})
    tags = page(tmp_path, study_result(task)).tags
    assert sum(attrs.get("class") == "dot" for _, attrs in tags) == 5
    singles = [attrs["d"] or "" for _, attrs in tags if attrs.get("class") == "seeds"]
    assert [path.count("M") for path in singles] == [3] * 5
    assert sum(attrs.get("class") == "reference" for _, attrs in tags) == 1  # 69 % is near, 11 % is far


def test_parts_without_data_are_omitted(tmp_path: Path) -> None:
    task = study_result().tasks[0]
    tables = {"tokens": tuple(replace(arm, path_summary=None) for arm in task.tables["tokens"])}
    task = replace(task, tables=tables, heuristics={}, leads={}, gap=None, paths=(), regret=None, correlation=None)
    reader = page(tmp_path, replace(study_result(task), conclusions={}))
    for part in ("with 1.2 T FLOPs", "Heuristic", "All paths", "soft", "Lead", "With the"):
        assert part not in reader.text, part
    assert "same training FLOPs" not in reader.text
    assert "hybrid\n80.0" in reader.text.replace("\u00a0", " ")
    assert "1 task" in reader.plain_text


def test_one_seed_has_no_intervals(tmp_path: Path) -> None:
    lone = interval(0.7, None, 1)
    tasks = [
        replace(
            task,
            tables={
                budget: tuple(replace(arm, score=lone, seed_scores={"0": 0.7}) for arm in arms)
                for budget, arms in task.tables.items()
            },
            leads={"tokens": {"mamba alone": interval(0.0, None, 1)}},
            paths=(),
            gap=None,
            exported=None,
        )
        for task in study_result().tasks
    ]
    reader = page(tmp_path, replace(study_result(*tasks), seeds=(0,)))
    assert "There is one seed, so there are no intervals." in reader.plain_text
    assert "70.0 %" in reader.plain_text
    assert "±" not in reader.plain_text.replace("1.2 ± 0.4 points", "")


def test_paths_that_differ_between_the_budgets_are_both_named(tmp_path: Path) -> None:
    first, second = study_result().tasks
    first = with_arm(first, "flops", 0, path_summary="mamba · mamba (3 of 3 seeds)")
    assert (
        "Path of the hybrid: mamba · gpt-neo (2 of 3 seeds) (same training tokens); "
        "mamba · mamba (3 of 3 seeds) (same training FLOPs)."
    ) in page(tmp_path, study_result(first, second)).plain_text


def test_names_are_escaped(tmp_path: Path) -> None:
    task = with_arm(study_result().tasks[0], "tokens", 1, name='"><script>x</script>')
    paths = (replace(task.paths[0], path=("<b>", "mamba")), *task.paths[1:])
    task = replace(task, task="<b>task", heuristics={"<b>heuristic": 0.7}, paths=paths)
    study = replace(study_result(task), conclusions={"tokens": ("<b>conclusion",)}, machine={"cpu": "<b>cpu"})
    reader = page(tmp_path, study)
    assert not {"b", "script"} & {tag for tag, _ in reader.tags}
    for part in ("<b>task", '"><script>x</script>', "<b>heuristic", "<b>conclusion", "<b>cpu"):
        assert part in reader.text, part


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"tasks": []}', '{"format": 1, "tasks": []}'])
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "comparison.json", text)
    with pytest.raises(BadFile, match=r"comparison.json"):
        write_study_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"comparison.json: cannot be read"):
        write_study_report(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("score", {"mean": 81.0, "low": None, "high": None, "count": 3}, r"accuracy of 81 is not within 0 and 1"),
        ("score", {"mean": float("nan"), "low": None, "high": None, "count": 3}, "expected a finite number, got nan"),
        ("score", {"mean": 0.8, "low": None, "high": None}, "has no 'count'"),
        ("seed_scores", [0.8], "expected an object"),
        ("parameters", "many", "expected a whole number, got 'many'"),
        ("group", "compnent", "unknown group 'compnent'. Did you mean 'component'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, key: str, value: object, message: str) -> None:
    data = encode(study_result())
    data["tasks"][1]["tables"]["tokens"][2][key] = value
    with pytest.raises(BadFile, match=f"^file: tasks.'mad-compress'.*'mamba alone'.*{message}"):
        decode(StudyResult, data, "file")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "there is no table"),
        ({"tokens": []}, "the table of tokens is empty"),
        ({"token": []}, "unknown budget 'token'. Did you mean 'tokens'"),
    ],
)
def test_bad_tables_are_named(tables: object, message: str) -> None:
    data = encode(study_result())
    data["tasks"][0]["tables"] = tables
    with pytest.raises(BadFile, match=f"file: tasks.'mad-noisy-recall@seq_len=32'.: {message}"):
        decode(StudyResult, data, "file")


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    study = study_result(task_result("mad"), text_task("text"))
    study.save(tmp_path)
    assert StudyResult.load(tmp_path) == study


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
    marks = [mark(0.7, 0.01), mark(0.8, 0.01)]
    assert axis_limits(marks, [0.1]) == axis_limits(marks)
    assert axis_limits(marks, [0.65])[0] < 0.65
