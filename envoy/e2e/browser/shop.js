// What the page of the recorded shop can do; the program that records drives it.

const json = body => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

// Logs in (a redirect follows), reads, buys, meets a 404 and a 500, and leaves one answer alone.
async function shopping(user) {
    const login = json({ user });
    login.headers["x-user"] = user;
    await fetch("/login", login);
    const items = await Promise.all([1, 2, 3].map(async item => (await fetch(`/api/items/${item}?currency=EUR`)).json()));
    await fetch("/api/cart", json(items));
    const form = new FormData();
    form.append("note", "à bientôt");
    form.append("picture", new Blob([new Uint8Array([0, 255, 128])]), "dot.bin");
    await fetch("/api/cart", { method: "POST", body: form });
    await fetch("/api/cart/3", { method: "DELETE" });
    const statuses = [];
    for (const path of ["/missing/1", "/api/flaky/1", "/api/reports/4"]) {
        const answer = await fetch(path);
        await answer.arrayBuffer();
        statuses.push(answer.status);
    }
    const leaves = new AbortController();
    const left = fetch("/api/stuck/1", { signal: leaves.signal }).catch(error => error.name);
    setTimeout(() => leaves.abort(), 100);
    return { items: items.length, statuses, left: await left };
}

// Opens a WebSocket; resolves with it.
const open = path => new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}${path}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error(`no WebSocket at ${path}`));
});

// Sends a message; resolves with the answer, text or the number of bytes.
const ask = (socket, message) => new Promise(resolve => {
    socket.onmessage = ({ data }) => resolve(typeof data === "string" ? data : data.byteLength);
    socket.send(message);
});

// Talks: text, text beyond ASCII, bytes, a message of that length, and one that comes back in three fragments.
async function chat(name, length) {
    const socket = await open(`/ws/${name}`);
    const answers = [];
    for (const message of ["hello", "schöne Grüße 🌊", new Uint8Array([0, 1, 254, 255]), "x".repeat(length), "fragments:3:in three pieces"]) {
        answers.push(await ask(socket, message));
    }
    window.socket = socket;
    return answers.map(answer => answer.length ?? answer);
}

// Closes the WebSocket as a page does that is done.
const hangUp = () => new Promise(resolve => {
    window.socket.onclose = ({ code, wasClean }) => resolve([code, wasClean]);
    window.socket.close(1000, "done");
});
