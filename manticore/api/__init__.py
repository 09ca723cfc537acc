"""The Python interface: a function for each command, and objects for what they return."""

from manticore.utils.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "verbs": ("compare", "plan", "search", "transfer"),
        "model_verbs": ("align", "evaluate", "export", "finetune", "generate", "pretrain", "report", "select"),
        "loading": ("load", "supernet"),
        "result": ("AlphaHistory", "Result"),
    },
)
