"""The box of demand in one step: which corners are looked at, and which rows of them sites share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.envelopes.corners import CornerRows
from cosim.protocol.envelopes import Sharing
from cosim.protocol.roles import TerminalLoad

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Corner = tuple[int, tuple[bool, ...]]
"""Number of the case (where devices stand), and which terminals draw all that they may, the others nothing."""
MOST_CORNERS = 16
"""Corners looked at in a step; two a case are mostly enough, as load lowers nearly all voltages."""
_APART = 1e-3
"""Share of a row's loading by which a corner may differ from the one that loads it most and still stand for it."""
_NEAR = 0.05
"""Room left, as a share of what the whole box takes of it, from which the corner that loads a row most is looked at."""


class Connections:
    """The terminals of a feeder by what their sites may draw.

    Sites with an agreement come first; a terminal whose site has none is firm with all that it carries.

    Args:
        loads: the terminals.

    Attributes:
        agreements: of the sites that have one, in the order of their first terminals; sites: their names.
        places: numbers of the terminals of each site.
        share: (terminals, sites) of the site's power that a terminal draws; certain_mw: (terminals,) what terminals
            without an agreement may draw.
    """

    def __init__(self, loads: tuple[TerminalLoad, ...]) -> None:
        known = {load.agreement.site: load.agreement for load in loads if load.agreement is not None}
        self.agreements = tuple(known.values())
        self.sites = tuple(known)
        self.places = {
            site: tuple(k for k, x in enumerate(loads) if x.agreement is not None and x.agreement.site == site)
            for site in known
        }
        self.share = np.zeros((len(loads), len(known)))
        for k, places in enumerate(self.places.values()):
            self.share[list(places), k] = 1.0 / len(places)
        self.certain_mw = np.array([load.p_max_mw if load.agreement is None else 0.0 for load in loads])
        self.firm_mw = np.array([a.firm_mw for a in self.agreements])
        self.flexible_mw = np.array([a.flexible_mw for a in self.agreements])
        self.priority = np.array([a.priority for a in self.agreements], dtype=np.intp)

    def p_max_mw(self, limit_mw: Array) -> Array:
        """(..., terminals) most that each draws, of limits (..., sites)."""
        return np.asarray(limit_mw @ self.share.T + self.certain_mw)


@dataclass(slots=True)
class Box:
    """The corners and rows of one step.

    Attributes:
        more_mw: (sites,) what each may draw beyond its firm part.
        least_mw, most_mw: (sites,) of that; alike where a limit stays as it was told.
        corners: looked at; rows: of each, at the box of the round before.
        at_firm: (rows,) how far each limit is broken where all sites draw their firm parts, or nothing, whichever is
            farther, 0 where it is kept; at_nothing: (rows,) the same where they draw nothing, below 0 where it is kept.
    """

    least_mw: Array
    most_mw: Array
    more_mw: Array
    corners: list[Corner]
    rows: dict[Corner, list[CornerRows]] = field(default_factory=dict)
    at_firm: Array | None = None
    at_nothing: Array | None = None

    def sharing(self, sites: Connections, nothing: Array, deep: bool) -> tuple[Sharing, Index]:
        """What the sites share, and which limit each of its rows is.

        In each case the rows of a limit are taken at the corner nearest to the one that loads it most.

        Args:
            nothing: (rows,) what a site may add to a row without loading it.
            deep: whether rows of earlier rounds count too: voltage is concave in demand and apparent power convex, so
                that tangents at other boxes keep only from outside what would break a limit.
        """
        full = sites.p_max_mw(sites.firm_mw + self.most_mw)
        which, slopes, rhs = [], [], []
        for case in sorted({case for case, _ in self.corners}):
            corners = [corner for corner in self.corners if corner[0] == case]
            newest = np.array([self.rows[corner][-1].slope for corner in corners])
            patterns = np.array([pattern for _, pattern in corners])[:, None, :]
            best = (np.abs(newest) * full * ((newest > 0) != patterns)).sum(axis=2).argmin(axis=0)
            for c, corner in enumerate(corners):
                mine = np.flatnonzero(best == c)
                for rows in self.rows[corner][0 if deep else -1 :]:
                    which.append(mine)
                    slopes.append(np.maximum(rows.slope[mine], 0.0))
                    rhs.append(rows.rhs[mine])
        limit, up = np.concatenate(which), np.concatenate(slopes)
        loading = up @ sites.share
        loading[loading * self.most_mw <= nothing[limit, None]] = 0.0
        room = np.concatenate(rhs) - up @ sites.p_max_mw(sites.firm_mw + self.least_mw)
        most = self.most_mw - self.least_mw
        shared = Sharing(loading, np.maximum(room, 0.0), most, sites.flexible_mw, sites.priority, sites.sites)
        return shared, limit

    def see_corners(self, sites: Connections) -> None:
        """Look at the corners as well that load most what is nearly full."""
        p = sites.p_max_mw(sites.firm_mw + self.more_mw)
        for corner in list(self.corners):
            rows, case = self.rows[corner][-1], corner[0]
            up = (np.maximum(rows.slope, 0.0) * p).sum(axis=1)
            for i in np.flatnonzero((up > 0) & (rows.rhs - up < _NEAR * up)).tolist():
                worst, size = rows.slope[i] > 0, np.abs(rows.slope[i]) * p
                known = [np.array(pattern) for at, pattern in self.corners if at == case]
                apart = all(size[worst != pattern].sum() > _APART * size.sum() for pattern in known)
                if apart and len(self.corners) < MOST_CORNERS:
                    self.corners.append((case, tuple(worst.tolist())))
