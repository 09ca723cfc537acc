"""Export of hybrids: Hugging Face checkpoints with the code and the tokenizer that they need, and loading them.

The package is callable: `manticore.export(...)` is `manticore.api.run_verbs.export`.
"""

from manticore.utils.lazy import make_callable

make_callable(__name__, "manticore.api.run_verbs.export")
