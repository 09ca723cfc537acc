"""What keeps the processes of a training at the same step, and ends it in all of them at the same step."""

from __future__ import annotations

import hashlib
import signal
import threading
from typing import Any

import lightning
import torch

from manticore.errors import ManticoreError
from manticore.training.modules import TrainModule
from manticore.utils.ranks import Ranks
from manticore.utils.rng import generator_states


class Lockstep(lightning.Callback):
    """After every step, let all processes stop if one does; at steps of the loggers, compare alphas and drawn paths.

    SIGTERM in any process stops all after the step, with a checkpoint. It replaces Lightning's handler, which stops the
    process that got the signal and leaves the others waiting.

    Args:
        ranks: the processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._is_ending = False

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._is_ending = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._end)  # Lightning puts the handler before it back

    def _end(self, number: int, frame: Any) -> None:
        self._is_ending = True

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        assert isinstance(module, TrainModule)
        is_ending, should_stop = self.ranks.sum(torch.tensor([self._is_ending, trainer.should_stop]).int()).tolist()
        module.is_ending = bool(is_ending)
        trainer.should_stop = bool(should_stop)
        if module.is_log_step or is_ending:
            check_equal(module, self.ranks)


def check_equal(module: TrainModule, ranks: Ranks) -> None:
    """Check that all processes are at the same step, with the same alphas and the same source of paths.

    Raises ManticoreError if they are not.
    """
    digest = hashlib.blake2b(str(module.step_count).encode(), digest_size=8)
    alphas: Any = getattr(module.net, "alphas", ()) if module.has_alphas else ()
    for values in (*(alpha.detach().cpu() for alpha in alphas), *generator_states(module.draws).values()):
        digest.update(values.numpy().tobytes())
    digests = ranks.gather(digest.hexdigest())
    if len(set(digests)) > 1:
        raise ManticoreError(
            f"at step {module.step_count} the processes have different alphas or have drawn different paths; a "
            "strategy of your own must draw from manticore.utils.rng.random_source, and use search.gradients"
        )
