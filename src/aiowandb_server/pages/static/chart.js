// Line charts: loaded lazily, zoomed by mouse or keys, with bands for aggregated points.

import { act, button, dialog, el, inProject, number, saveCsv, svg } from "./core.js";

const WIDTH = 440, HEIGHT = 230, LEFT = 58, RIGHT = 10, TOP = 10, BOTTOM = 26;
export const COLORS = 8;

const visible = new IntersectionObserver((entries) => {
	for (const entry of entries) entry.target.chart?.seen(entry.isIntersecting);
}, { rootMargin: "300px" });

// Requests many keys of a run at once.
export class SeriesLoader {
	constructor(entity, project, run, stream = "history") {
		this.place = { entity, project, run };
		this.stream = stream;
		this.waiting = new Map();
	}

	load(key, x, low, high) {
		return new Promise((resolve, reject) => {
			const group = JSON.stringify([x, low ?? null, high ?? null]);
			if (!this.waiting.size) setTimeout(() => this.send(), 20);
			if (!this.waiting.has(group)) this.waiting.set(group, []);
			this.waiting.get(group).push({ key, resolve, reject });
		});
	}

	async send() {
		const groups = [...this.waiting];
		this.waiting.clear();
		for (const [group, wishes] of groups) {
			const [x, low, high] = JSON.parse(group);
			for (let start = 0; start < wishes.length; start += 50) {
				const part = wishes.slice(start, start + 50);
				try {
					const keys = [...new Set(part.map((wish) => wish.key))];
					const spec = { keys, x, low, high, buckets: 400 };
					const found = new Map((await this.ask(spec)).map((series) => [series.key, series]));
					for (const wish of part) wish.resolve(found.get(wish.key));
				} catch (error) {
					for (const wish of part) wish.reject(error);
				}
			}
		}
	}

	async ask(spec) {
		const { run } = await inProject(this.place, "run(name: $run) { chartSeries(spec: $spec) }",
			{ "$run: String!": this.place.run, "$spec: JSONString!": JSON.stringify({ ...spec, stream: this.stream }) });
		return run.chartSeries;
	}
}

// settings: {x, smoothing, log}, shared by the charts of a page. lines: [{label, color, loader, key}]
export class Chart {
	constructor(title, settings, lines) {
		Object.assign(this, { title, settings, lines, zoom: null, data: null, shown: false, stale: true });
		this.plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
		this.note = el("p.note");
		this.tip = el(".tip");
		this.area = el(".plot", { tabIndex: 0, role: "group" }, this.plot, this.tip);
		this.reset = button("Reset zoom", () => this.setZoom(null), null, { hidden: true });
		this.node = el("figure.chart", {},
			el("figcaption", {}, el("span.name", { title }, title), this.reset,
				button("CSV", act(() => this.csv()), `CSV of ${title}`),
				button("⤢", () => this.enlarge(), `Enlarge ${title}`)),
			this.area, this.note);
		this.node.chart = this;
		this.listen();
		visible.observe(this.node);
	}

	seen(isVisible) {
		this.shown = isVisible;
		if (isVisible && this.stale) this.refresh();
	}

	invalidate() {
		this.stale = true;
		if (this.shown) this.refresh();
	}

	async refresh() {
		this.stale = false;
		const turn = (this.turn = {});
		const [low, high] = this.zoom ?? [];
		try {
			const found = await Promise.all(this.lines.map((line) => line.loader.load(line.key, this.axis(line), low, high)));
			if (this.turn !== turn) return;
			this.data = found.map((series, index) => ({ ...this.lines[index], ...series, label: this.lines[index].label }));
			this.draw();
		} catch (error) {
			if (this.turn === turn) this.note.textContent = error.message;
		}
	}

	axis(line) {
		return this.settings.x === "auto" ? line.x?.() ?? "_step" : this.settings.x;
	}

	setZoom(zoom) {
		this.zoom = zoom;
		this.reset.hidden = !zoom;
		this.refresh();
	}

	draw() {
		const drawn = this.data.filter((series) => series?.x.length);
		const { log, smoothing } = this.settings;
		const good = (value) => value !== null && (!log || value > 0);
		const total = drawn.reduce((sum, series) => sum + series.count, 0);
		const xs = drawn.flatMap((series) => series.x);
		const ys = drawn.flatMap((series) => [...series.low, ...series.high]).filter(good);
		this.node.dataset.points = total;
		this.node.dataset.bands = drawn.some((series) => series.count > series.x.length);
		this.area.setAttribute("aria-label", this.described(drawn));
		if (!ys.length) {
			this.plot.replaceChildren();
			this.note.textContent = total ? "No value above 0: switch the log scale off." : "No numbers yet.";
			return;
		}
		this.note.textContent = "";
		const [x0, x1] = widened(extent(xs)), [y0, y1] = log ? extent(ys).map(Math.log10) : widened(extent(ys));
		const [low, high] = log ? widened([y0, y1]) : [y0, y1];
		this.toX = (x) => LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
		this.fromX = (px) => x0 + ((px - LEFT) / (WIDTH - LEFT - RIGHT)) * (x1 - x0);
		this.toY = (y) => HEIGHT - BOTTOM - (((log ? Math.log10(y) : y) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
		this.domain = [x0, x1];
		const parts = [];
		for (const tick of ticks(low, high, 5)) {
			const value = log ? 10 ** tick : tick, y = this.toY(value);
			parts.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
				svg("text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, number(Number(value.toPrecision(4)))));
		}
		for (const tick of ticks(x0, x1, 6)) {
			parts.push(svg("text", { x: this.toX(tick), y: HEIGHT - 8, "text-anchor": "middle" },
				this.xText(Number(tick.toPrecision(6)))));
		}
		for (const series of drawn) {
			const points = (name) => series.x.map((x, i) => [x, series[name][i]]).filter((point) => good(point[1]));
			const color = `c${series.color % COLORS}`;
			if (series.count > series.x.length) {
				const band = [...points("high"), ...points("low").reverse()];
				parts.push(svg("path", { class: `band ${color}`, d: this.path(band) + "Z" }));
			}
			const raw = points("y");
			if (raw.length === 1) {
				parts.push(svg("circle", { class: `dot ${color}`, cx: this.toX(raw[0][0]), cy: this.toY(raw[0][1]), r: 3 }));
			} else if (smoothing > 0) {
				parts.push(svg("path", { class: `line faint ${color}`, d: this.path(raw) }),
					svg("path", { class: `line ${color}`, d: this.path(smooth(raw, smoothing)) }));
			} else {
				parts.push(svg("path", { class: `line ${color}`, d: this.path(raw) }));
			}
		}
		this.cross = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 });
		this.box = svg("rect", { class: "select", y: TOP, height: HEIGHT - TOP - BOTTOM, x: 0, width: 0 });
		this.plot.replaceChildren(...parts, this.box, this.cross);
	}

	path(points) {
		return points.map(([x, y], i) => `${i ? "L" : "M"}${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`).join("");
	}

	xText(value) {
		if (this.settings.x !== "_timestamp") return number(value);
		const moment = new Date(value * 1000), [x0, x1] = this.domain;
		return x1 - x0 > 86400 * 2 ? moment.toLocaleDateString() : moment.toLocaleTimeString(undefined, { timeStyle: "short" });
	}

	described(drawn) {
		const parts = drawn.slice(0, 10).map((series) => {
			const [low, high] = [Math.min(...series.low), Math.max(...series.high)].map(number);
			return `${series.label}: ${series.count} points, last ${number(series.y.at(-1))}, from ${low} to ${high}`;
		});
		return `${this.title}. ${parts.join("; ") || "No numbers yet"}. Arrow keys read values, plus and minus zoom.`;
	}

	listen() {
		let start = null;
		const place = (event) => {
			const box = this.plot.getBoundingClientRect();
			return Math.min(Math.max(((event.clientX - box.left) / box.width) * WIDTH, LEFT), WIDTH - RIGHT);
		};
		this.area.addEventListener("pointerdown", (event) => {
			if (!this.fromX || event.button) return;
			start = place(event);
			this.area.setPointerCapture(event.pointerId);
		});
		this.area.addEventListener("pointermove", (event) => {
			if (!this.fromX) return;
			const x = place(event);
			this.read(this.fromX(x));
			if (start === null) return;
			this.box.setAttribute("x", Math.min(x, start));
			this.box.setAttribute("width", Math.abs(x - start));
		});
		this.area.addEventListener("pointerup", (event) => {
			if (start === null) return;
			const ends = [start, place(event)].sort((a, b) => a - b).map(this.fromX);
			const far = Math.abs(place(event) - start) > 6;
			start = null;
			this.box.setAttribute("width", 0);
			if (far) this.setZoom(ends);
		});
		this.area.addEventListener("pointercancel", () => (start = null));
		this.area.addEventListener("pointerleave", () => this.read(null));
		this.area.addEventListener("blur", () => this.read(null));
		this.area.addEventListener("keydown", (event) => {
			if (!this.domain || event.ctrlKey || event.metaKey || event.altKey) return;
			const [x0, x1] = this.domain, middle = this.at ?? (x0 + x1) / 2, size = x1 - x0;
			const keys = {
				ArrowRight: () => this.read(Math.min(middle + size / 50, x1)),
				ArrowLeft: () => this.read(Math.max(middle - size / 50, x0)),
				"+": () => this.setZoom([middle - size / 4, middle + size / 4]),
				"-": () => this.zoom && this.setZoom([middle - size, middle + size]),
				Escape: () => this.zoom && this.setZoom(null),
			};
			if (!keys[event.key]) return;
			event.preventDefault();
			keys[event.key]();
		});
	}

	read(x) {
		this.at = x;
		if (!this.cross) return;
		const near = x === null ? [] : this.data.filter((series) => series.x.length).map((series) => {
			let best = 0;
			series.x.forEach((place, i) => Math.abs(place - x) < Math.abs(series.x[best] - x) && (best = i));
			return { series, i: best, x: series.x[best] };
		});
		this.tip.hidden = !near.length;
		const px = near.length ? this.toX(near[0].x) : -9;
		this.cross.setAttribute("x1", px);
		this.cross.setAttribute("x2", px);
		if (!near.length) return;
		this.tip.style.left = px < WIDTH / 2 ? `${((px + 8) / WIDTH) * 100}%` : "auto";
		this.tip.style.right = px < WIDTH / 2 ? "auto" : `${((WIDTH - px + 8) / WIDTH) * 100}%`;
		this.tip.replaceChildren(el("b", {}, this.xText(near[0].x)), ...near.slice(0, 12).map(({ series, i }) =>
			el("div", {}, el(`i.swatch.c${series.color % COLORS}`), ` ${series.label} `, el("b", {}, number(series.y[i])),
				series.count > series.x.length ? ` (${number(series.low[i])} to ${number(series.high[i])})` : "")));
	}

	async csv() {
		// Enough buckets that no two points share one.
		const [low, high] = this.zoom ?? [], x = this.axis(this.lines[0]), many = this.lines.length > 1;
		const rows = await Promise.all(this.lines.map(async (line) => {
			const [found] = await line.loader.ask({ keys: [line.key], x: this.axis(line), low, high, buckets: 1e9 });
			return found.x.map((place, i) => [...(many ? [line.label] : []), place, found.y[i]]);
		}));
		saveCsv(this.title, [...(many ? ["run"] : []), x, this.title], rows.flat());
	}

	enlarge() {
		const large = new Chart(this.title, this.settings, this.lines);
		large.zoom = this.zoom;
		dialog(this.title, el(".large", {}, large.node));
	}
}

function extent(values) {
	let low = Infinity, high = -Infinity;
	for (const value of values) {
		if (value < low) low = value;
		if (value > high) high = value;
	}
	return [low, high];
}

function widened([low, high]) {
	if (low !== high) return [low, high];
	const room = Math.abs(low) / 10 || 1;
	return [low - room, high + room];
}

function ticks(low, high, count) {
	const raw = (high - low) / count, size = 10 ** Math.floor(Math.log10(raw));
	const step = [1, 2, 5, 10].map((times) => times * size).find((each) => each >= raw) ?? raw;
	const found = [];
	for (let i = Math.ceil(low / step); i * step <= high && found.length < 20; i++) found.push(i * step);
	return found;
}

// An exponential mean, unbiased at its start.
function smooth(points, weight) {
	let last = 0, total = 0;
	return points.map(([x, y]) => {
		last = last * weight + y * (1 - weight);
		total = total * weight + (1 - weight);
		return [x, last / total];
	});
}

export function chartControls(settings, axes, changed) {
	const names = { auto: "as defined by the run", _step: "step", _runtime: "time since start", _timestamp: "time of day" };
	const choices = axes.map((axis) => el("option", { value: axis, selected: axis === settings.x }, names[axis] ?? axis));
	const smoothing = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: settings.smoothing });
	smoothing.addEventListener("input", () => changed("smoothing", Number(smoothing.value)));
	return el(".controls", {},
		el("label", {}, "x-axis ", el("select", { onchange: (event) => changed("x", event.target.value) }, ...choices)),
		el("label", {}, "smoothing ", smoothing),
		el("label", {}, el("input", { type: "checkbox", checked: settings.log, onchange: (event) =>
			changed("log", event.target.checked) }), " log scale"));
}

const PAGE = 24;

// Groups charts by the part before the last slash.
export function chartBoard(settings, axes, makeLines) {
	const charts = new Map();
	const search = el("input", { type: "search", placeholder: "Find a key", "aria-label": "Find a key" });
	const groups = el("div");
	let keys = [], limits = new Map();
	const each = (work) => charts.forEach((chart) => chart.node.isConnected && work(chart));
	const changed = (name, value) => {
		settings[name] = value;
		charts.forEach((chart) => {
			if (name === "x") {
				chart.zoom = null;
				chart.reset.hidden = true;
				chart.invalidate();
			} else if (chart.data) chart.draw();
		});
	};
	const bar = el(".bar", {}, search);
	const chartOf = (key) => {
		if (!charts.has(key)) charts.set(key, new Chart(key, settings, makeLines(key)));
		return charts.get(key).node;
	};
	const show = () => {
		const wanted = search.value.toLowerCase(), found = new Map();
		for (const key of keys) {
			if (!key.toLowerCase().includes(wanted)) continue;
			const group = key.includes("/") ? key.slice(0, key.lastIndexOf("/")) : "";
			if (!found.has(group)) found.set(group, []);
			found.get(group).push(key);
		}
		const names = [...found.keys()].sort((a, b) => (a > b ? 1 : -1));
		const most = limits.get(null) ?? 20;
		groups.replaceChildren(...[...names.slice(0, most).map((name) => {
			const list = found.get(name), limit = limits.get(name) ?? PAGE;
			return el("details.group", { open: true },
				el("summary", {}, el("h2", {}, name || "Charts"), ` ${list.length}`),
				el(".charts", {}, ...list.slice(0, limit).map(chartOf)),
				list.length > limit && button(`Show ${Math.min(PAGE, list.length - limit)} more of ${list.length}`,
					() => (limits.set(name, limit + PAGE), show())));
		}), names.length > most && button("Show more groups", () => (limits.set(null, most + 20), show())),
		!keys.length && el("p.note", {}, "No numbers have been logged yet.")].filter(Boolean));
	};
	search.addEventListener("input", show);
	const node = el("section", { "aria-label": "Charts" }, bar, groups);
	let controls = null;
	return {
		node,
		setKeys(now) {
			const same = now.length === keys.length && now.every((key, i) => key === keys[i]);
			if (same && controls) return;
			keys = now;
			const all = [...axes, ...keys.filter((key) => !axes.includes(key)).slice(0, 500)];
			const next = chartControls(settings, all, changed);
			controls ? controls.replaceWith(next) : bar.append(next);
			controls = next;
			show();
		},
		refresh: () => each((chart) => chart.zoom || chart.invalidate()),
		reset() {
			charts.forEach((chart) => visible.unobserve(chart.node));
			charts.clear();
			show();
		},
	};
}
