"""Linear three-phase power flow: LinDist3Flow and the tangent of AC power flow, one interface."""
