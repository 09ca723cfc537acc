"""What survives kills, damaged inputs, full disks and long runs: the figures of docs/results/reliability.md."""
