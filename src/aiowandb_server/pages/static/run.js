// The page of a run.

import { act, button, dataTable, el, facts, inProject, link, nodes, notesEditor, number, ownLink, pagePath, panel, parseLine, pill,
	poll, quiet, save, saveCsv, shortText, span, tagEditor, utc, when } from "./core.js";
import { chartBoard, SeriesLoader } from "./chart.js";
import { artifactRows } from "./artifacts.js";
import { fileList, figure, FILES, IMAGE } from "./files.js";

const AXES = ["auto", "_step", "_runtime", "_timestamp"];
const TABS = [["", "Overview"], ["system", "System"], ["logs", "Logs"], ["files", "Files"], ["artifacts", "Artifacts"]];

const FIELDS = "historyKeys configPreview summaryPreview";
const STATUS = "id name displayName state tags notes heartbeatAt historyLineCount eventsLineCount logLineCount exitcode " +
	'wandbConfig(keys: ["m"])';

class RunPlace {
	constructor(entity, project, run) {
		Object.assign(this, { entity, project, run });
		this.path = (...more) => pagePath(entity, project, "runs", run, ...more);
	}

	async get(fields, more = {}) {
		return (await inProject(this, `run(name: $run) { ${fields} }`, { "$run: String!": this.run, ...more })).run;
	}
}

export async function runPage(main, [entity, project, , name, tab = ""], onLeave) {
	const place = new RunPlace(entity, project, name);
	const run = await place.get(`${STATUS} createdAt commit repo host program group jobType sweepName
		user { username } ${FIELDS}`);
	if (!run) throw new Error(`There is no run ${name} in ${entity}/${project}.`);
	document.title = `${run.displayName || name} · ${project}`;
	const state = el("span", {}, pill(run.state));
	const title = el("h1", {}, run.displayName || name);
	main.append(
		el(".head", {}, title, state),
		el("nav.tabs", { "aria-label": "Parts of the run" }, TABS.map(([key, text]) =>
			el("a", { href: place.path(...(key ? [key] : [])), "aria-current": key === tab ? "page" : null }, text))));
	const body = el("div");
	main.append(body);
	const page = { "": overview, overview, system, logs, files, artifacts }[tab] ?? overview;
	const update = await page(body, place, run);
	let known = run;
	onLeave(poll(2, async () => {
		const now = await place.get(STATUS);
		if (!now) return false;
		if (now.state !== known.state) state.replaceChildren(pill(now.state));
		if (now.displayName !== known.displayName) title.textContent = now.displayName || name;
		const before = known;
		known = now;
		await update?.(now, before);
	}));
}

async function overview(body, place, run) {
	const lasted = el("span"), steps = el("span");
	const times = (now) => {
		lasted.textContent = span((utc(now.heartbeatAt) - utc(run.createdAt)) / 1000);
		steps.textContent = number(now.historyLineCount);
	};
	times(run);
	const metadata = await metadataOf(place);
	const remote = metadata.git?.remote || run.repo, commit = metadata.git?.commit || run.commit;
	const program = metadata.program || run.program;
	const all = facts([["Run id", el("code", {}, run.name)], ["Author", run.user?.username], ["Started", when(run.createdAt)],
		["Lasted", lasted], ["Rows logged", steps], ["Git commit", commit && el("code", {}, commit)], ["Git remote", remote && webLink(remote)],
		["Command", program && el("code", {}, [program, metadata.args ?? []].flat().join(" "))], ["Host", run.host || metadata.host],
		["System", [metadata.os, metadata.python, metadata.gpu].filter(Boolean).join(" · ")], ["Group", run.group],
		["Job type", run.jobType], ["Exit code", run.exitcode],
		["Sweep", run.sweepName && link(pagePath(place.entity, place.project, "sweeps", run.sweepName), run.sweepName)]]);
	const tags = tagEditor(run, "this run"), notes = notesEditor(run);
	const loader = new SeriesLoader(place.entity, place.project, place.run);
	let axisOf = definedAxes(run.wandbConfig);
	const board = chartBoard({ x: "auto", smoothing: 0, log: false }, AXES, (key) =>
		[{ label: key, color: 0, loader, key, x: () => axisOf(key) }]);
	board.setKeys(numericKeys(run.historyKeys));
	const config = treePanel("Config", "config", place), summary = treePanel("Summary", "summaryMetrics", place);
	config.show(run.configPreview);
	summary.show(run.summaryPreview);
	const media = el("div");
	body.append(panel(all, el(".edited", {}, el("b", {}, "Tags"), tags), el(".edited", {}, el("b", {}, "Notes"), notes)),
	board.node, media, el(".two", {}, config, summary));
	const shown = new Set();
	const showMedia = (values) => showTables(media, place, values, shown);
	await showMedia(run.summaryPreview);
	showImages(media, place);
	return async (now, before) => {
		times(now);
		tags.update(now.tags);
		notes.update(now.notes ?? "");
		const changed = (...names) => names.some((name) => now[name] !== before[name]);
		if (!changed("heartbeatAt", "historyLineCount", "state", "wandbConfig")) return;
		const more = await place.get(FIELDS);
		axisOf = definedAxes(now.wandbConfig);
		board.setKeys(numericKeys(more.historyKeys));
		if (changed("historyLineCount", "state", "wandbConfig")) board.refresh();
		config.show(more.configPreview);
		summary.show(more.summaryPreview);
		await showMedia(more.summaryPreview);
	};
}

async function metadataOf(place) {
	const found = await place.get('files(names: ["wandb-metadata.json"]) { edges { node { directUrl } } }');
	const [file] = nodes(found.files);
	try {
		return (file && (await (await fetch(ownLink(file.directUrl))).json())) || {};
	} catch {
		return {};
	}
}

// Only certain URLs become links.
function webLink(text) {
	const address = String(text).replace(/^git@([\w.-]+):/, "https://$1/").replace(/\.git$/, "");
	return /^https?:\/\/[\w.-]+(:\d+)?\/[\w./~-]*$/.test(address)
		? el("a", { href: address, rel: "noopener noreferrer" }, String(text)) : el("code", {}, String(text));
}

export function numericKeys(historyKeys) {
	return Object.entries(historyKeys?.keys ?? {})
		.filter(([key, facts]) => !key.startsWith("_") && facts.typeCounts.some((entry) => entry.type === "number"))
		.map(([key]) => key).sort((a, b) => (a > b ? 1 : -1));
}

// define_metric() in the SDK's format: 1 is a name, 2 a pattern, 5 the index of its axis.
export function definedAxes(wandbConfig) {
	let metrics = [];
	try {
		metrics = JSON.parse(wandbConfig)?.m ?? [];
	} catch { }
	if (!Array.isArray(metrics)) metrics = [];
	const plain = (name) => String(name).replaceAll("\\.", ".");
	const axis = (metric) => (metric?.["4"] ? plain(metric["4"]) : plain(metrics[metric?.["5"] - 1]?.["1"] ?? "_step"));
	return (key) => {
		const exact = metrics.find((metric) => metric?.["1"] && plain(metric["1"]) === key);
		const byPattern = metrics.find((metric) => {
			const pattern = metric?.["2"];
			return pattern && (String(pattern).endsWith("*") ? key.startsWith(plain(pattern).slice(0, -1)) : plain(pattern) === key);
		});
		return axis(exact?.["4"] || exact?.["5"] ? exact : byPattern);
	};
}

const TREE_PAGE = 100;

function treePanel(title, field, place) {
	const search = el("input", { type: "search", placeholder: "Find", "aria-label": `Find in ${title}`, oninput: () => show() });
	const tree = el(".tree");
	let values = {};
	const show = (now = values) => {
		const open = new Set([...tree.querySelectorAll("details[open]")].map((each) => each.dataset.path));
		tree.replaceChildren(...branch(title, values = now, search.value.toLowerCase(), open));
	};
	const node = panel(el("header", {}, el("h2", {}, title), search, button("JSON", act(async () =>
		save(`${field}.json`, "application/json", (await place.get(field))[field])), `${title} as JSON`)), tree);
	return Object.assign(node, { show });
}

function branch(path, values, wanted, open, limit = TREE_PAGE) {
	const entries = Object.entries(values).filter(([key, value]) => key !== "_wandb" &&
		(!wanted || key.toLowerCase().includes(wanted) || (isTree(value) && JSON.stringify(value).toLowerCase().includes(wanted))));
	const rows = entries.slice(0, limit).map(([key, value]) => {
		if (!isTree(value)) return el(".leaf", {}, el("span.key", {}, shortText(key)), el("span.value", {}, shortText(value, 3000)));
		const inner = `${path}\n${key}`;
		const details = el("details", { open: open.has(inner) || Boolean(wanted), "data-path": inner }, el("summary", {}, shortText(key)));
		const fill = () => details.open && details.children.length === 1 && details.append(
			...branch(inner, value, key.toLowerCase().includes(wanted) ? "" : wanted, open));
		details.addEventListener("toggle", fill);
		fill();
		return details;
	});
	if (!entries.length) rows.push(el("p.note", {}, wanted ? "Nothing is called that." : "Empty"));
	if (entries.length > limit) {
		const more = button(`Show more of ${number(entries.length)}`, () =>
			more.replaceWith(...branch(path, Object.fromEntries(entries.slice(limit)), wanted, open, limit * 5)));
		rows.push(more);
	}
	return rows;
}

const isTree = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;

async function showTables(media, place, values, shown) {
	const tables = Object.entries(values).filter(([, value]) => value?._type === "table-file" && typeof value.path === "string");
	for (const [key, value] of tables.slice(0, 20)) {
		if (shown.has(value.path)) continue;
		const found = await place.get("files(names: $names) { edges { node { directUrl } } }", { "$names: [String!]": [value.path] });
		const [file] = nodes(found.files);
		if (!file) continue;
		const old = [...media.children].find((each) => each.dataset.table === key);
		try {
			const section = loggedTable(key, await (await fetch(ownLink(file.directUrl))).json());
			old ? old.replaceWith(section) : media.append(section);
			shown.add(value.path);
		} catch { }
	}
}

function loggedTable(title, { columns, data }) {
	let rows = data, at = 0, order = null;
	const size = 25, body = el("div"), note = el("span.note");
	const show = () => {
		const head = columns.map((column, i) => quiet(shortText(column) + (order === i ? " ↑" : order === ~i ? " ↓" : ""), () => {
			order = order === i ? ~i : i;
			const turn = order < 0 ? -1 : 1;
			rows = [...data].sort((a, b) => turn * (a[i] > b[i] ? 1 : a[i] < b[i] ? -1 : 0));
			at = 0;
			show();
		}));
		body.replaceChildren(dataTable(head, rows.slice(at, at + size).map((row) => columns.map((_, i) => shortText(row[i]))), title));
		note.textContent = ` ${rows.length && at + 1} to ${Math.min(at + size, rows.length)} of ${number(rows.length)} `;
	};
	show();
	const move = (by) => () => ((at = Math.min(Math.max(at + by, 0), Math.max(rows.length - 1, 0))), (at -= at % size), show());
	return el("section.panel", { "data-table": title }, el("header", {}, el("h2", {}, shortText(title)), button("CSV", () => saveCsv(title, columns, data),
		`CSV of ${shortText(title)}`)), body, button("Previous", move(-size)), note, button("Next", move(size)));
}

async function showImages(media, place) {
	const found = await place.get('files(pattern: "media/images/%", first: 60) { edges { node { name directUrl sizeBytes } } }');
	const images = nodes(found.files).filter((file) => IMAGE.test(file.name));
	if (images.length) media.append(panel("Images", el(".images", {}, images.map(figure))));
}

async function system(body, place, run) {
	const loader = new SeriesLoader(place.entity, place.project, place.run, "events");
	const keys = async () => {
		const { events } = await place.get("events(samples: 20)");
		return [...new Set(events.flatMap((line) => {
			const row = parseLine(line);
			return Object.keys(row).filter((key) => !key.startsWith("_") && typeof row[key] === "number");
		}))].sort();
	};
	const board = chartBoard({ x: "_runtime", smoothing: 0, log: false }, ["_runtime", "_timestamp"], (key) =>
		[{ label: key, color: 0, loader, key }]);
	board.setKeys(run.eventsLineCount ? await keys() : []);
	body.append(board.node);
	return async (now, before) => {
		if (now.eventsLineCount === before.eventsLineCount) return;
		board.setKeys(await keys());
		board.refresh();
	};
}

const LINES = 1000, MOST_LINES = 20_000;

async function logs(body, place) {
	const list = el("ol.console", { tabIndex: 0, "aria-label": "Console output" });
	const follow = el("input", { type: "checkbox", checked: true });
	const note = el("span.note");
	let first = null, next = null;
	const lines = (connection) => nodes(connection).map((line) =>
		el(line.level === "error" ? "li.error" : "li", { value: line.number + 1 },
			shortText(line.line.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, ""), 5000)));
	const fields = "edges { node { number level line } } pageInfo { hasNextPage }";
	const earlier = button("Show earlier lines", act(async () => {
		const from = Math.max(first - LINES, 0);
		const found = await place.get(`logLines(first: ${first - from}${from ? `, after: "${from - 1}"` : ""}) { ${fields} }`);
		list.prepend(...lines(found.logLines));
		first = from;
		earlier.hidden = first === 0;
	}));
	const add = (connection) => {
		const found = nodes(connection);
		if (!found.length) return;
		first ??= found[0].number;
		next = found.at(-1).number;
		list.append(...lines(connection));
		while (list.children.length > MOST_LINES) {
			list.firstChild.remove();
			first++;
		}
		earlier.hidden = first === 0;
		note.textContent = ` ${number(next + 1)} lines`;
		if (follow.checked) list.scrollTop = list.scrollHeight;
	};
	list.addEventListener("scroll", () => {
		follow.checked = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
	});
	const bar = el(".bar", {}, earlier, el("label", {}, follow, " Follow"), note);
	body.append(panel(bar, list));
	const found = await place.get(`logLines(last: ${LINES}) { ${fields} }`);
	earlier.hidden = true;
	add(found.logLines);
	if (next === null) note.textContent = "No output yet.";
	return async (now) => {
		while (now.logLineCount > (next ?? -1) + 1) {
			const found = await place.get(`logLines(first: 1000${next === null ? "" : `, after: "${next}"`}) { ${fields} }`);
			if (!found.logLines.edges.length) return;
			add(found.logLines);
		}
	};
}

async function files(body, place) {
	let known = null;
	const note = el("p.note"), list = fileList(async (after) => {
		const found = await place.get(`fileCount files(first: 100, after: $after) { ${FILES} }`, { "$after: String": after });
		note.textContent = `${number(known = found.fileCount)} files`;
		return found.files;
	});
	body.append(panel(note, list.node));
	await list.load();
	return async () => known !== (await place.get("fileCount")).fileCount && list.load(true);
}

async function artifacts(body, place) {
	const fields = `edges { node { versionIndex size fileCount createdAt artifactType { name } aliases { alias }
		artifactSequence { name project { name entityName } } } }`;
	const show = async () => {
		const run = await place.get(`outputArtifacts(first: 200) { ${fields} } inputArtifacts(first: 200) { ${fields} }`);
		body.replaceChildren(...[["Made by this run", run.outputArtifacts], ["Used by this run", run.inputArtifacts]].map(([title, found]) =>
			panel(title, artifactRows(nodes(found), title))));
	};
	await show();
	let turns = 0;
	return async (now) => {
		if (now.state === "running" && ++turns % 5 === 0) await show();
	};
}
