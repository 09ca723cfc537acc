"""The runtime: what an exported checkpoint needs, and nothing of search.

Flat, with relative imports only, on torch and transformers alone, because Hugging Face copies these files into every
checkpoint (all but this one, which enters the classes into transformers' Auto classes).
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .configuration_manticore import HybridConfig
from .modeling_manticore import (
    HybridForCausalLM,
    HybridForSequenceClassification,
    HybridForTokenClassification,
    HybridModel,
)

AutoConfig.register(HybridConfig.model_type, HybridConfig, exist_ok=True)
AutoModel.register(HybridConfig, HybridModel, exist_ok=True)
AutoModelForCausalLM.register(HybridConfig, HybridForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(HybridConfig, HybridForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(HybridConfig, HybridForTokenClassification, exist_ok=True)

__all__ = [
    "HybridConfig",
    "HybridForCausalLM",
    "HybridForSequenceClassification",
    "HybridForTokenClassification",
    "HybridModel",
]
