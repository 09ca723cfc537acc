"""A whole model from a backbone: embedding, backbone, head, logits."""

from __future__ import annotations

from torch import Tensor, nn

from manticore.errors import UnknownName
from manticore.modeling.heads import HEADS
from manticore.nas.baselines.blocks import Backbone


class TaskHead(nn.Module):
    """The same head as a supernet has for a kind of task.

    Args:
        kind: a name in `modeling.heads.HEADS`.
        width: D.
        labels: number of labels.

    Raises UnknownName for another kind.
    """

    def __init__(self, kind: str, width: int, labels: int) -> None:
        super().__init__()
        if kind not in HEADS:
            raise UnknownName("kind of head", kind, HEADS)
        self.head = HEADS[kind](width, labels)
        self.head.init_output()

    def forward(self, h_BLD: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.head(self.head.select_states(h_BLD, attention_mask), h_BLD.shape[1])
        return out


class BaselineModel(nn.Module):
    """Token ids to logits through a baseline.

    Args:
        backbone: the stack of blocks, with its own positions, if any.
        vocab_size: number of token ids.
        head: a module of (h_BLD, attention_mask), or a number of labels, for a linear map of the last token's state.
    """

    def __init__(self, backbone: Backbone, vocab_size: int, head: nn.Module | int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, backbone.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.backbone = backbone
        self.head = TaskHead("classification", backbone.width, head) if isinstance(head, int) else head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of the head: (B, labels) or (B, L, labels).

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 1 for tokens and 0 for padding on either side, or None.
        """
        h_BLD = self.backbone(self.embed(input_ids), attention_mask)
        logits: Tensor = self.head(h_BLD, attention_mask)
        return logits
