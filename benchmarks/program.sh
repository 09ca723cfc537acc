#!/bin/sh
# How well fuzzy recall predicts which path is best for ListOps: all 16 paths of four stages on both tasks, one seed. Writes
# to the folder in $1, default runs/program. The same folder again continues.
exec manticore transfer --models gpt-neo,mamba --stages 4 --proxy mad-fuzzy-recall \
    --task lra-listops@min_length=4,max_length=32 --base mamba --preset cpu \
    --set scratch.attention.layers=4 --set scratch.recurrent.layers=4 --seeds 1 --learning-rates 0.0015 --workers 2 \
    --out "${1:-runs/program}"
