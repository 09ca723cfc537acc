"""The Text task of the Long Range Arena: is a film review positive or negative? Read byte by byte.

The reviews are those of IMDb (Maas et al., "Learning word vectors for sentiment analysis", 2011), markup included, with
one token for each byte or, with `unit=characters`, for each character. `lra-text` reads 4,096 bytes of a review; other
common lengths and units are settings after `@`.
"""

from __future__ import annotations

from pathlib import Path

from manticore.errors import BadFile
from manticore.tasks.classification.char_tokenizer import RawText
from manticore.tasks.classification.text import TextScale, TextSettings, text_info, text_task
from manticore.tasks.data_files import find_data_files, read_bytes
from manticore.tasks.hub import load_hub_dataset
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SplitTask
from manticore.tasks.task import task_infos, tasks
from manticore.utils.console import progress_bar
from manticore.utils.text_files import unmarked_bytes

NAME = "lra-text"
SOURCE = "stanfordnlp/imdb"
LAYOUT = "a folder aclImdb with train/pos, train/neg, test/pos and test/neg, a .txt file for each review"
SCALES = {"paper": TextScale(4096, val=2_500), "cpu": TextScale(512, train=4_000, val=500, test=1_000)}
CLASSES = ("neg", "pos")
AVAILABLE = {"train": 22_500, "val": 2_500, "test": 25_000}
ARCHIVE = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"


@tasks.register(NAME)
def lra_text(options: TaskOptions) -> SplitTask:
    """Is a film review positive or negative? IMDb, byte by byte.

    Reads the hub, or the folders of the original archive in `options.data_dir`. Raises ManticoreError.
    """
    TextSettings.of(options, SCALES)  # refuses invalid settings before files are read
    if options.data_dir is not None:
        folder = options.data_folder
        train, test, source = read_folder(folder, "train"), read_folder(folder, "test"), str(folder)
    else:
        hint = f"unpack aclImdb_v1.tar.gz and give --data-dir: {LAYOUT}"
        train, test = (
            [(str(text).encode(), int(label)) for text, label in zip(rows["text"], rows["label"], strict=True)]
            for rows in load_hub_dataset(SOURCE, ("train", "test"), hint)
        )
        source = SOURCE
    return text_task(options, SCALES, train, test, CLASSES, source)


@task_infos.register(NAME)
def info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without the reviews."""
    files = f"{LAYOUT}; unpack {ARCHIVE}"
    return text_info(options, SCALES, AVAILABLE, CLASSES, f"{SOURCE} from the Hugging Face hub or its cache", files)


def read_folder(folder: Path, split: str) -> list[RawText]:
    """The reviews of `train` or `test` in the folders of the original archive. Raises BadFile."""
    root = folder / "aclImdb" if (folder / "aclImdb").is_dir() else folder
    texts = []
    for label, name in enumerate(CLASSES):
        files = find_data_files(root / split / name, (".txt",)) if (root / split / name).is_dir() else []
        if not files:
            raise BadFile(root / split / name, f"no reviews; expected {LAYOUT}")
        with progress_bar(f"reading {split}/{name}", len(files), shown=len(files) > 1_000) as advance:
            for done, file in enumerate(files):
                texts.append((_read(file), label))
                advance(done)
    return texts


def _read(file: Path) -> bytes:
    text = unmarked_bytes(read_bytes(file), file)
    if not text.strip():
        raise BadFile(file, "expected a review, found an empty file")
    return text
