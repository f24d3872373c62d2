// Everything that a page can try with a server, with and without the cookies of whoever opens the
// page. Returns what each attempt could read.
async ({ url, run, file }) => {
	const seen = {};
	const patience = 5000;
	const soon = (promise) => Promise.race([promise, new Promise((done) => setTimeout(done, patience, "silence"))]);
	const attempt = async (name, what) => {
		try {
			seen[name] = String(await soon(what()));
		} catch (error) {
			seen[name] = `refused: ${error.name}`;
		}
	};
	const write = (notes) => JSON.stringify({ query: `mutation { upsertBucket(input: {id: "${run}", notes: "${notes}"}) { inserted } }` });
	const read = JSON.stringify({ query: `{ viewer { username } project(name: "demo", entityName: "local") { runs { edges { node { displayName } } } } }` });
	const json = { "content-type": "application/json" };
	const key = { authorization: "Bearer local" };
	const ask = async (path, options = {}) => {
		const response = await fetch(url + path, { credentials: "include", ...options });
		return `${response.status} ${await response.text()}`;
	};

	await attempt("session", () => ask("/_pages/session", { headers: { "x-csrf-token": localStorage.csrf } }));
	await attempt("session by cookie", () => ask("/_pages/session"));
	await attempt("health", () => ask("/healthz"));
	await attempt("file", () => ask(file, { headers: key }));
	await attempt("file by cookie", () => ask(file));
	for (const [type, headers] of Object.entries({ plain: {}, json, key, both: { ...json, ...key } })) {
		await attempt(`read, ${type}`, () => ask("/graphql", { method: "POST", body: read, headers }));
		await attempt(`write, ${type}`, () => ask("/graphql", { method: "POST", body: write(`by ${type}`), headers }));
		await attempt(`blind, ${type}`, () => ask("/graphql", { method: "POST", mode: "no-cors", body: write(`blind ${type}`), headers }));
	}
	await attempt("upload", () => ask(file, { method: "PUT", body: "hacked", headers: key }));
	await attempt("stream", () => ask(file.replace(/[^/]*$/, "file_stream"), { method: "POST", body: `{"complete": true, "exitcode": 1}` }));
	await attempt("logout", () => ask("/_pages/logout", { method: "POST", mode: "no-cors" }));
	await attempt("login", () => ask("/_pages/login", { method: "POST", mode: "no-cors", body: `{"key": "mallory"}` }));
	await attempt("beacon", () => navigator.sendBeacon(`${url}/graphql`, write("by beacon")));

	const arrival = (element, place) => new Promise((done) => {
		element.onload = () => done("loaded");
		element.onerror = () => done("refused");
		place.append(element);
	});
	const element = (name, members) => Object.assign(document.createElement(name), members);
	await attempt("image", () => arrival(element("img", { src: url + file }), document.body));
	await attempt("script", () => arrival(element("script", { src: `${url}/_pages/app.js` }), document.head));
	await attempt("script of data", () => arrival(element("script", { src: `${url}/_pages/session` }), document.head));
	await attempt("style", () => arrival(element("link", { rel: "stylesheet", href: `${url}/_pages/style.css` }), document.head));
	await attempt("frame", async () => {
		const frame = element("iframe", { src: `${url}/local/demo` });
		await arrival(frame, document.body);
		return frame.contentDocument?.body.textContent;
	});
	for (const enctype of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]) {
		for (const path of ["/graphql", "/_pages/logout", "/_pages/login", file]) {
			await attempt(`form, ${enctype}, ${path}`, async () => {
				const frame = element("iframe", { name: `frame${Math.random()}` });
				document.body.append(frame);
				const form = element("form", { action: url + path, method: "post", enctype, target: frame.name });
				const [before, after] = write("by form").split("by form");
				form.append(element("input", { name: `${before}by form`, value: after }));
				document.body.append(form);
				const loaded = new Promise((done) => { frame.onload = done; });
				form.submit();
				await loaded;
				return frame.contentDocument?.body.textContent;
			});
		}
	}
	await attempt("socket", () => new Promise((done, fail) => {
		const socket = new WebSocket(`${url.replace("http", "ws")}/graphql`);
		socket.onopen = () => done("opened");
		socket.onerror = () => fail(new Error("closed"));
	}));
	await attempt("events", () => new Promise((done, fail) => {
		const events = new EventSource(`${url}/_pages/session`, { withCredentials: true });
		events.onmessage = (event) => done(event.data);
		events.onerror = () => fail(new Error("closed"));
	}));
	return seen;
}
