#!/bin/sh
# Two pretrained models against their hybrid, on text neither was trained on: a comparison for each domain, three seeds, in
# the folder that is given, or in runs/pretrained. Give the same folder again to go on.
set -eu
out="${1:-runs/pretrained}"
python "$(dirname "$0")/domains.py" "$out/domains"
for domain in source mixture; do
    manticore compare --models gpt-neo-nano,mamba-nano --task text --preset cpu --data-dir "$out/domains/$domain" \
        --strategy zero-shot --contenders components --budgets tokens --seeds 3 --workers 2 \
        --set finetune.steps=120 --out "$out/$domain"
done
