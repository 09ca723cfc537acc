#!/bin/sh
# ListOps with expressions of 5 to 31 tokens, GPT-Neo and Mamba blocks of width 64, searched by DARTS with a tenth of the
# sequences; five seeds, all 16 paths with one seed. Writes comparison.json, tables.md and report.html to the folder in
# $1, default runs/listops. The same folder again continues.
exec manticore compare --models gpt-neo,mamba --task lra-listops@min_length=4,max_length=32 --preset cpu --strategy darts \
    --seeds 5 --all-paths 1 --workers 2 --set search.batch_size=16 --set search.weights.lr=1.5e-3 \
    --set finetune.init=supernet --set finetune.steps=1387 --set finetune.batch_size=64 \
    --learning-rates 0.0015,0.003 --baselines components,designed --budgets tokens --out "${1:-runs/listops}"
