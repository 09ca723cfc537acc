#!/bin/sh
# The six MAD tasks at the sizes of `search/mad`, preset cpu, searched by DARTS with 42 % of the sequences. Writes
# comparison.json, tables.md and report.html to the folder in $1, default runs/mad. The same folder again continues.
exec manticore compare --models gpt-neo,mamba --task mad --preset cpu --strategy darts \
    --set search.steps=600 --set search.warmup_steps=350 --set finetune.steps=575 \
    --seeds 3 --all-paths --workers 2 --out "${1:-runs/mad}"
