"""Memory and time of a search at the sizes of real pretrained models, with random weights, so that no hub is needed.

    python benchmarks/real_sizes.py [--strategy darts] [--steps 4] [--batch-size 4] [--length 256] [--threads 2]

The components have the configurations of EleutherAI/pythia-160m and state-spaces/mamba-130m-hf and the tokenizer of
the shipped models. The search runs through the command line in a process of its own; its peak memory and the seconds
of its phases are printed as JSON, with the hardware.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM, MambaConfig, MambaForCausalLM

from manticore.experiment.environment import environment_info
from manticore.results.search import SearchResult
from manticore.utils import assets

PYTHIA_160M = GPTNeoXConfig(
    vocab_size=50304,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=2048,
    use_parallel_residual=True,
)
MAMBA_130M = MambaConfig(vocab_size=50280, hidden_size=768, num_hidden_layers=24, state_size=16, expand=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="darts")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(args, Path(folder)), indent=1))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Seconds of each step and peak memory of one short search."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(assets.find("models", "gpt-neo-nano"))
    parameters = {}
    for name, model in {"pythia": GPTNeoXForCausalLM(PYTHIA_160M), "mamba": MambaForCausalLM(MAMBA_130M)}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        parameters[name] = model.num_parameters()
    settings = {
        "task.train": 40,
        "task.val": 4,
        "task.test": 4,
        "align.tokens": 2048,
        "search.steps": args.steps,
        "search.warmup_steps": 1,
        "search.batch_size": args.batch_size,
        "search.sample_paths": False,
        "finetune.steps": args.steps,
        "finetune.batch_size": args.batch_size,
        "baselines.components": False,
        "baselines.uniform": False,
        "baselines.random": False,
        "run.threads": args.threads,
        "run.eval_batch_size": args.batch_size,
    }
    command = [sys.executable, "-m", "manticore.cli", "search", "--models", f"{folder}/pythia,{folder}/mamba"]
    command += ["--task", f"text@length={args.length}", "--preset", "cpu", "--stages", "4", "--strategy", args.strategy]
    command += ["--base", "pythia", "--out", str(folder / "run")]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    subprocess.run(command, check=True, stdout=sys.stderr)
    seconds = SearchResult.load(folder / "run").seconds
    return {
        "command": f"python benchmarks/real_sizes.py --strategy {args.strategy} --threads {args.threads}",
        "parameters": parameters,
        "tokens per step": args.batch_size * args.length,
        "peak memory in GiB": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        "seconds": {phase: round(value, 1) for phase, value in seconds.items()},
        "seconds per step": {phase: round(value / args.steps, 2) for phase, value in seconds.items()},
        "machine": environment_info(),
    }


if __name__ == "__main__":
    main()
