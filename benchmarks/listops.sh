#!/bin/sh
# ListOps with short expressions at the sizes of `search/lra-listops`, preset cpu, with as many sequences, of which the
# search uses a tenth instead of two fifths; five seeds, all 16 paths with one seed. Writes comparison.json, tables.md and
# report.html to the folder in $1, default runs/listops. The same folder again continues.
exec manticore compare --models gpt-neo,mamba --task lra-listops --preset cpu --seeds 5 --all-paths 1 --workers 2 \
    --set search.batch_size=16 --set finetune.steps=1387 --learning-rates 0.0015,0.003 \
    --baselines components,designed --budgets tokens --out "${1:-runs/listops}"
