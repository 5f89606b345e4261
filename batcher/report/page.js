"use strict";

// Draws the charts and lets the command be copied. Everything else of the page is there without it.
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const dashes = [[], [9, 4], [2, 3], [12, 3, 2, 3], [5, 2]];
  const height = 240;
  const paperWidth = 664;
  const [minute, hour, day] = [60, 3600, 86400];
  const timeSteps = [
    ...[0.001, 0.01, 0.1, 1, 2, 5, 10, 15, 30],
    ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * minute),
    ...[1, 2, 3, 6, 12].map((hours) => hours * hour),
    ...[1, 2, 7, 14, 28].map((days) => days * day),
  ];
  let drawn = [];
  let widths = [];

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const toned = (series) => colour(`tone-${series.tone}`);
  const number = (value) =>
    value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const clock = (seconds) => new Date(seconds * 1000).toISOString();

  function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  // Bars and areas of different series differ by their hatching too, not only by colour. What is below is covered.
  function hatched(context, index, ink) {
    const size = 8 * devicePixelRatio;
    const tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const pen = tile.getContext("2d");
    pen.fillStyle = colour("paper");
    pen.fillRect(0, 0, size, size);
    pen.fillStyle = pen.strokeStyle = ink;
    pen.globalAlpha = index === 0 ? 0.4 : 0.15;
    pen.fillRect(0, 0, size, size);
    pen.globalAlpha = 0.8;
    pen.lineWidth = 1.5 * devicePixelRatio;
    pen.beginPath();
    const lines = [
      [],
      [[0, size, size, 0], [-size, size, size, -size], [0, 2 * size, 2 * size, 0]],
      [[0, 0, size, size], [-size, 0, size, 2 * size], [0, -size, 2 * size, size]],
      [[0, size / 2, size, size / 2]],
      [[size / 2, 0, size / 2, size]],
    ][index];
    for (const [left, top, right, bottom] of lines) {
      pen.moveTo(left, top);
      pen.lineTo(right, bottom);
    }
    pen.stroke();
    return context.createPattern(tile, "repeat");
  }

  const isArea = (chart) => chart.style === "bars" || chart.style === "stacked";
  // Percentiles, and bars unless they are of times, stand side by side at equal steps, whatever their distance.
  const isStepped = (chart) => chart.kind === "percentile" || (chart.style === "bars" && chart.kind === "number");
  const positions = (chart) => (isStepped(chart) ? chart.x.map((_, at) => at) : chart.x);

  // Each series' upper edge, on top of those before it; where none has a figure there is a gap.
  function stacked(chart) {
    const sums = chart.x.map(() => 0);
    const measured = chart.x.map((_, at) => chart.series.some((series) => series.values[at] !== null));
    return chart.series.map((series) =>
      series.values.map((value, at) => {
        sums[at] += value ?? 0;
        return measured[at] ? sums[at] : null;
      })
    );
  }

  // What is drawn later covers what is below: the areas of a stack come from the top down.
  function layers(chart) {
    const values = chart.style === "stacked" ? stacked(chart) : chart.series.map((series) => series.values);
    const all = chart.series.map((series, index) => ({ series, index, values: values[index] }));
    return chart.style === "stacked" ? all.reverse() : all;
  }

  // The distance between neighbours, as the space that the bars of one position share.
  function spacing(xs) {
    const gaps = xs.slice(1).map((x, at) => x - xs[at]).filter((gap) => gap > 0);
    return gaps.length ? Math.min(...gaps) : 1;
  }

  function bars(chart) {
    const xs = positions(chart);
    const share = (0.8 * spacing(xs)) / chart.series.length;
    return (plot, seriesIndex) => {
      const path = new Path2D();
      const base = plot.valToPos(0, "y", true);
      const offset = (seriesIndex - 1 - chart.series.length / 2) * share;
      chart.series[seriesIndex - 1].values.forEach((value, at) => {
        if (value === null) return;
        const left = plot.valToPos(xs[at] + offset, "x", true);
        const right = plot.valToPos(xs[at] + offset + share, "x", true);
        const top = plot.valToPos(value, "y", true);
        path.rect(left, Math.min(top, base), Math.max(right - left - 1, 1), Math.abs(base - top));
      });
      return { stroke: path, fill: path };
    };
  }

  // Few points are marked all; among many only those that no line reaches.
  function marked(values) {
    const none = (value) => value === null || value === undefined;
    return values
      .map((_, at) => at)
      .filter((at) => !none(values[at]) && (values.length <= 40 || (none(values[at - 1]) && none(values[at + 1]))));
  }

  function seriesOptions(chart, { series, index, values }) {
    const ink = toned(series);
    const points = marked(values);
    const filled = isArea(chart) ? { fill: (plot) => hatched(plot.ctx, index, ink) } : {};
    return {
      ...filled,
      stroke: ink,
      width: chart.style === "bars" ? 1 : 1.75,
      dash: isArea(chart) ? [] : dashes[index],
      points: isArea(chart) ? { show: false } : { show: true, size: 5, filter: () => points },
      ...(chart.style === "bars" ? { paths: bars(chart) } : {}),
      ...(chart.style === "steps" ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
    };
  }

  function timeLabels(_plot, splits, _axis, _space, step) {
    let shownDay = "";
    return splits.map((split) => {
      const [date, time] = clock(split).split("T");
      const shown = step >= day ? "" : time.slice(0, step >= minute ? 5 : step >= 1 ? 8 : 12);
      const lines = date === shownDay ? [shown] : [shown, date];
      shownDay = date;
      return lines.filter(Boolean).join("\n");
    });
  }

  // As many as have room, the last among them: of percentiles the highest matters most.
  function stepSplits(chart) {
    return (plot) => {
      const every = Math.max(1, Math.ceil((chart.x.length * 56) / plot.width));
      return positions(chart).filter((at) => (chart.x.length - 1 - at) % every === 0);
    };
  }

  const named = (chart, at) => (chart.kind === "percentile" ? `p${chart.x[at]}` : number(chart.x[at]));

  function xAxis(chart) {
    if (isStepped(chart)) {
      return { splits: stepSplits(chart), values: (_plot, splits) => splits.map((at) => named(chart, at)), size: 32 };
    }
    if (chart.kind === "time") return { values: timeLabels, incrs: timeSteps, space: 70, size: 48 };
    return { values: (_plot, splits) => splits.map(number), size: 32 };
  }

  function xRange(chart) {
    const xs = positions(chart);
    const margin = chart.style === "bars" || xs.length === 1 ? spacing(xs) / 2 : 0;
    return [xs[0] - margin, xs[xs.length - 1] + margin];
  }

  // From zero, so that twice as high is twice as much.
  const yRange = (_plot, least, most) => uPlot.rangeNum(Math.min(least ?? 0, 0), Math.max(most ?? 0, 0) || 1, 0.08, true);

  function options(chart, width, drawnLayers, hooks) {
    const look = {
      stroke: colour("soft"),
      font: `12px ${getComputedStyle(document.body).fontFamily}`,
      grid: { stroke: colour("rule"), width: 1 },
      ticks: { stroke: colour("rule"), width: 1, size: 5 },
    };
    // Wide enough for half a date below it, too.
    const ySize = (_plot, labels) => Math.max(42, 16 + 7 * Math.max(...(labels ?? [""]).map((label) => label.length)));
    return {
      width,
      height,
      padding: [10, 26, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { x: { time: chart.kind === "time", range: xRange(chart) }, y: { range: yRange } },
      axes: [
        { ...look, ...xAxis(chart) },
        { ...look, size: ySize, values: (_plot, splits) => splits.map(number) },
      ],
      series: [{}, ...drawnLayers.map((layer) => seriesOptions(chart, layer))],
      hooks,
    };
  }

  function swatch(chart, series, index) {
    const canvas = document.createElement("canvas");
    canvas.width = 28 * devicePixelRatio;
    canvas.height = 12 * devicePixelRatio;
    const pen = canvas.getContext("2d");
    pen.strokeStyle = toned(series);
    pen.lineWidth = 2 * devicePixelRatio;
    if (isArea(chart)) {
      pen.fillStyle = hatched(pen, index, toned(series));
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.strokeRect(0, 0, canvas.width, canvas.height);
      return canvas;
    }
    pen.setLineDash(dashes[index].map((length) => length * devicePixelRatio));
    pen.beginPath();
    pen.moveTo(0, canvas.height / 2);
    pen.lineTo(canvas.width, canvas.height / 2);
    pen.stroke();
    return canvas;
  }

  function legend(chart) {
    const list = element("ul", "legend", "");
    for (const [index, series] of chart.series.entries()) {
      const item = element("li", "", "");
      item.append(swatch(chart, series, index), series.label, element("span", "value", ""));
      list.append(item);
    }
    return list;
  }

  function position(chart, at) {
    if (chart.kind === "time") return clock(chart.x[at]).slice(0, 19).replace("T", " ");
    return named(chart, at);
  }

  function drawOne(place, chart, width, done) {
    const xLabel = chart.kind === "time" ? `${chart.xLabel}, UTC` : chart.xLabel;
    const below = element("p", "x", xLabel);
    const canvas = element("div", "", "");
    const key = legend(chart);
    place.replaceChildren(element("p", "y", chart.yLabel), canvas, below, key);
    const read = (plot) => {
      const at = plot.cursor.idx;
      const off = at === null || at === undefined;
      below.textContent = off ? xLabel : `${xLabel}: ${position(chart, at)}`;
      key.querySelectorAll(".value").forEach((value, index) => {
        value.textContent = off ? "" : number(chart.series[index].values[at]);
      });
    };
    const drawnLayers = layers(chart);
    const data = [positions(chart), ...drawnLayers.map((layer) => layer.values)];
    return new uPlot(options(chart, width, drawnLayers, { setCursor: [read], draw: [done] }), data, canvas);
  }

  function draw() {
    const ready = new Set();
    drawn.forEach((plot) => plot?.destroy());
    plots.forEach((place) => place.replaceChildren(" "));
    widths = plots.map((place) => ("paper" in root.dataset ? paperWidth : place.clientWidth));
    const report = () => {
      root.dataset.charts = String(ready.size);
      root.dataset.drawnAfter = String(Math.round(performance.now()));
    };
    drawn = charts.map((chart, at) => {
      if (!chart.x.length) {
        ready.add(at);
        plots[at].replaceChildren();
        return null;
      }
      const done = () => {
        ready.add(at);
        if (ready.size === charts.length) report();
      };
      return drawOne(plots[at], chart, widths[at], done);
    });
    if (ready.size === charts.length) report();
  }

  function moved(plot, chart, key) {
    const last = chart.x.length - 1;
    const at = plot.cursor.idx;
    if (key === "End") return last;
    if (key === "Home" || at === null || at === undefined) return 0;
    return key === "ArrowLeft" ? Math.max(at - 1, 0) : Math.min(at + 1, last);
  }

  function readWithKeys(place, index) {
    place.tabIndex = 0;
    place.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      event.preventDefault();
      const [plot, chart] = [drawn[index], charts[index]];
      const at = moved(plot, chart, event.key);
      plot.setCursor({ left: plot.valToPos(positions(chart)[at], "x"), top: height / 3 });
      const figures = chart.series.map((series) => `${series.label} ${number(series.values[at])}`);
      document.getElementById("reading").textContent = `${position(chart, at)}: ${figures.join(", ")}`;
    });
    place.addEventListener("blur", () => drawn[index].setCursor({ left: -10, top: -10 }));
  }

  function toPaper() {
    root.dataset.paper = "";
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.dataset.closed = "";
      details.open = true;
    }
    draw();
  }

  function toScreen() {
    delete root.dataset.paper;
    for (const details of document.querySelectorAll("details[data-closed]")) {
      details.open = false;
      delete details.dataset.closed;
    }
    draw();
  }

  // Where the clipboard is not to be had, the old way; if that fails too, the command is at least selected.
  async function copy(command) {
    try {
      await navigator.clipboard.writeText(command.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(command);
      return document.execCommand("copy");
    }
  }

  function offerCopying() {
    const button = document.getElementById("copy");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const copied = await copy(document.getElementById("command"));
      document.getElementById("copied").textContent = copied ? "Copied." : "Selected; copy it with the keyboard.";
    });
  }

  function resized() {
    if ("paper" in root.dataset || plots.every((place, at) => place.clientWidth === widths[at])) return;
    requestAnimationFrame(draw);
  }

  offerCopying();
  draw();
  if (!charts.length) return;
  document.getElementById("how").hidden = false;
  plots.forEach((place, at) => charts[at].x.length && readWithKeys(place, at));
  new ResizeObserver(resized).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);
})();
