// The page of a project: a table of its runs, and charts of the selected ones.

import { act, button, dialog, el, inProject, link, nodes, number, pagePath, pill, poll, quiet, readFilter, saveCsv, scrolling,
	shortText, span, tagEditor, utc, when } from "./core.js";
import { chartBoard, COLORS, SeriesLoader } from "./chart.js";
import { definedAxes, numericKeys } from "./run.js";

const PAGE = 50, MOST_SELECTED = 20;
const FIELDS = `id name displayName state tags createdAt heartbeatAt sweepName group jobType historyLineCount
	user { username } cells(columns: $columns)`;
// Columns of every run: the name for sorting, the value, and how it is shown.
const COLUMNS = {
	state: ["state", (run) => run.state, (run) => pill(run.state)],
	tags: [null, (run) => run.tags.join(" ")],
	created: ["created_at", (run) => run.createdAt, (run) => when(run.createdAt)],
	lasted: ["duration", (run) => (utc(run.heartbeatAt) - utc(run.createdAt)) / 1000,
		(run) => span((utc(run.heartbeatAt) - utc(run.createdAt)) / 1000)],
	rows: ["history_line_count", (run) => run.historyLineCount, (run) => number(run.historyLineCount)],
	author: ["username", (run) => run.user?.username],
	group: ["group", (run) => run.group],
	"job type": ["job_type", (run) => run.jobType],
	sweep: ["sweep", (run) => run.sweepName],
	id: ["name", (run) => run.name],
};
const QUERY = `runs(filters: $filters, order: $order, after: $after, first: $first) {
	totalCount pageInfo { endCursor hasNextPage } edges { node { ${FIELDS} } } }`;

export async function projectPage(main, [entity, project], onLeave) {
	const place = { entity, project };
	const wanted = new URLSearchParams(location.search);
	const view = {
		filter: wanted.get("filter") ?? "",
		order: wanted.get("order") ?? "-created_at",
		columns: wanted.get("columns")?.split("\n").filter(Boolean) ?? null,
		cursors: [null],
	};
	const known = await inProject(place, "description columnNames totalSweeps");
	view.columns ??= ["state", "tags", "created", "lasted", ...defaults(known.columnNames)];
	document.title = `${project} · ${entity}`;

	const field = el("input", { type: "search", value: view.filter, spellcheck: false, "aria-label": "Filter runs",
		placeholder: 'config.lr > 0.1 and state == "finished"' });
	const mistake = el("p.error", { role: "alert" });
	const count = el("span.note"), table = scrolling("Runs");
	const previous = button("Previous", () => (view.cursors.pop(), load())), following = button("Next", () => {
		view.cursors.push(view.end);
		load();
	});
	const form = el("form.bar", { role: "search", onsubmit: (event) => {
		event.preventDefault();
		view.filter = field.value;
		view.cursors = [null];
		load();
	} }, field, el("button", { type: "submit" }, "Filter"), button("Columns", act(chooseColumns)),
	button("CSV", act(csv), "CSV of the table"));
	main.append(el(".head", {}, el("h1", {}, project), count),
		el("nav.tabs", { "aria-label": "Parts of the project" },
			el("a", { href: pagePath(entity, project), "aria-current": "page" }, "Runs"),
			el("a", { href: pagePath(entity, project, "sweeps") }, `Sweeps ${known.totalSweeps || ""}`),
			el("a", { href: pagePath(entity, project, "artifacts") }, "Artifacts")),
		known.description && el("p", {}, shortText(known.description, 2000)) || "",
		form, mistake, table, el(".bar", {}, previous, following));

	const selected = new Map(), axes = {};
	let keysOf = new Map();
	const board = chartBoard({ x: "_step", smoothing: 0, log: false }, ["auto", "_step", "_runtime", "_timestamp"], (key) =>
		[...selected].filter(([name]) => keysOf.get(name)?.has(key)).map(([name, { color, label }]) =>
			({ label, color, key, x: () => axes[name]?.(key), loader: new SeriesLoader(entity, project, name) })));
	const hint = el("p.note", {}, "Select runs in the table to compare them.");
	main.append(el("h2", {}, "Selected runs"), hint, board.node);

	const values = () => view.columns.filter((column) => !(column in COLUMNS));
	const runsAfter = async (after, first) => {
		const filters = await readFilter(view.filter);
		return (await inProject(place, QUERY, { "$filters: JSONString": filters && JSON.stringify(filters), "$order: String": view.order,
			"$columns: [String!]!": values(), "$after: String": after, "$first: Int": first })).runs;
	};
	let turn = null, first = true;

	async function load() {
		const mine = (turn = {});
		try {
			const found = await runsAfter(view.cursors.at(-1), PAGE);
			if (turn !== mine) return;
			mistake.textContent = "";
			const { totalCount, pageInfo } = found;
			view.runs = nodes(found);
			view.end = pageInfo.endCursor;
			const start = (view.cursors.length - 1) * PAGE;
			count.textContent = totalCount ? `runs ${number(start + 1)} to ${number(start + view.runs.length)} of ${number(totalCount)}` : "no runs";
			previous.disabled = view.cursors.length < 2;
			following.disabled = !pageInfo.hasNextPage;
			if (first) view.runs.slice(0, 3).forEach(select);
			first = false;
			show();
			remember();
			await compare();
		} catch (error) {
			if (turn === mine) mistake.textContent = error.message;
		}
	}

	function remember() {
		const now = new URLSearchParams({ filter: view.filter, order: view.order, columns: view.columns.join("\n") });
		history.replaceState(null, "", location.pathname + "?" + now);
	}

	function select(run) {
		const used = new Set([...selected.values()].map(({ color }) => color));
		const color = [...Array(MOST_SELECTED).keys()].find((each) => !used.has(each));
		if (color !== undefined) selected.set(run.name, { color, label: run.displayName || run.name });
	}

	function show() {
		const head = [el("th", { scope: "col" }, el("span.hidden", {}, "Compare")), sortable("name", "display_name"),
			...view.columns.map((column) => sortable(column, column in COLUMNS ? COLUMNS[column][0] : column.replace(/^summary\./, "summary_metrics.")))];
		table.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, head)),
			el("tbody", {}, view.runs.map(row))));
	}

	function sortable(column, order) {
		if (!order) return el("th", { scope: "col" }, column);
		const sign = view.order.slice(1) === order ? view.order[0] : "";
		const mark = { "+": " ↑", "-": " ↓" }[sign] ?? "";
		const turned = sign === "-" ? "+" : "-";
		return el("th", { scope: "col", "aria-sort": { "+": "ascending", "-": "descending" }[sign] ?? "none" },
			quiet(shortText(column, 60) + mark, () => {
				view.order = turned + order;
				view.cursors = [null];
				load();
			}, column));
	}

	function row(run) {
		const label = run.displayName || run.name, mine = selected.get(run.name);
		const box = el("input", { type: "checkbox", checked: Boolean(mine), "aria-label": `Compare ${label}` });
		box.addEventListener("change", () => {
			if (box.checked) select(run);
			else selected.delete(run.name);
			if (box.checked && !selected.has(run.name)) box.checked = false;
			swatch.className = swatchOf(run);
			compare();
		});
		const swatch = el("i", { className: swatchOf(run) });
		return el("tr", {}, el("td", {}, el("label.pick", {}, box, swatch)),
			el("td.name", {}, link(pagePath(entity, project, "runs", run.name), shortText(label))),
			view.columns.map((column) => cell(run, column)));
	}

	const swatchOf = (run) => selected.has(run.name) ? `swatch c${selected.get(run.name).color % COLORS}` : "swatch";

	function cell(run, column) {
		if (column === "tags") return el("td", {}, tagEditor(run, run.displayName || run.name));
		const [, value, shown] = COLUMNS[column] ?? [null, (each) => each.cells[values().indexOf(column)]];
		const found = value(run);
		return el(typeof found === "number" ? "td.number" : "td", {}, shown ? shown(run) : shortText(found, 120));
	}

	async function compare() {
		hint.hidden = selected.size > 0;
		const names = [...selected.keys()];
		const parts = names.map((_, i) => `r${i}: run(name: $n${i}) { historyKeys wandbConfig(keys: ["m"]) }`);
		const found = names.length ? await inProject(place, parts.join(" "), Object.fromEntries(names.map((name, i) => [`$n${i}: String!`, name]))) : {};
		keysOf = new Map(names.map((name, i) => [name, new Set(numericKeys(found[`r${i}`]?.historyKeys))]));
		names.forEach((name, i) => (axes[name] = definedAxes(found[`r${i}`]?.wandbConfig ?? "{}")));
		board.setKeys([...new Set([...keysOf.values()].flatMap((keys) => [...keys]))].sort((a, b) => (a > b ? 1 : -1)));
		const drawn = names.join("\n");
		if (drawn !== compare.drawn) board.reset();
		else board.refresh();
		compare.drawn = drawn;
	}

	async function chooseColumns() {
		const search = el("input", { type: "search", placeholder: "Find a column", "aria-label": "Find a column" });
		const list = el(".choices");
		const offer = (names) => list.replaceChildren(...names.map((name) => el("label", {}, el("input", { type: "checkbox",
			checked: view.columns.includes(name), onchange: ({ target }) => {
				view.columns = target.checked ? [...view.columns, name] : view.columns.filter((each) => each !== name);
			} }), " ", shortText(name))));
		const find = act(async () => {
			const found = await inProject(place, "columnNames(search: $search)", { "$search: String": search.value });
			const text = search.value.toLowerCase();
			offer([...new Set([...(text ? [] : view.columns), ...Object.keys(COLUMNS).filter((name) => name.includes(text)), ...found.columnNames])]);
		});
		let timer;
		search.addEventListener("input", () => (clearTimeout(timer), (timer = setTimeout(find, 200))));
		const box = dialog("Columns", search, list);
		box.addEventListener("close", load);
		await find();
	}

	async function csv() {
		const rows = [];
		for (let after = null, more = true; more;) {
			const runs = await runsAfter(after, 500);
			rows.push(...nodes(runs).map((run) => [run.name, run.displayName, ...view.columns.map((column) =>
				column in COLUMNS ? COLUMNS[column][1](run) : run.cells[values().indexOf(column)])]));
			count.textContent = `${number(rows.length)} of ${number(runs.totalCount)} runs read`;
			({ endCursor: after, hasNextPage: more } = runs.pageInfo);
		}
		saveCsv(project, ["id", "name", ...view.columns], rows);
	}

	await load();
	onLeave(poll(5, async () => {
		// Keep a field that is being edited.
		if (table.querySelector("form") || document.querySelector("dialog[open]")) return;
		const found = await runsAfter(view.cursors.at(-1), PAGE), now = nodes(found);
		if (JSON.stringify(now) === JSON.stringify(view.runs)) return;
		const focused = table.contains(document.activeElement);
		if (!focused) {
			view.runs = now;
			view.end = found.pageInfo.endCursor;
			show();
		}
		await compare();
	}));
}

function defaults(names) {
	const config = names.filter((name) => /^config\.[^.]+$/.test(name)).slice(0, 3);
	const summary = names.filter((name) => name.startsWith("summary.") && !/^summary\._/.test(name));
	const telling = summary.filter((name) => /loss|acc|score|reward|f1|auc|metric/i.test(name));
	return [...(telling.length ? telling : summary).slice(0, 3), ...config];
}
