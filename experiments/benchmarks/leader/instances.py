"""Random bilevel problems of the size of a feeder's day: sites that move work, generators that answer.

Made up, but shaped like the real ones: a radial network with linear voltage drop, quadratic generators within inverter
limits, a soft voltage band at a price cap, an import price that follows the day, work that must be done some time.
Power in MW, money in USD, prices in USD/MWh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cosim.optimization.bilevel.solver import BilevelProblem
from cosim.optimization.qp.parametric import ParametricQP, stack

_CAP = 2000.0


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and kind of a random instance.

    Attributes:
        sites, generators, steps: numbers of leader sites, follower generators and time steps.
        step_h: length of a step in hours.
        slope: rise of the import price in USD/MWh per MW; 0 is a flat price.
        tight: whether voltage limits bind in heavy hours.
    """

    sites: int
    generators: int
    steps: int
    step_h: float = 1.0
    slope: float = 0.0
    tight: bool = True


@dataclass(frozen=True, slots=True)
class _Network:
    """Voltage drop per MW at each watched bus, by site (power), generator (power, then reactive)."""

    by_site: np.ndarray
    by_power: np.ndarray
    by_reactive: np.ndarray


def instance(shape: Shape, seed: int) -> BilevelProblem:
    """A random problem; the same seed gives the same one, also with another slope."""
    rng = np.random.default_rng(seed)
    network = _network(rng, shape)
    costs = rng.uniform(20.0, 60.0, shape.generators), rng.uniform(5.0, 40.0, shape.generators)
    capacity = rng.uniform(0.1, 0.5, shape.generators)
    solar = rng.random(shape.generators) < 0.3
    hour = (np.arange(shape.steps) + 0.5) * shape.step_h
    load = 0.5 + 0.35 * np.sin((hour - 9.0) / 24.0 * 2 * np.pi) + 0.05 * rng.random(shape.steps)
    price = 30.0 + 40.0 * load + 6.0 * rng.standard_normal(shape.steps)
    sun = np.clip(np.sin((hour - 6.0) / 12.0 * np.pi), 0.0, None)
    top = rng.uniform(0.3, 0.8, shape.sites)
    steps = [
        _step(f"t{t} ", shape, network, costs, np.where(solar, capacity * sun[t], capacity), load[t], price[t], top)
        for t in range(shape.steps)
    ]
    return BilevelProblem(stack(steps), _leader(rng, shape, top))


def _network(rng: np.random.Generator, shape: Shape) -> _Network:
    """Sites and generators hang at random buses of a random tree; each bus of them is watched."""
    places = shape.sites + shape.generators
    buses = 3 * places
    parent = np.array([0, *(int(rng.integers(max(0, b - 4), b)) for b in range(1, buses))])
    resistance = rng.uniform(0.002, 0.02, buses) * (30.0 / buses)
    to_root = np.zeros((buses, buses), dtype=bool)
    for b in range(1, buses):
        to_root[b] = to_root[parent[b]]
        to_root[b, b] = True
    at = rng.choice(np.arange(1, buses), places, replace=False)
    shared = (to_root[at][:, None, :] & to_root[at][None, :, :]) @ resistance
    by_site, by_power = shared[:, : shape.sites], shared[:, shape.sites :]
    return _Network(by_site, by_power, by_power * rng.uniform(0.6, 1.2))


def _step(
    tag: str,
    shape: Shape,
    network: _Network,
    costs: tuple[np.ndarray, np.ndarray],
    capacity: np.ndarray,
    load: float,
    price: float,
    top: np.ndarray,
) -> ParametricQP:
    """One step: import, generator power and reactive power, and how far the band is left, below and above."""
    g, h = shape.generators, shape.step_h
    n = 1 + 2 * g + 2
    p, q, low, high = slice(1, 1 + g), slice(1 + g, 1 + 2 * g), n - 2, n - 1
    diagonal = np.zeros(n)
    diagonal[0], diagonal[p], diagonal[q] = shape.slope * h, costs[1] * h, 1.0 * h
    cost = np.zeros(n)
    cost[0], cost[p], cost[[low, high]] = price * h, costs[0] * h, _CAP * h
    watched = network.by_site.shape[0]
    total = float(network.by_site.sum(axis=1).max() * top.mean())
    band = (0.42 if shape.tight else 3.0) * total
    voltage = np.zeros((watched, n))
    voltage[:, p], voltage[:, q] = network.by_power, network.by_reactive
    sag = load * network.by_site.sum(axis=1) * 0.3
    lower, upper = -voltage.copy(), voltage.copy()
    lower[:, low], upper[:, high] = -1.0, -1.0
    eye = np.eye(n)
    polygon = np.vstack([eye[p] + sign * 0.5 * eye[q] for sign in (1.0, -1.0)])
    rows = [lower, upper, polygon, eye[p], -eye[p], eye[q], -eye[q], -eye[[low, high]]]
    rhs = [
        band - sag, band + sag, np.tile(1.1 * capacity, 2), capacity, np.zeros(g), 0.5 * capacity, 0.5 * capacity,
        np.zeros(2),
    ]  # fmt: skip
    theta = [-network.by_site, network.by_site]
    names = ["low", "high", "polygon", "p_up", "p_lo", "q_up", "q_lo", "soft"]
    rest = sum(len(part) for part in rhs[2:])
    balance = np.zeros((1, n))
    balance[0, 0], balance[0, p] = 1.0, 1.0
    return ParametricQP.build(
        hessian=sp.diags_array(diagonal),
        cost=cost,
        eq_matrix=balance,
        eq_rhs=[2.0 * load],
        eq_theta=np.ones((1, shape.sites)),
        ineq_matrix=np.vstack(rows),
        ineq_rhs=np.concatenate(rhs),
        ineq_theta=np.vstack([*theta, np.zeros((rest, shape.sites))]),
        theta_lower=0.1 * top,
        theta_upper=top,
        variables=[f"{tag}x{i}" for i in range(n)],
        parameters=[f"{tag}site{i}" for i in range(shape.sites)],
        eq_rows=[f"{tag}balance"],
        ineq_rows=[f"{tag}{name}{i}" for name, part in zip(names, rhs, strict=True) for i in range(len(part))],
    )


def _leader(rng: np.random.Generator, shape: Shape, top: np.ndarray) -> ParametricQP:
    """Work of all sites together in each quarter of the day, a least part of it at each site, and a cost of delay."""
    sites, steps, h = shape.sites, shape.steps, shape.step_h
    names = [f"t{t} site{i}" for t in range(steps) for i in range(sites)]
    quarter = (np.arange(steps) * 4 // steps).repeat(sites)
    site = np.tile(np.arange(sites), steps)
    count = np.bincount(np.arange(steps) * 4 // steps, minlength=4)
    every = np.vstack([(quarter == k) * h for k in range(4)])
    share = rng.uniform(0.35, 0.75, 4)
    least = -np.vstack([(site == i) * h for i in range(sites)])
    eq_rhs = share * count * h * top.sum()
    ineq_rhs = -rng.uniform(0.2, 0.35, sites) * steps * h * top
    delay = np.repeat(np.arange(steps) * h * 0.1, sites) * np.tile(rng.uniform(0.5, 1.5, sites), steps)
    return ParametricQP.build(
        cost=delay * h,
        eq_matrix=every,
        eq_rhs=eq_rhs,
        ineq_matrix=least,
        ineq_rhs=ineq_rhs,
        variables=names,
        eq_rows=[f"work {k}" for k in range(4)],
        ineq_rows=[f"site work {i}" for i in range(sites)],
    )
