"""Studies of nobody: drawn from a seed, with everything about them known. For demos, tests and benchmarks."""
