"""The searching model: every stage holds all candidates, mixed by weights on the simplex. Knows nothing of losses.

It is made of the same branches as a discrete hybrid, so at a one-hot path it is that hybrid (law 2). Notation: B batch,
L length, D width of the stream, S stages, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from manticore.components import Component
from manticore.components.spec import SKIP
from manticore.components.tokenizers import one_vocabulary
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.branches import PROJECTOR_NAMES, BranchSpec, SkipBranch
from manticore.modeling.heads import HEADS
from manticore.modeling.masking import build_position_ids, needed_mask
from manticore.modeling.projectors import PROJECTORS, fit_width
from manticore.modeling.segments import Context, Embedding, submodule_or_identity
from manticore.modeling.wiring import TOPOLOGIES
from manticore.nas.architecture import Architecture
from manticore.nas.mixed_op import mix, pad_logits, weighted_sum
from manticore.nas.relaxations import relaxations
from manticore.nas.space import SearchSpace
from manticore.tasks.task import HeadSpec


def is_projector_weight(name: str) -> bool:
    """Whether a weight of a supernet, by its name there, is a translator's: `stages.0.mamba.proj_in.weight` is."""
    parts = name.split(".")
    return len(parts) > 3 and parts[3] in PROJECTOR_NAMES


class Supernet(nn.Module):
    """K components cut into S stages and mixed.

    Args:
        components: loaded components, in the order of the alphas' columns.
        space: stages, topology, projector, skip.
        base: name of the component that lends embedding, stream, norm and head (in the hub topology all lend, mixed by
            the first stage's weights, as in the paper).
        readout: head and vocabulary.
        relaxation: name of the map from alphas to weights.

    Raises:
        UnknownName: no such projector kind, relaxation or kind of readout.
        ManticoreError: more stages than some component has layers.
    """

    def __init__(
        self,
        components: Sequence[Component],
        space: SearchSpace,
        base: str,
        readout: HeadSpec,
        relaxation: str = "softmax",
    ) -> None:
        super().__init__()
        if space.projector not in PROJECTORS:
            raise UnknownName("projector", space.projector, PROJECTORS)
        if readout.kind != "lm" and readout.kind not in HEADS:
            raise UnknownName("kind of task", readout.kind, HEADS)
        self.components = {component.name: component for component in components}
        self.space = space
        self.base = base
        self.readout = readout
        self.relax = relaxations[relaxation]
        self.temperature = 1.0
        self.candidates = space.candidates
        self.layer_boundaries = {component.name: component.layer_boundaries(space.stages) for component in components}
        self.hub = space.topology == "hub"
        if self.hub and readout.kind == "lm" and not one_vocabulary([c.tokenizer for c in components]):
            raise ManticoreError(
                "the hub topology mixes embeddings and heads, so all components must have the same tokenizer; "
                "the residual topology does without"
            )
        self.stream = max(c.width for c in components) if self.hub else self.components[base].width
        self._build_ends(list(self.components) if self.hub else [base])
        self.stages = nn.ModuleList(
            nn.ModuleDict({name: self._branch(stage, name) for name in self.candidates})
            for stage in range(space.stages)
        )
        self.alpha = nn.Parameter(torch.zeros(space.stages, len(self.candidates)))

    @property
    def projector(self) -> dict[str, object]:
        """Kind and options of the projectors; see `SearchSpace.projector_config`."""
        return self.space.projector_config

    def _build_ends(self, lenders: list[str]) -> None:
        self.embeds, self.norms, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.positions = nn.ModuleDict()
        for name, component in self.components.items():
            if component.layout.positions is not None:
                self.positions[name] = deepcopy(getattr(component.backbone, component.layout.positions))
        for name in lenders:
            component = self.components[name]
            backbone, layout = component.backbone, component.layout
            tokens = deepcopy(getattr(backbone, layout.tokens))
            fresh = self.readout.vocab_size is not None and self.readout.vocab_size != tokens.num_embeddings
            if fresh:
                tokens = nn.Embedding(self.readout.vocab_size or 0, component.width)
                nn.init.normal_(tokens.weight, std=0.02)
            self.embeds[name] = Embedding(tokens, submodule_or_identity(backbone, layout.dropout))
            if not self.hub:
                self.norms[name] = deepcopy(getattr(backbone, layout.norm))
            self.heads[name] = self._head(component, tokens, fresh)

    def _head(self, component: Component, tokens: nn.Embedding, fresh: bool) -> nn.Module:
        if self.readout.kind != "lm":
            answer = HEADS[self.readout.kind](component.width, self.readout.labels)
            answer.init_output()
            return answer
        if fresh:
            raise ManticoreError(
                f"'{component.name}' has another vocabulary than the task; next-token heads need the same"
            )
        own = component.model.get_output_embeddings()
        head = nn.Linear(own.in_features, own.out_features, bias=own.bias is not None)
        head.load_state_dict(own.state_dict())
        if self.tied(component):
            head.weight = tokens.weight
        return head

    def tied(self, component: Component) -> bool:
        """Whether a next-token head of this component is its embedding."""
        own = component.model.get_output_embeddings()
        held = getattr(component.backbone, component.layout.tokens)
        return self.readout.kind == "lm" and own.weight.data_ptr() == held.weight.data_ptr()

    def _branch(self, stage: int, name: str) -> nn.Module:
        if name == SKIP:
            return SkipBranch()
        component = self.components[name]
        start, stop = self.layer_boundaries[name][stage : stage + 2]
        wiring, last = TOPOLOGIES[self.space.topology](), stage == self.space.stages - 1
        segment = component.segment(start, stop, keep_norm=wiring.norm_in_last_segment and last)
        spec = BranchSpec(name, self.base, stage, segment, component.width, self.stream, self.projector)
        return wiring.branch(spec, searching=True)

    def weights(self) -> Tensor:
        """Mixing weights on the simplex, (S, K), differentiable in the alphas."""
        return self.relax(self.alpha, self.temperature)

    def sample(self) -> list[str]:
        """A path drawn stage by stage from the mixing weights."""
        drawn = torch.multinomial(self.weights().detach().cpu(), 1).squeeze(-1)
        return [self.candidates[choice] for choice in drawn.tolist()]

    def one_hot(self, path: Sequence[str]) -> Tensor:
        """The weights (S, K) that put everything on `path`."""
        index = torch.tensor([self.candidates.index(choice) for choice in path], device=self.alpha.device)
        return torch.nn.functional.one_hot(index, len(self.candidates)).to(self.alpha.dtype)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        weights_SK: Tensor | None = None,
        path: Sequence[str] | None = None,
    ) -> Tensor:
        """Logits of the mixture: (B, L, V) for `lm`, else what the head says, such as (B, labels).

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 1 for tokens, 0 for padding.
            weights_SK: mixing weights; default: read from the alphas, once.
            path: run only these branches, as the discrete hybrid would.
        """
        if path is None and weights_SK is None:
            weights_SK = self.weights()
        mask = attention_mask if self.readout.kind == "lm" else needed_mask(attention_mask)
        position_ids = build_position_ids(mask, 0, input_ids.shape[1], input_ids.device)
        context = Context(mask, position_ids, {name: table(position_ids) for name, table in self.positions.items()})
        lenders = self._lenders(weights_SK, path)
        h_BLD = weighted_sum([(w, self._embed(name, input_ids, context)) for name, w in lenders])
        for stage, branches in enumerate(self.stages):
            assert isinstance(branches, nn.ModuleDict)
            if path is not None:
                h_BLD = branches[path[stage]](h_BLD, context)
            else:
                assert weights_SK is not None
                h_BLD = mix(dict(branches.items()), weights_SK[stage], h_BLD, context)
        length = input_ids.shape[1]
        if self.readout.kind != "lm":  # before the norm, which then runs on what is read only
            h_BLD = HEADS[self.readout.kind].select_states(h_BLD, attention_mask)
        return weighted_sum(pad_logits([(w, self._read(name, h_BLD, length)) for name, w in lenders]))

    def _lenders(self, weights_SK: Tensor | None, path: Sequence[str] | None) -> list[tuple[str, Tensor | None]]:
        """Who embeds and reads, with what weight: base alone, or in the hub all by the first stage's weights."""
        if not self.hub:
            return [(self.base, None)]
        if path is not None:
            return [(path[0], None)]
        assert weights_SK is not None
        return list(zip(self.candidates, weights_SK[0], strict=True))

    def _embed(self, name: str, input_ids: Tensor, context: Context) -> Tensor:
        out: Tensor = self.embeds[name](input_ids, None if self.hub else context.positions.get(name))
        return out

    def _read(self, name: str, h_BLD: Tensor, length: int) -> Tensor:
        h_BLD = fit_width(h_BLD, self.components[name].width)
        if name in self.norms:
            h_BLD = self.norms[name](h_BLD)
        out: Tensor = self.heads[name](h_BLD) if self.readout.kind == "lm" else self.heads[name](h_BLD, length)
        return out

    def architecture(self, path: Sequence[str]) -> Architecture:
        """`path` as data; in the hub topology the first stage's component is base."""
        base = path[0] if self.hub else self.base
        return Architecture(
            tuple(self.components), tuple(path), base, topology=self.space.topology, projector=self.space.projector
        )
