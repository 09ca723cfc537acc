#!/bin/sh
# How well paths are ranked before any training: all 16 paths of four stages fine-tuned for 60 steps on source code, one
# seed. Writes to the folder in $1, default runs/ranking. The same folder again continues.
set -eu
out="${1:-runs/ranking}"
python "$(dirname "$0")/domains.py" "$out/domains" 1000000
manticore compare --models gpt-neo-nano,mamba-nano --task text --preset cpu --data-dir "$out/domains/source" --stages 4 \
    --all-paths --seeds 1 --baselines components --learning-rates 0.0056 --budgets tokens --workers 2 \
    --set finetune.steps=60 --out "$out/source"
