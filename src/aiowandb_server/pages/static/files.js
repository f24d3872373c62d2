// Files of a run or an artifact: their list and previews.

import { act, button, bytes, dataTable, el, nodes, ownLink, shortText, when } from "./core.js";

export const IMAGE = /\.(png|jpe?g|gif|webp|bmp|svg)$/i;
export const FILES = "pageInfo { endCursor hasNextPage } edges { node { name sizeBytes updatedAt directUrl } }";

export function figure(file) {
	const name = file.name.split("/").pop();
	const image = el("img", { alt: name, loading: "lazy" });
	const source = ownLink(file.directUrl);
	// The browser cannot detect this type. Scripts do not run in an img.
	if (!name.endsWith(".svg")) image.src = source;
	else fetch(source).then((answer) => answer.arrayBuffer()).then((data) =>
		(image.src = URL.createObjectURL(new Blob([data], { type: "image/svg+xml" }))));
	return el("figure", {}, image, el("figcaption", {}, name.replace(/_[0-9a-f]{16,}(?=\.)/, "")));
}

export function fileList(get) {
	const preview = el("div"), table = dataTable(["Name", "Size", "Changed", "Actions"], [], "Files");
	let after = null;
	const load = async (anew) => {
		const found = await get(anew ? null : after), rows = nodes(found).map((file) => fileRow(file, preview));
		after = found.pageInfo.endCursor;
		more.hidden = !found.pageInfo.hasNextPage;
		anew ? table.querySelector("tbody").replaceChildren(...rows) : table.querySelector("tbody").append(...rows);
	};
	const more = button("Show more", act(() => load()));
	return { node: el("div", {}, table, more, preview), load };
}

function fileRow(file, preview) {
	const href = ownLink(file.directUrl);
	const show = act(async () => {
		const name = file.name.split("/").pop();
		if (IMAGE.test(name)) return preview.replaceChildren(el("h2", {}, file.name), el(".images.large", {}, figure(file)));
		const answer = await fetch(href, { headers: { Range: "bytes=0-199999" } });
		const text = await answer.text();
		preview.replaceChildren(el("h2", {}, file.name), el("pre", { tabIndex: 0 }, text.slice(0, 200_000)));
		preview.scrollIntoView({ block: "nearest" });
	});
	return el("tr", {}, el("td", {}, file.name), el("td.number", {}, bytes(Number(file.sizeBytes))), el("td", {}, when(file.updatedAt)),
		el("td", {}, href ? [button("Show", show, `Show ${file.name}`), " ",
			el("a", { href, download: file.name.split("/").pop(), "aria-label": `Download ${file.name}` }, "Download")]
			: el("code", {}, shortText(file.directUrl))));
}
