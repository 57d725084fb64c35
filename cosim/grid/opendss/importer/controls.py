"""RegControls and CapControls of an OpenDSS circuit as controls of ours; the others are listed with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from cosim.errors import InputError
from cosim.grid.feeder.check_controls import check_capacitor_control, check_regulator_control
from cosim.grid.feeder.check_report import Report
from cosim.grid.feeder.controls import OF_ALL, CapacitorControl, RegulatorControl
from cosim.grid.feeder.feeder import TAP_STEP, Feeder
from cosim.grid.opendss.importer.branches import Branches, Converted
from cosim.grid.opendss.importer.devices import Devices
from cosim.grid.opendss.importer.naming import NODE_PHASE, OUT_OF_SERVICE, Names, Omissions, bus_and_nodes, listed
from cosim.grid.opendss.importer.reading import Properties, RawCircuit

C = TypeVar("C", RegulatorControl, CapacitorControl)
STAYS = "what it did in the solved circuit stays"
KINDS = {"voltage": "voltage", "current": "current", "kvar": "kvar", "powerfactor": "pf", "time": "time"}
LEFT_OUT = {"Reversible": "its reverse settings", "InverseTime": "its inverse time", "LDC_Z": "its compensation by Z"}
"""Properties of a regulator control that our tables do not have, if they are set."""


class _Unsuited(Exception):
    """Why a control cannot be in the tables."""


@dataclass(slots=True)
class Controls:
    """What has been converted so far, for a feeder that is complete otherwise."""

    raw: RawCircuit
    made: Branches
    devices: Devices
    feeder: Feeder
    omissions: Omissions
    source: str
    regulating: list[RegulatorControl] = field(default_factory=list)
    switching: list[CapacitorControl] = field(default_factory=list)
    names: Mapping[str, Names] = field(default_factory=lambda: {"regcontrol": Names(), "capcontrol": Names()})

    def add_all(self) -> None:
        """Convert every regulator control and capacitor control, or list it."""
        for kind in ("regcontrol", "capcontrol"):
            for name, p in self.raw.of(kind).items():
                element = f"{kind}.{name}"
                try:
                    if not p["Enabled"]:
                        raise _Unsuited(OUT_OF_SERVICE)
                    if kind == "regcontrol":
                        self._add_regulator_control(element, name, p)
                    else:
                        self._add_capacitor_control(element, name, p)
                except _Unsuited as error:
                    self.omissions.control(element, f"{error}: {STAYS}")

    # -- regulators -------------------------------------------------------------------------------------------

    def _add_regulator_control(self, element: str, name: str, p: Properties) -> None:
        transformer = str(p["Transformer"]).lower()
        own = self.made.converted.get(f"transformer.{transformer}")
        if own is None or not own.units:
            raise _Unsuited("its transformer is no regulator of ours")
        low = 1 if own.turned else 2
        if int(p["Winding"]) != low or int(p["TapWinding"]) != low:
            raise _Unsuited("it measures or moves the winding on the side of the source")
        lowest, highest = self._taps(self.raw.of("transformer")[transformer], low)
        bus, phase = self._measured(p, own)
        control = RegulatorControl(
            name=self.names["regcontrol"].new(name), regulator=own.name, units="+".join(own.units),
            vreg_v=float(p["VReg"]), band_v=float(p["Band"]), pt_ratio=float(p["PTRatio"]),
            ct_primary_a=float(p["CTPrim"]), r_v=float(p["R"]), x_v=float(p["X"]), delay_s=float(p["Delay"]),
            source=f"{self.source}: {element}", tap_delay_s=float(p["TapDelay"]), max_tap_change=int(p["MaxTapChange"]),
            tap_min=lowest, tap_max=highest, v_limit_v=float(p["VLimit"]), phase=phase, bus=bus,
            remote_pt_ratio=float(p["RemotePTRatio"]) if bus else None,
        )  # fmt: skip
        _require(check_regulator_control, self.feeder, control)
        for key, what in LEFT_OUT.items():
            if p[key]:
                self.omissions.approximated(element, f"{what} (property {key}) are left out")
        self.regulating.append(control)

    def _taps(self, transformer: Properties, winding: int) -> tuple[int, int]:
        """Range of the taps in steps of ours."""
        low, high, count = (listed(transformer[key])[winding - 1] for key in ("MinTap", "MaxTap", "NumTaps"))
        steps = [(float(x) - 1) / TAP_STEP for x in (low, high)]
        whole = [round(x) for x in steps]
        if any(abs(x - k) > 1e-6 for x, k in zip(steps, whole, strict=True)) or whole[1] - whole[0] != int(count):
            raise _Unsuited(f"its taps are not steps of {TAP_STEP}")
        return whole[0], whole[1]

    def _measured(self, p: Properties, own: Converted) -> tuple[str, str]:
        """The other bus that is measured, if there is one, and the phase."""
        if p["Bus"]:
            bus, (node,) = bus_and_nodes(str(p["Bus"]), (1,))
            return self.made.bus_name.get(bus, bus), NODE_PHASE.get(node, str(node))
        if len(own.units) == 1:
            return "", ""
        which = str(p["PTPhase"]).lower()
        return "", which if which in OF_ALL else own.conductors[int(which) - 1]

    # -- capacitors -------------------------------------------------------------------------------------------

    def _add_capacitor_control(self, element: str, name: str, p: Properties) -> None:
        kind = KINDS.get(str(p["Type"]).lower())
        if kind is None:
            raise _Unsuited(f"controls of type {p['Type']} are not represented")
        if p["VBus"]:
            raise _Unsuited("it measures the voltage of another bus")
        members = self.devices.switched.get(str(p["Capacitor"]).lower())
        if not members:
            raise _Unsuited("its capacitor is not in the tables in equal steps")
        measured = self.made.converted.get(str(p["Element"]).lower())
        if measured is None or measured.units:
            raise _Unsuited(f"it measures at {p['Element']}, which is no line or transformer of ours")
        first = (int(p["Terminal"]) == 1) != measured.turned
        limits = bool(p["VoltOverride"])
        control = CapacitorControl(
            name=self.names["capcontrol"].new(name), capacitors="+".join(members), kind=kind, element=measured.name,
            terminal="from" if first else "to", phases="".join(sorted(measured.conductors)),
            on_setting=float(p["OnSetting"]), off_setting=float(p["OffSetting"]), delay_s=float(p["Delay"]),
            source=f"{self.source}: {element}", delay_off_s=float(p["DelayOff"]), dead_time_s=float(p["DeadTime"]),
            pt_ratio=float(p["PTRatio"]), ct_ratio=float(p["CTRatio"]),
            pt_phase=_one_of(p["PTPhase"], measured), ct_phase=_one_of(p["CTPhase"], measured),
            v_min_v=float(p["VMin"]) if limits else None, v_max_v=float(p["VMax"]) if limits else None,
        )  # fmt: skip
        _require(check_capacitor_control, self.feeder, control)
        self.switching.append(control)


def _one_of(which: object, measured: Converted) -> str:
    """A phase by its number among the conductors; empty where there is only one."""
    text = str(which).lower()
    if len(measured.conductors) == 1:
        return ""
    return text if text in OF_ALL else measured.conductors[int(text) - 1]


def _require(check: Callable[[Feeder, C, Report], None], feeder: Feeder, control: C) -> None:
    """Let a control pass its check, or say what is wrong with it."""
    try:
        check(feeder, control, Report(None))
    except InputError as error:
        key = str(error.key).rpartition(".")[2]
        raise _Unsuited(f"{error.message} ({key} {error.value}; allowed: {error.allowed})") from None
