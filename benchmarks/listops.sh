#!/bin/sh
# ListOps with short expressions at the sizes of `search/lra-listops`, preset cpu, five seeds; all 16 paths with one. Leaves
# comparison.json, tables.md and report.html in the folder that is given, or in runs/listops. Give the same folder again to
# go on.
exec manticore compare --models gpt-neo,mamba --task lra-listops --preset cpu --seeds 5 --paths 1 --workers 2 \
    --contenders components,designed --budgets tokens --out "${1:-runs/listops}"
