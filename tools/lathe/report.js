// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");

/** An element with attributes and children; all text is text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit + 1 < units.length) {
    count /= 1000;
    ++unit;
  }
  return `${unit && count < 9.995 ? count.toFixed(2) : unit && count < 99.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

const number = value => value === null ? "∞" : Math.abs(value) >= 0.001 || value === 0 ? value.toPrecision(4) : value.toExponential(2);

/**
 * A table that shows the first rows of those that pass a filter: a model may have thousands.
 * columns: [{title, kind, cell: row => text or element}]
 */
function table(columns, rows, id) {
  const body = make("tbody");
  const more = make("button", {type: "button"});
  const count = make("p", {class: "soft", id: `${id}-count`});
  let shown = 0, chosen = rows;
  function show(upTo) {
    for (; shown < Math.min(upTo, chosen.length); ++shown) {
      body.append(make("tr", {}, ...columns.map(column =>
        make("td", {class: column.kind || "", "data-label": column.title}, column.cell(chosen[shown])))));
    }
    more.hidden = shown === chosen.length;
    more.textContent = `show ${Math.min(200, chosen.length - shown)} more`;
    count.textContent = `${chosen.length} of ${rows.length}`;
  }
  more.addEventListener("click", () => show(shown + 200));
  function filter(passes) {
    chosen = rows.filter(passes);
    shown = 0;
    body.replaceChildren();
    show(200);
  }
  show(200);
  const head = make("tr", {}, ...columns.map(column => make("th", {class: column.kind === "number" ? "number" : ""}, column.title)));
  return {filter, element: make("div", {}, count,
    make("div", {class: "scroll"}, make("table", {class: "stack", id}, make("thead", {}, head), body)), more)};
}

/** Choices and a search field over a table. choices: [[label, row => value]] */
function filtered(rows, shown, choices, textOf) {
  const selects = choices.map(([label, valueOf]) => {
    const select = make("select", {"aria-label": label}, make("option", {value: ""}, `every ${label}`));
    for (const value of [...new Set(rows.map(valueOf))].sort()) {
      select.append(make("option", {value}, value));
    }
    return [select, valueOf];
  });
  const search = make("input", {type: "search", placeholder: "search", "aria-label": "search"});
  const update = () => {
    const wanted = search.value.toLowerCase();
    shown.filter(row => selects.every(([select, valueOf]) => !select.value || select.value === valueOf(row)) &&
      textOf(row).toLowerCase().includes(wanted));
  };
  for (const element of [...selects.map(([select]) => select), search]) {
    element.addEventListener("input", update);
  }
  return make("div", {class: "filters"}, ...selects.map(([select]) => select), search);
}

function section(title, ...children) {
  page.append(make("section", {}, make("h2", {}, title), ...children));
}

const options = report.options || {};
document.title = `${options.input || "model"} · Lathe`;
page.append(make("h1", {}, options.input || "model"),
  make("p", {class: "soft"}, `lathe ${report.lathe} ${report.command} · ${(report.targets || []).join(", ")} · ${report.seconds.toFixed(1)} s`));
for (const error of report.errors || []) {
  page.append(make("p", {class: "failed"}, `error[${error.code}]: ${error.message}`));
}
for (const warning of report.warnings || []) {
  page.append(make("p", {class: "missed"}, `warning: ${warning}`));
}
page.append(make("p", {}, (report.digest || []).join(" · ")));
page.append(make("div", {class: "cards"}, ...Object.entries(report.numbers || {}).map(([name, value]) =>
  make("div", {class: "card"}, make("b", {}, name.endsWith("_bytes") ? bytes(value) : value.toLocaleString("en")),
    make("span", {class: "soft"}, name.replace(/_bytes$/, "").replaceAll("_", " "))))));

if ((report.loss || []).length) {
  section("What it costs in exactness", make("p", {class: "soft"}, "against the model without the plan, on the inputs given"),
    table([{title: "output", kind: "code", cell: row => row.output},
           {title: "largest difference", kind: "number", cell: row => number(row.max_abs)},
           {title: "of the largest value", kind: "number", cell: row => row.max_rel === null ? "∞" : `${(100 * row.max_rel).toPrecision(3)} %`},
           {title: "cosine", kind: "number", cell: row => row.cosine === null ? "" : row.cosine.toFixed(6)}], report.loss, "loss").element);
}

const asked = report.compression || [];
if (asked.length) {
  const nameOf = row => row.kind === "layer" ? `layer ${row.names[0]}` : row.names.join(" + ");
  const shown = table([{title: "weight or layer", kind: "code", cell: nameOf},
    {title: "requested", kind: "code short", cell: row => row.requested},
    {title: "became", cell: row => make("span", {class: row.done ? "passed" : "missed"}, row.became)},
    {title: "before", kind: "number", cell: row => bytes(row.bytes_before)},
    {title: "after", kind: "number", cell: row => bytes(row.bytes_after)},
    {title: "why", cell: row => row.reason || ""}], asked, "compression");
  section("Requested and done",
    filtered(asked, shown, [["kind", row => row.kind], ["outcome", row => row.done ? "done" : "refused"]],
      row => [nameOf(row), row.requested, row.became, row.reason || "", ...row.nodes].join(" ")), shown.element);
}

const graph = report.graph || {}, profile = report.profile;
const milliseconds = value => value === undefined ? "" : value.toPrecision(3);
const percent = value => value === undefined ? "" : `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;

/** What became of nodes, in the order in which one counts before the others. */
const outcomes = {
  out: "left out",
  changed: "its weight in another form",
  refused: "asked for and refused, or not fused",
  fused: "in a kernel with others",
  kept: "a kernel of its own",
  folded: "in no kernel: folded, or named after others",
};

const nodes = graph.nodes || [], kernels = new Map((report.kernels || []).map(kernel => [kernel.name, kernel]));
const functions = new Map((graph.functions || []).map(f => [f.name, f]));
const times = new Map((profile ? profile.kernels : []).map(row => [row.name, row]));
const nodeOf = new Map();
nodes.forEach((node, number) => nodeOf.has(node.name) || nodeOf.set(node.name, number));

/** The number of the layer of most of some nodes that are in one, or -1: what is compiled once may begin within a layer. */
function layerOf(names) {
  const counts = new Map();
  for (const name of names) {
    const layer = nodeOf.has(name) ? nodes[nodeOf.get(name)].layer : undefined;
    layer === undefined || counts.set(layer, (counts.get(layer) || 0) + 1);
  }
  return [...counts].reduce((most, one) => one[1] > most[1] ? one : most, [-1, 0])[0];
}

/** Sets the outcome of every node, and its kernel; nodes of layers that are alike have the same. */
(function findOutcomes() {
  const kernelOf = new Map(), alive = new Set(), of = {changed: new Set(), refused: new Set(), out: new Set()};
  const first = number => nodes[number].like === undefined ? number : nodes[number].like;
  for (const kernel of kernels.values()) {
    for (const name of kernel.nodes.filter(n => nodeOf.has(n))) {
      alive.add(name);
      kernelOf.has(first(nodeOf.get(name))) || kernelOf.set(first(nodeOf.get(name)), kernel);
    }
  }
  for (const f of functions.values()) {
    f.steps.forEach(step => (step.nodes || []).forEach(name => alive.add(name)));
  }
  for (const entry of asked) {
    const set = !entry.done ? of.refused : entry.kind === "layer" ? of.out : of.changed;
    entry.nodes.forEach(name => set.add(name));
  }
  (report.remarks || []).filter(r => r.kind === "missed" && r.node).forEach(r => of.refused.add(r.node));
  nodes.forEach((node, number) => {
    node.kernel = alive.has(node.name) ? kernelOf.get(first(number)) : undefined;
    node.outcome = of.out.has(node.name) && !alive.has(node.name) ? "out"
      : of.changed.has(node.name) ? "changed"
      : of.refused.has(node.name) ? "refused"
      : !node.kernel ? "folded" : node.kernel.nodes.length > 1 ? "fused" : "kept";
  });
})();

/** The time of one call of a kernel, in ms. */
function callTime(name) {
  const row = times.get(name);
  return row && row.ms_per_run / row.calls_per_run;
}

/** What runs, in order: launches, and calls of layers with the launches in them; each with its layer, or -1. */
const main = functions.get("main") || {steps: []};
const calls = main.steps.map((step, number) => {
  const inner = step.layer === undefined ? [step] : (functions.get(step.layer) || {steps: []}).steps;
  const names = step.layer === undefined ? (kernels.get(step.kernel) || {nodes: []}).nodes : step.nodes;
  return {step, number, inner, layer: layerOf(names)};
});

/** Time and the least time that the roof allows, summed over launches. */
function addUp(steps) {
  const rows = steps.map(step => [callTime(step.kernel), times.get(step.kernel)]).filter(([ms]) => ms !== undefined);
  const ms = rows.reduce((sum, [own]) => sum + own, 0);
  const known = rows.filter(([, row]) => row.roof_share !== undefined);
  const least = known.reduce((sum, [own, row]) => sum + own * row.roof_share, 0);
  return rows.length ? {ms, roof: known.length === rows.length && ms > 0 ? least / ms : undefined} : {};
}

if (profile) {
  const dims = Object.entries(profile.inputs || {}).map(([name, sizes]) => `${name} [${sizes.join(", ")}]`);
  section("Time of a run",
    make("p", {class: "soft"}, `${milliseconds(profile.ms_per_run)} ms, ${milliseconds(profile.ms_in_kernels)} of it in kernels; ` +
      `${profile.threads} thread${profile.threads > 1 ? "s" : ""}; ${dims.join(", ")}; roof ${number(profile.roof_gflops)} GFLOP/s, ` +
      `${number(profile.roof_gb_per_second)} GB/s from memory`),
    table([{title: "kernel", kind: "code", cell: row => row.name},
           {title: "layers", kind: "number", cell: row => row.layers},
           {title: "ms", kind: "number", cell: row => milliseconds(row.ms_per_run)},
           {title: "of the run", kind: "number", cell: row => percent(row.share)},
           {title: "of the roof", kind: "number", cell: row => percent(row.roof_share)},
           {title: "bound by", cell: row => row.bound},
           {title: "nodes", kind: "code", cell: row => row.nodes.slice(0, 3).join(", ") + (row.nodes.length > 3 ? " …" : "")}],
      profile.kernels, "kernels").element);
}

const stored = graph.weights || [];
if (graph.layers) {
  const rows = Array.from({length: graph.layers}, (_, layer) => {
    const own = stored.filter(weight => (weight.layers || []).includes(layer));
    const entries = asked.filter(entry => entry.kind === "layer" && entry.names[0] === String(layer));
    return {layer, count: nodes.filter(node => node.layer === layer).length,
            bytes: own.reduce((sum, weight) => sum + weight.bytes, 0),
            formats: [...new Set(own.map(weight => weight.format))].join(", "),
            became: entries.map(entry => entry.done ? `${entry.requested} left out` : `${entry.requested} kept: ${entry.reason}`).join("; "),
            ...addUp(calls.filter(call => call.layer === layer).flatMap(call => call.inner))};
  });
  section("Layers", ...(profile ? [make("p", {class: "soft"}, "Equal layers share their kernels: each has an equal part of their time.")] : []),
    table([{title: "layer", kind: "number", cell: row => row.layer}, {title: "nodes", kind: "number", cell: row => row.count},
           {title: "weights", kind: "number", cell: row => bytes(row.bytes)}, {title: "stored as", kind: "code short", cell: row => row.formats},
           {title: "ms", kind: "number", cell: row => milliseconds(row.ms)},
           {title: "of the roof", kind: "number", cell: row => percent(row.roof)},
           {title: "skipped", cell: row => row.became}], rows, "layers").element);
}

if (stored.length) {
  const timeOf = weight => addUp((weight.kernels || []).map(kernel => ({kernel})));
  const shown = table([{title: "weight", kind: "code", cell: row => row.names.join(" + ")}, {title: "type", kind: "code short", cell: row => row.type},
    {title: "stored as", kind: "code short", cell: row => row.format}, {title: "bytes", kind: "number", cell: row => bytes(row.bytes)},
    {title: "zeros", kind: "number", cell: row => percent(row.zeros)},
    {title: "layer", kind: "number", cell: row => (row.layers || []).join(", ")},
    {title: "ms of what reads it", kind: "number", cell: row => milliseconds(timeOf(row).ms)},
    {title: "of the roof", kind: "number", cell: row => percent(timeOf(row).roof)}], stored, "weights");
  section("Weights", filtered(stored, shown, [["format", row => row.format]],
    row => [...row.names, row.type, row.format, ...(row.kernels || [])].join(" ")), shown.element);
}

// The graph: nodes or launches in the order of the program, with their edges on rails beside them, layer by layer.

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(document.getElementById("svg").namespaceURI, tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

const railStep = 10, mostRails = 12;

/**
 * For every row the rails of values that pass it, of which only the first are drawn. inputs: for each row, rows before it;
 * leaves: whether others than these rows read its result.
 */
function layRails(inputs, leaves) {
  const last = inputs.map((_, row) => leaves[row] ? inputs.length : row), rails = [];
  inputs.forEach((list, row) => list.forEach(from => { last[from] = Math.max(last[from], row); }));
  return inputs.map((list, row) => {
    const read = new Set(list), before = rails.slice(0, mostRails);
    const incoming = [];
    rails.forEach((from, rail) => {
      if (read.has(from)) {
        incoming.push(rail);
      }
      if (from >= 0 && last[from] <= row) {
        rails[rail] = -1;
      }
    });
    let own = incoming.find(rail => rails[rail] < 0);
    own = own === undefined ? rails.indexOf(-1) : own;
    own = own < 0 ? rails.length : own;
    rails[own] = last[row] > row ? row : -1;
    while (rails.length && rails[rails.length - 1] < 0) {
      rails.pop();
    }
    return {before, incoming, own, after: rails.slice(0, mostRails)};
  });
}

function drawRails(row, width, outcome) {
  const x = rail => railStep * (Math.min(rail, mostRails) + 0.5), middle = 14;
  const line = (x1, y1, x2, y2) => draw("line", {class: "line", x1, y1, x2, y2});
  const svg = draw("svg", {"aria-hidden": "true"});
  row.before.forEach((from, rail) => {
    if (from >= 0 && (row.after[rail] === from || !row.incoming.includes(rail))) {
      svg.append(line(x(rail), 0, x(rail), middle));
    }
  });
  row.incoming.forEach(rail => svg.append(line(x(rail), 0, x(row.own), middle)));
  row.after.forEach((from, rail) => from >= 0 && svg.append(line(x(rail), middle, x(rail), "100%")));
  svg.append(draw("circle", {class: `node of-${outcome}`, cx: x(row.own), cy: middle, r: 4}));
  return make("span", {class: "rails", style: `width: ${width}px`}, svg);
}

/** Rows of a group, drawn when it is opened, some at a time. rows: [{title, what, time, outcome, inputs, leaves}] */
function fillGroup(element, rows) {
  const laid = layRails(rows.map(row => row.inputs), rows.map(row => row.leaves));
  const used = Math.max(...laid.map(row => Math.max(row.own + 1, row.before.length, row.after.length)), 1);
  const width = railStep * Math.min(used, mostRails + 1);
  const more = make("button", {type: "button"});
  let shown = 0;
  function show() {
    for (const end = Math.min(shown + 200, rows.length); shown < end; ++shown) {
      const row = rows[shown];
      more.before(make("div", {class: "row", title: outcomes[row.outcome]}, drawRails(laid[shown], width, row.outcome),
        make("div", {}, make("code", {}, row.title), make("span", {class: "soft"}, ` ${row.what}`)),
        ...(row.time === undefined ? [] : [make("div", {class: "time"}, `${milliseconds(row.time)} ms`)])));
    }
    more.hidden = shown === rows.length;
    more.textContent = `show ${Math.min(200, rows.length - shown)} more`;
  }
  more.addEventListener("click", show);
  element.append(more);
  show();
}

function countOutcomes(rows) {
  const counts = Object.fromEntries(Object.keys(outcomes).map(name => [name, 0]));
  rows.forEach(row => ++counts[row.outcome]);
  return Object.entries(counts).filter(([, count]) => count);
}

/** A group that can be opened. */
function group(title, rows) {
  const time = rows.every(row => row.time === undefined) ? "" : ` · ${milliseconds(rows.reduce((sum, row) => sum + (row.time || 0), 0))} ms`;
  const strip = make("div", {class: "strip"}, ...countOutcomes(rows).map(([name, count]) =>
    make("span", {class: `of-${name}`, style: `flex: ${count}`, title: `${count} ${outcomes[name]}`})));
  const element = make("details", {}, make("summary", {}, title, make("span", {class: "soft"}, ` ${rows.length}${time}`), strip));
  element.addEventListener("toggle", () => element.open && element.children.length === 1 && fillGroup(element, rows));
  return element;
}

/** Rows with numbers of others as inputs become groups: inputs in the same group, and whether others read a row. */
function groupRows(rows, keyOf) {
  const groups = new Map(), places = [];
  rows.forEach((row, number) => {
    const key = keyOf(row);
    groups.has(key) || groups.set(key, []);
    places[number] = [key, groups.get(key).length];
    groups.get(key).push(row);
    row.leaves = false;
    const local = [];
    for (const input of row.reads) {
      if (places[input] && places[input][0] === key) {
        local.push(places[input][1]);
      } else if (rows[input]) {
        rows[input].leaves = true;
      }
    }
    row.inputs = local;
  });
  return groups;
}

const firstInLayer = nodes.findIndex(node => node.layer !== undefined);
const before = groupRows(nodes.map((node, number) => ({title: node.name, outcome: node.outcome, reads: node.inputs || [], layer: node.layer, number,
  what: `${node.op} · ${node.outcome === "folded" || node.outcome === "out" ? outcomes[node.outcome]
    : node.kernel ? `${outcomes[node.outcome]} · ${node.kernel.name}` : outcomes[node.outcome]}`})),
  row => row.layer !== undefined ? `layer ${row.layer}` : row.number < firstInLayer || firstInLayer < 0 ? "outside of layers" : "beside and after the layers");

function launchRow(step) {
  const kernel = kernels.get(step.kernel) || {root: "", nodes: []};
  const found = kernel.nodes.map(name => nodes[nodeOf.get(name)]).filter(Boolean).map(node => node.outcome);
  return {title: step.kernel, reads: step.inputs, time: callTime(step.kernel),
          what: `${kernel.root} · ${kernel.nodes.slice(0, 3).join(", ")}${kernel.nodes.length > 3 ? ` and ${kernel.nodes.length - 3} more` : ""}`,
          outcome: found.includes("changed") ? "changed" : found.includes("refused") ? "refused" : kernel.nodes.length > 1 ? "fused" : "kept"};
}

/** Launches as they run: those between two layers are a group, and each call of a layer. */
function after() {
  const groups = [];
  let open;
  for (const call of calls) {
    if (call.step.layer === undefined) {
      const title = call.layer < 0 ? "outside of layers" : `layer ${call.layer}`;
      if (!open || open.title !== title) {
        open = {title, rows: [], numbers: new Map()};
        groups.push(open);
      }
      const row = launchRow(call.step);
      row.reads = row.reads.map(input => open.numbers.get(input)).filter(input => input !== undefined);
      open.numbers.set(call.number, open.rows.length);
      open.rows.push(row);
    } else {
      open = undefined;
      groups.push({title: `${call.layer < 0 ? "a layer" : `layer ${call.layer}`}, as @${call.step.layer}`, rows: call.inner.map(launchRow)});
    }
  }
  return groups.map(({title, rows}) => [title, groupRows(rows, () => title).get(title) || []]);
}

if (nodes.length || calls.length) {
  const all = [...before.values()].flat().sort((a, b) => a.number - b.number);
  const legend = make("div", {class: "legend"}, ...countOutcomes(all).map(([name, count]) =>
    make("span", {}, make("span", {class: `mark of-${name}`}), `${outcomes[name]}: ${count}`)));
  const groups = make("div", {id: "before"}, ...[...before].map(([title, rows]) => group(title, rows)));
  const found = table([{title: "node", kind: "code", cell: row => row.title}, {title: "what became of it", cell: row => row.what}], all, "nodes");
  const search = filtered(all, found, [["outcome of a node", row => outcomes[row.outcome]]], row => `${row.title} ${row.what}`);
  found.element.hidden = true;
  search.addEventListener("input", () => {
    const isSearched = [...search.querySelectorAll("input, select")].some(element => element.value);
    groups.hidden = isSearched;
    found.element.hidden = !isSearched;
  });
  section("The model before", make("p", {class: "soft"}, "nodes as they stand in the file; a line leads from each to those that read it"),
    legend, search, groups, found.element);
  section("The model after", make("p", {class: "soft"}, "kernels in the order in which they run"),
    make("div", {id: "after"}, ...after().map(([title, rows]) => group(title, rows))));
}

// The arena: slots one above the other, from the step that writes a tensor to the last that reads it.

const compute = {"+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => Math.floor(a / b),
                 "ceil/": (a, b) => Math.ceil(a / b), "%": (a, b) => a % b, max: Math.max, min: Math.min,
                 broadcast: (a, b) => a === 1 ? b : a};

/** The value of a formula for sizes of symbols; NaN where it is not known. */
function evaluate(formula, sizes) {
  return formula === null ? NaN : Array.isArray(formula) ? compute[formula[0]](...formula.slice(1).map(part => evaluate(part, sizes)))
    : typeof formula === "string" ? sizes[formula] : formula;
}

/** The bytes of a tensor, or of the arena of a layer; where the slots of a function begin, and behind the last. */
const tenantBytes = (tenant, sizes) => tenant.layer !== undefined ? slotPlaces(functions.get(tenant.layer), sizes).pop()
  : tenant.sizes.reduce((product, size) => product * evaluate(size, sizes), tenant.bytes);
function slotPlaces(f, sizes) {
  const places = [0];
  for (const tenants of f.slots) {
    const largest = Math.max(...tenants.map(tenant => tenantBytes(tenant, sizes)));
    places.push(places[places.length - 1] + Math.ceil(largest / 64) * 64);
  }
  return places;
}

function drawArena(f, sizes) {
  const places = slotPlaces(f, sizes), total = places[places.length - 1];
  const name = f.name === "main" ? "the model" : `layer @${f.name}`;
  const text = `${name}: ${Number.isNaN(total) ? "a size is not known" : bytes(total)} in ${f.slots.length} slots, ${f.tensors.length} tensors`;
  const note = f.buffers ? `, and ${f.buffers} buffer${f.buffers > 1 ? "s" : ""} of sizes that depend on data` : "";
  const shapes = Number.isNaN(total) ? [] : f.tensors.map(tensor => {
    const step = f.steps[tensor.step], own = tenantBytes(tensor, sizes);
    const title = `${step.kernel || `@${step.layer}`}: ${bytes(own)}`;
    return draw("rect", {class: tensor.layer === undefined ? "tensor" : "tensor inner", x: tensor.step, width: tensor.last - tensor.step + 1,
                         y: places[tensor.slot], height: own}, draw("title", {}, title));
  });
  return make("div", {}, make("p", {}, text + note), ...(shapes.length ? [draw("svg", {class: "chart", role: "img", "aria-label": text,
    preserveAspectRatio: "none", viewBox: `0 0 ${f.steps.length} ${Math.max(total, 1)}`}, ...shapes)] : []));
}

if ([...functions.values()].some(f => f.slots.length || f.buffers)) {
  const measured = {};
  for (const input of graph.inputs || []) {
    const sizes = ((profile || {}).inputs || {})[input.name] || [];
    input.dims.forEach((dim, axis) => typeof dim === "string" && sizes[axis] !== undefined && (measured[dim] = sizes[axis]));
  }
  const symbols = graph.symbols || [], typical = 64;
  const sizes = Object.fromEntries(symbols.map(({name, min, max}) => [name, measured[name] || Math.min(Math.max(typical, min), max)]));
  const charts = make("div", {id: "arena"});
  const update = () => charts.replaceChildren(...[...functions.values()].filter(f => f.slots.length || f.buffers).map(f => drawArena(f, sizes)));
  const fields = symbols.map(({name, min, max}) => {
    const field = make("input", {type: "number", min, max, value: sizes[name]});
    field.addEventListener("input", () => {
      if (field.value !== "" && field.checkValidity()) {
        sizes[name] = Number(field.value);
        update();
      }
    });
    return make("label", {}, make("code", {}, name), field);
  });
  update();
  section("Arena", make("p", {class: "soft"}, "from left to right the steps of a run, from top to bottom the bytes; layers have a part of their own"),
    make("div", {class: "filters"}, ...fields), charts);
}

const remarks = report.remarks || [];
const shownRemarks = table([{title: "", cell: row => make("span", {class: row.kind}, row.kind)},
  {title: "pass", kind: "code short", cell: row => row.pass}, {title: "node", kind: "code", cell: row => row.node || ""},
  {title: "what", cell: row => row.message}], remarks, "remarks");
section("What passes did and did not", filtered(remarks, shownRemarks, [["kind", row => row.kind], ["pass", row => row.pass]],
  row => `${row.pass} ${row.node || ""} ${row.message}`), shownRemarks.element);

const phases = report.phases || [];
const longest = Math.max(1, ...phases.map(phase => phase.ms));
section("Time of the compilation", table([{title: "phase", cell: row => row.name},
  {title: "ms", kind: "number", cell: row => row.ms.toFixed(1)},
  {title: "", cell: row => make("div", {class: "bar", style: `width: ${Math.max(0.2, 20 * row.ms / longest)}rem; max-width: 100%`})}],
  phases, "phases").element);
section("Options", make("pre", {class: "scroll"}, make("code", {}, JSON.stringify(options, null, 2))));
