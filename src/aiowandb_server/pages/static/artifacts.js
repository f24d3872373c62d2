// Artifacts: those of a project, and the page of one version with its files and lineage.

import { ask, button, bytes, dataTable, el, facts, inProject, link, nodes, number, pagePath, panel, save, shortText, when } from "./core.js";
import { fileList, FILES } from "./files.js";

// One that is lent to a team has no project.
function artifactLink({ artifactSequence: { name, project }, artifactType, versionIndex }) {
	const at = `v${versionIndex}`, text = `${name}:${at}`;
	return project ? link(pagePath(project.entityName, project.name, "artifacts", artifactType.name, name, at), text) : text;
}

const aliases = (artifact) => el("span.tags", {}, artifact.aliases.map(({ alias }) => el("span.tag", {}, alias)));

export function artifactRows(artifacts, label) {
	if (!artifacts.length) return el("p.note", {}, "None");
	return dataTable(["Name", "Type", "Aliases", "Size", "Files", "Made"], artifacts.map((artifact) => [
		artifactLink(artifact),
		artifact.artifactType.name, aliases(artifact),
		bytes(Number(artifact.size)), number(artifact.fileCount), when(artifact.createdAt)]), label);
}

export async function artifactsPage(main, [entity, project, , type, name, version]) {
	if (name) return versionPage(main, entity, project, name, version);
	const found = await inProject({ entity, project }, `artifactTypes(first: 20) { edges { node { name
		artifactCollections(first: 100) { edges { node { name updatedAt description artifacts(first: 1) { totalCount } } } } } } }`);
	document.title = `Artifacts · ${project}`;
	main.append(el("h1", {}, "Artifacts"));
	const types = nodes(found.artifactTypes).filter((each) => !type || each.name === type);
	if (!types.length) main.append(el("p.note", {}, "None yet."));
	for (const each of types) {
		main.append(panel(each.name, dataTable(["Name", "Versions", "Changed", "Description"],
			nodes(each.artifactCollections).map((found) => [
				link(pagePath(entity, project, "artifacts", each.name, found.name, "latest"), found.name),
				number(found.artifacts.totalCount), when(found.updatedAt), shortText(found.description)]), each.name)));
	}
}

async function versionPage(main, entity, project, name, version = "latest") {
	const fields = `id versionIndex size fileCount digest description metadata createdAt artifactType { name }
		aliases { alias } artifactSequence { name project { name entityName } artifacts(first: 50) { edges { version node { id } } } }
		createdBy { __typename ... on Run { name displayName project { name entityName } } ... on User { username } }
		usedBy { edges { node { name displayName project { name entityName } } } }`;
	const { artifact } = await inProject({ entity, project }, `artifact(name: $name) { ${fields} }`, { "$name: String!": `${name}:${version}` });
	if (!artifact) throw new Error(`There is no artifact ${name}:${version} in ${entity}/${project}.`);
	const title = `${name}:v${artifact.versionIndex}`;
	document.title = `${title} · ${project}`;
	const runLink = (run) => link(pagePath(run.project.entityName, run.project.name, "runs", run.name), run.displayName || run.name);
	const maker = artifact.createdBy, users = nodes(artifact.usedBy);
	const files = fileList(async (after) => (await ask(`query Files($id: ID!, $after: String) {
		artifact(id: $id) { files(first: 200, after: $after) { ${FILES} } } }`, { id: artifact.id, after })).artifact.files);
	main.append(el("h1", {}, title), panel(facts([["Type", artifact.artifactType.name], ["Aliases", aliases(artifact)],
		["Size", `${bytes(Number(artifact.size))} in ${number(artifact.fileCount)} files`], ["Made", when(artifact.createdAt)],
		["Digest", el("code", {}, artifact.digest)], ["Description", shortText(artifact.description, 2000)],
		["Versions", el("span", {}, artifact.artifactSequence.artifacts.edges.flatMap((edge) =>
			[link(pagePath(entity, project, "artifacts", artifact.artifactType.name, name, edge.version), edge.version), " "]))]])),
	panel("Lineage", el("ul", {},
		el("li", {}, "Made by ", maker?.__typename === "Run" ? runLink(maker) : maker?.username ?? "unknown"),
		el("li", {}, "Used by ", users.length ? users.map((run, i) => [i ? ", " : "", runLink(run)]).flat() : "no run"))),
	panel(el("header", {}, el("h2", {}, "Metadata"), button("JSON", () => save(`${name}.json`, "application/json", artifact.metadata ?? "{}"))),
		el("pre", { tabIndex: 0 }, shortText(artifact.metadata || "{}", 5000))),
	panel("Files", files.node));
	await files.load();
}
