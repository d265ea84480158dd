"use strict";
/* The page is complete without this script. It adds, each by itself: sorting, filtering, histograms, whole printing.
   Names of tensors come from strangers' models: they are only ever set as text. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  document.documentElement.classList.add("ready");
  document.querySelectorAll("table.sortable, #tensor-table").forEach(sortable);
  printable();
  const table = document.getElementById("tensor-table");
  if (!table) return;
  const rows = Array.from(table.tBodies[0].rows);
  const unfilter = filterable();
  openable();

  function make(tag, attributes = {}, text = null, space = null) {
    const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== null) made.textContent = text;
    return made;
  }
  function draw(parent, tag, attributes, text = null) {
    return parent.appendChild(make(tag, attributes, text, SVG));
  }
  function headers(of) {
    return Array.from(of.tHead.rows[of.tHead.rows.length - 1].cells);
  }
  function number(cell) {
    const text = cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
    if (/^-?inf$/.test(text)) return text === "inf" ? Infinity : -Infinity;
    const value = parseFloat(text.replace(/,/g, "").replace("−", "-"));
    return Number.isNaN(value) ? null : value;
  }

  /* ---- printing: what is folded is opened for the paper and folded again after it ---- */
  function printable() {
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = Array.from(document.querySelectorAll("details:not([open])"));
      opened.forEach((made) => { made.open = true; });
    });
    window.addEventListener("afterprint", () => opened.forEach((made) => { made.open = false; }));
  }

  /* ---- sorting: a button in every column's head; what is not known comes last either way ---- */
  function sortable(found) {
    const body = found.tBodies[0], all = Array.from(body.rows), heads = headers(found);
    function sort(head, column) {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const parts = document.createDocumentFragment();
      for (const row of all.slice().sort(order(column, head.classList.contains("n"), down ? -1 : 1))) {
        parts.append(row);
        if (row.panel) parts.append(row.panel);
      }
      body.append(parts);
    }
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(head, column));
      head.append(button);
      if (!head.hasAttribute("aria-sort")) head.setAttribute("aria-sort", "none");
    });
  }
  function order(column, numeric, sign) {
    const collator = new Intl.Collator("en", { numeric: true });
    const key = (row) => (numeric ? number(row.cells[column]) : row.cells[column].textContent.trim());
    const none = (value) => value === null || value === "" || value === "–";
    return (one, two) => {
      const a = key(one), b = key(two);
      if (none(a) || none(b)) return none(a) - none(b);
      if (numeric) return a === b ? 0 : sign * (a < b ? -1 : 1);
      return sign * collator.compare(a, b);
    };
  }

  /* ---- filtering: words of any text column, a limit in dB, a role ---- */
  function filterable() {
    const form = document.getElementById("filter"), heads = headers(table);
    const wanted = (name) => (document.getElementById("filter-" + name) || { value: "" }).value;
    const worded = heads.flatMap((head, i) => (head.classList.contains("n") ? [] : [i]));
    const measured = ["Own", "Expected"].map((name) => heads.findIndex((head) => head.textContent.trim() === name)).filter((i) => i >= 0);
    const known = new Map(rows.map((row) => [row, {
      text: worded.map((i) => row.cells[i].textContent).join(" ").toLowerCase(),
      db: measured.map((i) => number(row.cells[i])).find((db) => db !== null),
    }]));
    function filter() {
      const words = wanted("text").toLowerCase().split(/\s+/).filter(Boolean), role = wanted("role");
      const limit = wanted("db") === "" ? Infinity : Number(wanted("db"));
      let shown = 0;
      for (const row of rows) {
        const { text, db } = known.get(row);
        const kept = words.every((word) => text.includes(word)) && (!role || row.dataset.role === role) && (limit === Infinity || db < limit);
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
    return () => { form.reset(); filter(); };
  }

  /* ---- a tensor's histogram, below its row ---- */
  function openable() {
    let stored = null;
    const panels = () => table.querySelectorAll(".panel");
    const fit = () => panels().forEach((made) => { made.style.width = `${table.parentNode.clientWidth}px`; });
    const button = (row) => row.querySelector("button");
    function toggle(row) {
      stored = stored || JSON.parse(document.getElementById("histograms").textContent);
      const open = !row.panel;
      if (open) {
        row.panel = panel(row, stored);
        row.after(row.panel);
      } else {
        row.panel.remove();
        row.panel = null;
      }
      button(row).setAttribute("aria-expanded", String(open));
      if (open) button(row).setAttribute("aria-controls", row.id + "-detail");
      else button(row).removeAttribute("aria-controls");
      fit();
    }
    function reveal(row) {
      if (row.hidden) unfilter();
      if (!row.panel) toggle(row);
      row.scrollIntoView({ block: "center" });
      button(row).focus({ preventScroll: true });
    }
    for (const row of rows) {
      const cell = row.querySelector("th"), made = make("button", { type: "button", "aria-expanded": "false" });
      made.append(...cell.childNodes);
      cell.append(made);
    }
    table.addEventListener("click", (event) => {
      const row = event.target.closest("tr[id]");
      const marking = !event.target.closest("button") && String(window.getSelection());
      if (!rows.includes(row) || marking) return;
      toggle(row);
      button(row).focus({ preventScroll: true });
    });
    table.addEventListener("keydown", (event) => {
      const row = rows.find((one) => one.panel && (one.contains(event.target) || one.panel.contains(event.target)));
      if (event.key !== "Escape" || !row) return;
      toggle(row);
      button(row).focus();
    });
    document.addEventListener("click", (event) => {
      const mark = event.target.closest(".chart [data-tensor], a[href^='#t']");
      const row = mark && document.getElementById(mark.dataset.tensor ? "t" + mark.dataset.tensor : mark.hash.slice(1));
      if (!rows.includes(row)) return;
      event.preventDefault();
      reveal(row);
    });
    window.addEventListener("resize", fit);
  }
  function panel(row, stored) {
    const found = stored.tensors[row.id.slice(1)] || { t: [] }, name = row.querySelector("th").textContent;
    const made = make("tr", { class: "detail", id: row.id + "-detail" }), cell = make("td", { colspan: row.cells.length });
    const inner = make("div", { class: "panel", role: "group", "aria-label": "Histogram and thresholds of " + name });
    if (found.c) inner.append(histogram(found, stored, name));
    else inner.append(make("p", {}, "No histogram of this tensor was kept, or it holds nothing but zeros."));
    if (found.t.length) inner.append(costs(found, stored));
    if (found.c) {
      const zeros = found.z === null ? "" : `, ${found.z.toLocaleString("en")} of them exactly 0 (not drawn)`;
      inner.append(make("p", {}, `${found.n.toLocaleString("en")} values${zeros}. Escape closes.`));
    }
    cell.append(inner);
    made.append(cell);
    return made;
  }

  /* thresholds: [method, amax, clipped share, expected dB], the method's place in `stored.methods` */
  function histogram(found, stored, name) {
    const lanes = found.t.length, top = 12 + 15 * lanes, bottom = top + 170, left = 44, right = 690;
    const svg = make("svg", { viewBox: `0 0 700 ${bottom + 40}`, role: "img" }, null, SVG);
    svg.setAttribute("aria-label", `Histogram of the magnitudes of ${name} with the thresholds of ${lanes} methods`);
    const stop = Math.max(found.s, Math.min(Math.max(0, ...found.t.map((line) => line[1])), 1.25 * found.s));
    const most = Math.max(1, Math.ceil(Math.log10(Math.max(...found.c) + 1)));
    const x = (value) => left + (value / stop) * (right - left);
    const y = (count) => bottom - (Math.log10(count + 1) / most) * (bottom - top);
    levels(svg, y, most, left, right);
    const steps = found.c.map((count, i) => `V${y(count).toFixed(1)}H${x(((i + 1) * found.s) / found.c.length).toFixed(1)}`);
    draw(svg, "path", { class: "bars", d: `M${left} ${bottom}${steps.join("")}V${bottom}Z` });
    const chosen = found.t.find((line) => line[0] === stored.chosen);
    if (chosen && chosen[1] < found.s) {
      draw(svg, "rect", { class: "beyond", x: x(chosen[1]), y: top, width: x(found.s) - x(chosen[1]), height: bottom - top });
    }
    found.t.slice().sort((one, two) => two[1] - one[1]).forEach((line, lane) => threshold(svg, line, lane, stored, {
      place: Math.min(x(line[1]), right), outside: line[1] > stop, bottom,
    }));
    for (let i = 0; i <= 5; i += 1) {
      draw(svg, "text", { x: x((stop * i) / 5), y: bottom + 17, "text-anchor": i === 5 ? "end" : "middle" }, short((stop * i) / 5));
    }
    draw(svg, "line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom });
    draw(svg, "text", { x: (left + right) / 2, y: bottom + 35, "text-anchor": "middle" }, "|x| in the tensor's unit; height: number of values, log scale");
    return svg;
  }
  function levels(svg, y, most, left, right) {
    for (let power = 0; power <= most; power += Math.ceil(most / 6)) {
      const place = y(10 ** power - 1 + (power > 0));
      draw(svg, "line", { class: "grid", x1: left, x2: right, y1: place, y2: place });
      draw(svg, "text", { x: left - 6, y: place + 4, "text-anchor": "end" }, power === 0 ? "0" : power < 4 ? String(10 ** power) : "1e" + power);
    }
  }
  function threshold(svg, [method, amax], lane, stored, { place, outside, bottom }) {
    const chosen = method === stored.chosen, kind = `m${method % 7}${chosen ? " strong" : ""}`, height = 14 + 15 * lane;
    const dash = chosen ? "none" : ["6 3", "2 3", "8 3 2 3", "4 4", "1 2"][method % 5], late = place > 350;
    draw(svg, "line", { class: `threshold ${kind}`, x1: place, x2: place, y1: height - 8, y2: bottom, "stroke-dasharray": dash });
    const label = `${stored.methods[method]}: ${short(amax)}${outside ? " →" : ""}`;
    draw(svg, "text", { class: `m ${kind}`, x: late ? place - 6 : place + 6, y: height, "text-anchor": late ? "end" : "start" }, label);
  }
  function costs(found, stored) {
    const made = make("table"), head = made.createTHead().insertRow(), inner = made.createTBody();
    made.createCaption().textContent = "What each threshold costs, as the histogram tells it";
    for (const name of ["Method", "Threshold", "Clipped", "SQNR, dB"]) head.append(make("th", { scope: "col", class: name === "Method" ? "" : "n" }, name));
    for (const [method, amax, clipped, db] of found.t) {
      const row = inner.insertRow(), name = make("th", { scope: "row" }, stored.methods[method] + " ");
      if (method === stored.chosen) {
        row.className = "chosen";
        name.append(make("span", { class: "tag" }, "chosen"));
      }
      row.append(name, ...[short(amax), percent(clipped), decibel(db)].map((text) => make("td", { class: "n" }, text)));
    }
    return made;
  }
  function signed(text) {
    return text.replace("-", "−");
  }
  function short(value) {
    return value === null ? "–" : signed(String(Number(value.toPrecision(4))));
  }
  function decibel(value) {
    return value === null ? "–" : signed(value.toFixed(1));
  }
  function percent(value) {
    if (value === null) return "–";
    return value > 0 && value < 5e-5 ? "< 0.01 %" : (value * 100).toFixed(2) + " %";
  }
})();
