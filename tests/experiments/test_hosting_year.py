"""The study of hosting over a year, on two hours of one feeder."""

from __future__ import annotations

import re

from cosim.experiments.studies.hosting_year import PLACES, study


def test_the_study_fills_its_conclusion_from_its_tables() -> None:
    found = study({"ieee13": PLACES["ieee13"]}, steps=2)
    sizes = found.tables["capacities"].set_index("connection")
    within = sizes[~sizes["open_ended"]]
    assert f"{within['firm_kw'].min():,.0f} kW at bus {within['firm_kw'].idxmin()}" in found.conclusion
    assert "nan" not in re.findall(r"\w+", found.conclusion)
    assert (sizes["firm_kw"] <= sizes["firm_base_case_kw"] + 0.2).all()
    assert set(found.captions) == set(found.figures) == {"gain", "map_ieee13_firm", "map_ieee13_hours"}
