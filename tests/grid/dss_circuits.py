"""Small OpenDSS circuits, each with one thing that an import has to get right."""

from __future__ import annotations

HEAD = "clear\nset defaultbasefrequency=60\n"
WYE = HEAD + "new circuit.small basekv=12.47 bus1=s pu=1.02 r1=0.2 x1=0.9 r0=0.3 x0=1.4\n"
DELTA = HEAD + "new circuit.small basekv=12.47 bus1=s pu=1.02 r1=1e-6 x1=1e-4 r0=1e-6 x0=1e-4\n"
CODE = (
    "new linecode.c nphases=3 units=mi rmatrix=(0.35 | 0.15 0.34 | 0.16 0.155 0.345) "
    "xmatrix=(1.02 | 0.5 1.05 | 0.42 0.38 1.03) cmatrix=(9 | -2 9.5 | -1 -2 8.5)\n"
)
TWO = "new linecode.two nphases=2 units=kft rmatrix=(0.25 | 0.04 0.251) xmatrix=(0.26 | 0.09 0.27)\n"
TRUNK = CODE + TWO + "new line.trunk bus1=s bus2=m linecode=c length=2 units=mi\n"
END = (
    "set voltagebases=[12.47, 4.16, 0.48, 0.208]\ncalcvoltagebases\nset maxiterations=100\nset tolerance=1e-9\n"
    "solve\n"
)


def _load(name: str, bus: str, more: str) -> str:
    return f"new load.{name} bus1={bus} vminpu=0.7 vmaxpu=1.3 {more}\n"


WYE_LOADS = (
    _load("a", "e.1", "phases=1 kv=7.2 kw=400 kvar=180 model=1")
    + _load("b", "e.2", "phases=1 kv=7.2 kw=250 kvar=90 model=2")
    + _load("c", "e.3", "phases=1 kv=7.1 kw=300 kvar=150 model=5")
)
LOW_LOADS = (
    _load("a", "e.1", "phases=1 kv=2.4 kw=300 kvar=140 model=1")
    + _load("bc", "e.2.3", "phases=1 conn=delta kv=4.16 kw=200 kvar=90 model=1")
    + _load("three", "e", "phases=3 kv=4.16 kw=450 kvar=200 model=5")
)
LOW_LINE = "new line.low bus1=l bus2=e linecode=c length=0.5 units=mi\n"

RADIAL: dict[str, str] = {
    "laterals of one and two phases, wired backwards": WYE + TRUNK
    + "new line.x bus1=e.3.1 bus2=m.3.1 phases=2 linecode=two length=4 units=kft\n"
    + "new line.y phases=1 bus1=e.1 bus2=f.1 r1=0.9 r0=0.9 x1=0.8 x0=0.8 c1=5 c0=5 length=0.7 units=km\n"
    + _load("ca", "e.3.1", "phases=1 conn=delta kv=12.47 kw=300 kvar=100 model=1")
    + _load("f", "f.1", "phases=1 kv=7.2 kw=200 kvar=80 model=1"),
    "a line by geometry": WYE + CODE
    + "new wiredata.w gmrac=0.0244 gmrunits=ft rac=0.306 runits=mi radunits=in diam=0.721\n"
    + "new linegeometry.g nconds=4 nphases=3 reduce=yes cond=1 wire=w x=-4 h=28 units=ft "
    + "cond=2 wire=w x=-1.5 h=28 units=ft cond=3 wire=w x=3 h=28 units=ft cond=4 wire=w x=0 h=24 units=ft\n"
    + "new line.x bus1=s bus2=e geometry=g length=9000 units=ft\n" + WYE_LOADS,
    "loads of every model": WYE + TRUNK + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n" + WYE_LOADS
    + _load("m3", "e.1", "phases=1 kv=7.2 kw=80 kvar=60 model=3")
    + _load("m4", "e", "phases=3 kv=12.47 kw=300 kvar=100 model=4 cvrwatts=1 cvrvars=2")
    + _load("m8", "e", "phases=3 conn=delta kv=12.47 kw=200 kvar=100 model=8 zipv=(0.3 0.3 0.4 0.2 0.5 0.3 0.7)"),
    "loads by exponents": WYE + TRUNK + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n"
    + _load("wye", "e", "phases=3 kv=12.47 kw=900 kvar=400 model=4 cvrwatts=0.8 cvrvars=3.2")
    + _load("delta", "m.2.3", "phases=1 conn=delta kv=12.3 kw=300 kvar=120 model=4 cvrwatts=1.4 cvrvars=1.4")
    + _load("active", "e.1", "phases=1 kv=7.1 kw=200 kvar=0 model=4 cvrwatts=0.6 cvrvars=2")
    + _load("mixed", "e.3", "phases=1 kv=7.2 kw=200 kvar=70 model=4 cvrwatts=0.5 cvrvars=2"),
    "loads out of their range": WYE + TRUNK + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n"
    + "new load.below bus1=e.1 phases=1 kv=7.6 kw=300 kvar=100 model=1 vminpu=0.98 vlowpu=0.5\n"
    + "new load.exponent bus1=e.2 phases=1 kv=7.6 kw=300 kvar=100 model=4 cvrwatts=0.8 cvrvars=2.5 vminpu=0.98\n"
    + "new load.deep bus1=e.3 phases=1 kv=14 kw=400 kvar=100 model=5 vminpu=0.95 vlowpu=0.7\n"
    + "new load.above bus1=m.3 phases=1 kv=6.5 kw=400 kvar=100 model=1 vmaxpu=1.05\n"
    + "new load.zip bus1=m.1 phases=1 kv=7.7 kw=400 kvar=100 model=8 zipv=(0.3 0.3 0.4 0.2 0.5 0.3 0.7) vminpu=0.99\n",
    "devices in delta with a conductor on the ground": WYE + TRUNK
    + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n" + WYE_LOADS
    + _load("one", "e.1", "phases=1 conn=delta kv=7.2 kw=90 kvar=50 model=1")
    + _load("two", "m.2", "phases=1 conn=delta kv=7.2 kw=70 kvar=20 model=2")
    + _load("none", "m", "phases=1 conn=delta kv=7.1 kw=60 kvar=20 model=5")
    + _load("open", "e.3.1", "phases=2 conn=delta kv=7.2 kw=80 kvar=30 model=2")
    + "new capacitor.c bus1=e.2 phases=1 conn=delta kvar=100 kv=7.2\n"
    + "new generator.g bus1=e.3 phases=1 conn=delta kv=7.2 kw=60 kvar=10 model=1\n",
    "capacitors, delta and wye, one switched off, and a shunt reactor": WYE + TRUNK
    + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n" + WYE_LOADS
    + "new capacitor.w bus1=e phases=3 kvar=450 kv=12.47\nnew capacitor.d bus1=m phases=3 conn=delta kvar=300 "
    + "kv=12.47\n"
    + "new capacitor.one bus1=m.2 phases=1 kvar=100 kv=7.2\nnew capacitor.off bus1=m phases=3 kvar=200 kv=12.47 "
    + "states=[0]\n"
    + "new reactor.r bus1=e phases=3 kvar=150 kv=12.47\n",
    "a delta-wye transformer with losses": WYE + TRUNK + LOW_LINE + LOW_LOADS
    + "new transformer.t phases=3 windings=2 buses=(m l) conns=(delta wye) kvs=(12.47 4.16) kvas=(1500 1500) xhl=5.5 "
    + "%rs=(0.5 0.6) %noloadloss=0.4 %imag=0.8 wdg=2 tap=1.025\n",
    "a delta-wye transformer that leads": WYE + TRUNK + LOW_LINE + LOW_LOADS
    + "new transformer.t phases=3 windings=2 buses=(m l) conns=(delta wye) kvs=(12.47 4.16) kvas=(1500 1500) xhl=5.5 "
    + "leadlag=lead\n",
    "transformers in parallel, of unlike sizes": WYE + TRUNK + LOW_LINE + LOW_LOADS
    + "new transformer.t phases=3 windings=2 buses=(m l) conns=(delta wye) kvs=(12.47 4.16) kvas=(1000 1000) xhl=5.5 "
    + "%rs=(0.5 0.6) %noloadloss=0.4 %imag=0.8\n"
    + "new transformer.u phases=3 windings=2 buses=(m l) conns=(delta wye) kvs=(12.47 4.16) kvas=(600 600) xhl=4 "
    + "%rs=(0.2 0.4) %noloadloss=0.3 %imag=1\n",
    "a wye-wye transformer": WYE + TRUNK + LOW_LINE + LOW_LOADS
    + "new transformer.t phases=3 windings=2 buses=(m l) conns=(wye wye) kvs=(12.47 4.16) kvas=(1500 1500) xhl=5.5\n",
    "delta-delta behind a grounded section": WYE + TRUNK + LOW_LINE
    + _load("g", "m.2", "phases=1 kv=7.2 kw=150 kvar=60 model=1")
    + _load("bc", "e.2.3", "phases=1 conn=delta kv=4.16 kw=200 kvar=90 model=1")
    + _load("ab", "e.1.2", "phases=1 conn=delta kv=4.16 kw=100 kvar=20 model=2")
    + "new transformer.t phases=3 windings=2 buses=(m l) conns=(delta delta) kvs=(12.47 4.16) kvas=(1500 1500) "
    + "xhl=4\n",
    "an open-delta bank": WYE + TRUNK + LOW_LINE
    + _load("three", "e", "phases=3 conn=delta kv=4.16 kw=450 kvar=200 model=1")
    + _load("bc", "e.2.3", "phases=1 conn=delta kv=4.16 kw=100 kvar=40 model=5")
    + _load("g", "m.2", "phases=1 kv=7.2 kw=150 kvar=60 model=1")
    + "new transformer.t1 phases=1 bank=t windings=2 buses=(m.1.2 l.1.2) conns=(delta delta) kvs=(12.47 4.16) "
    + "kvas=(750 750) xhl=3\n"
    + "new transformer.t2 phases=1 bank=t windings=2 buses=(m.2.3 l.2.3) conns=(delta delta) kvs=(12.47 4.16) "
    + "kvas=(750 750) xhl=3\n",
    "an open-wye open-delta bank": WYE + TRUNK + LOW_LINE
    + _load("three", "e", "phases=3 conn=delta kv=4.16 kw=300 kvar=100 model=1")
    + "new transformer.t1 phases=1 bank=t windings=2 buses=(m.1 l.1.2) conns=(wye delta) kvs=(7.2 4.16) "
    + "kvas=(500 500) xhl=3\n"
    + "new transformer.t2 phases=1 bank=t windings=2 buses=(m.2 l.2.3) conns=(wye delta) kvs=(7.2 4.16) "
    + "kvas=(500 500) xhl=3\n",
    "a single-phase transformer from a leg to a phase": WYE + TRUNK
    + "new transformer.t phases=1 windings=2 buses=(m.2.3 e.1.0) conns=(delta wye) kvs=(12.47 2.4) kvas=(300 "
    + "300) xhl=4\n"
    + _load("a", "e.1", "phases=1 kv=2.4 kw=120 kvar=40 model=1"),
    "centre-tapped secondaries": WYE + TRUNK
    + "new transformer.t phases=1 windings=3 buses=(m.2 l.1.0 l.0.2) conns=(wye wye wye) kvs=(7.2 0.12 0.12) "
    + "kvas=(50 50 50) xhl=2.04 xht=2.04 xlt=1.36 %rs=(0.6 1.2 1.2) %noloadloss=0.2 %imag=0.5\n"
    + "new line.x bus1=l.1.2 bus2=e.1.2 phases=2 linecode=two length=0.1 units=kft\n"
    + _load("h1", "e.1", "phases=1 kv=0.12 kw=9 kvar=3 model=1") + _load("h2", "e.2", "phases=1 kv=0.12 kw=4 "
    + "kvar=1 model=5")
    + _load("both", "e.1.2", "phases=1 kv=0.24 kw=12 kvar=4 model=1")
    + _load("two", "e.1.2", "phases=2 kv=0.208 kw=6 kvar=2 model=2"),
    "regulators of two phases": WYE + TRUNK
    + "new transformer.r1 phases=1 bank=r windings=2 buses=(m.1 q.1) kvs=(7.2 7.2) kvas=(2000 2000) xhl=0.5 "
    + "%loadloss=0.1\n"
    + "new transformer.r3 phases=1 bank=r windings=2 buses=(m.3 q.3) kvs=(7.2 7.2) kvas=(2000 2000) xhl=0.5 "
    + "%loadloss=0.1\n"
    + "new regcontrol.r1 transformer=r1 winding=2 vreg=124 band=2 ptratio=60\n"
    + "new regcontrol.r3 transformer=r3 winding=2 vreg=122 band=2 ptratio=60\n"
    + "new line.x bus1=q.1.3 bus2=e.1.3 phases=2 linecode=two length=4 units=kft\n"
    + _load("a", "e.1", "phases=1 kv=7.2 kw=400 kvar=180 model=1") + _load("c", "e.3", "phases=1 kv=7.2 kw=200 "
    + "kvar=80 model=1"),
    "a regulator off its steps stays a transformer": WYE + TRUNK
    + "new transformer.r phases=3 windings=2 buses=(m e) conns=(wye wye) kvs=(12.47 12.47) kvas=(5000 5000) xhl=1 "
    + "wdg=2 numtaps=20 tap=1.03\n"
    + "new regcontrol.r transformer=r winding=2 vreg=124 band=2 ptratio=60\nset controlmode=off\n" + WYE_LOADS,
    "switches, an open tie and a series reactor": WYE + TRUNK
    + "new line.sw bus1=m bus2=k switch=y r1=1e-4 r0=1e-4 x1=0 x0=0 c1=0 c0=0\n"
    + "new reactor.x bus1=k bus2=e phases=3 r=0.1 x=1.5\n"
    + "new line.tie bus1=e bus2=s switch=y\nopen line.tie 1\n" + WYE_LOADS,
    "generation of every kind": WYE + TRUNK + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n" + WYE_LOADS
    + "new generator.g bus1=e phases=3 kv=12.47 kw=200 kvar=50 model=1\n"
    + "new pvsystem.pv bus1=m phases=3 kv=12.47 kva=300 pmpp=250 irradiance=0.8 pf=1\n"
    + "new storage.bat bus1=e.2 phases=1 kv=7.2 kwrated=100 kwhrated=400 state=discharging %discharge=60\n",
    "a three-wire feeder with an open-delta regulator": DELTA + CODE
    + "new transformer.r1 phases=1 bank=r windings=2 buses=(s.1.2 m.1.2) conns=(delta delta) kvs=(12.47 12.47) "
    + "kvas=(2000 2000) xhl=1 wdg=2 tap=1.04375\n"
    + "new transformer.r2 phases=1 bank=r windings=2 buses=(s.3.2 m.3.2) conns=(delta delta) kvs=(12.47 12.47) "
    + "kvas=(2000 2000) xhl=1 wdg=2 tap=1.025\n"
    + "new regcontrol.r1 transformer=r1 winding=2\nnew regcontrol.r2 transformer=r2 winding=2\nset controlmode=off\n"
    + "new line.jumper phases=1 bus1=s.2 bus2=m.2 r1=1e-3 r0=1e-3 x1=0 x0=0 c1=0 c0=0\n"
    + "new line.x bus1=m bus2=e linecode=c length=3 units=mi\n"
    + _load("ab", "e.1.2", "phases=1 conn=delta kv=12.47 kw=500 kvar=200 model=1")
    + _load("three", "e", "phases=3 conn=delta kv=12.47 kw=600 kvar=200 model=5"),
    "a feeder of 50 Hz": WYE.replace("=60", "=50") + TRUNK.replace("nphases", "basefreq=50 nphases")
    + "new line.x bus1=m bus2=e linecode=c length=1 units=mi\n" + WYE_LOADS
    + "new capacitor.w bus1=e phases=3 kvar=450 kv=12.47\n",
    "three single-phase lines side by side": WYE + TRUNK
    + "".join(
        f"new line.p{k} phases=1 bus1=m.{k} bus2=e.{k} r1=0.{k} r0=0.{k} x1=0.4 x0=0.4 c1=0 c0=0 length=1\n"
        for k in (1, 2, 3)
    ) + WYE_LOADS,
    "lines in parallel, of all phases and of some": WYE + TRUNK
    + "new line.x bus1=m bus2=e linecode=c length=1 units=mi normamps=300\n"
    + "new line.y bus1=e bus2=m linecode=c length=2 units=mi normamps=200\n"
    + "new line.z phases=2 bus1=m.3.1 bus2=e.3.1 linecode=two length=9 units=kft\n" + WYE_LOADS,
}  # fmt: skip
RADIAL = {what: text + END for what, text in RADIAL.items()}

REFUSED: dict[str, tuple[str, str, str]] = {
    "a loop": (
        WYE + TRUNK + "new line.x bus1=m bus2=e linecode=c length=1\nnew line.back bus1=e bus2=s linecode=c "
        "length=1\n"
        + WYE_LOADS, "closes a loop", "line.",
    ),
    "an island": (
        WYE + TRUNK + "new line.x bus1=m bus2=e linecode=c length=1\nopen line.x 1\n" + WYE_LOADS,
        "bus e is an island.*line.x is not represented: open", "bus.e",
    ),
    "transformers in parallel at unlike taps": (
        WYE + TRUNK + LOW_LINE + _load("three", "e", "phases=3 kv=4.16 kw=450 kvar=200 model=1")
        + "new transformer.t windings=2 buses=(m l) conns=(delta wye) kvs=(12.47 4.16) kvas=(1500 1500) xhl=5\n"
        + "new transformer.u like=t buses=(m l) wdg=2 tap=1.025\n",
        "lie in parallel", "transformer.t",
    ),
    "windings that are not in order": (
        WYE + TRUNK + LOW_LINE + _load("three", "e", "phases=3 conn=delta kv=4.16 kw=450 kvar=200 model=1")
        + "new transformer.t phases=3 windings=2 buses=(m.2.3.1 l) conns=(wye delta) kvs=(12.47 4.16) kvas=(1500 "
        + "1500) xhl=5\n",
        "transformer.t is not represented: a three-phase winding in another order", "bus.l",
    ),
}  # fmt: skip
REFUSED = {what: (text + END, message, key) for what, (text, message, key) in REFUSED.items()}

RING = (
    HEAD + "new circuit.ring basekv=69 bus1=high pu=1.03 mvasc3=900 mvasc1=700\n"
    + CODE.replace("units=mi", "units=mi normamps=350")
    + "new transformer.sub phases=3 windings=2 buses=(high m) conns=(delta wye) kvs=(69 12.47) kvas=(9000 9000) xhl=8 "
    + "%loadloss=0.7\nnew regcontrol.r transformer=sub winding=2 vreg=122 band=2 ptratio=60 ctprim=400\n"
    + "".join(
        f"new line.{name} bus1={a} bus2={b} linecode=c length={miles} units=mi\n"
        for name, a, b, miles in (
            ("a", "m", "n1", 1.2), ("b", "n1", "n2", 0.9), ("b2", "n1", "n2", 1.1), ("c", "n2", "n3", 1.4),
            ("d", "m", "n4", 1.0), ("e", "n4", "n5", 1.3), ("tie", "n5", "n3", 0.7), ("stub", "n5", "dead", 0.7),
        )
    )
    + "open line.stub 1\n"
    + "new line.lateral phases=1 bus1=n4.2 bus2=l4.2 r1=0.6 x1=0.7 r0=0.6 x0=0.7 c1=5 c0=5 length=1 units=mi\n"
    + "new transformer.yd phases=3 windings=2 buses=(n3 s3) conns=(wye delta) kvs=(12.47 4.16) kvas=(3000 3000) "
    + "xhl=5.5 %loadloss=0.9\n"
    + "".join(
        f"new transformer.dy{k} phases=3 windings=2 buses=({bus} q.1.2.3.4) conns=(delta wye) kvs=(12.47 0.48) "
        "kvas=(1500 1500) xhl=5 %loadloss=1\n" for k, bus in ((1, "n5"), (2, "n2"))
    )
    + "new reactor.ground phases=1 bus1=q.4 bus2=q.0 r=0.05 x=0.02\n"
    + "new line.four phases=4 bus1=q.1.2.3.4 bus2=q2.1.2.3.4 length=0.3 "
    + "rmatrix=(0.02 | 0.005 0.02 | 0.005 0.005 0.02 | 0.005 0.005 0.005 0.02) "
    + "xmatrix=(0.02 | 0.008 0.02 | 0.008 0.008 0.02 | 0.008 0.008 0.008 0.02) cmatrix=(0 | 0 0 | 0 0 0 | 0 0 0 0)\n"
    + "new capacitor.cap bus1=n2 phases=3 kvar=600 kv=12.47\n"
    + "new load.n1 bus1=n1 phases=3 kv=12.47 kw=900 kvar=300 model=1\n"
    + "new load.n2 bus1=n2 phases=3 kv=12.47 kw=700 kvar=250 model=4 cvrwatts=0.8 cvrvars=2.5\n"
    + "new load.n4 bus1=l4.2 phases=1 kv=7.2 kw=250 kvar=90 model=5\n"
    + "new load.n5 bus1=n5.1.3 phases=1 conn=delta kv=12.47 kw=300 kvar=100 model=2\n"
    + "new load.s3 bus1=s3 phases=3 conn=delta kv=4.16 kw=600 kvar=200 model=8 zipv=(0.3 0.3 0.4 0.2 0.5 0.3 0.7)\n"
    + "new load.s3b bus1=s3.1.2 phases=1 conn=delta kv=4.16 kw=200 kvar=80 model=3\n"
    + "".join(f"new load.q{k} bus1=q2.{k}.4 phases=1 kv=0.277 kw={kw} kvar=10 model={model}\n"
              for k, kw, model in ((1, 40, 1), (2, 70, 7), (3, 20, 6)))
    + "new generator.g bus1=n3 phases=3 kv=12.47 kw=200 kvar=0 model=1\n"
    + "new pvsystem.pv bus1=q phases=3 kv=0.48 kva=100 pmpp=80 irradiance=0.7 pf=1\n"
    + "set voltagebases=[69 12.47 4.16 0.48]\ncalcvoltagebases\nset maxiterations=100\nset tolerance=1e-9\nsolve\n"
)  # fmt: skip
"""Two loops, two transformers and two lines in parallel, wye-delta and delta-wye, a neutral conductor that is grounded
through an impedance, a stub without voltage, loads of every model, generation."""
MOVING_RING = RING.replace(
    "new capacitor.cap bus1=n2 phases=3 kvar=600 kv=12.47\n",
    "new capacitor.cap bus1=n2 phases=3 kv=12.47 numsteps=3 kvar=[200 200 200] states=[1 0 0]\n"
    "new capcontrol.k capacitor=cap element=line.c type=kvar terminal=1 onsetting=250 offsetting=-150\n",
)
"""The ring with a capacitor in steps, which a control switches beside the regulator's."""
MESHED: dict[str, str] = {
    "a ring with everything": RING,
    "loads outside their range of voltages": WYE + TRUNK.replace("length=2", "length=9")
    + "new line.x bus1=m bus2=e linecode=c length=6 units=mi\n"
    + "new line.back bus1=e bus2=s linecode=c length=16 units=mi\n"
    + "".join(
        f"new load.l{model}k{n} bus1=e.{1 + model % 3} phases=1 kv={kv} kw=300 kvar=100 model={model} vlowpu={lowest} "
        "zipv=(0.3 0.3 0.4 0.2 0.5 0.3 0.1)\n"
        for model in range(1, 9) for n, (kv, lowest) in enumerate(((8.0, 0.5), (6.3, 0.5), (9.0, 0.8)))
    ) + END,
    "ungrounded behind wye-delta in parallel": WYE + TRUNK + LOW_LINE
    + "".join(
        f"new transformer.t{k} phases=3 windings=2 buses=({bus} {low}) conns=({high} delta) kvs=(12.47 4.16) "
        f"kvas=(1500 1500) xhl={x} {more}\n"
        for k, bus, low, high, x, more in ((1, "m", "l", "wye", 5, ""), (2, "k", "l", "wye", 6, "wdg=2 tap=0.98"))
    )
    + "new line.k bus1=m bus2=k linecode=c length=1 units=mi\n"
    + _load("three", "e", "phases=3 conn=delta kv=4.16 kw=450 kvar=200 model=1")
    + _load("ab", "l.1.2", "phases=1 conn=delta kv=4.16 kw=250 kvar=100 model=5") + END,
    "three windings and an autotransformer": WYE + TRUNK
    + "new transformer.t phases=3 windings=3 buses=(m l t) conns=(delta wye delta) kvs=(12.47 4.16 0.48) "
    + "kvas=(2000 1500 500) xhl=6 xht=8 xlt=5\n"
    + "new autotrans.at phases=3 windings=2 buses=(m e) conns=(series wye) kvs=(14 12.47) kvas=(3000 3000) xhx=2\n"
    + _load("l", "l", "phases=3 kv=4.16 kw=700 kvar=200 model=1")
    + _load("t", "t", "phases=3 conn=delta kv=0.48 kw=200 kvar=90 model=1")
    + _load("e", "e", "phases=3 kv=13.2 kw=300 kvar=90 model=1")
    + END.replace("[12.47,", "[14, 12.47,"),
}  # fmt: skip
"""Circuits that no tables say."""
