// Shows the page for the URL, as in W&B.

import { act, ask, button, currentPath, dataTable, el, link, loadSession, logIn, logOut, LoggedOut, nodes, number, pagePath,
	panel, quiet, shortText, when } from "./core.js";
import { artifactsPage } from "./artifacts.js";
import { projectPage } from "./project.js";
import { runPage } from "./run.js";
import { sweepPage } from "./sweep.js";

const main = document.getElementById("main");
let leave = () => {}, shown;

async function show() {
	leave();
	// The note is behind what it announces, which would move under the mouse when the note goes.
	const path = currentPath(), place = el("div"), waits = el("p.note", {}, "Loading …");
	main.replaceChildren(place, waits);
	main.ariaBusy = "true";
	shown = location.pathname;
	const session = await loadSession();
	header(path, session);
	if (!session) return loginForm();
	try {
		await page(path)(place, path, (stop) => (place.isConnected ? (leave = stop) : stop()));
	} catch (error) {
		if (error instanceof LoggedOut) return location.reload();
		place.replaceChildren(el("h1", {}, "Nothing to show"), el("p.error", { role: "alert" }, error.message));
	}
	waits.remove();
	if (place.isConnected) main.ariaBusy = "false";
}

function page(path) {
	const [entity, project, kind, name] = path;
	if (!entity || entity === "authorize") return homePage;
	if (!project) return entityPage;
	if (kind === "runs" && name) return runPage;
	if (kind === "sweeps") return sweepPage;
	if (kind === "artifacts") return artifactsPage;
	return projectPage;
}

function header(path, session) {
	const [entity, project, kind, name] = path;
	const crumbs = [link(pagePath(""), "aiowandb")];
	if (entity && entity !== "authorize") crumbs.push(link(pagePath(entity), entity));
	if (project) crumbs.push(link(pagePath(entity, project), project));
	if (name) crumbs.push(kind === "artifacts" ? link(pagePath(entity, project, kind), kind) : link(pagePath(entity, project, kind, name), name));
	document.getElementById("top").replaceChildren(
		el("nav.crumbs", { "aria-label": "Where you are" }, crumbs),
		session ? el("span.who", {}, session.user, " ", quiet("Log out", act(async () => {
			await logOut();
			await show();
		}))) : "");
}

function loginForm() {
	document.title = "Log in · aiowandb";
	const key = el("input", { type: "password", id: "key", autocomplete: "current-password", required: true });
	const mistake = el("p.error", { role: "alert" });
	const form = el("form.login", { onsubmit: async (event) => {
		event.preventDefault();
		try {
			await logIn({ key: key.value.trim() });
			await show();
		} catch (error) {
			mistake.textContent = error.message;
		}
	} }, el("h1", {}, "Log in"), el("label", { htmlFor: "key" }, "API key"), key, el("button", { type: "submit" }, "Log in"), mistake,
	el("p.note", {}, "The key is in the file local-key in the server's data folder. ",
		"`aiowandb open` prints links that need no key, and each works once."));
	main.replaceChildren(form);
	main.ariaBusy = "false";
	key.focus();
}

async function homePage(place) {
	document.title = "aiowandb";
	const { viewer } = await ask("{ viewer { entity teams { edges { node { name } } } } }");
	const names = [...new Set([viewer.entity, ...nodes(viewer.teams).map((team) => team.name)])];
	place.append(el("h1", {}, "Projects"));
	for (const name of names) place.append(panel(el("h2", {}, link(pagePath(name), name)), await projectsOf(name)));
}

async function entityPage(place, [entity]) {
	document.title = entity;
	place.append(el("h1", {}, entity), await projectsOf(entity));
}

async function projectsOf(entity) {
	const place = el("div"), rows = [];
	let after = null;
	const more = button("Show more", act(() => load()));
	const load = async () => {
		const { models } = await ask(`query Projects($entity: String!, $after: String) { models(entityName: $entity, after: $after, first: 100) {
			pageInfo { endCursor hasNextPage } edges { node { name description createdAt runCount totalSweeps } } } }`, { entity, after });
		after = models.pageInfo.endCursor;
		rows.push(...nodes(models).map((project) => [link(pagePath(entity, project.name), project.name), number(project.runCount),
			number(project.totalSweeps), when(project.createdAt), shortText(project.description)]));
		place.replaceChildren(rows.length ? dataTable(["Project", "Runs", "Sweeps", "Made", "Description"], rows, `Projects of ${entity}`)
			: el("p.note", {}, "No projects yet, or none that you may see."), ...(models.pageInfo.hasNextPage ? [more] : []));
	};
	await load();
	return place;
}

// Links between pages change the page without a reload.
document.addEventListener("click", (event) => {
	const anchor = event.target.closest("a");
	if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
	const target = new URL(anchor.href);
	if (target.origin !== location.origin || anchor.hasAttribute("download") || anchor.getAttribute("href").startsWith("#")) return;
	event.preventDefault();
	history.pushState(null, "", target);
	scrollTo(0, 0);
	show().then(() => main.focus({ preventScroll: true }));
});
addEventListener("popstate", () => location.pathname === shown || show());
show();
