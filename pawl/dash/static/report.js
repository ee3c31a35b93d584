// The report of one or several runs. Every text goes in as text, never as markup.
// pawlReport.run(data) gives the element of one run; data: one of page.py's run_data.
"use strict";
var pawlReport = (function () {
  const figure = pawlCharts.figure;
  const TONES = {
    "INVALID RUN": "bad", FAULT: "bad", "CANNOT TELL": "open", CONVERGED: "done",
    "HEALTHY BUT UNUSUAL": "good", HEALTHY: "good",
  };
  // Control and direction characters, which could disguise a text, are shown as escapes.
  const HIDDEN =
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

  function plain(text) {
    return String(text).replace(HIDDEN, (c) => {
      return "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
    });
  }

  function el(tag, attributes, ...inside) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    for (const one of inside.flat()) {
      if (one === null || one === undefined || one === "") continue;
      node.append(one instanceof Node ? one : plain(one));
    }
    return node;
  }

  function section(title, note, ...inside) {
    const body = inside.flat().filter(Boolean);
    if (!body.length) return null;
    return el("section", {}, el("h2", {}, title), note && el("p", { class: "note" }, note), body);
  }

  function anchor(run, name) {
    return "chart-" + run.index + "-" + run.charts.findIndex((c) => c.name === name);
  }

  function help(p) {
    const rows = [];
    if (p.option) {
      rows.push(["change", el("code", {}, p.name + ": " + (p.before || "?") + " \u2192 " + p.after)]);
    }
    rows.push(["why", p.why], ["expected", p.expected], ["risk", p.risk], ["verify", p.verify]);
    const restart = p.live ? ", without a restart" : ", needs a restart";
    rows.push(["cost", p.cost && p.cost + (p.option ? restart : "")]);
    const list = el("dl", { class: "help" });
    for (const [name, text] of rows) if (text) list.append(el("dt", {}, name), el("dd", {}, text));
    return list;
  }

  function finding(run, f) {
    const charted = f.series.filter((name) => run.charts.some((c) => c.name === name));
    const links = charted.map((name) => el("a", { href: "#" + anchor(run, name) }, name));
    return el(
      "article", { class: "finding " + f.severity },
      el("h3", {}, el("code", { class: "code" }, f.code), " ", f.name,
        el("span", { class: "severity" }, f.severity)),
      el("p", { class: "said" }, f.summary),
      el("p", { class: "place" }, f.place, links.length ? " \u00b7 charts: " : null,
        links.flatMap((a, i) => (i ? [", ", a] : [a]))),
      f.evidence.length ? el("ul", {}, f.evidence.map((text) => el("li", {}, text))) : null,
      f.causes.length
        ? el("p", { class: "causes" }, "points to ",
            f.causes.flatMap(([id], i) => (i ? [", ", el("code", {}, id)] : [el("code", {}, id)])))
        : null,
      f.prescription ? help(f.prescription) : null,
    );
  }

  function cause(c) {
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("span"));
    bar.firstChild.style.width = Math.round(c.weight * 100) + "%";
    const texts = [
      ...c.evidence.map((text) => el("li", {}, text)),
      ...c.against.map((text) => el("li", { class: "against" }, "against: ", text)),
    ];
    return el("li", {}, el("p", {}, bar, el("b", {}, Math.round(c.weight * 100) + "% "),
      el("code", {}, c.id), " ", c.meaning), texts.length ? el("ul", {}, texts) : null);
  }

  function chart(run, c, i) {
    const said = el("span", { class: "value", "aria-live": "polite" },
      "last " + figure(c.y[c.y.length - 1]));
    const words = c.name + ": " + c.of + " points, first " + figure(c.y[0]) + ", last " +
      figure(c.y[c.y.length - 1]) + ", least " + figure(c.y.reduce((a, b) => Math.min(a, b))) +
      ", greatest " + figure(c.y.reduce((a, b) => Math.max(a, b)));
    const plot = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": plain(words) });
    const tall = i === 0 && c.name === run.goal;
    pawlCharts.add(plot, said, c, run.events, "run-" + run.index, tall);
    const shown = c.x.length < c.of ? c.x.length + " extremes of " + c.of + " points" : "";
    const logged = c.source !== c.name ? "logged as " + c.source : "";
    const bad = c.bad.length ? c.bad.length + " not finite" : "";
    return el("figure", { id: "chart-" + run.index + "-" + i, class: tall ? "tall" : "" },
      el("figcaption", {}, el("b", {}, c.name),
        c.unit !== "1" ? el("span", { class: "unit" }, c.unit) : null, said),
      plot,
      el("p", { class: "tells" }, [c.tells, logged, shown, bad].filter(Boolean).join(" \u00b7 ")));
  }

  // A name that may be broken after a slash or an underscore.
  function broken(name) {
    const parts = plain(name).split(/(?<=[/_.])/);
    return parts.flatMap((part, i) => (i ? [el("wbr"), part] : [part]));
  }

  function short(value) {
    return figure(value === null ? null : Number(value.toPrecision(3)));
  }

  function change(m) {
    if (!m.change) return "";
    const [by, low, high] = m.change.map(short);
    const mark = { up: " \u2191", down: " \u2193", none: " noise" }[m.direction] || "";
    return by + " [" + low + ", " + high + "]" + mark;
  }

  function metrics(run) {
    const head = ["metric", "logged as", "unit", "points", "first", "last", "change [95%]", "least",
      "greatest"];
    const number = (i) => (i > 2 ? "number" : "");
    const rows = run.metrics.map((m) => {
      const note = [m.aggregation, m.note, m.bad ? m.bad + " not finite" : "",
        m.known ? "" : "no known meaning"].filter(Boolean).join("; ");
      const source = [...broken(m.source), note ? el("span", { class: "small" }, note) : null];
      const cells = [source, m.unit === "1" ? "" : m.unit, String(m.n), figure(m.first),
        figure(m.last), change(m), figure(m.low), figure(m.high)];
      return el("tr", {}, el("th", { scope: "row" }, broken(m.name)),
        cells.map((text, i) => el("td", { class: number(i + 1) }, text)));
    });
    const heads = head.map((h, i) => el("th", { scope: "col", class: number(i) }, h));
    return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "metrics" },
      el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows)));
  }

  function sample(s) {
    const facts = [["reward", figure(s.reward)], ...s.facts];
    return el("details", { class: "sample" },
      el("summary", {}, el("b", {}, figure(s.reward)), " ",
        s.completion.trim().replace(/\s+/g, " ").slice(0, 120) || "(empty)"),
      el("p", { class: "facts" }, facts.map(([k, v]) => el("span", {}, k + " ", el("b", {}, v)))),
      s.prompt ? [el("h4", {}, "prompt"), el("pre", { tabindex: "0" }, s.prompt)] : null,
      el("h4", {}, "completion"), el("pre", { tabindex: "0" }, s.completion || "(empty)"));
  }

  function fold(title, ...inside) {
    return el("details", { class: "fold" }, el("summary", {}, title), inside);
  }

  function about(run) {
    const config = Object.entries(run.config);
    return [
      run.not_checked.length
        ? fold("Could not be checked (" +
            run.not_checked.reduce((n, g) => n + g.rules.length, 0) + " rules)",
            el("ul", {}, run.not_checked.map((g) =>
              el("li", {}, "because " + g.because + ": ", el("span", { class: "note" },
                g.rules.join(", "))))))
        : null,
      config.length
        ? fold("Options of the run (" + config.length + ")", el("dl", { class: "config" },
            config.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])))
        : null,
      run.notes.length
        ? fold("Notes on reading the log", el("ul", {}, run.notes.map((n) => el("li", {}, n))))
        : null,
      run.events.length
        ? fold("Events (" + run.events.length + ")", el("ul", {}, run.events.map(([step, kind, text]) =>
            el("li", {}, "step " + figure(step) + ": " + kind + (text ? ", " + text : "")))))
        : null,
    ];
  }

  function head(run) {
    const s = run.steps;
    const facts = [run.format, run.library, s.n ? s.n + " rows, steps " + figure(s.first) + " to " +
      figure(s.last) : ""].filter(Boolean);
    return el("header", { class: "verdict " + (TONES[run.verdict] || "open") },
      el("p", { class: "path" }, run.path),
      el("h1", {}, run.verdict),
      el("p", { class: "reason" }, run.reason),
      el("p", { class: "note" }, facts.join(" \u00b7 ")));
  }

  function run(data, index) {
    data.index = index;
    const charts = data.charts.map((c, i) => chart(data, c, i));
    const sick = !["HEALTHY", "HEALTHY BUT UNUSUAL"].includes(data.verdict);
    const remarks = data.findings.filter((f) => f.severity === "info" && f.supports === "nothing");
    const said = data.findings.filter((f) => !remarks.includes(f));
    const seen = data.samples.length < data.n_samples
      ? data.samples.length + " of " + data.n_samples + ", evenly over their rewards" : "";
    return el("div", { class: "run" },
      head(data),
      section("Findings", "", said.map((f) => finding(data, f)),
        remarks.length
          ? el("details", { class: "fold" },
              el("summary", {}, "How figures are to be read: " + remarks.map((f) => f.code).join(", ")),
              remarks.map((f) => finding(data, f)))
          : null),
      sick
        ? section("Causes, likeliest first", "",
            data.causes.length ? el("ol", { class: "causes" }, data.causes.map(cause)) : null,
            data.experiment ? el("p", {}, el("b", {}, "What would tell: "), data.experiment) : null)
        : null,
      section("Forecast", "", data.forecast.map((text) => el("p", {}, text))),
      section("Charts", "As logged, not smoothed. The two level bars are the means of the first " +
        "and the last quarter. Drag to zoom, double-click to reset; with the keyboard: Tab, arrows, " +
        "Escape." + (data.left_out ? " " + data.left_out + " more stand in the table alone." : ""),
        charts.length ? el("div", { class: "charts" }, charts) : null),
      section("Samples", seen, data.samples.map(sample)),
      section("Metrics", "First and last are means of a quarter from 8 points on; the change is " +
        "shown with its 95% interval.", data.metrics.length ? metrics(data) : null),
      section("About this diagnosis", "", about(data)));
  }

  function overview(runs) {
    const rows = runs.map((r, i) => el("tr", { class: TONES[r.verdict] || "open" },
      el("td", { class: "mark" }, r.verdict),
      el("td", {}, r.causes.length ? r.causes[0].id : ""),
      el("th", { scope: "row" }, el("a", { href: "#run-" + i }, r.path))));
    return el("section", { class: "overview" }, el("h1", {}, runs.length + " runs"),
      el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "runs" },
        el("table", {}, el("tbody", {}, rows))));
  }

  function show(data, root) {
    if (data.runs.length === 1) {
      root.append(run(data.runs[0], 0));
      return;
    }
    root.append(overview(data.runs));
    data.runs.forEach((r, i) => {
      root.append(el("details", { id: "run-" + i, class: "several" },
        el("summary", {}, r.verdict + ": " + r.path), run(r, i)));
    });
    const open = () => {
      const target = document.getElementById(location.hash.slice(1));
      if (target && target.matches("details")) target.open = true;
    };
    addEventListener("hashchange", open);
    open();
  }

  return { run, show };
})();

if (document.getElementById("data")) {
  const data = JSON.parse(document.getElementById("data").textContent);
  pawlReport.show(data, document.getElementById("report"));
}
