"use strict";
(() => {
  const table = document.getElementById("tensor-table");
  document.documentElement.classList.add("ready");
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((made) => { made.open = true; }));
  if (!table) return;
  const stored = JSON.parse(document.getElementById("histograms").textContent);
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const SVG = "http://www.w3.org/2000/svg";

  /* Names of tensors come from strangers' models: they are only ever set as text. */
  function make(tag, attributes = {}, text = null, space = null) {
    const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== null) made.textContent = text;
    return made;
  }
  const draw = (parent, tag, attributes, text = null) => parent.appendChild(make(tag, attributes, text, SVG));
  const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))).replace("-", "−"));
  const decibel = (value) => (value === null ? "–" : value.toFixed(1).replace("-", "−"));
  function percent(value) {
    if (value === null) return "–";
    return value > 0 && value < 5e-5 ? "< 0.01 %" : (value * 100).toFixed(2) + " %";
  }

  function number(cell) {
    const text = cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
    if (text === "") return null;
    return text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
  }
  function compare(column, numeric, sign) {
    const key = (row) => (numeric ? number(row.cells[column]) : row.cells[column].textContent);
    const collator = new Intl.Collator("en", { numeric: true });
    return (one, two) => {
      const a = key(one), b = key(two);
      if (a === null || b === null) return (a === null) - (b === null);
      if (numeric) return a === b ? 0 : sign * (a < b ? -1 : 1);
      return sign * collator.compare(a, b);
    };
  }
  function sort(header, column) {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = rows.slice().sort(compare(column, header.classList.contains("n"), down ? -1 : 1));
    const parts = document.createDocumentFragment();
    for (const row of order) {
      parts.append(row);
      if (row.panel) parts.append(row.panel);
    }
    body.append(parts);
  }
  Array.from(table.tHead.rows[1].cells).forEach((header, column) => {
    const button = make("button", { type: "button" }, header.textContent);
    button.addEventListener("click", () => sort(header, column));
    header.replaceChildren(button);
  });

  const form = document.getElementById("filter");
  const wanted = (name) => (document.getElementById("filter-" + name) || { value: "" }).value;
  function filter() {
    const words = wanted("text").toLowerCase().split(/\s+/).filter(Boolean);
    const limit = wanted("db") === "" ? null : Number(wanted("db"));
    const role = wanted("role");
    let shown = 0;
    for (const row of rows) {
      const text = [1, 2, 3].map((i) => row.cells[i].textContent).join(" ").toLowerCase();
      const own = number(row.cells[9]), db = own === null ? number(row.cells[8]) : own;
      const kept = words.every((word) => text.includes(word)) && (limit === null || (db !== null && db < limit))
        && (!role || row.dataset.role === role);
      row.hidden = !kept;
      if (row.panel) row.panel.hidden = !kept;
      shown += kept;
    }
    document.getElementById("shown").textContent = `${shown} of ${rows.length} tensors`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter();

  /* thresholds: [method, amax, clipped share, expected dB], in the order of `stored.methods` */
  function histogram(found, name) {
    const lanes = found.t.length, top = 12 + 15 * lanes, bottom = top + 170, left = 44, right = 690;
    const svg = make("svg", { viewBox: `0 0 700 ${bottom + 40}`, role: "img" }, null, SVG);
    svg.setAttribute("aria-label", `Histogram of the magnitudes of ${name} with the thresholds of ${lanes} methods`);
    const stop = Math.max(found.s, Math.min(Math.max(...found.t.map((line) => line[1]), 0), 1.25 * found.s));
    const most = Math.max(1, Math.ceil(Math.log10(Math.max(...found.c) + 1)));
    const x = (value) => left + (value / stop) * (right - left);
    const y = (count) => bottom - (Math.log10(count + 1) / most) * (bottom - top);
    for (let power = 0; power <= most; power += Math.ceil(most / 6)) {
      const place = y(10 ** power - 1 + (power > 0));
      draw(svg, "line", { class: "grid", x1: left, x2: right, y1: place, y2: place });
      draw(svg, "text", { x: left - 6, y: place + 4, "text-anchor": "end" }, power === 0 ? "0" : power < 4 ? String(10 ** power) : "1e" + power);
    }
    let path = `M${left} ${bottom}`;
    found.c.forEach((count, i) => { path += `V${y(count).toFixed(1)}H${x(((i + 1) * found.s) / found.c.length).toFixed(1)}`; });
    draw(svg, "path", { class: "bars", d: path + `V${bottom}Z` });
    const chosen = found.t.find((line) => line[0] === stored.chosen);
    if (chosen && chosen[1] < found.s) {
      draw(svg, "rect", { class: "beyond", x: x(chosen[1]), y: top, width: x(found.s) - x(chosen[1]), height: bottom - top });
    }
    const lines = found.t.slice().sort((one, two) => two[1] - one[1]);
    lines.forEach((line, lane) => threshold(svg, line, lane, Math.min(x(line[1]), right), line[1] > stop, bottom));
    for (let i = 0; i <= 5; i += 1) {
      const anchor = i === 5 ? "end" : "middle";
      draw(svg, "text", { x: x((stop * i) / 5), y: bottom + 17, "text-anchor": anchor }, short((stop * i) / 5));
    }
    draw(svg, "line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom });
    draw(svg, "text", { x: (left + right) / 2, y: bottom + 35, "text-anchor": "middle" }, "|x| in the tensor's unit; height: number of values, log scale");
    return svg;
  }
  function threshold(svg, line, lane, place, outside, bottom) {
    const [method, amax] = line, kind = `m${method % 7}`, strong = method === stored.chosen ? " strong" : "";
    const height = 14 + 15 * lane, dash = method === stored.chosen ? "none" : ["6 3", "2 3", "8 3 2 3", "4 4", "1 2"][method % 5];
    draw(svg, "line", { class: `threshold ${kind}${strong}`, x1: place, x2: place, y1: height - 8, y2: bottom, "stroke-dasharray": dash });
    const late = place > 350, label = `${stored.methods[method]}: ${short(amax)}${outside ? " →" : ""}`;
    draw(svg, "text", { class: `m ${kind}${strong}`, x: late ? place - 6 : place + 6, y: height, "text-anchor": late ? "end" : "start" }, label);
  }

  function costs(found) {
    const made = make("table"), head = made.createTHead().insertRow(), inner = made.createTBody();
    made.createCaption().textContent = "What each threshold costs, as the histogram tells it";
    for (const name of ["Method", "Threshold", "Clipped", "SQNR, dB"]) head.append(make("th", { scope: "col", class: name === "Method" ? "" : "n" }, name));
    for (const [method, amax, clipped, db] of found.t) {
      const row = inner.insertRow(), name = make("th", { scope: "row" }, stored.methods[method] + " ");
      if (method === stored.chosen) {
        row.className = "chosen";
        name.append(make("span", { class: "tag" }, "chosen"));
      }
      row.append(name, make("td", { class: "n" }, short(amax)), make("td", { class: "n" }, percent(clipped)), make("td", { class: "n" }, decibel(db)));
    }
    return made;
  }
  function panel(row) {
    const found = stored.tensors[row.id.slice(1)], name = row.cells[1].textContent;
    const made = make("tr", { class: "detail", id: row.id + "-detail" }), cell = make("td", { colspan: row.cells.length });
    const inner = make("div", { class: "panel" });
    if (found && found.c) inner.append(histogram(found, name));
    else inner.append(make("p", {}, "No histogram of this tensor was kept, or it holds nothing but zeros."));
    if (found && found.t.length) inner.append(costs(found));
    if (found && found.c) {
      const zeros = found.z === null ? "" : `, ${found.z.toLocaleString("en")} of them exactly 0 (not drawn)`;
      inner.append(make("p", {}, `${found.n.toLocaleString("en")} values${zeros}.`));
    }
    cell.append(inner);
    made.append(cell);
    return made;
  }
  function toggle(row) {
    const button = row.querySelector("button"), open = !row.panel;
    if (open) {
      row.panel = panel(row);
      row.after(row.panel);
    } else {
      row.panel.remove();
      row.panel = null;
    }
    button.setAttribute("aria-expanded", String(open));
    if (open) button.setAttribute("aria-controls", row.id + "-detail");
    else button.removeAttribute("aria-controls");
    fit();
  }
  const fit = () => table.querySelectorAll(".panel").forEach((made) => { made.style.width = `${table.parentNode.clientWidth}px`; });
  window.addEventListener("resize", fit);
  for (const row of rows) {
    const cell = row.cells[1], button = make("button", { type: "button", "aria-expanded": "false" });
    button.append(...cell.childNodes);
    cell.append(button);
  }
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[id]");
    if (row && rows.includes(row) && !String(window.getSelection())) toggle(row);
  });
  document.querySelectorAll(".chart [data-tensor]").forEach((mark) => mark.addEventListener("click", () => {
    const row = document.getElementById("t" + mark.dataset.tensor);
    if (row.hidden) { form.reset(); filter(); }
    if (!row.panel) toggle(row);
    row.scrollIntoView({ block: "center" });
    row.querySelector("button").focus({ preventScroll: true });
  }));
})();
