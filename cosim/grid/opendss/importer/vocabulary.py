"""What OpenDSS understands, in its own order, and what of it describes a circuit.

OpenDSS takes an abbreviation for the first command, option or property of its list that begins with it, so the lists
are complete and in order. Marks: ``!`` is refused, ``-`` is left out and listed; a word without a mark is passed on.
What stands in no list is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REFUSED, LEFT_OUT = "!", "-"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words by OpenDSS's order.

    Attributes:
        marks: mark of each word, by the word in lower case, in OpenDSS's order.
        order: the words in that order.
    """

    marks: Mapping[str, str]
    order: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """From words with marks."""
        marks = {w.lstrip(REFUSED + LEFT_OUT): w[0] if w[0] in REFUSED + LEFT_OUT else "" for w in text.split()}
        return cls(marks, tuple(marks))

    def find(self, text: str) -> str | None:
        """The word that OpenDSS takes a text for: itself, or the first that begins with it."""
        wanted = text.lower()
        if wanted in self.marks:
            return wanted
        return next((w for w in self.order if w.startswith(wanted)), None) if wanted else None


COMMANDS = Vocabulary.of(
    """
    new edit more m ~ select -save -show solve enable disable -plot reset compile set -dump open close !// redirect
    -help !quit -? !next -panel -sample clear -about calcvoltagebases setkvbase buildy -get init -export !fileedit
    -voltages -currents -powers -seqvoltages -seqcurrents -seqpowers -losses -phaselosses -cktlosses allocateloads
    -formedit -totals -capacity -classes -userclasses -zsc -zsc10 -zscrefresh -ysc -puvoltages -varvalues -varnames
    buscoords makebuslist !makeposseq !reduce interpolate !alignfile -top !rotate -vdiff -summary !distribute
    -di_plot -comparecases -yearlycurves !cd -visualize -closedi !doscmd !estimate !reconductor !_initsnap
    !_solvenocontrol !_samplecontrols !_docontrolactions !_showcontrolqueue !_solvedirect !_solvepflow -addbusmarker
    !uuids setloadandgenkv !cvrtloadshapes -nodediff !rephase setbusxy !updatestorage !obfuscate latlongcoords
    batchedit -pstcalc !variable reprocessbuses -clearbusmarkers -relcalc var !cleanup !finishtimestep -nodelist
    !connect !disconnect !remove -calcincmatrix -calcincmatrix_o !refine_buslevels -calclaplacian -exportoverloads
    -exportvviolations -zsc012 -allpceatbus -allpdeatbus -totalpowers -giscoords clearall -comhelp !newactor !wait
    !solveall !abort !clone
    """
)
OPTIONS = Vocabulary.of(
    """
    !type !element hour sec year frequency -stepsize mode -random -number time !class !object !circuit !editor
    tolerance maxiterations -h loadmodel loadmult normvminpu normvmaxpu emergvminpu emergvmaxpu -%mean -%stddev
    -ldcurve %growth -genkw -genpf -capkvar -addtype !allowduplicates zonelock -ueweight -lossweight -ueregs
    -lossregs voltagebases algorithm trapezoidal -autobuslist controlmode -tracecontrol genmult -defaultdaily
    -defaultyearly allocationfactors cktmodel -pricesignal -pricecurve !terminal basefrequency -harmonics
    maxcontroliter !bus !datapath -keeplist -reduceoption -demandinterval %normal -diverbose -casename -markercode
    -nodewidth -log !recorder -overloadreport -voltexceptionreport cfactors -showexport numallociterations
    defaultbasefrequency -markswitches -switchmarkercode -daisysize -marktransformers -transmarkercode
    -transmarkersize -loadshapeclass earthmodel !querylog -markcapacitors -markregulators -markpvsystems
    -markstorage -capmarkercode -regmarkercode -pvmarkercode -storemarkercode -capmarkersize -regmarkersize
    -pvmarkersize -storemarkersize neglectloady -markfuses -fusemarkercode -fusemarkersize -markreclosers
    -reclosermarkercode -reclosermarkersize !registryupdate -markrelays -relaymarkercode -relaymarkersize
    -processtime -totaltime -steptime -sampleenergymeters miniterations !dssvisualizationtool -keepload -zmag
    -seasonrating -seasonsignal -linetypes -eventlogdefault longlinecorrection -showreports !numcpus !numcores
    !numactors !activeactor !cpu !actorprogress !parallel -concatenatereports !numanodes
    """
)
_CLASSES = """
linecode: nphases r1 x1 r0 x0 c1 c0 units rmatrix xmatrix cmatrix basefreq normamps emergamps faultrate
    pctperm repair kron rg xg rho neutral b1 b0 seasons ratings linetype like
loadshape: npts interval mult hour mean stddev csvfile sngfile dblfile action qmult useactual pmax qmax
    sinterval minterval pbase qbase pmult pqcsvfile -memorymapping interpolation like
tshape: npts interval temp hour mean stddev csvfile sngfile dblfile sinterval minterval action like
priceshape: npts interval price hour mean stddev csvfile sngfile dblfile sinterval minterval action like
xycurve: npts points yarray xarray csvfile sngfile dblfile x y xshift yshift xscale yscale like
growthshape: npts year mult csvfile sngfile dblfile like
tcc_curve: npts c_array t_array like
spectrum: numharm harmonic %mag angle csvfile like
wiredata: rdc rac runits gmrac gmrunits radius radunits normamps emergamps diam seasons ratings capradius
    like
cndata: k diastrand gmrstrand rstrand epsr inslayer diains diacable rdc rac runits gmrac gmrunits radius
    radunits normamps emergamps diam seasons ratings capradius like
tsdata: diashield tapelayer tapelap epsr inslayer diains diacable rdc rac runits gmrac gmrunits radius
    radunits normamps emergamps diam seasons ratings capradius like
linespacing: nconds nphases x h units like
linegeometry: nconds nphases cond wire x h units normamps emergamps reduce spacing wires cncable tscable
    cncables tscables seasons ratings linetype like
xfmrcode: phases windings wdg conn kv kva tap %r rneut xneut conns kvs kvas taps xhl xht xlt xscarray
    thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva maxtap mintap numtaps %imag
    ppm_antifloat %rs x12 x13 x23 rdcohms seasons ratings like
line: bus1 bus2 linecode length phases r1 x1 r0 x0 c1 c0 rmatrix xmatrix cmatrix switch rg xg rho geometry
    units spacing wires earthmodel cncables tscables b1 b0 seasons ratings linetype normamps emergamps
    faultrate pctperm repair basefreq enabled like
vsource: bus1 basekv pu angle frequency phases mvasc3 mvasc1 x1r1 x0r0 isc3 isc1 r1 x1 r0 x0 scantype
    sequence bus2 z1 z0 z2 puz1 puz0 puz2 basemva yearly daily duty model puzideal spectrum basefreq
    enabled like
isource: bus1 amps angle frequency phases scantype sequence yearly daily duty bus2 spectrum basefreq
    enabled like
load: phases bus1 kv kw pf model yearly daily duty growth conn kvar rneut xneut status class vminpu vmaxpu
    vminnorm vminemerg xfkva allocationfactor kva %mean %stddev cvrwatts cvrvars kwh kwhdays cfactor
    cvrcurve numcust zipv %seriesrl relweight vlowpu puxharm xrharm spectrum basefreq enabled like
transformer: phases windings wdg bus conn kv kva tap %r rneut xneut buses conns kvs kvas taps xhl xht xlt
    xscarray thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva sub maxtap mintap numtaps
    subname %imag ppm_antifloat %rs bank xfmrcode xrconst x12 x13 x23 leadlag !wdgcurrents core rdcohms
    seasons ratings normamps emergamps faultrate pctperm repair basefreq enabled like
regcontrol: transformer winding vreg band ptratio ctprim r x bus delay reversible revvreg revband revr
    revx tapdelay -debugtrace maxtapchange inversetime tapwinding vlimit ptphase revthreshold revdelay
    revneutral -eventlog remoteptratio tapnum reset ldc_z rev_z cogen basefreq enabled like
capacitor: bus1 bus2 phases kvar kv conn cmatrix cuf r xl harm numsteps states normamps emergamps
    faultrate pctperm repair basefreq enabled like
reactor: bus1 bus2 phases kvar kv conn rmatrix xmatrix parallel r x rp z1 z2 z0 z rcurve lcurve lmh
    normamps emergamps faultrate pctperm repair basefreq enabled like
capcontrol: element terminal capacitor type ptratio ctratio onsetting offsetting delay voltoverride vmax
    vmin delayoff deadtime ctphase ptphase vbus -eventlog !usermodel !userdata pctminkvar reset
    controlsignal basefreq enabled like
fault: bus1 bus2 phases r %stddev gmatrix ontime temporary minamps normamps emergamps faultrate pctperm
    repair basefreq enabled like
generator: phases bus1 kv kw pf kvar model vminpu vmaxpu yearly daily duty dispmode dispvalue conn status
    class vpu maxkvar minkvar pvfactor forceon kva mva xd xdp xdpp h d !usermodel !userdata !shaftmodel
    !shaftdata dutystart -debugtrace balanced xrdp usefuel fuelkwh %fuel %reserve refuel !dynamiceq
    !dynout spectrum basefreq enabled like
gendispatcher: element terminal kwlimit kwband kvarlimit genlist weights basefreq enabled like
storage: phases bus1 kv conn kw kvar pf kva %cutin %cutout effcurve varfollowinverter kvarmax kvarmaxabs
    wattpriority pfpriority %pminnovars %pminkvarmax kwrated %kwrated kwhrated kwhstored %stored %reserve
    state %discharge %charge %effcharge %effdischarge %idlingkw %idlingkvar %r %x model vminpu vmaxpu
    balanced limitcurrent yearly daily duty dispmode dischargetrigger chargetrigger timechargetrig class
    !dynadll !dynadata !usermodel !userdata -debugtrace kvdc kp pitol safevoltage safemode !dynamiceq
    !dynout controlmode amplimit amplimitgain spectrum basefreq enabled like
storagecontroller: element terminal monphase kwtarget kwtargetlow %kwband kwband %kwbandlow kwbandlow
    elementlist weights modedischarge modecharge timedischargetrigger timechargetrigger %ratekw
    %ratecharge %reserve kwhtotal kwtotal kwhactual kwactual kwneed yearly daily duty -eventlog
    inhibittime tup tflat tdn kwthreshold dispfactor resetlevel seasons seasontargets seasontargetslow
    basefreq enabled like
relay: monitoredobj monitoredterm switchedobj switchedterm type phasecurve groundcurve phasetrip
    groundtrip tdphase tdground phaseinst groundinst reset shots recloseintervals delay overvoltcurve
    undervoltcurve kvbase 47%pickup 46baseamps 46%pickup 46isqt variable overtrip undertrip breakertime
    action z1mag z1ang z0mag z0ang mphase mground -eventlog -debugtrace distreverse normal state
    doc_tiltanglelow doc_tiltanglehigh doc_tripsettinglow doc_tripsettinghigh doc_tripsettingmag
    doc_delayinner doc_phasecurveinner doc_phasetripinner doc_tdphaseinner doc_p1blocking basefreq enabled
    like
recloser: monitoredobj monitoredterm switchedobj switchedterm numfast phasefast phasedelayed groundfast
    grounddelayed phasetrip groundtrip phaseinst groundinst reset shots recloseintervals delay action
    tdphfast tdgrfast tdphdelayed tdgrdelayed normal state basefreq enabled like
fuse: monitoredobj monitoredterm switchedobj switchedterm fusecurve ratedcurrent delay action normal state
    basefreq enabled like
swtcontrol: switchedobj switchedterm action lock delay normal state reset basefreq enabled like
pvsystem: phases bus1 kv irradiance pmpp %pmpp temperature pf conn kvar kva %cutin %cutout effcurve
    p-tcurve %r %x model vminpu vmaxpu balanced limitcurrent yearly daily duty tyearly tdaily tduty class
    !usermodel !userdata -debugtrace varfollowinverter dutystart wattpriority pfpriority %pminnovars
    %pminkvarmax kvarmax kvarmaxabs kvdc kp pitol safevoltage safemode !dynamiceq !dynout controlmode
    amplimit amplimitgain spectrum basefreq enabled like
indmach012: phases bus1 kv kw pf conn kva h d purs puxs purr puxr puxm slip maxslip slipoption yearly
    daily duty -debugtrace spectrum basefreq enabled like
autotrans: phases windings wdg bus conn kv kva tap %r rdcohms core buses conns kvs kvas taps xhx xht xxt
    xscarray thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva sub maxtap mintap numtaps
    subname %imag ppm_antifloat %rs bank xrconst leadlag !wdgcurrents normamps emergamps faultrate pctperm
    repair basefreq enabled like
invcontrol: derlist mode combimode vvc_curve1 hysteresis_offset voltage_curvex_ref avgwindowlen
    voltwatt_curve dbvmin dbvmax argralowv argrahiv dynreacavgwindowlen deltaq_factor
    voltagechangetolerance varchangetolerance voltwattyaxis rateofchangemode lpftau risefalllimit
    deltap_factor -eventlog refreactivepower activepchangetolerance monvoltagecalc monbus monbusesvbase
    voltwattch_curve wattpf_curve wattvar_curve vv_refreactivepower pvsystemlist vsetpoint controlmodel
    basefreq enabled like
expcontrol: pvsystemlist vreg slope vregtau qbias vregmin vregmax qmaxlead qmaxlag -eventlog deltaq_factor
    preferq tresponse derlist basefreq enabled like
monitor: element terminal mode !action residual vipolar ppolar basefreq enabled like
energymeter: element terminal !action option kvanormal kvaemerg peakcurrent zonelist localonly mask losses
    linelosses xfmrlosses seqlosses 3phaselosses vbaselosses phasevoltagereport int_rate int_duration
    saifi saifikw saidi caidi custinterrupts basefreq enabled like
sensor: element terminal kvbase !clear kvs currents kws kvars conn deltadirection %error weight basefreq
    enabled like
"""
"""Properties by class; a line that is indented goes on. Classes that act only over time or that are no part of a
distribution circuit are missing."""


def _classes(text: str) -> dict[str, Vocabulary]:
    rows: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith(" "):
            rows[-1] += line
        else:
            rows.append(line)
    return {kind: Vocabulary.of(words) for kind, _, words in (row.partition(": ") for row in rows)}


CLASSES = _classes(_CLASSES)
COUNTS = {
    "phases": 50, "nphases": 50, "nconds": 50, "windings": 20, "wdg": 20, "cond": 50, "numsteps": 200, "seasons": 1000,
    "numharm": 1000, "npts": 1_000_000, "shots": 100, "maxiterations": 2000, "maxcontroliter": 2000,
    "miniterations": 100, "numallociterations": 100,
}  # fmt: skip
"""Largest value of properties and options by which OpenDSS takes memory or time."""
BUSES = frozenset({"bus", "bus1", "bus2", "buses", "bush", "busnh", "busx", "busnx", "vbus"})
"""Properties that name buses, with their nodes."""
FILES = frozenset({"csvfile", "sngfile", "dblfile", "pqcsvfile"})
"""Properties that name a file of numbers."""
