// Shared functions.

const root = document.documentElement.dataset.root;
// Kept for this origin: browsers send cookies to every port of a host.
const CSRF = "csrf" + root;

// el("a.link", {href}, child, ...): children are nodes or text, never markup.
export function el(spec, props = {}, ...children) {
	const [tag, ...classes] = spec.split(".");
	const node = document.createElement(tag || "div");
	if (classes.length) node.className = classes.join(" ");
	for (const [name, value] of Object.entries(props)) {
		if (value === null || value === undefined || value === false) continue;
		if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
		else if (name in node && !name.includes("-")) node[name] = value;
		else node.setAttribute(name, value === true ? "" : value);
	}
	node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

export function svg(tag, attributes = {}, ...children) {
	const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
	for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
	node.append(...children);
	return node;
}

export const button = (text, onclick, label, props = {}) =>
	el("button", { type: "button", onclick, title: label, "aria-label": label, ...props }, text);

export const quiet = (text, onclick, label) => button(text, onclick, label, { className: "quiet" });

export function pagePath(...parts) {
	return root + "/" + parts.map(encodeURIComponent).join("/");
}

export function link(path, ...children) {
	return el("a", { href: path }, ...children);
}

export function currentPath() {
	return location.pathname.slice(root.length).split("/").filter(Boolean).map((part) => {
		try {
			return decodeURIComponent(part);
		} catch {
			return part;
		}
	});
}

export class LoggedOut extends Error {}

export async function loadSession() {
	const token = new URLSearchParams(location.search).get("token");
	if (token) {
		history.replaceState(null, "", location.pathname);
		await logIn({ token }).catch((error) => say(error.message, true));
	}
	const answer = await send("/_pages/session");
	return answer.ok ? answer.json() : null;
}

export async function logIn(proof) {
	const answer = await send("/_pages/login", proof), found = await answer.json();
	if (!answer.ok) throw new Error(found.error);
	localStorage[CSRF] = found.csrf;
}

export async function logOut() {
	await send("/_pages/logout", {});
	delete localStorage[CSRF];
}

function send(path, body) {
	const headers = { "X-CSRF-Token": localStorage[CSRF], "Content-Type": "application/json" };
	return fetch(root + path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
}

export async function ask(query, variables = {}) {
	let answer, tries = 5;
	while ([429, 503].includes((answer = await send("/graphql", { query, variables })).status) && tries--) {
		await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
	}
	if (answer.status === 401) throw new LoggedOut("You are not logged in any more.");
	const { data, errors } = await answer.json();
	if (errors?.length) throw new Error(errors[0].message);
	return data;
}

// Queries `fields` of a project; further variables have types: {"$id: ID!": id}.
export async function inProject({ entity, project }, fields, more = {}) {
	const types = ["$entity: String!", "$project: String!", ...Object.keys(more)].join(", ");
	const values = Object.entries(more).map(([name, value]) => [name.match(/\w+/)[0], value]);
	const query = `query Page(${types}) { project(name: $project, entityName: $entity) { ${fields} } }`;
	const found = (await ask(query, { entity, project, ...Object.fromEntries(values) })).project;
	if (!found) throw new Error(`There is no project ${entity}/${project}, or it is not yours to see.`);
	return found;
}

export async function readFilter(text) {
	const answer = await send("/_pages/filter?text=" + encodeURIComponent(text));
	const found = await answer.json();
	if (!answer.ok) throw new Error(found.error);
	return found.filters;
}

// The link of a file on this server, under any host name; null for others.
export function ownLink(url) {
	try {
		const { pathname, search } = new URL(url, location.href);
		return /^\/(files|wandb_artifacts)\//.test(pathname.slice(root.length)) ? pathname + search : null;
	} catch {
		return null;
	}
}

export const nodes = (connection) => (connection?.edges ?? []).map((edge) => edge.node);

// JSON that may have bare NaN and Infinity.
export function parseLine(line) {
	try {
		return JSON.parse(line.replace(/([:,[]\s*)(NaN|-?Infinity)/g, '$1"$2"')) ?? {};
	} catch {
		return {};
	}
}

export function number(value) {
	if (value === null || value === undefined) return "";
	if (typeof value !== "number") return String(value);
	const size = Math.abs(value);
	if (Number.isInteger(value) && size < 1e9) return value.toLocaleString("en-US");
	if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(3).replace(/\.?0+e/, "e");
	return String(Number(value.toPrecision(5)));
}

export function shortText(value, longest = 200) {
	if (value === null || value === undefined) return "";
	if (typeof value === "number") return number(value);
	const text = typeof value === "string" ? value : JSON.stringify(value);
	return text.length > longest ? text.slice(0, longest) + "…" : text;
}

export function bytes(size) {
	const power = Math.min(Math.floor(Math.log10(size || 1) / 3), 4);
	return `${Number((size / 1000 ** power).toPrecision(3))} ${["B", "KB", "MB", "GB", "TB"][power]}`;
}

export const utc = (text) => new Date(text + (text.endsWith("Z") ? "" : "Z"));

export function when(text) {
	if (!text) return "";
	const moment = utc(text);
	const time = el("time", { dateTime: moment.toISOString(), title: moment.toISOString() });
	time.textContent = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
	return time;
}

export function span(seconds) {
	const [h, m, s] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.floor);
	return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s || 0} s`;
}

export const pill = (state) => el("span.pill", { "data-state": state }, state);

function csvCell(value) {
	if (value === null || value === undefined) return "";
	let text = typeof value === "object" ? JSON.stringify(value) : String(value);
	// A spreadsheet would run this as a formula.
	if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
	return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

export function saveCsv(name, header, rows) {
	const lines = [header, ...rows].map((row) => row.map(csvCell).join(","));
	save(name.replace(/[^\w.-]+/g, "_") + ".csv", "text/csv", lines.join("\r\n") + "\r\n");
}

export function save(name, type, text) {
	const url = URL.createObjectURL(new Blob([text], { type }));
	el("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function say(text, isError = false) {
	const status = document.getElementById("status");
	status.replaceChildren(el(isError ? "p.error" : "p", {}, text));
	clearTimeout(say.timer);
	say.timer = setTimeout(() => status.replaceChildren(), isError ? 15_000 : 4_000);
}

export const act = (work) => async (...given) => {
	try {
		return await work(...given);
	} catch (error) {
		if (error instanceof LoggedOut) location.reload();
		say(error.message, true);
	}
};

export function dialog(title, ...content) {
	const box = el("dialog", { "aria-label": title },
		el("header", {}, el("h2", {}, title), button("Close", () => box.close())), ...content);
	box.addEventListener("close", () => box.remove());
	document.body.append(box);
	box.showModal();
	return box;
}

// Calls `work` repeatedly while the page is visible, with pauses.
export function poll(seconds, work) {
	let stopped = false;
	const turn = async () => {
		if (stopped) return;
		const start = performance.now();
		let goOn = true;
		if (!document.hidden) {
			try {
				goOn = (await work()) !== false;
			} catch (error) {
				if (error instanceof LoggedOut) location.reload();
			}
		}
		const took = performance.now() - start;
		if (goOn && !stopped) setTimeout(turn, Math.max(seconds * 1000, took * 4));
	};
	setTimeout(turn, seconds * 1000);
	return () => (stopped = true);
}

export const panel = (title, ...content) => el("section.panel", {}, typeof title === "string" ? el("h2", {}, title) : title, ...content);

export const facts = (pairs) => el("dl.facts", {}, pairs.filter(([, value]) => value || value === 0).map(([name, value]) =>
	el("div", {}, el("dt", {}, name), el("dd", {}, value))));

export const scrolling = (label, ...content) => el(".scroll", { tabIndex: 0, role: "region", "aria-label": label }, ...content);

export function dataTable(header, rows, label) {
	return scrolling(label,
		el("table", {},
			el("thead", {}, el("tr", {}, header.map((cell) => el("th", { scope: "col" }, cell)))),
			el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))));
}

// A value edited in place: `save` returns the stored value.
function editor(label, value, shown, makeField, save) {
	const place = el("span.tags");
	const show = () => place.replaceChildren(...shown(value), quiet("✎", edit, `Edit ${label}`));
	const done = () => {
		show();
		place.querySelector("button").focus();
	};
	const edit = () => {
		const field = makeField(value);
		const form = el("form", { onsubmit: act(async (event) => {
			event.preventDefault();
			value = await save(field.value);
			done();
			say("Saved.");
		}), onkeydown: (event) => event.key === "Escape" && done() }, field, el("button", { type: "submit" }, "Save"));
		field.setAttribute("aria-label", label);
		place.replaceChildren(form);
		field.focus();
	};
	show();
	// Shows changes by others, unless it is being edited.
	place.update = (now) => {
		if (place.querySelector("form")) return;
		value = now;
		show();
	};
	return place;
}

export const tagEditor = (run, label) => editor(`tags of ${label}, separated by commas`, run.tags,
	(tags) => tags.map((tag) => el("span.tag", { title: tag }, tag)), (tags) => el("input", { value: tags.join(", ") }),
	async (text) => {
		const tags = [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
		return (run.tags = (await changeRun(run.id, { tags })).tags);
	});

export const notesEditor = (run) => editor("notes", run.notes ?? "", (notes) => [el("span.notes", {}, notes || "None")],
	(notes) => el("textarea", { value: notes, rows: 3, cols: 60 }),
	async (notes) => (await changeRun(run.id, { notes })).notes ?? "");

async function changeRun(id, changes) {
	const query = `mutation Change($input: UpsertBucketInput!) {
		upsertBucket(input: $input) { bucket { id tags notes displayName } } }`;
	return (await ask(query, { input: { id, ...changes } })).upsertBucket.bucket;
}
