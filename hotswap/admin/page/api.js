// Requests of the admin app: the token, conditions, and what is said of what went wrong.

const PLACE = "hotswap token of " + location.pathname;

let token = sessionStorage.getItem(PLACE) ?? "";

export const hasToken = () => token !== "";

// Keep a token in memory; beyond a reload of the tab only if whoever has it wants that.
export function setToken(given, keep) {
  token = given;
  if (keep && given) sessionStorage.setItem(PLACE, given);
  else sessionStorage.removeItem(PLACE);
}

// What the service has refused, or that it could not be reached: then the status is 0.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? "");
    this.status = status;
    this.body = body;
  }
}

// Paths are relative to the page: a proxy may have put it anywhere.
export async function ask(path, { method = "GET", headers = {}, body, accept = "application/json", signal } = {}) {
  const sent = { accept, ...headers };
  if (token) sent.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body, signal, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    throw new Problem(0, { title: "Not reached", detail: "the service could not be reached", reason: String(error) });
  }
  if (response.ok) return response;
  let told = {};
  try {
    told = await response.json();
  } catch {
    // A proxy in between speaks HTML.
  }
  throw new Problem(response.status, { title: response.statusText || `Status ${response.status}`, ...told });
}

export async function read(path) {
  const response = await ask(path);
  try {
    return { body: await response.json(), tag: response.headers.get("etag") };
  } catch {
    throw new Problem(0, { title: "Not reached", detail: "the answer broke off, or is none of the service" });
  }
}

// Ask for something to be done to what was shown (`tag`); the same request twice is done once.
export async function write(path, tag, body) {
  const headers = { "idempotency-key": key() };
  if (tag) headers["if-match"] = tag;
  if (!(body instanceof FormData)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body ?? {});
  }
  return (await ask(path, { method: "POST", headers, body })).json();
}

// randomUUID is there in secure contexts only.
function key() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What a status means for whoever has asked for something to be done.
export function inWords(problem) {
  switch (problem.status) {
    case 0:
      return "The service could not be reached, or the connection broke. Whether it was done is not known: look at what is shown once it is connected again.";
    case 403:
      return "You may not do that.";
    case 409:
      return "It could not be done now. Nothing was changed by it.";
    case 412:
      return "It had changed after you looked, so nothing was done. What is shown now is fresh: look again, and decide.";
    case 413:
      return "That is too large.";
    case 422:
      return "It was refused. What was live is live.";
    case 503:
      return "The service can't do that at the moment.";
    default:
      return problem.body.title ?? "";
  }
}
