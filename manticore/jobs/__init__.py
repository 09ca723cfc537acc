"""Jobs that are done once and kept: a store, claims on it, and processes that work through it."""

from manticore.jobs.running import Outcome, Progress, run_all
from manticore.jobs.store import WHERE, JobStore, key_of

__all__ = ["WHERE", "JobStore", "Outcome", "Progress", "key_of", "run_all"]
