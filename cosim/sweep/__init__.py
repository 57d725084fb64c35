"""Many runs: an experiment file says what varies, a store keeps each run, and engines share the work.

    found = cosim.run_sweep("experiments/tariffs.yaml", out="results/tariffs")
    found.runs             # one row per run: factors, status, key figures, time
    found.steps            # the long tables that were kept, of all runs, with the factors beside them

| module | what it does |
|---|---|
| `experiment` | the schema of an experiment file |
| `design` | the points: lists, ranges, sampled factors, full or paired |
| `plan` | points times modes times seeds, each with its checked scenario and the key of its content |
| `store` | one folder per run, which appears when it is complete |
| `worker` | one run, in whichever process |
| `engine`, `pool` | executors: in this process, a pool, Dask |
| `schedule` | which run is where; chunks; what to do when a worker dies |
| `run` | all of it, start to finish |
| `reading` | a sweep as pandas frames |
| `report` | a sweep as one HTML page |
"""
