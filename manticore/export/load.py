"""Loads exported hybrids, the tasks that they are evaluated on, and language models to generate text with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from manticore.components.context_length import (
    TASK_ADVICE,
    check_context_length,
    component_context_length,
    hybrid_context_lengths,
)
from manticore.components.folder_checks import check_model_folder, check_model_size
from manticore.components.loading import load
from manticore.components.spec import SKIP, ComponentSpec
from manticore.components.tokenizers import check_vocab_size, read_tokenizer
from manticore.components.weight_checks import check_weights, pickled_weights
from manticore.config.loading import fit_to_context
from manticore.errors import ManticoreError, UnfinishedRun, UnknownName
from manticore.export.adapter_folder import adapter_folder, load_adapter
from manticore.export.embedded_code import register_embedded_code
from manticore.export.quantized import check_loadable
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.wiring import TOPOLOGIES
from manticore.tasks.catalog import load_task
from manticore.tasks.evaluation_task import labelled_evaluation_task, text_evaluation_task
from manticore.tasks.language.task import chunk_length
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.utils.io import read_json

_CLASSES = {
    "HybridForCausalLM": AutoModelForCausalLM,
    "HybridForSequenceClassification": AutoModelForSequenceClassification,
    "HybridForTokenClassification": AutoModelForTokenClassification,
}


OTHER_RUNS = {"finetune.json": "fine-tuning", "pretrain.json": "pretraining"}
"""Files that mark the folders of a fine-tuning and of a pretraining."""


def hybrid_folder(path: Path) -> Path:
    """The folder of a hybrid's checkpoint: `hybrid/` in a run folder, else `path` itself."""
    return path / "hybrid" if (path / "hybrid" / "config.json").exists() else path


def is_hybrid(path: Path) -> bool:
    """Whether a folder is a run folder with a hybrid, or has the config.json of a hybrid. Weights are not read."""
    if (path / "hybrid" / "config.json").exists():
        return True
    file = path / "config.json"
    config = read_json(file) if file.exists() else None
    return isinstance(config, dict) and config.get("model_type") == HybridConfig.model_type


def check_config_exists(path: Path) -> None:
    """Raises ManticoreError unless a folder, or the hybrid of a run folder, has a config.json."""
    if (hybrid_folder(path) / "config.json").exists():
        return
    if (path / "recipe.yaml").exists():
        raise UnfinishedRun(path)
    if (path / "model" / "config.json").exists():
        raise ManticoreError(f"{path} is the folder of a pretraining; its model is {path / 'model'}")
    if kind := next((kind for file, kind in OTHER_RUNS.items() if (path / file).exists()), ""):
        raise ManticoreError(f"the {kind} in {path} is not finished; the same command with --resume continues it")
    raise ManticoreError(f"{path} holds no model: there is no config.json in it")


def load_hybrid(path: Path, trust_code: bool = False, merge: bool = True) -> PreTrainedModel:
    """Load a hybrid from an exported folder or a run folder, with the head that it was exported with, in float32.

    Quantized weights stay quantized.

    Args:
        path: the folder.
        trust_code: run the code in the folder for ops and other parts that this process does not have.
        merge: merge the adapter in the folder (`--keep-adapter`), if there is one, or put its ladder on the hybrid.

    Raises ManticoreError if the folder has no hybrid, one with an invalid configuration or damaged weights, or one that
    needs torchao where it is not installed.
    """
    check_config_exists(path)
    folder = hybrid_folder(path)
    if not (folder / "model.safetensors").exists() and not any(folder.glob("*.safetensors.index.json")):
        pickle = pickled_weights(folder)
        content = f"it holds pickled weights ({pickle}), which are never read" if pickle else "it holds no weights"
        raise ManticoreError(f"{folder} has no model.safetensors; {content}")
    try:
        check_model_folder(folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if not isinstance(config, HybridConfig):
            raise ManticoreError(f"{folder} holds a {config.model_type} model, not a manticore hybrid")
        check_loadable(folder, config)
        register_embedded_code(folder, config, trust_code)
        _check_config(folder / "config.json", config)
        model_class = _class_of(folder, config)
        check_model_size(folder, config, model_class.from_config)
        model: PreTrainedModel
        model, loading_info = model_class.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
        check_weights(str(folder), model, loading_info, strict=True)
    except ManticoreError:
        raise
    except Exception as error:  # safetensors, JSON and transformers raise different ones; all mean damage
        raise ManticoreError(f"{folder} cannot be read as a hybrid ({' '.join(str(error).split())[:120]})") from None
    if merge and (own := adapter_folder(folder)) is not None:
        model = load_adapter(model, own)
    return model.eval()


def _class_of(folder: Path, config: HybridConfig) -> Any:
    """The Auto class of the class that was saved. Raises ManticoreError for a class that is none of them."""
    name = (config.architectures or ["HybridForCausalLM"])[0]
    if name not in _CLASSES:
        what = "a HybridModel, which has no head" if name == "HybridModel" else f"a {name}"
        allowed = ", ".join(auto.__name__ for auto in _CLASSES.values())
        raise ManticoreError(f"{folder} holds {what}; save the model as {allowed} loads it")
    return _CLASSES[name]


def _check_config(file: Path, config: HybridConfig) -> None:
    """Raises ManticoreError if the entries of a hybrid's configuration contradict each other."""
    unknown = [name for name in (config.base, *config.path) if name not in (*config.components, *config.ops, SKIP)]
    if unknown:
        raise UnknownName(f"component in {file}:", unknown[0], config.components)
    if config.output_attentions:
        raise ManticoreError(f"{file}: a hybrid has no output_attentions; set it to false")
    if config.topology not in TOPOLOGIES:
        raise UnknownName(f"topology in {file}:", config.topology, TOPOLOGIES)
    for name, component in config.components.items():
        boundaries = component["layer_boundaries"]
        layers = config.component_config(name).num_hidden_layers
        if len(boundaries) != len(config.path) + 1 or boundaries[-1] != layers:
            raise ManticoreError(f"{file}: the layer boundaries of '{name}' do not match its layers and stages")


def head_of(model: PreTrainedModel) -> str:
    """The head of a hybrid: a kind of task, or `lm`."""
    return str(model.config.head or getattr(type(model), "default_head", "lm"))


def load_hybrid_task(path: Path, model: PreTrainedModel, options: TaskOptions) -> Task:
    """Load a task for a hybrid: a language task with the hybrid's tokenizer and at most its context length.

    Args:
        path: exported folder or run folder of the hybrid.
        model: the hybrid.
        options: task and its data.

    Raises ManticoreError if the task's vocabulary, labels, head or lengths are not the hybrid's, or if the hybrid has
    no tokenizer and the task needs one.
    """
    task = load_task(fit_to_context(options, hybrid_context_lengths(model.config).values()))
    if task.is_language_modeling:
        task = task.with_tokenizer(local_tokenizer(path), owner=str(hybrid_folder(path)))
    _check_task(model, task)
    if not task.is_language_modeling:
        _check_names(path, model, task)
    return task


def load_for_task(source: str, options: TaskOptions, trust_code: bool = False) -> tuple[PreTrainedModel, Task]:
    """Load a model and a task for it: a hybrid, or a component, which reads text with its own tokenizer.

    Args:
        source: exported folder, run folder, or a component: alias, hub id or local folder.
        options: task and its data.
        trust_code: run the code in a hybrid's folder for ops and other parts that this process does not have.

    Raises as `load_hybrid` and `load_hybrid_task` do, and ManticoreError for a component on a task with labels.
    """
    path = Path(source).expanduser()
    if _reads_as_hybrid(path):
        model = load_hybrid(path, trust_code)
        return model, load_hybrid_task(path, model, options)
    component = load(ComponentSpec(source, init="pretrained"))
    task = load_task(fit_to_context(options, [component_context_length(component)]))
    if not task.is_language_modeling:
        raise ManticoreError(
            f"{source} is a language model without a head for {task.name}; name a task of text, such as --task text"
        )
    return component.model, task.with_tokenizer(component.tokenizer, owner=source)


def load_for_examples(
    source: str, items: Any, options: TaskOptions, trust_code: bool = False
) -> tuple[PreTrainedModel, Task]:
    """Load a model, and examples in memory as the test split of a task.

    Args:
        source, trust_code: as of `load_for_task`.
        items: texts or labelled examples, as `mc.task` takes them.
        options: a language task, for the length of its chunks.

    Raises as `load_for_task` does, and ManticoreError if an item is not what the model reads, or has another label.
    """
    path = Path(source).expanduser()
    if _reads_as_hybrid(path):
        model, tokenizer = load_hybrid(path, trust_code), local_tokenizer(path)
        limits, head = hybrid_context_lengths(model.config), head_of(model)
    else:
        component = load(ComponentSpec(source, init="pretrained"))
        model, tokenizer, head = component.model, component.tokenizer, "lm"
        limits = {source: limit} if (limit := component_context_length(component)) else {}
    task: Task
    if head == "lm":
        if tokenizer is None:
            raise ManticoreError(f"{source} has no tokenizer beside its weights, and cannot read text")
        task = text_evaluation_task(items, tokenizer, chunk_length(fit_to_context(options, limits.values())))
    else:
        names = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
        task = labelled_evaluation_task(items, head, model.config.vocab_size, names, tokenizer)
    check_context_length(limits, task.max_length, "an example", "shorten it")
    return model, task


def _reads_as_hybrid(path: Path) -> bool:
    """Whether `load_hybrid` reads a path: it has a hybrid, or it is a folder without any model, which is an error."""
    return is_hybrid(path) or (path.is_dir() and not (path / "config.json").exists())


def _check_task(model: PreTrainedModel, task: Task) -> None:
    vocab_size, labels, head = model.config.vocab_size, model.config.num_labels, head_of(model)
    if head == "lm" and not task.is_language_modeling:
        raise ManticoreError(
            f"this hybrid is a language model, and {task.name} has labels; name a task of text, such as --task text"
        )
    if head != "lm" and task.is_language_modeling:
        own = str(getattr(model.config, "task", None) or TaskOptions.name).partition("@")[0]
        raise ManticoreError(
            f"this hybrid predicts labels, and {task.name} is a task of text; name its own task, such as --task {own}"
        )
    if task.is_language_modeling:
        check_vocab_size(task.tokenizer, vocab_size, "this hybrid")
    elif vocab_size != task.vocabulary.size or labels != task.num_labels:
        raise ManticoreError(
            f"this hybrid reads {vocab_size} token ids and has {labels} labels; "
            f"{task.name} has {task.vocabulary.size} and {task.num_labels}"
        )
    if head != task.kind:
        raise ManticoreError(f"this hybrid has the head of kind '{head}'; {task.name} needs '{task.kind}'")
    limits = hybrid_context_lengths(model.config)
    check_context_length(limits, task.max_length, f"a sequence of {task.name}", TASK_ADVICE)


def _check_names(path: Path, model: PreTrainedModel, task: Task) -> None:
    """Raises ManticoreError if equal ids stand for other labels or tokens in the task than in the hybrid."""
    labels = tuple(str(model.config.id2label[index]) for index in range(task.num_labels))
    if labels != task.label_names:
        raise ManticoreError(
            f"this hybrid has the labels {_listed(labels)}; {task.name} has {_listed(task.label_names)}"
        )
    tokenizer = local_tokenizer(path)
    if tokenizer is None:
        return
    own, ids = tokenizer.get_vocab(), task.vocabulary.ids
    if different := [token for token in ids if own.get(token) != ids[token]]:
        raise ManticoreError(
            f"this hybrid reads other tokens than {task.name}: '{different[0]}' has the id {ids[different[0]]} in the "
            f"task and {own.get(different[0], 'none')} in the hybrid"
        )


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def load_language_model(source: str, trust_code: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a language model and its tokenizer.

    Args:
        source: exported folder, run folder, or a component: alias, hub id or local folder.
        trust_code: see `load_hybrid`.

    Raises ManticoreError if there is no such model, it is no language model, or its tokenizer is missing or another
    model's.
    """
    path = Path(source).expanduser()
    model: PreTrainedModel
    if is_hybrid(path):
        model, tokenizer = load_hybrid(path, trust_code), local_tokenizer(path)
        if not model.can_generate():
            raise ManticoreError(
                f"{source} is no language model: it predicts labels (head '{head_of(model)}') and generates no text"
            )
    else:
        if path.is_dir():
            check_config_exists(path)
        component = load(ComponentSpec(source, init="pretrained"))
        model, tokenizer = component.model, component.tokenizer
    if tokenizer is None:
        raise ManticoreError(f"{source} has no tokenizer: text cannot be read without one")
    check_vocab_size(tokenizer, model.get_input_embeddings().weight.shape[0], source)
    return model, tokenizer


def local_tokenizer(path: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer in an exported folder or a run folder; None if there is none."""
    return read_tokenizer(str(hybrid_folder(path)), {"local_files_only": True})
