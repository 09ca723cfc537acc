#!/bin/sh
# The six MAD tasks at the sizes of `search/mad`, preset cpu: comparison.json, tables.md and report.html in the folder that
# is given, or in runs/mad. Give the same folder again to go on.
exec manticore compare --models gpt-neo,mamba --task mad --preset cpu --seeds 3 --all-paths --workers 2 --out "${1:-runs/mad}"
