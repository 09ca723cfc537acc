"""Invalid arguments and files give an error of one line and exit status 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.cli import main
from tests.helpers.cli import PICO, SIZES, command, refusal

pytestmark = pytest.mark.usefixtures("cached")

MISSPELT = [
    (["serch"], "command 'serch'. Did you mean 'search'? Known: align, bench, chat, compare, completion, cp,"),
    (
        ["search", *SIZES, "--models", "gpt-nea,mamba"],
        "model 'gpt-nea'. Did you mean 'gpt-neo'? Known: gpt-neo, gpt-neo-",
    ),
    (
        ["search", *PICO, "--task", "lra-listop"],
        "task 'lra-listop'. Did you mean 'lra-listops'? Known: alpaca, by",
    ),
    (["search", *SIZES, "--space", "gpt-neo+mambo"], "search space 'gpt-neo+mambo'. Did you mean 'gpt-neo+mamba'?"),
    (["search", *PICO, "--config", "search/lra-listop"], "recipe 'search/lra-listop'. Did you mean 'search/lra-l"),
    (["search", *PICO, "--strategy", "dart"], "strategy 'dart'. Did you mean 'darts'? Known: blockwise, "),
    (["search", *PICO, "--topology", "hubb"], "topology 'hubb'. Did you mean 'hub'? Known: hub, residual"),
    (["search", *PICO, "--projector", "liner"], "projector 'liner'. Did you mean 'linear'? Known: identity, linear,"),
    (["search", *PICO, "--base", "mamba2"], "base component 'mamba2'. Did you mean 'mamba'? Known: gpt-neo, mamba"),
    (["search", *PICO, "--set", "serch.steps=3"], "recipe key 'serch'. Did you mean 'search'?"),
    (["search", *PICO, "--set", "search.step=3"], "recipe key 'search.step'. Did you mean 'search.steps'?"),
    (["search", *PICO, "--set", "search.relaxation=softmix"], "relaxation 'softmix'. Did you mean 'softmax'?"),
    (["search", *PICO, "--set", "run.precision=32-tru"], "precision '32-tru'. Did you mean '32-true'?"),
    (["search", *PICO, "--set", "run.device=cud"], "device 'cud'. Did you mean 'cuda'? Known: auto, cpu, cuda"),
    (["search", *PICO, "--set", "task.preset=5"], "preset '5'. Known: auto, cpu, paper"),
    (["search", *PICO, "--set", "space.stagse=2"], "search space key 'stagse'. Did you mean 'stages'?"),
    (
        ["search", *PICO, "--preset", "gpu"],
        "argument --preset: unknown preset 'gpu'. Did you mean 'cpu'? Known: auto,",
    ),
    (["ls", "model"], "unknown kind 'model'. Did you mean 'models'?"),
    (["show", "gpt-neo+mambo"], "name 'gpt-neo+mambo'. Did you mean 'gpt-neo+mamba'?"),
]

INVALID = [
    (["--models", "gpt-neo"], "at least two components, or one and an op; given: gpt-neo"),
    (["--stages", "9"], "9 stages are more than the 4 layers of 'gpt-neo'; use at most 4"),
    (["--stages", "0"], "argument --stages: must be a whole number of at least 1"),
    (["--space", "gpt-neo+mamba"], "--models and --space both name the components"),
    (["--topology", "hub", "--set", "space.skip=true"], "hub topology has no skip"),
    (["--topology", "hub", "--strategy", "rloo"], "strategy 'rloo' needs single paths of the supernet"),
    (["--topology", "hub", "--strategy", "uniform"], "strategy 'uniform' needs single paths of the supernet"),
    (["--models", "./nowhere,mamba"], "no such model folder: ./nowhere"),
    (["--config", "nowhere.yaml"], "no such recipe file: nowhere.yaml"),
    (["--data-dir", "nowhere"], "basic_train.tsv: no such file"),
    (["--set", "foo"], "--set takes key=value"),
    (["--set", "foo=["], "is not a value"),
    (["--set", "task=foo"], "recipe key 'task' has keys of its own"),
    (["--set", "search.steps=abc"], "search.steps must be a whole number of at least 1, got 'abc'"),
    (["--set", "search.steps=-3"], "search.steps must be a whole number of at least 1, got -3"),
    (["--set", "search.warmup_steps=24"], "search.warmup_steps must be below search.steps (24)"),
    (["--set", "search.temperature=0"], "search.temperature must be a number above 0, got 0"),
    (["--set", "search.weights.lr=-1"], "search.weights.lr must be a number above 0, got -1"),
    (
        ["--set", "finetune.weights.donor_lr_scale=-2"],
        "finetune.weights.donor_lr_scale must be a number of at least 0, got -2",
    ),
    (["--set", "finetune.weights.beta1=1"], "finetune.weights.beta1 must be a number of at least 0 and below 1, got 1"),
    (["--set", "run.micro_batch_size=-1"], "run.micro_batch_size must be a whole number of at least 0, got -1"),
    (["--set", "run.eval_batch_size=0"], "run.eval_batch_size must be a whole number of at least 1, got 0"),
    (["--set", "scratch.attention.width=-16"], "scratch.attention.width must be a whole number of at least 1, got -16"),
    (["--set", "scratch.attention.heads=3"], "width 16 is no multiple of its 3 heads"),
    (["--set", "task.train=-5"], "task.train must be a whole number of at least 2, got -5"),
    (["--set", "task.seed=-1"], "task.seed must be a whole number of at least 0, got -1"),
    (["--task", "lra-listops@min_length=90"], "min_length=90"),
    (["--seed", "-1"], "argument --seed: must be a whole number of at least 0, got -1"),
    (["--set", "run.device=cuda"], "torch sees no CUDA device"),
    (["--max", "parameters=1K"], "no path has parameters of at most 1,000; the nearest, "),
    (
        ["--max", "parameters=1M,decode_flops=1K@64", "--min", "cache_bytes=1GiB@64"],
        "no path has parameters of at most 1,000,000 and decode_flops@64 of at most 1,000 FLOPs and cache_bytes@64 of "
        "at least 1,073,741,824 bytes; the nearest, ",
    ),
    (["--max", "paramters=1M"], "unknown resource 'paramters'. Did you mean 'parameters'? Known: cache_bytes, "),
    (["--max", "cache_bytes=1MiP"], "unknown unit of cache_bytes 'MiP'. Did you mean 'MiB'? Known: B, GB, GiB, "),
    (["--max", "parameters=1M@64"], "parameters does not depend on length"),
    (["--max", "parameters=1M", "--min", "parameters=2M"], "no path has at least parameters=2M and at most parameters"),
    (["--set", "selection.max_parameters=1000"], "unknown recipe key 'selection.max_parameters'"),
    (["--set", "space.components=[3, 4]"], "a component is a name or a mapping"),
    (["--set", "space.components=[{source: 5}, mamba]"], "component.source must be text, got 5"),
    (
        ["--set", "space.components=[{source: mamba, size: {width: -4}}, mamba]"],
        "component.size.width must be a whole number of at least 1, got -4",
    ),
    (["--set", "space.components=[{source: mamba, size: {widht: 4}}, mamba]"], "Did you mean 'component.size.width'?"),
    (["--set", "space.projector_options=abc"], "projector_options must be a mapping"),
    (["--set", "space.projector_options={rnk: 3}", "--projector", "low-rank"], "does not take the options {'rnk': 3}"),
    (["--set", "space.projector_options={rank: -1}", "--projector", "low-rank"], "cannot be built"),
]


@pytest.mark.parametrize(("args", "message"), MISSPELT, ids=lambda value: value[-1] if isinstance(value, list) else "")
def test_a_misspelt_name_is_refused_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, args: list[str], message: str
) -> None:
    out = ["--out", str(tmp_path / "out")] if args[0] == "search" else []
    assert message in refusal(capsys, *args, *out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("args", "message"), INVALID, ids=lambda value: value[-1] if isinstance(value, list) else "")
def test_invalid_settings_are_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, args: list[str], message: str
) -> None:
    cuda = pytest.importorskip("torch").cuda.is_available()
    if cuda and "CUDA" in message:
        pytest.skip("there is a GPU")
    assert message in refusal(capsys, "search", *PICO, *args, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["finetune", "{run}", "--steps", "-3", "--out", "{out}"], "--steps: must be a whole number of at least 1"),
        (["finetune", "{run}", "--batch-size", "0", "--out", "{out}"], "--batch-size: must be a whole number"),
        (["finetune", "{run}", "--micro-batch-size", "-1", "--out", "{out}"], "--micro-batch-size: must be a whole"),
        (["finetune", "{run}", "--lr", "-1", "--out", "{out}"], "--lr: must be a number above 0, got -1.0"),
        (["finetune", "{run}", "--lr", "inf", "--out", "{out}"], "--lr: must be a number above 0, got inf"),
        (["finetune", "{nothing}", "--out", "{out}"], "holds no model"),
        (["finetune", "{run}", "--task", "no-such", "--out", "{out}"], "unknown task 'no-such'"),
        (["finetune", "{run}", "--out", "{run}"], "is not empty"),
        (["finetune", "{run}", "--resume", "--out", "{run}"], "holds no fine-tuning to resume"),
        (["evaluate", "{run}", "--batch-size", "-1"], "--batch-size: must be a whole number of at least 1, got -1"),
        (["evaluate", "{nothing}"], "holds no model: there is no config.json"),
        (["export", "{nothing}", "--out", "{out}"], "is no run folder"),
        (["export", "{run}", "--out", "{run}"], "exists; choose another folder"),
        (["export", "{run}", "--path", "mamba,mamba", "--out", "{out}"], "names 2 stages; the space has 4"),
        (["export", "{run}", "--path", "mambo,mamba,mamba,mamba", "--out", "{out}"], "Did you mean 'mamba'?"),
        (["report", "{nothing}"], "is no run folder: there is no recipe.yaml in it"),
        (
            ["data", "lra-listops", "--train", "-1", "--out", "{out}"],
            "--train: must be a whole number of at least 2, got -1",
        ),
        (["data", "lra-listops", "--seed", "-1", "--out", "{out}"], "--seed: must be a whole number"),
        (["data", "lra-listop", "--out", "{out}"], "Did you mean 'lra-listops'?"),
        (["cp", "search/lra-listop", "{out}"], "Did you mean 'search/lra-listops'?"),
        (["cp", "search/lra-listops", "{nothing}"], "exists; choose another name"),
        (["validate", "{out}"], "no such file or folder"),
        (["validate", "search/txt"], "search space or projector set 'search/txt'. Did you mean 'search/text'?"),
        (["evaluate", "{run}", "--set", "search.steps=3"], "recipe section of this command 'search'. Known: run, task"),
        (["evaluate", "{run}", "--set", "task.tst=3"], "recipe key 'task.tst'. Did you mean 'task.test'?"),
        (
            ["finetune", "{run}", "--set", "finetune.weights.lr=-1", "--out", "{out}"],
            "must be a number above 0, got -1",
        ),
        (
            ["evaluate", "{run}", "--task", "text"],
            "is a task of text; name its own task, such as --task lra-listops",
        ),
        (["evaluate", "gpt-neo-nano"], "gpt-neo-nano does not say which task it was trained on; name one"),
        (["evaluate", "gpt-neo-nano", "--task", "lra-listops"], "a language model without a head for lra-listops"),
        (
            ["export", "--models", "gpt-neo-nano,mamba-nano", "--path", "mamba-nano", "--no-trained", "--out", "{out}"],
            "--no-trained goes with a run",
        ),
        (["search", "--resume"], "--resume needs --out"),
        (["search", *PICO, "--out", "{run}"], "is not empty; choose another --out, or add --resume"),
        (["search", *PICO, "--out", "{run}", "--resume", "--seed", "3"], "another recipe: run.seed was 0 and is 3 now"),
        (["search", *PICO, "--out", "{full}", "--resume"], "holds no run to resume"),
        (["search", *PICO, "--out", "{full}/a-file"], "is a file; --out needs a folder"),
        (["search", *PICO, "--out", "{full}/a-file/below"], "Not a directory"),
        (["search", *SIZES, "--space", "."], "cannot be read (Is a directory)"),
    ],
    ids=lambda value: " ".join(value[:3])[:40] if isinstance(value, list) else "",
)
def test_invalid_arguments_of_other_commands_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, pico_run: Path, args: list[str], message: str
) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a-file").write_text("mine")
    paths = {"run": pico_run, **{name: tmp_path / name for name in ("nothing", "full", "out")}}
    assert message in refusal(capsys, *(arg.format(**paths) if "{" in arg else arg for arg in args))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a-file", "full", "nothing"]


@pytest.mark.parametrize(
    ("broken", "content", "message"),
    [
        ("basic_train.tsv", None, "basic_train.tsv: no such file"),
        ("basic_train.tsv", "Source,Target\r\n7\t7\r\n", "basic_train.tsv:1: expected the header"),
        ("basic_val.tsv", "Source\tTarget\r\n7\t7\r\n( ( ( [FIRST 4 ) 9 ) ] )\t4\r\n", "basic_val.tsv:3: expected one"),
        (
            "basic_test.tsv",
            "Source\tTarget\r\n( ( ( [MED 3 ) 4 ) ] )\t4\r\n",
            "basic_test.tsv:2: expected the Target 3",
        ),
    ],
)
def test_malformed_files_are_named_with_the_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, broken: str, content: str | None, message: str
) -> None:
    for digit, name in enumerate(("basic_train.tsv", "basic_val.tsv", "basic_test.tsv")):
        (tmp_path / name).write_text(f"Source\tTarget\r\n{digit}\t{digit}\r\n{digit + 3}\t{digit + 3}\r\n", newline="")
    (tmp_path / broken).unlink()
    if content is not None:
        (tmp_path / broken).write_text(content, newline="")
    sizes = [arg.replace("=2000", "=2").replace("=200", "=2") for arg in PICO]
    assert message in refusal(capsys, "search", *sizes, "--data-dir", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
def test_an_unreachable_hub_is_reported_at_once_with_the_alternatives(tmp_path: Path, shared: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("components: [{source: gpt-neo, init: pretrained}, mamba]\n")
    process = command(
        *("search", *SIZES, "--space", str(space), "--out", str(tmp_path / "out")),
        cache=shared / "cache",
        HF_HUB_OFFLINE="0",
        HF_HOME=str(tmp_path / "hub"),
        HF_ENDPOINT="http://127.0.0.1:9",  # a port without a server
    )
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert err.count("\n") == 1, err  # transformers alone retries for half a minute and prints a line each time
    assert "cannot get 'EleutherAI/gpt-neo-125m' at revision 21def0189f57" in err
    assert all(alternative in err for alternative in ("local folder", "HF_HOME", "from scratch"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "advice"),
    [
        (["search", *PICO], "; saved states are kept, and the same command with --resume continues"),
        (["compare", *PICO, "--out", "c"], "; the same command continues"),
        (["plan", *PICO], ""),
    ],
)
def test_an_interrupt_says_how_to_continue(
    argv: list[str], advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("manticore.utils.console.make_console", interrupt)
    assert main(argv) == 130
    assert capsys.readouterr().err == f"manticore {argv[0]}: interrupted{advice}\n"
