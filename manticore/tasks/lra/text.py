"""The Text task of the Long Range Arena: is a film review good or bad, read letter by letter? Knows no model.

Reviews are those of IMDb (Maas et al., "Learning word vectors for sentiment analysis", 2011), markup and all, a token a
byte or, with `unit=characters`, a token a character. Names tell how comparable a number is: `lra-text` reads 4,096
bytes of a review; other lengths and units, which are as common, stand after `@`.
"""

from __future__ import annotations

from pathlib import Path

from manticore.errors import BadFile
from manticore.tasks.classification.char_tokenizer import RawText
from manticore.tasks.classification.text import TextScale, scale_of, text_info, text_task
from manticore.tasks.hub import from_hub
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SplitTask
from manticore.tasks.task import task_infos, tasks
from manticore.utils.console import progress_bar

NAME = "lra-text"
SOURCE = "stanfordnlp/imdb"
LAYOUT = "a folder aclImdb with train/pos, train/neg, test/pos and test/neg, a .txt file for each review"
SCALES = {"paper": TextScale(4096, val=2_500), "cpu": TextScale(512, train=4_000, val=500, test=1_000)}
CLASSES = ("neg", "pos")
THERE_ARE = {"train": 22_500, "val": 2_500, "test": 25_000}
ARCHIVE = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"


@tasks.register(NAME)
def lra_text(options: TaskOptions) -> SplitTask:
    """Is a film review good or bad? IMDb, byte by byte.

    Read from the hub, or from the folders of the original archive in `options.data_dir`. Raises ManticoreError.
    """
    scale_of(options, SCALES)  # what is wrong with the options is said before anything is read
    if options.data_dir is not None:
        folder = Path(options.data_dir).expanduser()
        train, test, where = read_folder(folder, "train"), read_folder(folder, "test"), str(folder)
    else:
        ways_out = f"unpack aclImdb_v1.tar.gz and give --data-dir: {LAYOUT}"
        train, test = (
            [(str(text).encode(), int(label)) for text, label in zip(rows["text"], rows["label"], strict=True)]
            for rows in from_hub(SOURCE, ("train", "test"), ways_out)
        )
        where = SOURCE
    return text_task(options, SCALES, train, test, CLASSES, where)


@task_infos.register(NAME)
def sheet(options: TaskOptions) -> TaskInfo:
    """What is known without a review."""
    files = f"{LAYOUT}; unpack {ARCHIVE}"
    return text_info(options, SCALES, THERE_ARE, CLASSES, f"{SOURCE} from the Hugging Face hub or its cache", files)


def read_folder(folder: Path, part: str) -> list[RawText]:
    """The reviews of `train` or `test` in the original archive's folders. Raises BadFile."""
    above = folder / "aclImdb" if (folder / "aclImdb").is_dir() else folder
    texts = []
    for label, name in enumerate(CLASSES):
        files = sorted((above / part / name).glob("*.txt"))
        if not files:
            raise BadFile(above / part / name, f"no reviews; expected {LAYOUT}")
        with progress_bar(f"reading {part}/{name}", len(files), shown=len(files) > 1_000) as advance:
            for done, file in enumerate(files):
                texts.append((_read(file), label))
                advance(done)
    return texts


def _read(file: Path) -> bytes:
    text = file.read_bytes()
    if not text.strip():
        raise BadFile(file, "expected a review, found an empty file")
    return text
