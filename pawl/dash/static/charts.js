// Charts of a run with uPlot: one metric each, what was logged and nothing smoothed.
// pawlCharts.add(parent, chart, events, group, tall) puts one in; the data are those of page.py.
"use strict";
var pawlCharts = (function () {
  const live = [];
  const plots = []; // read by tests

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  function figure(value) {
    if (value === null || value === undefined) return "-";
    const size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  }

  // Events as upright lines, the means of both quarters, and marks where the value is no number.
  function marks(chart, events) {
    return function (u) {
      const c = u.ctx, box = u.bbox, dot = devicePixelRatio || 1;
      const x = (v) => Math.round(u.valToPos(v, "x", true));
      const inside = (px) => px >= box.left && px <= box.left + box.width;
      c.save();
      c.lineWidth = dot;
      c.strokeStyle = color("event");
      c.setLineDash([2 * dot, 3 * dot]);
      for (const [step] of events) {
        if (step === null || !inside(x(step))) continue;
        c.beginPath();
        c.moveTo(x(step), box.top);
        c.lineTo(x(step), box.top + box.height);
        c.stroke();
      }
      c.setLineDash([]);
      c.lineWidth = 2 * dot;
      c.strokeStyle = color("mean");
      for (const [from, to, mean] of chart.means || []) {
        if (mean === null) continue;
        const y = u.valToPos(mean, "y", true);
        const a = Math.max(x(from), box.left), b = Math.min(x(to), box.left + box.width);
        if (a >= b) continue;
        c.beginPath();
        c.moveTo(a, y);
        c.lineTo(b, y);
        c.stroke();
      }
      c.fillStyle = color("bad");
      for (const step of chart.bad) {
        if (step === null || !inside(x(step))) continue;
        c.fillRect(x(step) - dot, box.top + box.height - 8 * dot, 2 * dot, 8 * dot);
      }
      c.restore();
    };
  }

  function options(chart, events, group, size, said) {
    const axis = {
      stroke: color("muted"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: color("line"), width: 1 },
      ticks: { stroke: color("line"), width: 1, size: 4 },
    };
    const few = chart.x.length <= 60;
    return {
      width: size[0],
      height: size[1],
      legend: { show: false },
      padding: [10, 12, 0, 0],
      scales: { x: { time: false } },
      cursor: { sync: { key: group }, drag: { x: true, y: false }, y: false },
      axes: [
        { ...axis, size: 30, values: (u, marks) => marks.map(figure) },
        { ...axis, size: 62, values: (u, marks) => marks.map(figure) },
      ],
      series: [
        {},
        {
          stroke: color("curve"),
          width: 1.5,
          points: { show: few, size: 5, fill: color("curve"), stroke: color("curve") },
        },
      ],
      hooks: {
        draw: [marks(chart, events)],
        setCursor: [
          (u) => {
            const i = u.cursor.idx;
            said.textContent =
              i === null || i === undefined
                ? "last " + figure(chart.y[chart.y.length - 1])
                : "step " + figure(chart.x[i]) + ": " + figure(chart.y[i]);
          },
        ],
      },
    };
  }

  function draw(one) {
    const width = one.plot.clientWidth;
    if (!width) return;
    if (one.u) {
      one.u.destroy();
      plots.splice(plots.indexOf(one.u), 1);
    }
    const size = [width, one.tall ? 280 : 190];
    const asked = options(one.chart, one.events, one.group, size, one.said);
    one.u = new uPlot(asked, [one.chart.x, one.chart.y], one.plot);
    plots.push(one.u);
  }

  // Left and right move the cursor from point to point, Escape shows all again.
  function keys(one, e) {
    if (!["ArrowLeft", "ArrowRight", "Escape"].includes(e.key)) return;
    e.preventDefault();
    if (!one.u) draw(one);
    if (one.u) act(one, e.key);
  }

  function act(one, key) {
    const u = one.u, n = one.chart.x.length;
    if (u.status !== 1) {
      requestAnimationFrame(() => act(one, key)); // not laid out yet
      return;
    }
    if (key === "Escape") {
      u.setScale("x", { min: one.chart.x[0], max: one.chart.x[n - 1] });
      return;
    }
    const i = one.at ?? u.cursor.idx ?? n - 1;
    const to = one.at = Math.min(n - 1, Math.max(0, i + (key === "ArrowLeft" ? -1 : 1)));
    u.setCursor({
      left: u.valToPos(one.chart.x[to], "x"),
      top: u.valToPos(one.chart.y[to], "y"),
    });
  }

  const seen = new IntersectionObserver(
    (rows) => {
      for (const row of rows) {
        const one = live.find((o) => o.plot === row.target);
        if (row.isIntersecting && one && !one.u) draw(one);
      }
    },
    { rootMargin: "600px" },
  );
  const sized = new ResizeObserver((rows) => {
    for (const row of rows) {
      const one = live.find((o) => o.plot === row.target);
      if (one && one.u && Math.abs(one.u.width - one.plot.clientWidth) > 1) draw(one);
    }
  });

  function add(plot, said, chart, events, group, tall) {
    const one = { plot, said, chart, events, group, tall, u: null, at: null };
    live.push(one);
    plot.addEventListener("pointermove", () => (one.at = null));
    plot.addEventListener("keydown", (e) => keys(one, e));
    seen.observe(plot);
    sized.observe(plot);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const one of live) if (one.u) draw(one);
  });
  addEventListener("beforeprint", () => {
    for (const one of live) if (!one.u) draw(one);
  });

  return { add, figure, plots, live };
})();
