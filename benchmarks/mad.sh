#!/bin/sh
# The six MAD tasks at the sizes of `search/mad`, preset cpu. Writes comparison.json, tables.md and report.html to the
# folder in $1, default runs/mad. The same folder again continues.
exec manticore compare --models gpt-neo,mamba --task mad --preset cpu --seeds 3 --budgets tokens \
    --baselines components,designed --workers 2 --out "${1:-runs/mad}"
