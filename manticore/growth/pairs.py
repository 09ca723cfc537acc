"""Inputs and outputs of attention on text, cached on disk for some layers at a time.

The layers of a parent run one after the other, and the stream before the next group of layers is cached too. So every
token passes through every layer once, and the disk has the pairs of one group.

Notation: N blocks of L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manticore.components import Component
from manticore.errors import ManticoreError
from manticore.modeling.segments import Context, Embedding, Segment
from manticore.modeling.twins import PARENTS
from manticore.utils.failures import writing
from manticore.utils.io import atomic_write, write_json

BATCH = 8
"""Blocks in a batch."""

PARTS = ("inputs", "outputs")
"""Files of a layer, each in half precision."""

HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class PairStore:
    """The folder of the pairs of a group of layers, and of the stream before the next one.

    Attributes:
        folder: the folder.
        blocks, length, width: N, L and D.
    """

    folder: Path
    blocks: int
    length: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the inputs, of the outputs and of the stream: (N, L, D)."""
        return self.blocks, self.length, self.width

    def groups(self, layers: Sequence[int], limit: float) -> list[list[int]]:
        """Layers in groups whose pairs take at most `limit` bytes. Raises ManticoreError if those of one take more."""
        layer_bytes = len(PARTS) * 2 * self.blocks * self.length * self.width
        size = int(limit // layer_bytes)
        if size < 1:
            raise ManticoreError(
                f"the inputs and outputs of one layer take {layer_bytes / 1e9:.2g} GB, and --cache-gb allows "
                f"{limit / 1e9:.2g}: allow more, or use fewer --tokens"
            )
        return [list(layers[start : start + size]) for start in range(0, len(layers), size)]

    def pairs(self, layer: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Inputs and outputs (N, L, D) of attention in a layer, which stay on disk until they are read."""
        inputs, outputs = (np.memmap(self._file(layer, part), np.float16, "r", shape=self.shape) for part in PARTS)
        return inputs, outputs

    def has(self, layers: Sequence[int]) -> bool:
        """Whether the pairs of all these layers are complete."""
        return all(self._file(layer, "complete").exists() for layer in layers)

    def drop(self, layers: Sequence[int]) -> None:
        """Remove the pairs of layers."""
        for layer in layers:
            for part in ("complete", *PARTS):
                self._file(layer, part).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all pairs and streams."""
        for file in self.folder.glob("[0-9]*.*"):
            file.unlink()

    def fill(self, component: Component, ids_NL: Tensor, layers: Sequence[int]) -> None:
        """Run a parent up to the last of `layers` and cache their pairs.

        It continues from the stream that an earlier call has cached, if that is one before these layers. Raises
        CannotWrite if the disk is full.
        """
        start, stop = self._stream_before(layers[0]), layers[-1] + 1
        segment = component.segment(start, stop).eval()
        before = None if start == 0 else np.memmap(self._file(start, "stream"), np.float32, "r", shape=self.shape)
        names = [(layer, part) for layer in layers for part in PARTS]
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(self.folder), ExitStack() as stack, torch.no_grad():
            files = {name: stack.enter_context(self._file(*name).open("wb")) for name in names}
            unfinished = stack.enter_context(atomic_write(self._file(stop, "stream")))
            stream = stack.enter_context(unfinished.open("wb"))
            for rows in batches_of(self.blocks):
                h_BLD = embed(component, ids_NL[rows]) if before is None else torch.from_numpy(before[rows].copy())
                with attention_pairs(component, segment, start) as caught:
                    h_BLD = segment(h_BLD, context_of(self.length), 0)
                stream.write(h_BLD.numpy().tobytes())
                for (layer, part), file in files.items():
                    x_BLD = caught[layer][PARTS.index(part)].clamp(-HALF_MAX, HALF_MAX)
                    file.write(x_BLD.half().numpy().tobytes())
        for layer in layers:
            write_json(self._file(layer, "complete"), self.shape)
        for stream_file in set(self.folder.glob("*.stream")) - {self._file(stop, "stream")}:
            stream_file.unlink()

    def _stream_before(self, layer: int) -> int:
        """The last layer, up to `layer`, before which the stream is on disk; 0: it begins with the embedding."""
        starts = [int(file.stem) for file in self.folder.glob("*.stream")]
        return max((start for start in starts if start <= layer), default=0)

    def _file(self, layer: int, part: str) -> Path:
        return self.folder / f"{layer:03d}.{part}"


def batches_of(blocks: int) -> Iterator[slice]:
    """Rows of batches of `BATCH` blocks."""
    yield from (slice(start, min(start + BATCH, blocks)) for start in range(0, blocks, BATCH))


def context_of(length: int) -> Context:
    """The context of unpadded blocks."""
    return Context(None, torch.arange(length)[None])


@torch.no_grad()
def embed(component: Component, ids_BL: Tensor) -> Tensor:
    """The stream before the first layer: (B, L) -> (B, L, D)."""
    layout, backbone = component.layout, component.backbone
    table = None if layout.positions is None else getattr(backbone, layout.positions)
    positions = None if table is None else table(torch.arange(ids_BL.shape[1])[None])
    h_BLD: Tensor = Embedding.of(backbone, component.config, layout)(ids_BL, positions)
    return h_BLD


@contextmanager
def attention_pairs(component: Component, segment: Segment, start: int) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """A context that catches inputs and outputs (B, L, D) of attention, by layer of the component.

    `segment` has layers of the component, the first of which is `start`.
    """
    names = PARENTS[str(component.config.model_type)]
    pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def catch(layer: int, module: nn.Module, args: Any, options: Any, out: Any) -> None:
        pairs[layer] = (args[0] if args else options["hidden_states"], out[0])

    with ExitStack() as stack:
        for index, layer in enumerate(getattr(segment.backbone, names[0])):
            attention = getattr(layer, names[1])
            handle = attention.register_forward_hook(partial(catch, start + index), with_kwargs=True)
            stack.callback(handle.remove)
        yield pairs
