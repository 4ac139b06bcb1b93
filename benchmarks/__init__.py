"""What is measured and how: each file one benchmark, `trieflow bench NAME`. Results are data in `results/`."""
