"""The two job engines compared by `benchmarks/job_engines.py`, and the process in which each is run and killed."""
