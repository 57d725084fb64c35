/* Draws what the page's data says: a map with a time slider, and charts. Plotly draws; this file says what. */
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  /* Okabe and Ito's colours; on a dark ground the bright ones among them, the others lightened. */
  const ON_LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8a8f98"];
  const ON_DARK = ["#56B4E9", "#E69F00", "#2fc79a", "#e79bc6", "#F0E442", "#ff7a45", "#a9b0ba"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const SAME = 1e-3; // share of the range shown within which curves count as one (as in charts.py)
  const MANY = 1500; // buses from which the graphics card draws
  const BINS = 10; // widths of lines cannot vary within a trace: branches of a layer share so many traces

  /* Names are text: Plotly reads tags in texts, so these are taken for what they are. */
  const esc = (s) => String(s).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const lines = (s) => esc(s).replace(/(.{30,}?) /g, "$1<br>"); // long titles of axes
  const numbers = (v, digits) => (Number.isFinite(v) ? v.toFixed(digits) : "–");

  const unpacked = new Map();
  const get = (p) => unpacked.get(p) || unpacked.set(p, unpack(p)).get(p);

  function look() {
    const css = getComputedStyle(root), of = (name) => css.getPropertyValue(name).trim();
    return { text: of("--text"), soft: of("--soft"), line: of("--line"), ground: of("--ground") };
  }
  const config = { displaylogo: false, responsive: true, scrollZoom: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "toggleSpikelines", "zoomIn2d", "zoomOut2d", "autoScale2d"] };
  function layout(more) {
    const c = look(), axis = { gridcolor: c.line, linecolor: c.line, zerolinecolor: c.line, automargin: true };
    const base = { paper_bgcolor: c.ground, plot_bgcolor: c.ground, font: { color: c.text, size: 12 }, height: 300,
      margin: { l: 50, r: 10, t: 30, b: 40 }, legend: { orientation: "h", y: -0.22, yanchor: "top" },
      hoverlabel: { bgcolor: c.ground, font: { color: c.text }, align: "left" }, dragmode: "pan", hovermode: "x unified" };
    const own = more || {};
    return { ...base, ...own, xaxis: { ...axis, ...own.xaxis }, yaxis: { ...axis, ...own.yaxis } };
  }

  /* Places and values of a curve. Values that hold over a step are drawn to the end of the last one as well. */
  function held(chart, t) {
    const x = t.x.map((v) => (typeof v === "string" ? esc(v) : v)), n = x.length;
    const end = chart.shape === "hv" && typeof t.x[0] === "string" && n < 400 && !t.dash ? endOf(x) : null;
    return end === null ? { x, y: t.y } : { x: [...x, end], y: [...t.y, t.y[n - 1]], hoverinfo: [...Array(n).fill("all"), "skip"] };
  }
  function endOf(times) {
    const [before, last] = times.slice(-2).map((v) => Date.parse(`${v}Z`));
    return times.length > 1 && Number.isFinite(2 * last - before) ? new Date(2 * last - before).toISOString().slice(0, 19) : null;
  }
  /* Charts that the data states in full. */
  function draw(chart, place, choice) {
    const said = chart.choices[choice], colours = isDark() ? ON_DARK : ON_LIGHT;
    const traces = said.traces.map((t, i) => ({
      type: chart.bars ? "bar" : "scatter", mode: chart.points ? "markers" : t.x.length > 1 ? "lines" : "markers",
      name: esc(t.name), ...held(chart, t),
      text: t.text ? t.text.map((v) => esc(v).replace(/\n/g, "<br>")) : undefined, fill: undefined, stackgroup: chart.stacked ? "one" : undefined,
      line: { color: colours[i % 7], dash: t.dash ? "dash" : DASHES[Math.floor(i / 7) % 5], shape: t.x.length < 400 ? chart.shape || "linear" : "linear", width: 2 },
      marker: t.shade ? { color: t.shade, colorscale: "Cividis", showscale: true, size: 8, colorbar: { title: { text: esc(t.bar), side: "right" } } }
        : { color: colours[i % 7], size: 7, symbol: i % 20 },
      hovertemplate: chart.told ? "%{text}<extra></extra>" : undefined,
    }));
    Plotly.react(place, traces, layout({
      height: chart.told ? 420 : place.closest(".beside") ? 230 : 300,
      xaxis: { title: { text: lines(said.x || chart.x) } }, barmode: "group",
      yaxis: { title: { text: lines(said.y || chart.y) }, type: chart.log ? "log" : undefined, exponentformat: chart.log ? "power" : "none", separatethousands: true },
      legend: { orientation: "h", y: place.closest(".beside") ? -0.42 : said.x || chart.x ? -0.34 : -0.22, yanchor: "top" },
      showlegend: traces.length > 1, hovermode: chart.points || chart.bars ? "closest" : "x unified",
    }), { ...config, scrollZoom: false });
  }
  const redraws = [];
  for (const i of data.charts.keys()) {
    const place = at(`chart-${i}`), choice = at(`choice-${i}`), picks = ["y", "x", "colour"].map((k) => at(`${k}-${i}`));
    const again = () => {
      const chart = data.charts[i];
      if (chart.columns) return draw(explored(chart, ...picks.map((p) => Number(p.value))), place, 0);
      return draw(chart, place, choice ? choice.selectedIndex : 0);
    };
    for (const control of [choice, ...picks]) if (control) control.addEventListener("change", again);
    redraws.push(again);
  }
  root.addEventListener("fresh", (event) => { // a page that is served is kept fresh by another script
    data.charts = event.detail;
    for (const i of data.charts.keys()) redraws[i]();
  });

  /* A cloud of points out of columns: which is drawn against which, and what gives the colour. */
  function explored(chart, y, x, colour) {
    const of = (c) => chart.columns[c], known = [...chart.text.keys()].filter((k) => of(y).values[k] !== null && of(x).values[k] !== null);
    const parts = new Map(), shades = colour < 0 ? null : of(colour);
    const kinds = shades ? new Set(shades.values) : new Set();
    const scale = shades && kinds.size > ON_LIGHT.length && shades.values.every((v) => v === null || typeof v === "number");
    for (const k of known) {
      const name = shades && !scale ? `${shades.label} ${shades.values[k] ?? "–"}` : "";
      parts.set(name, [...(parts.get(name) || []), k]);
    }
    const told = (k) => [of(y), of(x), ...(shades ? [shades] : [])].map((c) => `${c.label}: ${c.values[k] ?? "–"}`);
    return { points: true, told: true, choices: [{ x: of(x).label, y: of(y).label,
      traces: [...parts].map(([name, rows]) => ({ name, x: rows.map((k) => of(x).values[k]), y: rows.map((k) => of(y).values[k]),
        text: rows.map((k) => [chart.text[k], ...told(k)].join("\n")), shade: scale ? rows.map((k) => shades.values[k]) : null, bar: scale ? shades.label : "" })) }] };
  }

  /* The map. */
  const view = { step: 0, bus: null };
  function feeder() { return data.maps[at("feeder") ? at("feeder").selectedIndex : 0]; }
  function layer() { return feeder().layers.find((l) => l.key === at("layer").value) || feeder().layers[0]; }
  function fillChoice(select, rows) {
    const before = select.value;
    select.replaceChildren(...rows.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
    if (rows.some(([value]) => value === before)) select.value = before;
  }
  function webgl() {
    try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
  }
  const fast = (data.maps || []).some((m) => m.buses.length > MANY) && webgl();

  /* Values of the layer: of one run, or less those of another. */
  async function shown() {
    const l = layer(), run = at("run").value, less = at("less").value;
    const one = await get(l.runs[run] || Object.values(l.runs)[0]);
    if (!less || !l.runs[less]) return one;
    const other = await get(l.runs[less]);
    return { ...one, difference: true, values: one.values.map((v, i) => v - other.values[i]) };
  }
  function range(values) {
    let low = Infinity, high = -Infinity;
    for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    return low > high ? [0, 1] : low === high ? [low - Math.max(1e-3, Math.abs(low) / 1000), high + Math.max(1e-3, Math.abs(high) / 1000)] : [low, high];
  }
  let current = null;
  function lineOf(m, members) {
    const x = [], y = [];
    for (const b of members) {
      const i = m.ends[2 * b], j = m.ends[2 * b + 1];
      x.push(m.x[i], m.x[j], null); y.push(m.y[i], m.y[j], null);
    }
    return { x, y };
  }
  const viridis = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const bright = ["#31688e", "#2c728e", "#26828e", "#21918c", "#1fa088", "#28ae80", "#3fbc73", "#7ad151", "#bddf26", "#fde725"]; // of it what shows on a dark ground
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const bluered = ["#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#eeeeee", "#eeeeee", "#fddbc7", "#f4a582", "#d6604d", "#b2182b"];
  const scaleOf = (colours) => colours.map((c, i) => [i / (colours.length - 1), c]);

  function frame() {
    const { m, l, v, colours } = current, t = Math.min(view.step, v.rows - 1);
    const now = v.values.subarray(t * v.columns, (t + 1) * v.columns);
    let [low, high] = at("own-scale").checked ? range(now) : current.range;
    if (v.difference) { const most = Math.max(Math.abs(low), Math.abs(high), 1e-9); low = -most; high = most; }
    const branch = l.on === "branch", names = branch ? m.names : m.buses;
    const text = Array.from(now, (x, i) => `${esc(names[i])}: ${numbers(x, v.digits)}`);
    return { now: Array.from(now), low, high, branch, text, colours };
  }
  function unitsNow() {
    const { m } = current, p = current.power, t = Math.min(view.step, p.rows - 1);
    const now = Array.from(p.values.subarray(t * p.columns, (t + 1) * p.columns));
    const most = Math.max(1e-9, ...Array.from(p.values, Math.abs).slice(0, 200000).filter(Number.isFinite));
    return {
      size: now.map((kw) => 9 + 26 * Math.sqrt(Math.min(1, Math.abs(kw) / most))),
      text: m.units.map((u, i) => `${esc(u.name)} (${esc(u.label)}): ${numbers(now[i], 1)} kW`),
    };
  }
  function binned(f) {
    const { m } = current, members = Array.from({ length: BINS }, () => []);
    if (f.branch) {
      f.now.forEach((v, b) => {
        if (Number.isFinite(v)) members[Math.max(0, Math.min(BINS - 1, Math.floor((v - f.low) / (f.high - f.low) * BINS)))].push(b);
      });
    }
    return members.map((rows) => lineOf(m, rows));
  }
  const N = { lines: 0, bins: 1, spots: 1 + BINS, sites: 2 + BINS, units: 3 + BINS, source: 4 + BINS, chosen: 5 + BINS };

  let onPaper = false;
  const wide = () => matchMedia("(min-width: 68rem)").matches; // the bus is told of beside the map (page.css)
  async function drawMap() {
    const m = feeder(), l = layer(), v = await shown(), c = look();
    const power = m.powers ? await get(m.powers[at("run").value] || Object.values(m.powers)[0]) : null;
    current = { m, l, v, power, range: range(v.values), colours: v.difference ? bluered : isDark() ? bright : viridis };
    const f = frame(), type = fast ? "scattergl" : "scatter", lines = binned(f);
    const middle = f.branch ? m.names.map((_, b) => [0, 1].map((k) => ((k ? m.y : m.x)[m.ends[2 * b]] + (k ? m.y : m.x)[m.ends[2 * b + 1]]) / 2)) : null;
    const size = Math.max(4, Math.min(13, 160 / Math.sqrt(m.buses.length)));
    const spots = {
      type, mode: "markers", hovertemplate: "%{text}<extra></extra>", text: f.text,
      x: middle ? middle.map((p) => p[0]) : m.x, y: middle ? middle.map((p) => p[1]) : m.y,
      marker: { size: f.branch ? Math.max(3, size * 0.6) : size, color: f.now, cmin: f.low, cmax: f.high, colorscale: scaleOf(f.colours), showscale: true,
        line: { width: m.buses.length > MANY ? 0 : 0.6, color: c.soft },
        colorbar: { title: { text: esc(l.label + (v.difference ? ", difference" : "")), side: "top" }, orientation: "h", y: 1.0, yanchor: "bottom", thickness: 12, len: 0.95, x: 0.5, xanchor: "center", outlinewidth: 0 } },
    };
    const half = (members, symbol) => {
      const u = power ? unitsNow() : { size: [], text: [] };
      return { type: "scatter", mode: "markers", hovertemplate: "%{text}<extra></extra>", customdata: members,
        x: members.map((i) => m.x[m.units[i].bus]), y: members.map((i) => m.y[m.units[i].bus]),
        text: members.map((i) => u.text[i]),
        marker: { symbol, size: members.map((i) => u.size[i]), color: c.text, line: { width: 2, color: c.text } } };
    };
    current.sites = [...m.units.keys()].filter((i) => m.units[i].site && m.units[i].bus >= 0);
    current.others = [...m.units.keys()].filter((i) => !m.units[i].site && m.units[i].bus >= 0);
    const traces = [
      { type, mode: "lines", hoverinfo: "skip", ...lineOf(m, [...m.names.keys()]), line: { color: c.soft, width: 1 } },
      ...lines.map((xy, k) => ({ type, mode: "lines", hoverinfo: "skip", ...xy, visible: f.branch, line: { width: 2 + 0.3 * k, color: f.colours[k] } })),
      spots, { ...half(current.sites, "square-open"), name: "data center" }, { ...half(current.others, "triangle-up-open"), name: "other units" },
      { type: "scatter", mode: "markers", hovertemplate: "substation<extra></extra>", x: m.source.map((i) => m.x[i]), y: m.source.map((i) => m.y[i]),
        marker: { symbol: "star", size: 16, color: c.text } },
      { type: "scatter", mode: "markers", hoverinfo: "skip", x: [], y: [], marker: { symbol: "circle-open", size: size + 12, color: "#D55E00", line: { width: 3 } } },
    ];
    const height = onPaper ? 440 : wide() ? Math.max(460, Math.min(760, window.innerHeight - 140)) : Math.min(620, Math.max(380, window.innerWidth * 0.6));
    at("map").style.height = `${height}px`; // which a change of the window measures
    await Plotly.react("map", traces, layout({
      height, showlegend: false, hovermode: "closest", uirevision: String(at("feeder") ? at("feeder").value : 0),
      margin: { l: 5, r: 5, t: 60, b: 5 }, xaxis: { visible: false }, yaxis: { visible: false, scaleanchor: m.tree ? undefined : "x" },
    }), config);
    mark();
    told();
  }
  /* All that changes with the step, in one call: each call draws anew. What is undefined stays as it is. */
  async function step() {
    const f = frame(), numbersOf = [N.spots], change = { text: [f.text], "marker.color": [f.now], "marker.size": [undefined] };
    if (at("own-scale").checked) Object.assign(change, { "marker.cmin": [f.low], "marker.cmax": [f.high] });
    if (current.power) {
      const u = unitsNow();
      for (const [trace, members] of [[N.sites, current.sites], [N.units, current.others]]) {
        if (!members.length) continue;
        numbersOf.push(trace);
        change.text.push(members.map((i) => u.text[i]));
        change["marker.size"].push(members.map((i) => u.size[i]));
      }
    }
    if (f.branch) {
      const keep = numbersOf.map(() => undefined), lines = binned(f);
      Object.assign(change, { x: [...keep, ...lines.map((l) => l.x)], y: [...keep, ...lines.map((l) => l.y)] });
      lines.forEach((_, k) => numbersOf.push(N.bins + k));
    }
    for (const values of Object.values(change)) while (values.length < numbersOf.length) values.push(undefined);
    await Plotly.restyle("map", change, numbersOf);
    told();
  }
  function told() {
    const { v } = current;
    const time = data.times[view.step] || "";
    at("time").textContent = time;
    at("step").setAttribute("aria-valuetext", time);
    let words = "";
    if (v.difference) {
      const most = v.values.reduce((a, b) => Math.max(a, Math.abs(b) || 0), 0);
      words = most < 0.51 * 10 ** -v.digits ? `${at("run").value} and ${at("less").value} coincide here in every step.`
        : `${at("run").value} less ${at("less").value}: at most ${numbers(most, v.digits)} apart over all steps.`;
    }
    at("told").textContent = words;
    at("paper").textContent = [at("run").value, at("less").value && `less ${at("less").value}`, time].filter(Boolean).join(" ");
    root.dataset.shown = `${view.step}`;
  }
  function mark() {
    const { m } = current, i = m.buses.indexOf(view.bus);
    Plotly.restyle("map", { x: [i < 0 ? [] : [m.x[i]]], y: [i < 0 ? [] : [m.y[i]]] }, [N.chosen]);
  }

  /* What is known of one bus. */
  async function tell() {
    const { m } = current, i = m.buses.indexOf(view.bus);
    if (at("bus-panel").hidden !== i < 0) {
      at("bus-panel").hidden = i < 0;
      Plotly.Plots.resize("map"); // which has less room, or more
    }
    if (i < 0) return;
    at("bus-name").textContent = view.bus;
    await tellNow();
    const x = data.iso, series = async (p, column) => { const a = await get(p); return x.map((_, t) => a.values[t * a.columns + column]); };
    const put = (id, y, traces, more) => {
      at(id).parentElement.hidden = !traces.length;
      if (traces.length) draw({ choices: [{ traces }], x: "", y, shape: "hv", ...more }, at(id), 0);
    };
    const parts = m.parts ? await Promise.all(Object.entries(m.parts).map(async ([name, p]) => ({ name, x, y: await series(p, i) }))) : [];
    put("bus-price", "USD/MWh", parts, {});
    const volts = [];
    if (m.nodes) for (const [k, bus] of m.nodes.entries()) if (bus === i) volts.push({ name: m.phases[k], x, y: await series(m.voltages, k) });
    const limit = volts.length ? m.limits.map((lim, k) => ({ name: k ? "highest allowed" : "lowest allowed", dash: true, x: [x[0], endOf(x) ?? x[x.length - 1]], y: Array(2).fill(Array.isArray(lim) ? lim[i] : lim) })) : [];
    put("bus-voltage", "pu", [...volts, ...limit], {});
    const powers = [];
    if (m.powers) for (const [run, p] of Object.entries(m.powers)) for (const [k, u] of m.units.entries()) if (u.bus === i) powers.push({ name: Object.keys(m.powers).length > 1 ? `${u.name}, ${run}` : u.name, x, y: await series(p, k) });
    const apart = []; // runs that coincide share a curve, which bears all their names
    for (const p of powers) {
      const all = powers.flatMap((q) => q.y).filter(Number.isFinite);
      const near = Math.max(SAME * (Math.max(...all) - Math.min(...all)), 1e-9);
      const same = apart.find((q) => q.y.every((v, t) => Math.abs(v - p.y[t]) <= near || (Number.isNaN(v) && Number.isNaN(p.y[t]))));
      if (same) same.name += ` = ${p.name}`; else apart.push(p);
    }
    put("bus-power", "kW", apart, {});
    const curves = m.curves ? await Promise.all(Object.entries(m.curves.means).map(async ([name, p]) => {
      const a = await get(p);
      return { name: name === "none" ? "nothing beside the site" : name, x: m.curves.share, y: Array.from(a.values.subarray(i * a.columns, (i + 1) * a.columns)) };
    })) : [];
    put("bus-curve", "kW", curves.filter((c) => c.y.some(Number.isFinite)), { x: "share of the time in %", shape: "linear" });
    root.dataset.told = view.bus;
  }
  /* Its values at the step shown. */
  async function tellNow() {
    const { m } = current, i = m.buses.indexOf(view.bus), rows = [];
    for (const l of i < 0 ? [] : m.layers) {
      if (l.on !== "bus") continue;
      const runs = Object.keys(l.runs), row = [l.label];
      if (!rows.length && runs.length > 1) rows.push(["", ...runs]);
      for (const a of await Promise.all(Object.values(l.runs).map(get))) row.push(numbers(a.values[Math.min(view.step, a.rows - 1) * a.columns + i], a.digits));
      rows.push(row);
    }
    at("bus-now").replaceChildren(...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((text, k) => Object.assign(document.createElement("td"), { textContent: text, className: k ? "number" : "" })));
      return row;
    }));
  }
  /* A bus to begin with: of the data center that draws most, else the one of the least value; of many buses none. */
  async function begin() {
    const { m, v, power } = current;
    if (m.buses.length > MANY) return choose(null);
    const sums = power ? current.sites.map((u) => power.values.reduce((sum, kw, k) => (k % power.columns === u ? sum + Math.abs(kw) : sum), 0)) : [];
    if (sums.length) return choose(m.buses[m.units[current.sites[sums.indexOf(Math.max(...sums))]].bus]);
    const first = current.l.on === "bus" ? Array.from(v.values.subarray(0, v.columns)) : [];
    const least = first.filter(Number.isFinite).reduce((a, b) => Math.min(a, b), Infinity);
    return choose(m.buses[first.indexOf(least)] ?? null);
  }
  function choose(bus) {
    view.bus = bus; at("bus").value = bus ?? "";
    mark();
    return tell();
  }

  if (data.maps && data.maps.length) {
    const slider = at("step");
    slider.max = String(Math.max(0, data.times.length - 1));
    const fill = () => {
      const m = feeder(), runs = Object.keys(m.layers[0].runs);
      fillChoice(at("layer"), m.layers.map((l) => [l.key, l.label]));
      fillChoice(at("run"), runs.map((r) => [r, r]));
      fillChoice(at("less"), [["", "nothing"], ...runs.map((r) => [r, r])]);
      if (runs.includes(data.less)) at("less").value = data.less;
      for (const id of ["run", "less"]) at(id).parentElement.hidden = runs.length < 2;
      const list = document.createDocumentFragment();
      for (const b of m.buses) list.append(Object.assign(document.createElement("option"), { value: b }));
      at("buses").replaceChildren(list);
      at("tree").hidden = !m.tree;
    };
    let busy = false, again = false;
    const move = async () => {
      view.step = Number(slider.value);
      if (busy) { again = true; return; }
      busy = true;
      do { again = false; await step(); await tellNow(); } while (again);
      busy = false;
    };
    slider.addEventListener("input", move);
    for (const id of ["layer", "run", "less", "own-scale"]) at(id).addEventListener("change", async () => { await drawMap(); if (view.bus !== null) await tell(); });
    if (at("feeder")) at("feeder").addEventListener("change", async () => { fill(); view.bus = null; await drawMap(); await begin(); });
    at("bus").addEventListener("change", () => choose(feeder().buses.includes(at("bus").value) ? at("bus").value : null));
    let timer = null;
    const play = at("play");
    play.addEventListener("click", () => {
      if (timer) { clearInterval(timer); timer = null; } else {
        timer = setInterval(() => { if (!busy) { slider.value = String((Number(slider.value) + 1) % data.times.length); move(); } }, 500);
      }
      play.textContent = timer ? "Pause" : "Play";
      play.setAttribute("aria-pressed", String(Boolean(timer)));
    });
    fill();
    await drawMap();
    at("map").on("plotly_click", (event) => {
      const p = event.points[0], m = feeder(), branch = current.l.on === "branch";
      if (p.curveNumber === N.spots) choose(m.buses[branch ? m.ends[2 * p.pointIndex + 1] : p.pointIndex]);
      if (p.curveNumber === N.sites || p.curveNumber === N.units) choose(m.buses[m.units[p.data.customdata[p.pointIndex]].bus]);
    });
    redraws.push(async () => { await drawMap(); if (view.bus !== null) await tell(); });
  }
  root.dataset.ready = "map";
  if (current) await begin();
  root.dataset.milliseconds = String(Math.round(performance.now()));

  /* Dark or light: as the system is, until somebody chooses. */
  const paint = async () => { for (const again of redraws) await again(); };
  at("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    paint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  at("print").addEventListener("click", () => window.print());
  /* On paper: light, and the map no higher than leaves room for its head. */
  let theme = "";
  window.addEventListener("beforeprint", () => { onPaper = true; theme = root.dataset.theme; root.dataset.theme = "light"; paint(); });
  window.addEventListener("afterprint", () => { onPaper = false; if (theme) root.dataset.theme = theme; else delete root.dataset.theme; paint(); });
  for (const [i] of data.charts.entries()) redraws[i]();
  root.dataset.ready = "all";
})().catch((error) => {
  document.documentElement.dataset.failed = String(error);
  document.getElementById("broken").hidden = false;
  document.getElementById("broken").append(` (${error})`);
});
