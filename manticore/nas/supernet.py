"""The supernet: every stage has all candidates, mixed by weights on the simplex.

It has the same branches as a discrete hybrid, so at a one-hot path it is that hybrid (law 2). Notation: B batch, L
length, D width of the stream, V vocabulary, S stages, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manticore.components import Component
from manticore.components.component import copy_weights
from manticore.components.spec import SKIP
from manticore.components.twins import same_stream
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.branches import PROJECTOR_NAMES, BranchSpec, SkipBranch
from manticore.modeling.heads import HEADS
from manticore.modeling.masking import build_position_ids, needed_mask
from manticore.modeling.ops import OpBranch
from manticore.modeling.projectors import PROJECTORS, fit_width
from manticore.modeling.scaling import LogitScale
from manticore.modeling.segments import Context, Embedding
from manticore.modeling.wiring import build_wiring
from manticore.nas.architecture import Architecture
from manticore.nas.choices import Choices
from manticore.nas.grouped import context_of_rows, rows_of, run_grouped
from manticore.nas.inputs import as_weights, check_ids
from manticore.nas.mixed_op import pad_logits, weighted_sum
from manticore.nas.op_modules import build_module, register_ops
from manticore.nas.relaxations import RelaxationContext, relax_allowed, relaxations
from manticore.nas.space import SearchSpace
from manticore.nas.topologies import topologies
from manticore.tasks.task import HeadSpec
from manticore.utils.module_state import share_weights
from manticore.utils.rng import random_source


def is_projector_weight(name: str) -> bool:
    """Whether a weight of a supernet belongs to a projector or bypass, by its name: `stages.0.mamba.proj_in.weight`."""
    parts = name.split(".")
    return len(parts) > 3 and parts[3] in PROJECTOR_NAMES and "routing" not in parts


class Supernet(nn.Module):
    """K components cut into S stages; each stage is a mixed op over its candidates.

    Args:
        components: loaded components, in the order of the alphas' columns.
        space: stages, topology, projector, ops, skip, and which candidates and choices the stages have.
        base: name of the base model, which provides embedding, residual stream, final norm and head (in the hub
            topology all components do, mixed by the weights of the first stage).
        head_spec: head and vocabulary.
        relaxation: name of the map from alphas to mixing weights.
        candidates: options for a stage. Default: those of the space. With the base alone the supernet is that
            component, without projectors.

    Raises:
        UnknownName: no such projector kind, relaxation or kind of head.
        ManticoreError: more stages than some component has layers, components that the topology cannot join, a twin of
            another parent, an op whose code is not loaded, or one that is not causal in a language model.

    Attributes:
        choices: which candidates each stage has, and which stages share their choice. A stage has branches of its own
            candidates alone.
        alpha: (S, K). Stages that share their choice read the row of their first one.
        same_stream: components that run on the base's stream as it is, such as its twin.
        group_alpha: (G, S, K), one table for each group of features of the stream; None: `alpha` is read for all.
    """

    def __init__(
        self,
        components: Sequence[Component],
        space: SearchSpace,
        base: str,
        head_spec: HeadSpec,
        relaxation: str = "softmax",
        candidates: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if space.projector not in PROJECTORS:
            raise UnknownName("projector", space.projector, PROJECTORS)
        if head_spec.kind != "lm" and head_spec.kind not in HEADS:
            raise UnknownName("kind of task", head_spec.kind, HEADS)
        self.components = {component.name: component for component in components}
        self.space = space
        self.base = base
        self.head_spec = head_spec
        self.relax = relaxations[relaxation]
        self.temperature = 1.0
        self.progress = 0.0  # share of the search that is done after the warm-up; a search sets it
        self.choices = space.choices if candidates is None else Choices.free(candidates, space.stages)
        self.candidates = self.choices.candidates
        self.ops = register_ops(space.ops, head_spec.kind) if candidates is None else {}
        self.layer_boundaries = {c.name: space.layer_boundaries(c) for c in components}
        self.topology, self.wiring = topologies[space.topology](), build_wiring(space.topology)
        self.topology.check(components, head_spec.kind)
        self.stream = self.topology.stream_width(self.components, base)
        self.same_stream = same_stream(components, base) if self.wiring.joins_streams else set[str]()
        self._build_shells(self.topology.shells(self.components, base))
        self.stages = nn.ModuleList(
            nn.ModuleDict({name: self._build_branch(stage, name) for name in self.choices.names(stage)})
            for stage in range(space.stages)
        )
        one_stream = (base, *self.same_stream)
        for stage in range(space.stages):
            share_weights([self.branch(stage, name) for name in self.choices.names(stage) if name in one_stream])
        self.alpha = nn.Parameter(torch.zeros(space.stages, len(self.candidates)))
        self.group_alpha: nn.Parameter | None = None
        mask_SK = [[index in allowed for index in range(len(self.candidates))] for allowed in self.choices.allowed]
        self.mask: Tensor | None
        self.register_buffer("mask", torch.tensor(mask_SK) if self.choices.masked else None, persistent=False)
        self.rows: Tensor | None  # of the alphas, by stage, if stages share their choice
        self.register_buffer("rows", torch.tensor(self.choices.rows) if self.choices.shared else None, persistent=False)

    @property
    def projector(self) -> dict[str, object]:
        """Kind and options of the projectors; see `SearchSpace.projector_config`."""
        return self.space.projector_config

    def _build_shells(self, names: Sequence[str]) -> None:
        """Embeddings, final norms and heads of the named components, and every component's position table."""
        self.embeds, self.norms, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.positions, self.logit_scales = nn.ModuleDict(), dict[str, LogitScale]()
        for name, component in self.components.items():
            if component.layout.positions is not None and name not in self.same_stream:
                self.positions[name] = deepcopy(getattr(component.backbone, component.layout.positions))
        for name in names:
            component, rows = self.components[name], self.head_spec.vocab_size
            embed = Embedding.of(component.backbone, component.config, component.layout)
            tokens = embed.tokens = deepcopy(embed.tokens)
            fresh = rows is not None and rows != tokens.num_embeddings
            if fresh:  # rows of the table's own class, which may scale them
                tokens.weight = nn.Embedding(rows or 0, component.width).weight
                tokens.num_embeddings, tokens.padding_idx = rows or 0, None
                nn.init.normal_(tokens.weight, std=0.02)
            self.embeds[name], self.logit_scales[name] = embed, LogitScale.of(component.config, component.layout)
            if not self.wiring.norm_in_last_segment:
                self.norms[name] = deepcopy(getattr(component.backbone, component.layout.norm))
            self.heads[name] = self._build_head(component, tokens, fresh)

    def _build_head(self, component: Component, tokens: nn.Embedding, fresh: bool) -> nn.Module:
        if self.head_spec.kind != "lm":
            head = HEADS[self.head_spec.kind](component.width, self.head_spec.labels)
            head.init_output()
            return head
        if fresh:
            raise ManticoreError(
                f"'{component.name}' has another vocabulary than the task; next-token heads need the same"
            )
        source = component.head
        linear = nn.Linear(source.in_features, source.out_features, bias=source.bias is not None)
        copy_weights(source, linear)
        if component.tied:
            linear.weight = tokens.weight
        return linear

    def _build_branch(self, stage: int, name: str) -> nn.Module:
        if name == SKIP:
            return SkipBranch()
        if name in self.ops:
            return OpBranch(build_module(self.ops[name], self.stream), stage, self.ops[name].causal)
        component, last = self.components[name], stage == self.space.stages - 1
        start, stop = self.layer_boundaries[name][stage : stage + 2]
        segment = component.segment(start, stop, keep_norm=self.wiring.norm_in_last_segment and last)
        widths, same_stream = (component.width, self.stream), name in self.same_stream
        spec = BranchSpec(name, self.base, stage, segment, *widths, self.projector, same_stream=same_stream)
        return self.wiring.branch(spec, searching=True)

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The parameters that the mixing weights are computed from; see `Searchable`."""
        return [self.alpha if self.group_alpha is None else self.group_alpha]

    def split_alphas(self, groups: int) -> None:
        """Give each of G groups of neighbouring features of the stream its own alphas, which start equal to `alpha`.

        `weights` is then the mean over the groups, and `alpha` is not trained any more. Raises ManticoreError for more
        groups than features, and for a topology without a base, where a mixing weight is a gate of all features.
        """
        if not self.topology.has_base:
            raise ManticoreError(f"in the {self.space.topology} topology all features share a mixing weight")
        if groups > self.stream:
            raise ManticoreError(f"a stream of {self.stream} features cannot have {groups} groups")
        self.group_alpha = nn.Parameter(self.alpha.detach().expand(groups, -1, -1).clone())
        self.alpha.requires_grad_(False)

    @property
    def alpha_table(self) -> Tensor:
        """The values of the alphas that each stage reads, (S, K), 0 for a candidate that a stage does not have."""
        alpha_SK = self.alpha.detach() if self.group_alpha is None else self.group_alpha.detach().mean(0)
        alpha_SK = alpha_SK if self.mask is None else alpha_SK.masked_fill(~self.mask, 0)
        return alpha_SK if self.rows is None else alpha_SK[self.rows]

    @property
    def trains_single_paths(self) -> bool:
        """Whether a path can be trained by itself; not in every topology."""
        return self.space.supports("sample_paths")

    def branch(self, stage: int, name: str) -> nn.Module:
        """The branch of a candidate at a stage, counted from 0. Raises ManticoreError if the stage does not have it."""
        branches = self.stages[stage]
        assert isinstance(branches, nn.ModuleDict)
        if name not in branches:
            if name not in self.candidates:
                raise UnknownName("candidate for a stage", name, self.candidates)
            names = ", ".join(branches)
            raise ManticoreError(f"'{name}' is no candidate of stage {stage + 1}; its candidates: {names}")
        return branches[name]

    def shell_modules(self, name: str) -> list[nn.Module]:
        """Embedding, position table, final norm and head of a component; those that the supernet has."""
        groups = (self.embeds, self.positions, self.norms, self.heads)
        return [group[name] for group in groups if name in group]

    def weights(self, generator: torch.Generator | None = None) -> Tensor:
        """Mixing weights on the simplex, (S, K), differentiable in the alphas.

        `generator` is the source of randomness of a random relaxation; None reads the weights without randomness.
        Candidates that a stage does not have get 0: the relaxation reads a very negative alpha for them, and its result
        is masked. Stages that share their choice have equal rows. With groups of features the result is the mean over
        groups.
        """
        if self.group_alpha is not None:
            return self.group_weights(generator).mean(0)
        return self._relaxed(self.alpha, self.mask, generator)

    def group_weights(self, generator: torch.Generator | None = None) -> Tensor:
        """Mixing weights of each group of features, (G, S, K); see `weights`."""
        assert self.group_alpha is not None
        mask = None if self.mask is None else self.mask.repeat(len(self.group_alpha), 1)
        rows = self._relaxed(self.group_alpha.flatten(0, 1), mask, generator, shared=False)
        weights_GSK = rows.view_as(self.group_alpha)
        return weights_GSK if self.rows is None else weights_GSK[:, self.rows]

    def _relaxed(
        self, alpha_SK: Tensor, mask: Tensor | None, generator: torch.Generator | None, shared: bool = True
    ) -> Tensor:
        context = RelaxationContext(self.temperature, self.progress, generator)
        weights_SK = relax_allowed(self.relax, alpha_SK, mask, context)
        return weights_SK[self.rows] if shared and self.rows is not None else weights_SK

    def _feature_weights(self, generator: torch.Generator | None) -> Tensor:
        """Mixing weights of each feature of the stream, (1, 1, D, S, K)."""
        weights_GSK = self.group_weights(generator)
        group_D = torch.arange(self.stream, device=weights_GSK.device) * len(weights_GSK) // self.stream
        return weights_GSK[group_D][None, None]

    def sample(self, weights: Tensor | None = None) -> list[str]:
        """A path drawn from the mixing weights, or from `weights` (S, K) on the CPU, one decision after the other."""
        weights_SK = self.weights().detach().cpu() if weights is None else weights
        rows_SK = weights_SK[self.decision_rows] if self.choices.shared else weights_SK
        drawn = torch.multinomial(rows_SK, 1, generator=random_source(rows_SK.device)).squeeze(-1)
        return [self.candidates[choice] for choice in self.choices.expand(drawn.tolist())]

    @property
    def decision_rows(self) -> list[int]:
        """The first stage of each group of stages that choose together; most are alone in their group."""
        return [group[0] for group in self.choices.decisions]

    def log_probability(self, path: Sequence[str]) -> Tensor:
        """Log of the product of the mixing weights of a path's choices, each taken once; differentiable, a scalar."""
        log_weights_SK, one_hot_SK = self.weights().clamp_min(1e-30).log(), self.one_hot(path)
        if self.choices.shared:
            log_weights_SK, one_hot_SK = log_weights_SK[self.decision_rows], one_hot_SK[self.decision_rows]
        return (log_weights_SK * one_hot_SK).sum()

    @torch.no_grad()
    def set_alphas(self, alphas_SK: Tensor) -> None:
        """Copy alphas; stages that share their choice get the mean of their rows."""
        if self.choices.shared:
            groups = {row: group for group in self.choices.decisions for row in group}
            alphas_SK = torch.stack([alphas_SK[list(groups[row])].mean(0) for row in range(len(alphas_SK))])
        self.alphas[0].copy_(alphas_SK)  # of all groups, if there are some

    def one_hot(self, path: Sequence[str]) -> Tensor:
        """The mixing weights (S, K) of a single path. Raises ManticoreError if it is no path of this supernet."""
        self._check_options(None, path)
        index = torch.tensor([self.candidates.index(choice) for choice in path], device=self.alpha.device)
        return torch.nn.functional.one_hot(index, len(self.candidates)).to(self.alpha.dtype)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        weights: Tensor | Sequence[Any] | None = None,
        path: Sequence[str] | None = None,
        paths: Tensor | None = None,
    ) -> Tensor:
        """Logits of the mixture: (B, L, V) for `lm`, else what the head computes, such as (B, labels).

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 1 for tokens, 0 for padding.
            weights: mixing weights, (S, K), or (B, S, K), one set for each sequence, as a tensor, an array or lists.
                Default: those of the alphas.
            path: run only these branches, as the discrete hybrid would.
            paths: a path for each sequence, as indices of candidates, (B, S), or for each example of several sequences.
                Not in the hub topology.

        Raises ManticoreError for a path with a candidate that a stage does not have, for a path or weights of another
        number of stages or candidates, and if two of them are given.
        """
        check_ids(input_ids, attention_mask)
        weights = as_weights(weights, self.alpha)
        self._check_options(weights, path, paths)
        if path is None and weights is None and paths is None:
            source = random_source(self.alpha.device) if self.training else None
            weights = self.weights(source) if self.group_alpha is None else self._feature_weights(source)
        keep_mask = self.head_spec.kind == "lm" or not self._causal(path)
        mask = attention_mask if keep_mask else needed_mask(attention_mask)
        position_ids = build_position_ids(mask, 0, input_ids.shape[1], input_ids.device)
        context = Context(mask, position_ids, {name: table(position_ids) for name, table in self.positions.items()})
        shells = [(self.base, None)] if paths is not None else self.topology.shell_weights(self, weights, path)
        h_BLD = weighted_sum([(w, self._embed(name, input_ids, context)) for name, w in shells])
        for stage, branches in enumerate(self.stages):
            assert isinstance(branches, nn.ModuleDict)
            if paths is not None:
                choices_B = paths[:, stage].repeat(len(input_ids) // len(paths))
                h_BLD = run_grouped(choices_B, partial(self._run_rows, stage, h_BLD, context))
            elif path is not None:
                h_BLD = self.branch(stage, path[stage])(h_BLD, context)
            else:
                assert weights is not None
                weights_K = weights[..., stage, :]
                if len(branches) < len(self.candidates):
                    weights_K = weights_K[..., list(self.choices.allowed[stage])]
                h_BLD = self.topology.mix(dict(branches.items()), weights_K, h_BLD, context)
        length = input_ids.shape[1]
        if self.head_spec.kind != "lm":  # before the norm, which then runs on the states that the head reads
            h_BLD = HEADS[self.head_spec.kind].select_states(h_BLD, attention_mask)
        return weighted_sum(pad_logits([(w, self._logits(name, h_BLD, length)) for name, w in shells]))

    def _run_rows(self, stage: int, h_BLD: Tensor, context: Context, index: int, rows: Tensor | None) -> Tensor:
        """The output of a candidate for some sequences of the batch."""
        branch = self.branch(stage, self.candidates[index])
        out: Tensor = branch(rows_of(h_BLD, rows), context_of_rows(context, rows))
        return out

    def _check_options(self, weights: Tensor | None, path: Sequence[str] | None, paths: Tensor | None = None) -> None:
        """Raises ManticoreError if weights or paths are not of this supernet."""
        if paths is not None:
            self._check_paths(paths)
            if path is not None or weights is not None:
                raise ManticoreError("paths, path and weights exclude each other; pass one of them")
        if path is not None and weights is not None:
            raise ManticoreError("path and weights exclude each other; pass one of them")
        if path is not None:
            self.choices.check_names(path)
        if weights is not None and weights.shape[-2:] != self.alpha.shape:
            stages, candidates = self.alpha.shape
            raise ManticoreError(
                f"mixing weights have the shape ({stages}, {candidates}), or (B, {stages}, {candidates}), not "
                f"{tuple(weights.shape)}"
            )

    def _check_paths(self, paths: Tensor) -> None:
        """Raises ManticoreError if paths for each sequence cannot run, or one of them is no path of this supernet."""
        if not self.trains_single_paths:
            raise ManticoreError(f"in the {self.space.topology} topology a path does not run alone")
        if paths.dim() != 2 or paths.shape[1] != self.space.stages:
            raise ManticoreError(f"paths have the shape (B, {self.space.stages}), not {tuple(paths.shape)}")
        for stage, allowed in enumerate(self.choices.allowed):
            if not set(paths[:, stage].tolist()) <= set(allowed):
                raise ManticoreError(f"paths name a candidate that stage {stage + 1} does not have")

    def _causal(self, path: Sequence[str] | None) -> bool:
        """Whether all ops that a forward pass runs are causal."""
        return all(op.causal for name, op in self.ops.items() if path is None or name in path)

    def _embed(self, name: str, input_ids: Tensor, context: Context) -> Tensor:
        positions = context.positions.get(name) if self.wiring.positions_in_embedding else None
        out: Tensor = self.embeds[name](input_ids, positions)
        return out

    def _logits(self, name: str, h_BLD: Tensor, length: int) -> Tensor:
        h_BLD = fit_width(h_BLD, self.components[name].width)
        if name in self.norms:
            h_BLD = self.norms[name](h_BLD)
        if self.head_spec.kind == "lm":
            return self.logit_scales[name](self.heads[name](h_BLD))
        out: Tensor = self.heads[name](h_BLD, length)
        return out

    def architecture(self, path: Sequence[str]) -> Architecture:
        """The discrete architecture of `path`, as plain data. Raises ManticoreError if it is not one of the space."""
        self.choices.check(path)
        return Architecture(
            tuple(self.components),
            tuple(path),
            self.topology.base_of(path, self.base),
            topology=self.space.topology,
            projector=self.space.projector,
            ops=tuple(self.ops),
        )
