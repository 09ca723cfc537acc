"""Topologies: how the candidates of a stage read the stream and write to it, and what the discrete hybrid consists of.

A topology has two classes of the same name: one here, for the search, and a wiring in `modeling/wiring.py`, for
supernets and exported checkpoints. All code that differs between topologies is in these two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from manticore.components import Component
from manticore.components.tokenizers import one_vocabulary
from manticore.errors import ManticoreError
from manticore.modeling.segments import Context
from manticore.nas.mixed_op import gated_sum, residual_sum, spread, weighted_sum
from manticore.utils.registry import Registry

if TYPE_CHECKING:
    from manticore.nas.supernet import Supernet


class Topology:
    """How segments are joined. Stateless; registered by name, chosen by `SearchSpace.topology`.

    Attributes:
        has_base: one component, the base model, provides embedding, residual stream, final norm and head of every path.
            Otherwise the component of the first stage does.
        supports: which options of a space and of a search make sense: `skip`, `bypass`, `ops` (modules that add their
            output to the stream), `alignment` (projectors have a closed form), `sample_paths` (a single path can be
            trained by itself).
    """

    has_base: ClassVar[bool] = True
    supports: ClassVar[frozenset[str]] = frozenset()

    def check(self, components: Sequence[Component], head_kind: str) -> None:
        """Raises ManticoreError if these components cannot be joined for a head of this kind."""

    def stream_width(self, components: Mapping[str, Component], base: str) -> int:
        """Features D of the stream between stages."""
        return components[base].width

    def shells(self, components: Mapping[str, Component], base: str) -> list[str]:
        """Names of the components whose embedding, final norm and head are in the supernet."""
        return [base]

    def shell_weights(
        self, net: Supernet, weights: Tensor | None, path: Sequence[str] | None
    ) -> list[tuple[str, Tensor | None]]:
        """Components that embed the tokens and compute the output, each with its weight; None for a single one.

        Args:
            net: the supernet.
            weights: mixing weights, (S, K) or (B, S, K); None if `path` is given.
            path: the path that runs alone.
        """
        return [(net.base, None)]

    def mix(self, branches: Mapping[str, nn.Module], weights_K: Tensor, h_BLD: Tensor, context: Context) -> Tensor:
        """The mixed op: candidates weighted and summed, (B, L, D) -> (B, L, D). `weights_K` is (K,) or (B, K)."""
        candidates = zip(weights_K.unbind(-1), branches.values(), strict=True)
        return weighted_sum([(w, branch(h_BLD, context, spread(w, h_BLD))) for w, branch in candidates])

    def base_of(self, path: Sequence[str], base: str) -> str:
        """The component that provides embedding and head of the discrete hybrid on `path`."""
        return base

    def has_weight(self, key: str) -> bool:
        """Whether the discrete hybrid keeps a weight of a branch; `key` is its name in the branch of the supernet."""
        return True

    def path_modules(self, net: Supernet, stage: int, name: str) -> list[nn.Module]:
        """The modules whose cost a path has if `name` runs `stage` (from 0); see `cost`."""
        return [net.branch(stage, name)]

    def fixed_modules(self, net: Supernet) -> list[nn.Module]:
        """The modules whose cost every path has."""
        return net.shell_modules(net.base)

    def shared_positions(self, net: Supernet) -> list[str]:
        """Donors with a position table. Its cost counts once for a path, however many of its stages use it."""
        return [name for name in net.positions if name != net.base]


topologies: Registry[type[Topology]] = Registry("topology")


@topologies.register("residual")
class Residual(Topology):
    """The base model owns the residual stream; a donor segment adds its update to it through P and Q.

    y[s, base]  = Segment(h)
    y[s, donor] = h + Q(Segment(u) - u) + R h,   u = P h       (R, the bypass, is optional)
    y[s, op]    = h + op(h)
    y[s, skip]  = h
    h          <- sum_k w[s, k] y[s, k]
    """

    supports: ClassVar[frozenset[str]] = frozenset({"skip", "bypass", "ops", "alignment", "sample_paths"})

    def mix(self, branches: Mapping[str, nn.Module], weights_K: Tensor, h_BLD: Tensor, context: Context) -> Tensor:
        return residual_sum(branches, weights_K, h_BLD, context)


@topologies.register("hub")
class Hub(Topology):
    """The wiring of the paper (arXiv 2406.00894): the mixing weight of a branch also gates its projectors.

        x[s, k] = T_k((1 - w) Win h + w h)
        h      <- sum_k w ((1 - w) U Wout Segment(x) + w U Segment(x)),   w = w[s, k]

    Embeddings and heads of all components are mixed by the weights of the first stage. At a one-hot path the gates
    leave no projector.
    """

    has_base: ClassVar[bool] = False

    def check(self, components: Sequence[Component], head_kind: str) -> None:
        if head_kind == "lm" and not one_vocabulary([component.tokenizer for component in components]):
            raise ManticoreError(
                "the hub topology mixes embeddings and heads, so all components must have the same tokenizer; "
                "the residual topology does without"
            )

    def stream_width(self, components: Mapping[str, Component], base: str) -> int:
        return max(component.width for component in components.values())

    def shells(self, components: Mapping[str, Component], base: str) -> list[str]:
        return list(components)

    def shell_weights(
        self, net: Supernet, weights: Tensor | None, path: Sequence[str] | None
    ) -> list[tuple[str, Tensor | None]]:
        if path is not None:
            return [(path[0], None)]
        assert weights is not None
        weights_of_stage = weights[..., 0, :].unbind(-1)
        return [(net.candidates[index], weights_of_stage[index]) for index in net.choices.allowed[0]]

    def mix(self, branches: Mapping[str, nn.Module], weights_K: Tensor, h_BLD: Tensor, context: Context) -> Tensor:
        return gated_sum(branches, weights_K, h_BLD, context)

    def base_of(self, path: Sequence[str], base: str) -> str:
        return path[0]

    def has_weight(self, key: str) -> bool:
        return key.split(".")[0] not in ("proj_in", "proj_out")

    def path_modules(self, net: Supernet, stage: int, name: str) -> list[nn.Module]:
        shell = net.shell_modules(name) if stage == 0 else []
        return [net.branch(stage, name).get_submodule("segment"), *shell]

    def fixed_modules(self, net: Supernet) -> list[nn.Module]:
        return []

    def shared_positions(self, net: Supernet) -> list[str]:
        return []
