"""Series files as people have them, and what they mean: values by hand, or the words of the refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

COLUMN = "x"


@dataclass(frozen=True)
class Case:
    """A table, a scenario's clock and series section, and what must come of them.

    Attributes:
        text: the table; its values stand in the column ``x`` unless ``series`` says otherwise.
        start, steps, step_s, timezone: the clock.
        values: of the steps; or words of the message, in which the file is refused.
    """

    name: str
    text: str
    values: Sequence[float] | str
    start: str = "2024-03-01T00:00"
    steps: int = 2
    step_s: int = 3600
    timezone: str | None = None
    series: dict[str, Any] = field(default_factory=dict)


def rows(header: str, first: str, step_s: int, values: Sequence[float], ending: str = "") -> str:
    """A table of regular stamps."""
    from datetime import datetime, timedelta

    start = datetime.fromisoformat(first)
    lines = [f"{(start + timedelta(seconds=step_s * i)).isoformat()}{ending},{v}" for i, v in enumerate(values)]
    return header + "\n" + "\n".join(lines) + "\n"


BERLIN, PACIFIC = "Europe/Berlin", "America/Los_Angeles"
HOURS = list(range(48))
QUARTERS = [float(i) for i in range(96)]
BARE = "x\n" + "\n".join(str(i) for i in range(96)) + "\n"
SPRING = rows("time,x", "2024-03-31T00:00:00", 3600, range(24))  # has 02:00, which Berlin skips
AUTUMN = (
    "time,x\n2024-10-27T01:00,1\n2024-10-27T02:00,2\n2024-10-27T02:00,3\n2024-10-27T03:00,4\n2024-10-27T04:00,5\n"
)
LEAP = rows("time,x", "2024-02-28T00:00:00", 86_400, [28, 29, 1, 2])
YEAR = "hour,x\n" + "".join(f"{h},{h // 24}\n" for h in range(8760))  # the day of the year, from 0
STAMPED_YEAR = rows("time,x", "2023-01-01T00:00:00", 86_400, range(365))
WEEK = rows("time,x", "2024-01-01T00:00:00", 86_400, range(7))  # a Monday is 0

CASES = [
    # by date
    Case("a later start reads later rows", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS), [30, 31],
         start="2024-03-02T06:00"),
    Case("quarter hours come to the hour's mean", rows("time,x", "2024-03-01T00:00:00", 900, QUARTERS), [1.5, 5.5]),
    Case("hours hold for their quarters", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS), [0, 0, 0, 0, 1],
         steps=5, step_s=900),
    Case("steps across rows weigh both", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS), [1 / 3, 5 / 3],
         step_s=5400),
    Case("rows that begin at half past", rows("time,x", "2024-02-29T23:30:00", 3600, HOURS), [0.5, 1.5]),
    Case("a space instead of T", "time,x\n2024-03-01 00:00,5\n2024-03-01 01:00,7\n", [5, 7]),
    Case("seconds and a fraction of none", "time,x\n2024-03-01 00:00:00.000,5\n2024-03-01 01:00:00.000,7\n", [5, 7]),
    Case("dates alone are midnights", LEAP.replace("T00:00:00", ""), [28, 29, 1], start="2024-02-28T00:00", steps=3,
         step_s=86_400),
    Case("29 February is there in its year", LEAP, [29, 29], start="2024-02-29T00:00"),
    Case("another name of the column", rows("Interval_Start,x", "2024-03-01T00:00:00", 3600, HOURS), [0, 1]),
    Case("a name in capitals and humps", rows("TimeStamp,x", "2024-03-01T00:00:00", 3600, HOURS), [0, 1]),
    Case("a name that the scenario gives", rows("when,x", "2024-03-01T00:00:00", 3600, HOURS), [0, 1],
         series={"time": "when"}),
    Case("stamps at the end, by their name", rows("hour_ending,x", "2024-03-01T01:00:00", 3600, HOURS), [0, 1]),
    Case("stamps at the end, said so", rows("time,x", "2024-03-01T01:00:00", 3600, HOURS), [0, 1],
         series={"stamp": "end"}),
    Case("start and end both there",
         "interval_end,interval_start,x\n2024-03-01T01:00,2024-03-01T00:00,4\n2024-03-01T02:00,2024-03-01T01:00,6\n",
         [4, 6]),
    Case("two columns that may be the time", "date,timestamp,x\n2024-03-01,2024-03-01T00:00,4\n", "several columns"),
    Case("an hour beside a time counts for nothing",
         "time,hour,x\n2024-03-01T00:00,1,4\n2024-03-01T01:00,2,6\n", [4, 6]),
    # rules
    Case("held: the value at the beginning", rows("time,x", "2024-03-01T00:00:00", 900, QUARTERS), [0, 4],
         series={"rule": "hold"}),
    Case("lines: their mean over the step", rows("time,x", "2024-03-01T00:00:00", 3600, [0, 4, 2]), [2, 3],
         series={"rule": "interpolate"}),
    Case("lines within a step", rows("time,x", "2024-03-01T00:00:00", 3600, [0, 4, 2]), [0.5, 1.5, 2.5, 3.5],
         steps=4, step_s=900, series={"rule": "interpolate"}),
    Case("energies add up", rows("time,x", "2024-03-01T00:00:00", 900, QUARTERS), [6, 22], series={"rule": "sum"}),
    Case("energies are shared out", rows("time,x", "2024-03-01T00:00:00", 3600, [8, 4]), [2, 2, 2, 2, 1], steps=5,
         step_s=900, series={"rule": "sum"}),
    Case("tariff changes that hold until the next", "time,x\n2024-03-01T00:00,1\n2024-03-01T01:00,9\n"
         "2024-03-01T04:00,2\n2024-03-01T05:00,3\n", [1, 9, 9, 9, 2], steps=5, series={"rule": "hold"}),
    # not in order
    Case("a gap", "time,x\n2024-03-01T00:00,1\n2024-03-01T01:00,1\n2024-03-01T03:00,1\n2024-03-01T04:00,1\n",
         r"7200 s since the row before, where 3600 s are usual on line 4 \(2024-03-01T03:00:00\)", steps=4),
    Case("a time twice", "time,x\n2024-03-01T00:00,1\n2024-03-01T00:00,1\n2024-03-01T01:00,1\n",
         r"the same time again on line 3 \(2024-03-01T00:00:00\)"),
    Case("out of order", "time,x\n2024-03-01T01:00,1\n2024-03-01T00:00,1\n2024-03-01T02:00,1\n",
         "an earlier time than the row before on line 3"),
    Case("a date of another country", "time,x\n03/01/2024 00:00,1\n", "not a date and time on line 2"),
    Case("seconds since 1970", "time,x\n1709251200,1\n", "not a date and time on line 2"),
    Case("an empty time", "time,x\n2024-03-01T00:00,1\n,1\n", "not a date and time on line 3"),
    Case("one row", "time,x\n2024-03-01T00:00,1\n", "one row does not say how long"),
    Case("ends too early", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS), "ends too early", steps=49),
    Case("begins too late", rows("time,x", "2024-03-01T01:00:00", 3600, HOURS), "begins too late"),
    Case("another year", rows("time,x", "2023-03-01T00:00:00", 3600, HOURS), "ends too early"),
    # zones
    Case("UTC read in Berlin", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS, "Z"), [0, 1],
         start="2024-03-01T01:00", timezone=BERLIN),
    Case("UTC by the column's name", rows("time_utc,x", "2024-03-01T08:00:00", 3600, HOURS), [0, 1], timezone=PACIFIC),
    Case("offsets that change with summer time",
         "time,x\n2024-03-31T01:00:00+01:00,1\n2024-03-31T03:00:00+02:00,3\n2024-03-31T04:00:00+02:00,4\n", [1, 3, 4],
         start="2024-03-31T01:00", steps=3, timezone=BERLIN),
    Case("a zone of the file's own", rows("time,x", "2024-03-01T09:00:00", 3600, HOURS), [0, 1], timezone=PACIFIC,
         series={"timezone": BERLIN}),
    Case("a start with an offset", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS, "Z"), [5, 6],
         start="2024-03-01T00:00-05:00"),
    Case("zones in the file, none in the scenario", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS, "Z"),
         "the times have a zone and the clock of the scenario has none"),
    Case("zones in some rows", "time,x\n2024-03-01T00:00Z,1\n2024-03-01T01:00,1\n", "a time zone in some rows",
         timezone="UTC"),
    Case("a zone that is none", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS), "no such time zone",
         timezone="Middle/Earth"),
    Case("the day of 23 hours", "time,x\n2024-03-31T00:00,0\n2024-03-31T01:00,1\n2024-03-31T03:00,3\n"
         "2024-03-31T04:00,4\n", [0, 1, 3, 4], start="2024-03-31T00:00", steps=4, timezone=BERLIN),
    Case("an hour that clocks skip", SPRING, r"clocks skip this time on line 4 \(2024-03-31T02:00:00\)",
         start="2024-03-31T00:00", timezone=BERLIN),
    Case("the same file in winter time", SPRING, [1, 2, 3], start="2024-03-31T01:00", steps=3, timezone=BERLIN,
         series={"timezone": "UTC+01:00"}),
    Case("the day of 25 hours", AUTUMN, [1, 2, 3, 4, 5], start="2024-10-27T01:00", steps=5, timezone=BERLIN),
    Case("the hour that clocks repeat is left out", AUTUMN.replace("2024-10-27T02:00,3\n", ""),
         "7200 s since the row before", start="2024-10-27T01:00", steps=4, timezone=BERLIN),
    Case("without a zone it is a time twice", AUTUMN, "the same time again on line 4", start="2024-10-27T01:00"),
    Case("a start that clocks skip", AUTUMN, "clocks skip this time", start="2024-03-31T02:30", timezone=BERLIN),
    # no column of time
    Case("96 rows that say nothing", BARE, "does not say how long a value holds"),
    Case("96 rows of a quarter hour are a day", BARE, [1.5, 5.5], series={"step_s": 900}),
    Case("96 rows of an hour begin somewhere", BARE, "does not say when its first row begins", series={"step_s": 3600}),
    Case("and may say so", BARE, [24, 25], series={"step_s": 3600, "begins": "2024-02-29"}),
    Case("or begin with the clock", BARE, [0, 1], series={"step_s": 3600, "begins": "clock"}),
    Case("hours of a year start in July", YEAR, [181, 181], start="2023-07-01T00:00"),
    Case("hours of a year in a leap year", YEAR, "8760 hours are not those of the year 2024", start="2024-07-01T00:00"),
    Case("repeated they skip 29 February", YEAR, [58, 58, 59], start="2024-02-28T00:00", steps=3, step_s=86_400,
         series={"repeat": "year"}),
    Case("a year ends with its year", YEAR, "ends too early", start="2023-12-31T23:00"),
    Case("and goes on where it repeats", YEAR, [364, 0], start="2023-12-31T23:00", series={"repeat": "year"}),
    # repeats
    Case("a dated year for another one", STAMPED_YEAR, [59, 59], start="2026-03-01T00:00", series={"repeat": "year"}),
    Case("a week by the day of the week", WEEK, [4, 5], start="2024-03-01T00:00", step_s=86_400,
         series={"repeat": "week"}),
    Case("a dated day repeats if told", rows("time,x", "2023-01-01T00:00:00", 3600, range(24)), [23, 0],
         start="2024-03-01T23:00", series={"repeat": "day"}),
    Case("a dated day does not repeat by itself", rows("time,x", "2024-03-01T00:00:00", 3600, range(24)),
         "ends too early", start="2024-03-01T23:00"),
    Case("what is no week cannot repeat as one", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS),
         "does not cover just one week", series={"repeat": "week"}),
    Case("what the table says is not said twice", rows("time,x", "2024-03-01T00:00:00", 3600, HOURS),
         "the table has a column of time, which says this itself", series={"step_s": 900}),
    # units
    Case("dollars per kWh", "time,x_usd_per_kwh\n2024-03-01T00:00,0.05\n2024-03-01T01:00,0.07\n", [50, 70],
         series={"column": "x_usd_per_kwh"}),
    Case("in brackets", "time,Price [USD/kWh]\n2024-03-01T00:00,0.05\n2024-03-01T01:00,0.07\n", [50, 70],
         series={"column": "Price [USD/kWh]"}),
    Case("another currency", "time,x_eur_per_mwh\n2024-03-01T00:00,50\n2024-03-01T01:00,70\n",
         "the column is in eur_per_mwh, the series in usd_per_mwh", series={"column": "x_eur_per_mwh"}),
    Case("with its rate", "time,x_eur_per_mwh\n2024-03-01T00:00,50\n2024-03-01T01:00,70\n", [55, 77],
         series={"column": "x_eur_per_mwh", "scale": 1.1}),
    Case("degrees are no price", "time,temp_c\n2024-03-01T00:00,50\n2024-03-01T01:00,70\n",
         "the column is in c, the series in usd_per_mwh", series={"column": "temp_c"}),
    Case("turned twice", "time,x_usd_per_kwh\n2024-03-01T00:00,0.05\n2024-03-01T01:00,0.07\n",
         "which is turned into usd_per_mwh by itself, and there is a scale",
         series={"column": "x_usd_per_kwh", "scale": 1000}),
    Case("the unit said", "time,x\n2024-03-01T00:00,5\n2024-03-01T01:00,7\n", [50, 70],
         series={"unit": "cents_per_kwh"}),
    Case("a unit that is none", "time,x\n2024-03-01T00:00,5\n2024-03-01T01:00,7\n", "no such unit",
         series={"unit": "florins"}),
]  # fmt: skip
