"""Works out the limits of a window, step by step, until AC power flow keeps them at the corners of the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.ac_dispatch import AcDispatch, WindowData
from cosim.agents.dso.devices import MovingDevices
from cosim.agents.dso.envelopes.box import Box, Connections, Corner
from cosim.agents.dso.envelopes.corners import CornerLimits
from cosim.constants import KILO
from cosim.errors import listed
from cosim.grid.feeder.limits import NetworkLimits
from cosim.grid.linear import ac_tangent
from cosim.protocol.envelopes import Envelope, SharingRule
from cosim.protocol.roles import TerminalLoad

Array = NDArray[np.float64]
ROUNDS = 16
"""Boxes tried at most in a step."""
DEVICE_ROUNDS = 4
"""How often limits are worked out anew because devices follow them."""
DEEP = 5
"""Rounds after which tangents of earlier boxes count as well, so that boxes cannot take turns."""
SETTLED_MW = 1e-5
"""Change of every limit between rounds that counts as none (10 W)."""
CUTS = 20
"""Halvings of the way from a box that holds to one that does not."""
ROUNDING = 0.1
"""Share of the margin by which a limit may be broken at a corner: what AC power flow leaves."""
FREE_MW = 1e-6
"""Distance from all that is flexible within which a site counts as free (1 W)."""
_LISTED = 6
_NONE = ("", "", "")


class EnvelopeBook:
    """The envelopes of an operator, window after window, and what has been told of each step.

    Args:
        loads: the terminals on the feeder. limits: what is kept in the network.
        ac: AC power flow with what the operator dispatches. ratio: (terminals,) Mvar per MW.
        hours: length of a step.
    """

    def __init__(
        self, loads: Sequence[TerminalLoad], limits: NetworkLimits, ac: AcDispatch, ratio: Array, hours: float
    ) -> None:
        self._sites, self._limits, self._ac = Connections(tuple(loads)), limits, ac
        self._ratio, self._hours = ratio, hours
        self._corners: CornerLimits | None = None
        self._told: dict[int, Array] = {}

    def limits(
        self,
        first: int,
        data: Callable[[], WindowData],
        dispatch: Array,
        forecast_p_mw: Array,
        rule: SharingRule,
        following: MovingDevices | None,
    ) -> Envelope:
        """The limits of a window; see :meth:`window`.

        Devices that follow what is drawn are looked at where they stand if sites draw what is forecast within their
        limits, and where they stand if all of them draw their limits. They are left in the first of these positions.

        Args:
            data: of the window with devices as they stand. forecast_p_mw: (steps, terminals).
        """
        cases = [data()]
        found = self.window(first, cases, dispatch, rule)
        for _ in range(DEVICE_ROUNDS):
            if following is None:
                break
            after: list[WindowData] = []
            for p_mw in (found.p_max_mw, np.minimum(found.p_max_mw, forecast_p_mw)):
                following.follow(first, p_mw)
                after.insert(0, data())
            if _stand_alike(after, cases):
                break
            cases = after
            found = self.window(first, cases, dispatch, rule)
        return found

    def window(self, first: int, cases: Sequence[WindowData], dispatch: Array, rule: SharingRule) -> Envelope:
        """The limits of a window of which everything but the data centers is known.

        Args:
            first: step of the horizon that it begins with.
            cases: of the window; they differ in where devices stand, and the limits hold in each.
            dispatch: (steps, resources' variables) what the operator expects to dispatch.
        """
        work = _Window(self._sites, self._limits, self._ac, self._ratio, cases, dispatch, rule)
        work.corners = self._corners
        boxes = [self._box(first, t, cases) for t in range(cases[0].count)]
        work.solve(boxes)
        self._corners = work.corners
        limit_mw = self._sites.firm_mw + np.array([box.more_mw for box in boxes])
        binding, status = work.bound(boxes)
        sites = self._sites
        return Envelope(
            sites.p_max_mw(limit_mw), sites.sites, sites.places, sites.firm_mw, sites.flexible_mw, limit_mw, binding,
            status, tuple(work.notes(f"window at step {first}", first, boxes)),
        )  # fmt: skip

    def tell(self, first: int, limit_mw: Array) -> None:
        """Remember what is told of the steps of a window (steps, sites)."""
        self._told = {t: told for t, told in self._told.items() if t >= first} | dict(enumerate(limit_mw, first))

    def _box(self, first: int, t: int, cases: Sequence[WindowData]) -> Box:
        """The box of a step before anything is known of its corners; limits that may no longer change stay."""
        sites, told = self._sites, self._told.get(first + t)
        least, most = np.zeros(len(sites.sites)), sites.flexible_mw.copy()
        if told is not None:
            for k, agreement in enumerate(sites.agreements):
                if agreement.notice_h is None or t * self._hours < agreement.notice_h:
                    least[k] = most[k] = told[k] - sites.firm_mw[k]
        apart = [c for c, data in enumerate(cases) if all(data.feeders[t] is not d.feeders[t] for d in cases[:c])]
        ends = [(end,) * len(sites.certain_mw) for end in (False, True)]
        return Box(least, most, least.copy(), [(case, end) for case in apart for end in ends])


def _stand_alike(some: Sequence[WindowData], others: Sequence[WindowData]) -> bool:
    """Whether devices stand where they do in other cases; of the same positions there is one feeder."""
    positions = [[feeder for case in cases for feeder in case.feeders] for cases in (some, others)]
    return len(positions[0]) == len(positions[1]) and all(a is b for a, b in zip(*positions, strict=True))


class _Window:
    """The boxes of one window being worked out; arguments as of :class:`EnvelopeBook`."""

    def __init__(
        self,
        sites: Connections,
        limits: NetworkLimits,
        ac: AcDispatch,
        ratio: Array,
        cases: Sequence[WindowData],
        dispatch: Array,
        rule: SharingRule,
    ) -> None:
        self._sites, self._limits, self._ac, self._ratio = sites, limits, ac, ratio
        self._cases, self._dispatch, self._rule = cases, dispatch, rule
        self.corners: CornerLimits | None = None
        self._unsolved: dict[int, str] = {}
        self._cut: dict[int, float] = {}

    def solve(self, boxes: Sequence[Box]) -> None:
        """Find the limits of all steps."""
        held = [box.more_mw for box in boxes]
        for box in boxes:
            box.more_mw = np.zeros_like(box.least_mw)
        there = self._look(boxes, range(len(boxes)), fresh=True)
        open_steps = []
        for t, box in enumerate(boxes):
            box.more_mw = held[t]
            if not there[t]:
                self._unsolved[t] = "AC power flow has no solution where all sites draw their firm parts"
                continue
            newest = {corner: box.rows[corner][-1].beyond for corner in box.corners}
            box.at_firm = np.maximum(np.max(list(newest.values()), axis=0), 0.0)
            box.at_nothing = np.max([x for corner, x in newest.items() if not any(corner[1])], axis=0)
            box.more_mw = self._shares(box, deep=False)
            open_steps.append(t)
        holds = {t: held[t] for t in open_steps}
        for number in range(ROUNDS):
            if not open_steps:
                break
            there = self._look(boxes, open_steps)
            onward = []
            for t in open_steps:
                box = boxes[t]
                if not there[t]:
                    box.more_mw = (box.more_mw + holds[t]) / 2
                    onward.append(t)
                    continue
                tried = box.more_mw
                kept = self._kept(box)
                if kept:
                    holds[t] = tried
                box.more_mw = self._shares(box, deep=number >= DEEP)
                if kept and np.abs(box.more_mw - tried).max(initial=0.0) <= SETTLED_MW:
                    box.more_mw = tried
                else:
                    onward.append(t)
            open_steps = onward
        for t in open_steps:
            self._cut_back(boxes, t, holds[t])

    def _cut_back(self, boxes: Sequence[Box], t: int, holds: Array) -> None:
        """Go back from a box that has not settled to the largest on the way to one that holds."""
        box, far, low, high = boxes[t], boxes[t].more_mw, 0.0, 1.0
        for _ in range(CUTS):
            share = (low + high) / 2
            box.more_mw = holds + share * (far - holds)
            good = self._look(boxes, [t])[t] and self._kept(box)
            low, high = (share, high) if good else (low, share)
        box.more_mw = holds + low * (far - holds)
        self._look(boxes, [t])
        self._cut[t] = KILO * float((far - box.more_mw).sum())

    def _look(self, boxes: Sequence[Box], steps: Sequence[int] | range, fresh: bool = False) -> dict[int, bool]:
        """AC power flow at the corners of some steps' boxes; whether all of a step's corners have a solution.

        The corner at which nothing is drawn stays as it is, and so is looked at only once (``fresh``).
        """
        found = dict.fromkeys(steps, True)
        left = [(t, c) for t in steps for c in boxes[t].corners if fresh or any(c[1])]
        while left:
            self._solve(boxes, left, found)
            before = {t: len(boxes[t].corners) for t in steps}
            for t in steps:
                if found[t]:
                    boxes[t].see_corners(self._sites)
            left = [(t, c) for t in steps for c in boxes[t].corners[before[t] :]]
        return found

    def _solve(self, boxes: Sequence[Box], places: Sequence[tuple[int, Corner]], found: dict[int, bool]) -> None:
        """Take the rows of some corners into their boxes, and note in which steps there is no solution."""
        sites, points, demand = self._sites, [], []
        for t, corner in places:
            case, pattern = corner
            p_mw = np.array(pattern) * sites.p_max_mw(sites.firm_mw + boxes[t].more_mw)
            point = self._solved(case, t, p_mw)
            if point is None:  # the iteration began far away, at what was solved before; now it begins without load
                point = self._solved(case, t, p_mw)
            points.append(point)
            demand.append(p_mw)
            found[t] &= point is not None
        good = [i for i, point in enumerate(points) if point is not None]
        networks = ac_tangent.linearised([point for point in points if point is not None])
        if not networks:
            return
        if self.corners is None:
            self.corners = CornerLimits(self._ac.model, self._limits, networks[0], self._ratio)
        dispatch = [self._dispatch[places[i][0]] for i in good]
        rows = self.corners.at(networks, dispatch, [demand[i] for i in good])
        for i, row in zip(good, rows, strict=True):
            t, corner = places[i]
            boxes[t].rows.setdefault(corner, []).append(row)

    def _solved(self, case: int, t: int, p_mw: Array) -> ac_tangent.AcPoint | None:
        return self._ac.solved(self._cases[case], p_mw[None], self._dispatch[[t]], np.array([t]))[0]

    def _kept(self, box: Box) -> bool:
        """Whether AC power flow keeps at all corners what it keeps at the firm parts, and breaks nothing further."""
        assert self.corners is not None and box.at_firm is not None
        worst = np.max([box.rows[corner][-1].beyond for corner in box.corners], axis=0)
        return bool((worst <= box.at_firm + ROUNDING * self.corners.margin).all())

    def _shares(self, box: Box, deep: bool) -> Array:
        assert self.corners is not None
        shared, _ = box.sharing(self._sites, self.corners.nothing, deep)
        return np.asarray(box.least_mw + self._rule.share(shared))

    # -- what is told of it -----------------------------------------------------------------------------------

    def bound(self, boxes: Sequence[Box]) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """(steps, sites) the limit that each site would break first, and what its own limit is."""
        sites, shape = self._sites, (len(boxes), len(self._sites.sites))
        binding, status = np.empty(shape, dtype=object), np.empty(shape, dtype=object)
        for t, box in enumerate(boxes):
            for k in range(shape[1]):
                binding[t, k], status[t, k] = _NONE, "breach" if t in self._unsolved else "free"
            if t in self._unsolved or self.corners is None or box.at_firm is None:
                continue
            shared, limit = box.sharing(sites, self.corners.nothing, deep=False)
            left = np.maximum(shared.room - shared.loading @ (box.more_mw - box.least_mw), 0.0)
            for k in range(shape[1]):
                loaded = np.flatnonzero(shared.loading[:, k] > 0)
                if box.more_mw[k] >= sites.flexible_mw[k] - FREE_MW or not len(loaded):
                    continue
                i = limit[loaded[(left[loaded] / shared.loading[loaded, k]).argmin()]]
                worst = (box.at_firm / self.corners.margin)[limit[loaded]]
                if worst.max() > 1.0:
                    i = limit[loaded[worst.argmax()]]
                binding[t, k] = (self.corners.kinds[i], self.corners.elements[i], self.corners.phases[i])
                held = box.most_mw[k] == box.least_mw[k]
                broken = box.at_firm[i] > self.corners.margin[i]
                status[t, k] = "held" if held else "breach" if broken else "limited"
        return binding, status

    def notes(self, name: str, first: int, boxes: Sequence[Box]) -> list[str]:
        """What a reader of the run should know."""
        found = [f"{name}: step {first + t}: {why}; no limit goes beyond them" for t, why in self._unsolved.items()]
        if self._cut:
            cut = listed([f"{first + t} (by {kw:.3g} kW)" for t, kw in self._cut.items()], _LISTED)
            found.append(f"{name}: limits did not settle in AC power flow and were cut to what holds in steps {cut}")
        if self.corners is not None:
            for alone, what, so in (
                (True, "with nothing drawn", "limits that the feeder breaks without data centers"),
                (False, "with the firm parts alone", "agreements that the feeder cannot keep"),
            ):
                broken = self._broken(self.corners, first, boxes, alone)
                if broken:
                    found.append(f"{name}: {what} the network breaks {listed(broken, _LISTED)}: {so}")
        return found

    @staticmethod
    def _broken(told: CornerLimits, first: int, boxes: Sequence[Box], alone: bool) -> list[str]:
        """In words, the limits that are broken where nothing is drawn (``alone``), or by the firm parts; the worst
        first."""
        steps: dict[str, list[int]] = {}
        worst: dict[str, float] = {}
        for t, box in enumerate(boxes):
            if box.at_firm is None or box.at_nothing is None:
                continue
            with_nothing = box.at_nothing > told.margin
            there = with_nothing if alone else (box.at_firm > told.margin) & ~with_nothing
            for i in np.flatnonzero(there).tolist():
                key = f"{told.kinds[i]} {told.elements[i]} {told.phases[i]}"
                steps.setdefault(key, []).append(first + t)
                worst[key] = max(worst.get(key, 0.0), float(box.at_firm[i] / told.margin[i]))
        order = sorted(steps, key=lambda key: -worst[key])
        at = {key: list(dict.fromkeys(steps[key])) for key in order}
        return [f"{key} in step{'s' if len(at[key]) > 1 else ''} {listed(at[key], _LISTED)}" for key in order]
