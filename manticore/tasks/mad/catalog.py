"""The six MAD tasks by name, with the settings of the benchmark's baselines and of its sweeps.

Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures" (arXiv 2403.17844). The score of a task there is
the mean over its baseline and every value of each family's `sweep`, with one setting changed at a time: 66 settings in
all.
"""

from __future__ import annotations

from manticore.tasks.heuristics import same_position, same_token
from manticore.tasks.mad.compression import Compression
from manticore.tasks.mad.copying import Copying
from manticore.tasks.mad.fuzzy import Fuzzy
from manticore.tasks.mad.memorization import Memorization
from manticore.tasks.mad.recall import Recall
from manticore.tasks.mad.task import MadFamily, mad_task
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task, tasks

_VOCABULARIES = (32, 64, 128)
_LENGTHS = (256, 512, 1024)
_SIZES = (6400, 3200, 1600, 800)

RECALL = MadFamily(
    "mad-in-context-recall",
    "CR",
    paper=Recall(vocab_size=16, seq_len=128, train=12_800),
    cpu=Recall(vocab_size=16, seq_len=32, train=12_800),
    sweep={"vocab_size": _VOCABULARIES, "seq_len": _LENGTHS, "train": _SIZES},
    features={"current token": same_token},
)
NOISY = MadFamily(
    "mad-noisy-recall",
    "NR",
    paper=Recall(vocab_size=32, seq_len=128, train=12_800, noise_vocab_size=16, frac_noise=0.2),
    cpu=Recall(vocab_size=32, seq_len=32, train=12_800, noise_vocab_size=16, frac_noise=0.2),
    sweep={"vocab_size": (48, 80, 144), "seq_len": _LENGTHS, "train": _SIZES, "frac_noise": (0.4, 0.6, 0.8)},
    features={"current token": same_token},
)
FUZZY = MadFamily(
    "mad-fuzzy-recall",
    "FR",
    paper=Fuzzy(vocab_size=16, seq_len=128, train=12_800),
    cpu=Fuzzy(vocab_size=8, seq_len=24, train=12_800, k_motif_size=2, v_motif_size=2),
    sweep={"vocab_size": _VOCABULARIES, "seq_len": _LENGTHS, "train": _SIZES},
    features={"current token": same_token},
)
COPYING = MadFamily(
    "mad-selective-copying",
    "SC",
    paper=Copying(vocab_size=16, seq_len=256, train=12_800),
    cpu=Copying(vocab_size=10, seq_len=24, train=12_800, num_tokens_to_copy=6),
    sweep={
        "vocab_size": _VOCABULARIES,
        "seq_len": (512, 1024),
        "train": _SIZES,
        "num_tokens_to_copy": (32, 64, 96),
    },
)
COMPRESSION = MadFamily(
    "mad-compression",
    "C",
    paper=Compression(vocab_size=16, seq_len=32, train=12_800),
    cpu=Compression(vocab_size=8, seq_len=10, train=12_800),
    sweep={"vocab_size": _VOCABULARIES, "seq_len": (64, 128, 256), "train": _SIZES},
    features={"position": same_position},
)
MEMORIZATION = MadFamily(
    "mad-memorization",
    "M",
    paper=Memorization(vocab_size=256, seq_len=32, train=256),
    cpu=Memorization(vocab_size=64, seq_len=16, train=256),
    sweep={"vocab_size": (512, 1024, 2048, 4096, 8192)},
)

FAMILIES = {family.name: family for family in (RECALL, NOISY, FUZZY, COPYING, COMPRESSION, MEMORIZATION)}


@tasks.register(RECALL.name)
def in_context_recall(options: TaskOptions) -> Task:
    """MAD: the value that a key had earlier in the sequence."""
    return mad_task(RECALL, options)


@tasks.register(NOISY.name)
def noisy_recall(options: TaskOptions) -> Task:
    """MAD: the value that a key had earlier in the sequence, with noise between the pairs."""
    return mad_task(NOISY, options)


@tasks.register(FUZZY.name)
def fuzzy_recall(options: TaskOptions) -> Task:
    """MAD: the value that a key had earlier in the sequence; keys and values have several tokens."""
    return mad_task(FUZZY, options)


@tasks.register(COPYING.name)
def selective_copying(options: TaskOptions) -> Task:
    """MAD: the symbols of a sequence in order, without the blanks between them."""
    return mad_task(COPYING, options)


@tasks.register(COMPRESSION.name)
def compression(options: TaskOptions) -> Task:
    """MAD: the whole sequence, decoded from the state at its last token."""
    return mad_task(COMPRESSION, options)


@tasks.register(MEMORIZATION.name)
def memorization(options: TaskOptions) -> Task:
    """MAD: the values of keys, which are the same for every sequence and occur in none."""
    return mad_task(MEMORIZATION, options)
