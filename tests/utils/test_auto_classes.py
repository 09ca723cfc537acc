"""`import manticore` imports neither torch nor transformers, and hybrids are registered in any order of imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

REGISTERED = """
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
assert "manticore_hybrid" in CONFIG_MAPPING
"""
HOOKS = 'sum(type(finder).__name__ == "_AutoModuleHook" for finder in sys.meta_path)'


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_is_imported_without_torch_and_transformers() -> None:
    run(f'import sys, manticore\nassert not {{"torch", "transformers"}} & set(sys.modules)\nassert {HOOKS} == 1')


@pytest.mark.parametrize(
    "imports",
    [
        "import sys, manticore\nfrom transformers import AutoModelForCausalLM",
        "import sys\nfrom transformers import AutoModelForCausalLM\nimport manticore",
        "import sys, manticore.modeling",
        "import sys, manticore\nfrom transformers.models.mamba.modeling_mamba import MambaMixer",
        "import sys, manticore\nfrom transformers.models.llama.modeling_llama import LlamaModel",
    ],
    ids=["manticore first", "transformers first", "modeling alone", "Mamba's module first", "Llama's module first"],
)
def test_hybrids_are_registered_in_any_order_of_imports(imports: str) -> None:
    run(f"{imports}\n{REGISTERED}\nassert {HOOKS} == 0, 'the hook removes itself'")


def test_a_module_of_models_is_executed_once() -> None:
    run(
        "import sys, manticore\nfrom transformers.models.mamba import modeling_mamba\n"
        "from manticore.modeling.twins import MambaMixer\n"
        "assert MambaMixer is modeling_mamba.MambaMixer\n"
        "assert sys.modules[modeling_mamba.__name__] is modeling_mamba\n"
        "assert type(modeling_mamba.__spec__.loader).__name__ == 'SourceFileLoader'"
    )
