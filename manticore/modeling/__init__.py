"""The runtime of exported hybrids: configuration, models, branches, projectors, heads and cache. It contains no search.

Hugging Face copies these files into every checkpoint. They are therefore in one flat folder, with relative imports, and
need torch and transformers alone. This file is not copied; it registers the classes with transformers' Auto classes.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .backbone import HybridModel
from .configuration_manticore import HybridConfig
from .modeling_manticore import (
    HybridForCausalLM,
    HybridForSequenceClassification,
    HybridForTokenClassification,
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
