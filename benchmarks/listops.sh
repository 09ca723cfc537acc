#!/bin/sh
# ListOps with short expressions at the sizes of `search/lra-listops`, preset cpu, on as many sequences, of which the search
# takes a tenth instead of two fifths; five seeds, all 16 paths with one. Leaves comparison.json, tables.md and report.html
# in the folder that is given, or in runs/listops. Give the same folder again to go on.
exec manticore compare --models gpt-neo,mamba --task lra-listops --preset cpu --seeds 5 --all-paths 1 --workers 2 \
    --set search.batch_size=16 --set finetune.steps=1387 --learning-rates 0.0015,0.003 \
    --baselines components,designed --budgets tokens --out "${1:-runs/listops}"
