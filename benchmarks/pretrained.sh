#!/bin/sh
# Two pretrained models against their hybrid, on text neither was trained on: a comparison for each domain, five and ten
# seeds, in the folder that is given, or in runs/pretrained, with the hybrid as a mixture and the paper's hub beside it;
# and what a training step of each costs, in time and memory. Give the same folder again to go on.
set -eu
out="${1:-runs/pretrained}"
here="$(dirname "$0")"
python "$here/domains.py" "$out/domains"
for domain in source mixture; do
    seeds=5; [ "$domain" = source ] || seeds=10
    manticore compare --models gpt-neo-nano,mamba-nano --task text --preset cpu --data-dir "$out/domains/$domain" \
        --contenders components,soft,hub --budgets tokens --seeds "$seeds" --workers 2 --set finetune.steps=120 \
        --learning-rates 0.002,0.0028,0.004,0.0056,0.008,0.0113 \
        --out "$out/$domain"
done
python "$here/training_step.py" --home gpt-neo-nano --stages 5 --foreign 2 4 5 --threads 1 --json "$out/training-step.json"
