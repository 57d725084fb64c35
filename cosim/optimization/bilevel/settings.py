"""All tuning numbers of the leader's search, in one place; the default values are those of the product.

None of them changes what an answer means: every bound is valid and every point is certified whatever they are. They
decide how long the search takes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Tuning numbers of the tree search ('branch') and of the bounds that mixed-integer programs are given."""

    # --- what the search consists of -------------------------------------------------------------------------------

    remove_fixed: bool = True
    """Presolve removes variables that their bounds fix."""
    remove_separate: bool = True
    """Presolve removes variables that share neither a row nor a square with another one."""
    decompose: bool = True
    """Bound by Lagrangian decomposition where the follower has several blocks; else only by complementarities."""
    conflicts: bool = True
    """Deciding that a row binds sets the duals of all rows to zero that cannot bind together with it."""
    linear_programs: bool = True
    """Solve pricing problems by linear programs with tangents; else by quadratic programs."""
    warm_start: bool = True
    """Start the simplex method from the last basis."""
    keep_leaves: bool = True
    """Start a pricing problem from the leaves of the last one instead of from its root."""
    stop_pricing_early: bool = True
    """Stop the last pricing problem of an evaluation once the sum of bounds closes the gap."""
    prune_leaves: bool = True
    """After the root leave out leaves whose bound is too high for any better point (reduced-cost fixing)."""
    branch_on_leaves: bool = True
    """Branch by confining a block to a part of its leaves before pairs are decided."""
    move_together: bool = True
    """In a descent first move all blocks across their strongest facets together."""
    screen_moves: bool = True
    """Bound what another critical region can gain before solving for it."""

    # --- points ----------------------------------------------------------------------------------------------------

    improvement: float = 0.01
    """Least relative improvement of a step of a descent, as a part of the gap."""
    descent_steps: int = 40
    """Steps of a descent at most."""
    single_moves: int = 4
    """Blocks that a step of a descent moves alone, at most."""
    concave_rounds: int = 20
    """Tangents of a concave part of a payment before the point stands."""
    cell_walk: int = 12
    """Neighbouring cells visited from a point where critical regions cannot be had."""
    largest_block: int = 200
    """Variables and equations of a block up to which dense algebra finds its critical regions."""
    facet_step: float = 1e-4
    """How far beyond a facet a neighbouring region is looked for, relative to the parameters' box."""
    nudges: tuple[float, ...] = (1e-5, 1e-4, 1e-3)
    """Random displacements, relative to the box, where what binds does not tell one critical region."""
    grace_s: float = 1.0
    """Time for a first point after the deadline, in seconds."""
    eager_nodes: int = 20
    """Nodes of the tree over complementarities that are all searched near for points."""
    node_stride: int = 10
    """After those, one node in so many is."""

    # --- pricing problems -------------------------------------------------------------------------------------------

    most_programs: int = 2000
    """Programs of one pricing problem after which the leaf at hand is taken as it is."""
    optima_kept: int = 6
    """Optima of a leaf from which its bound at other multipliers is computed."""
    tangent_share: float = 0.1
    """Part of the accuracy asked of a bound that may be lost to tangents."""
    tangent_rounds: int = 40
    """Rounds of tangents before the quadratic program is solved instead."""
    box_shrinks: float = 0.7
    """A box that shrinks to less than this part of its area is bounded anew before it is divided."""

    # --- bundle method ----------------------------------------------------------------------------------------------

    rough: float = 0.9
    """Accuracy of a first value at a center, as a part of the gap; 0 for none."""
    fine: float = 0.05
    """Accuracy of all other values, as a part of the gap."""
    closer: float = 0.25
    """Accuracy where less is missing than that, as a part of what is missing."""
    rounds: int = 60
    """Steps at a node at most."""
    first_step: float = 0.3
    """Change of a mean multiplier per mean width of the box in the first step."""
    longest_step: float = 1e4
    """Longest step, in first steps."""
    lengthenings: int = 8
    """How often a step that promises little is tried with another length."""
    vain_steps: int = 2
    """Steps in a row without a serious gain after which steps become shorter."""
    serious: float = 0.5
    """Part of a promise that a serious step keeps."""
    fastest: float = 5.0
    """Factor by which a step's length grows at most at once."""
    slowest: float = 0.1
    """Factor by which a step's length shrinks at most at once."""
    worth: float = 0.05
    """Part of what is missing that a step has to promise."""
    little: float = 0.5
    """The same where leader and mixtures agree, so that the model is at its best."""
    promise_noise: float = 1e-3
    """Part of what is missing below which a promise does not change the length of steps."""
    agree: float = 0.2
    """Distance of leader and mixtures, in mean widths of the box, within which they agree."""
    recentres: int = 6
    """How often a center moves to the multipliers of a better point at the root."""
    recentre_gain: float = 0.1
    """Part of what is missing that such a point has to gain."""

    # --- branching --------------------------------------------------------------------------------------------------

    split_share: float = 0.02
    """Part of what is missing by which a hull lies below its payment where its block is split."""
    inside: float = 0.01
    """Part of the gap by which leaves that are left out lie inside it."""

    # --- proven bounds ----------------------------------------------------------------------------------------------

    obbt_programs: int = 60
    """Programs for a bound without an end before it counts as infinite."""
    obbt_effort: int = 4
    """Programs for a bound with a cutoff, each with one complementarity more."""
    obbt_tangents: int = 60
    """Tangents of the cutoff's convex payment in a block."""
    cutoff_room: float = 1e-4
    """Room beyond a known cost, relative to it, that keeps the programs with a cutoff well behaved."""
    verdict_nodes: int = 5000
    """Choices of pairs within which it has to be decided whether a problem has a lower end."""


DEFAULT = SearchSettings()
