"""Seeds of a run. Every random draw has its own seed, so phases can run in any order, be skipped or be resumed.

The names in these seeds are part of the results: a renamed purpose is another seed. Names that must not be changed are
the phases `alone NAME`, `search`, `fine-tune`, `uniform mixture`, `random path` and `path`; the draws `selection`; the
streams `search weights`, `search alphas`, `zero-shot` and `lessons` (all training outside of the search); the supernets
`search`, `alone NAME` and `from scratch`.
"""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, *names: str) -> int:
    """A seed below 2^31 that depends on the seed of the run and on the purpose."""
    digest = hashlib.blake2b("/".join([str(seed), *names]).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % (2**31)


def seed_torch(seed: int, *names: str) -> None:
    """Set torch's seed to `seed_of(seed, *names)`."""
    torch.manual_seed(seed_of(seed, *names))
