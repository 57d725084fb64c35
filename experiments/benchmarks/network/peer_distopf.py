"""What DistOPF says about a case of its own, as JSON on stdout; run by :mod:`.peer` with the peer's interpreter.

    PEER_PYTHON experiments/benchmarks/peer_distopf.py CASE REPEATS 'LOAD:IMPORT_PRICE:UNIT_PRICE' ...

Imports nothing but the peer: it runs in an environment of its own. For each variant the peer builds its model
(LinDist, linear inverter octagons, P and Q of each unit controlled), minimises the cost of import and of the units with
HiGHS, and reads out all variables and duals, as its own ``solve`` does.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import distopf as opf  # noqa: E402
import pyomo.environ as pyo  # noqa: E402
from distopf.pyomo_models import add_constraints, create_lindist_model, solve  # noqa: E402

TABLES = ("bus_data", "branch_data", "gen_data", "cap_data", "reg_data", "bat_data")


def case_of(name, load):
    """The case at one step without its schedules, its loads multiplied."""
    case = opf.create_case(opf.CASES_DIR / "csv" / name, n_steps=1, ignore_schedule=True)
    case.gen_data["control_variable"] = "PQ"
    columns = [c for c in case.bus_data.columns if c[:3] in ("pl_", "ql_")]
    case.bus_data[columns] *= load
    return case


def cost(import_price, unit_price):
    """Linear cost of import at the swing bus and of the units' energy."""

    def rule(m):
        imported = sum(
            m.p_flow[f, t, x, s] for f, t, x in m.branch_phase_set if f in m.swing_bus_set for s in m.time_set
        )
        return import_price * imported + unit_price * sum(
            m.p_gen[g, x, s] for g, x in m.gen_phase_set for s in m.time_set
        )

    return rule


def main(name, repeats, variants):
    """Solve every variant, and time model, solver and read-out."""
    out = {"version": getattr(opf, "__version__", ""), "variants": []}
    out["tables"] = {k: getattr(case_of(name, 1.0), k).to_dict("list") for k in TABLES}
    for load, import_price, unit_price in variants:
        case, build, work, read = case_of(name, load), [], [], []
        for _ in range(repeats):
            start = time.perf_counter()
            model = create_lindist_model(case)
            add_constraints(model, circular_constraints=False, thermal_constraints=False)
            model.objective = pyo.Objective(rule=cost(import_price, unit_price), sense=pyo.minimize)
            built = time.perf_counter()
            result = solve(model, solver="highs", duals=True)
            build.append(built - start)
            work.append(result.solve_time)
            read.append(time.perf_counter() - built - result.solve_time)
        balance = {
            kind: [[int(i[1]), i[2], float(model.dual[c])] for i, c in getattr(model, f"power_balance_{kind}").items()]
            for kind in "pq"
        }
        volts = [[int(i), x, pyo.value(v)] for (i, x, _), v in model.v2.items()]
        times = {k: statistics.median(v) for k, v in (("build", build), ("solve", work), ("read", read))}
        out["variants"].append({"objective": result.objective_value, "duals": balance, "v2": volts, "seconds": times})
    print("RESULT" + json.dumps(out, default=str))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [tuple(map(float, v.split(":"))) for v in sys.argv[3:]])
