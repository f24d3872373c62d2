// Sweeps of a project, and the page of one with its best run and parallel coordinates.

import { button, dataTable, el, facts, inProject, link, nodes, number, pagePath, panel, pill, poll, saveCsv, scrolling, shortText, svg, when } from "./core.js";

const MOST_RUNS = 500;
const SHADES = [6, 0, 4, 5, 1, 7];

export async function sweepPage(main, [entity, project, , name], onLeave) {
	if (!name) return sweepList(main, entity, project);
	const body = el("div");
	main.append(body);
	let last = null;
	const show = async () => {
		const get = async (fields, more) => (await inProject({ entity, project }, `sweep(sweepName: $name) { ${fields} }`,
			{ "$name: String!": name, ...more })).sweep;
		const sweep = await get(`displayName state method config runCount runCountExpected createdAt searchMetric searchParameters
			user { username }`);
		if (!sweep) throw new Error(`There is no sweep ${name} in ${entity}/${project}.`);
		const { searchMetric: metric, searchParameters: parameters } = sweep;
		const columns = [...parameters.map((key) => `config.${key}`), ...(metric ? [`summary.${metric.name}`] : [])];
		const order = metric ? `${metric.goal === "maximize" ? "-" : "+"}summary_metrics.${metric.name}` : "-created_at";
		const { runs } = await get(`runs(first: ${MOST_RUNS}, order: $order) { edges { node { name displayName state cells(columns: $columns) } } }`,
			{ "$order: String": order, "$columns: [String!]!": columns });
		const now = JSON.stringify([sweep, runs]);
		if (now === last) return;
		last = now;
		draw(sweep, columns, metric, nodes(runs));
	};
	const draw = (sweep, columns, metric, runs) => {
		document.title = `${sweep.displayName || name} · ${project}`;
		const runLink = (run) => link(pagePath(entity, project, "runs", run.name), run.displayName || run.name);
		const best = metric && runs.find((run) => typeof run.cells.at(-1) === "number");
		const rows = runs.map((run) => [run.name, run.displayName, run.state, ...run.cells]);
		body.replaceChildren(el(".head", {}, el("h1", {}, sweep.displayName || name), pill(sweep.state.toLowerCase())),
			panel(facts([["Best run", best ? el("span", {}, runLink(best), ` ${metric.name} ${number(best.cells.at(-1))}`) : "None yet"],
				["Method", sweep.method], ["Goal", metric && `${metric.goal} ${metric.name}`],
				["Runs", `${number(sweep.runCount)}${sweep.runCountExpected ? ` of ${number(sweep.runCountExpected)}` : ""}`],
				["Started", when(sweep.createdAt)], ["Author", sweep.user?.username]])),
			panel("Parallel coordinates", parallel(columns, runs, (run) =>
				(location.href = pagePath(entity, project, "runs", run.name)))),
			panel(el("header", {}, el("h2", {}, "Runs"), button("CSV", () =>
				saveCsv(name, ["id", "name", "state", ...columns], rows), "CSV of the runs")),
			dataTable(["Run", "State", ...columns], runs.map((run) => [runLink(run), pill(run.state), ...run.cells.map((cell) => shortText(cell))]), "Runs of the sweep")),
			el("details.panel", {}, el("summary", {}, "Configuration"), el("pre", { tabIndex: 0 }, sweep.config)));
	};
	await show();
	onLeave(poll(4, show));
}

async function sweepList(main, entity, project) {
	const found = await inProject({ entity, project }, "sweeps(first: 200) { edges { node { name displayName state method runCount bestLoss createdAt } } }");
	document.title = `Sweeps · ${project}`;
	const sweeps = nodes(found.sweeps);
	main.append(el("h1", {}, "Sweeps"), sweeps.length ? dataTable(["Name", "State", "Method", "Runs", "Best", "Started"], sweeps.map((sweep) => [
		link(pagePath(entity, project, "sweeps", sweep.name), sweep.displayName || sweep.name), pill(sweep.state.toLowerCase()), sweep.method ?? "",
		number(sweep.runCount), number(sweep.bestLoss), when(sweep.createdAt)]), "Sweeps") : el("p.note", {}, "None yet."));
}

// An axis per column and a line per run, coloured by the last column.
function parallel(columns, runs, open) {
	const shown = columns.slice(0, 12).concat(columns.length > 12 ? columns.slice(-1) : []);
	const at = shown.map((column) => columns.indexOf(column));
	const lines = runs.filter((run) => at.every((i) => run.cells[i] !== null));
	if (shown.length < 2 || !lines.length) return el("p.note", {}, "Nothing to compare yet.");
	const width = Math.max(1000, shown.length * 150), height = 300, top = 40, bottom = 24;
	const x = (place) => 60 + (place / (shown.length - 1)) * (width - 120);
	const scales = at.map((i) => scale(lines.map((run) => run.cells[i])));
	const y = (place, value) => height - bottom - scales[place].of(value) * (height - top - bottom);
	const note = el("p.note", { role: "status" }, `${lines.length} runs`);
	const paths = lines.map((run) => {
		const points = at.map((i, place) => `${place ? "L" : "M"}${x(place).toFixed(1)} ${y(place, run.cells[i]).toFixed(1)}`);
		const shade = Math.min(Math.floor(scales.at(-1).of(run.cells[at.at(-1)]) * 6), 5);
		const path = svg("path", { class: `run c${SHADES[shade]}`, d: points.join("") });
		path.addEventListener("pointerenter", () => (note.textContent = `${run.displayName || run.name}: ${at.map((i) =>
			`${columns[i]} ${shortText(run.cells[i], 40)}`).join(", ")}`));
		path.addEventListener("click", () => open(run));
		return path;
	});
	const axes = shown.flatMap((column, place) => [
		svg("line", { class: "axis", x1: x(place), x2: x(place), y1: top, y2: height - bottom }),
		svg("text", { x: x(place), y: place % 2 ? 28 : 14, "text-anchor": "middle", class: "title" }, shortText(column.replace(/^\w+\./, ""), 22)),
		...scales[place].ticks.map(([text, value]) => svg("text", { x: x(place) + 5, y: y(place, value) + 4 }, shortText(text, 14)))]);
	return el("div", {}, scrolling("Parallel coordinates",
		svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "parallel", role: "img",
			"aria-label": `${lines.length} runs over ${shown.join(", ")}` }, ...paths, ...axes)), note);
}

function scale(values) {
	if (values.every((value) => typeof value === "number")) {
		const low = Math.min(...values), high = Math.max(...values);
		// For values of different magnitudes.
		const log = low > 0 && high / low > 100, put = log ? Math.log10 : (value) => value;
		const [a, b] = [put(low), put(high)];
		const middle = log ? 10 ** ((a + b) / 2) : (low + high) / 2;
		return { of: (value) => (a === b ? 0.5 : (put(value) - a) / (b - a)),
			ticks: (a === b ? [low] : [low, middle, high]).map((value) => [number(Number(value.toPrecision(3))), value]) };
	}
	const words = [...new Set(values.map((value) => JSON.stringify(value)))].sort();
	return { of: (value) => (words.length === 1 ? 0.5 : words.indexOf(JSON.stringify(value)) / (words.length - 1)),
		ticks: words.slice(0, 20).map((word) => [String(JSON.parse(word)), JSON.parse(word)]) };
}
