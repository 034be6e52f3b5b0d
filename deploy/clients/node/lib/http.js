/** The same words by HTTP, for an application whose database is elsewhere. It needs `unmask serve` and a key. */

import { ConflictError, HttpError, UnreachableError } from "./errors.js";
import { MAX_ID, MAX_URL, checkText, labels, newId } from "./photo.js";

/** Photos in one request of a batch. */
const BATCH = 1000;
/** Characters of an answer: a batch of 1,000 has some 300 a line. */
const LONGEST = 16 << 20;
const USER_AGENT = "unmask-client/0.1.0 (Node)";

export class UnmaskClient {
  #base;
  #headers;
  #timeoutMs;

  /**
   * @param baseUrl where `unmask serve` listens, such as https://unmask.example.com
   * @param key what `unmask key add` printed
   * @param options.timeoutMs for an answer, beside the time that a call waits for a score
   */
  constructor(baseUrl, key, { timeoutMs = 10_000 } = {}) {
    this.#base = checkedBase(baseUrl);
    this.#headers = { authorization: `Bearer ${checkedKey(key)}`, "user-agent": USER_AGENT };
    this.#timeoutMs = timeoutMs;
  }

  /** Put one photo in line and return its id; with `wait` seconds, the verdict as far as it is known by then. */
  async enqueue({ wait, url, ...words }) {
    const row = { ...labels(words), url: checkText("url", url, MAX_URL) };
    return this.#post(JSON.stringify(row), row.image_id, wait, { "content-type": "application/json" });
  }

  /** As `enqueue`, with the bytes of the photo's file instead of a URL. */
  async enqueuePhoto(bytes, { wait, ...words }) {
    const form = new FormData();
    const row = labels(words);
    for (const [name, value] of Object.entries(row)) form.set(name, value);
    form.set("photo", new Blob([bytes]), "photo");
    return this.#post(form, row.image_id, wait);
  }

  /** The verdict on a photo, or null if its id is not known. */
  async result(imageId, { wait } = {}) {
    const reply = await this.#send("GET", path(imageId), { wait, unknown: true });
    return reply && (await parsed(reply));
  }

  /** Take a photo back: its URL and bytes are erased. False if its id is not known. */
  async delete(imageId) {
    return (await this.#send("DELETE", path(imageId), { unknown: true })) !== null;
  }

  /** Put many photos in line, 1,000 a request; yields what became of each, in their order. */
  async *batch(photos) {
    for await (const rows of chunks(photos)) yield* await this.#batch(rows);
  }

  async #batch(rows) {
    const body = rows.map((row) => `${JSON.stringify(columns(row))}\n`).join("");
    const headers = { "content-type": "application/x-ndjson" };
    const reply = await this.#send("POST", "/v1/images:batch", { body, headers });
    const lines = (await text(reply)).split("\n").filter((line) => line.trim());
    if (lines.length !== rows.length) {
      throw new UnreachableError(`the server answered ${lines.length} photos of a batch of ${rows.length}`);
    }
    return lines.map(object);
  }

  async #post(body, imageId, wait, headers = {}) {
    const verdict = await parsed(await this.#send("POST", "/v1/images", { body, headers, wait }));
    if (verdict.image_id !== imageId) {
      throw new UnreachableError(`the server's answer is not about image ${JSON.stringify(imageId)}`);
    }
    return wait === undefined ? imageId : verdict;
  }

  /** The server's answer; null if it does not know the photo and the caller allows for that. */
  async #send(method, where, { body, headers = {}, wait, unknown = false }) {
    const all = { ...this.#headers, ...headers, ...prefer(wait) };
    const signal = AbortSignal.timeout(this.#timeoutMs + (wait ?? 0) * 1000);
    // "manual": no redirect is followed, so the key goes nowhere else.
    const asked = fetch(this.#base + where, { method, body, headers: all, signal, redirect: "manual" });
    const reply = await reached(`${method} ${this.#base}${where}`, asked);
    if (reply.ok) return reply;
    const error = await refusal(reply);
    if (unknown && error.status === 404 && error.problem.status !== undefined) return null;
    throw error;
  }
}

/** What a promise of fetch gives; all that can go wrong with it is an UnreachableError. */
async function reached(what, promise) {
  try {
    return await promise;
  } catch (error) {
    throw new UnreachableError(`${what}: ${error.cause?.message || error.message}`, { cause: error });
  }
}

/** A problem as RFC 9457 describes it; of an answer that some proxy gave, only its status. */
async function refusal(reply) {
  const { status, headers, statusText } = reply;
  const isProblem = headers.get("content-type")?.startsWith("application/problem+json");
  const problem = isProblem ? await parsed(reply).catch(() => ({})) : {};
  const title = problem.title ?? statusText;
  const detail = problem.detail ?? "";
  const error = new HttpError(status, title, { detail, retryAfter: retryAfter(headers.get("retry-after")), problem });
  return status === 409 ? new ConflictError(error.message, { status, problem }) : error;
}

/** Seconds from now; the header has them, or a date. */
function retryAfter(value) {
  if (!value) return null;
  if (/^\s*\d+\s*$/.test(value)) return Number(value);
  const at = Date.parse(value);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

async function parsed(reply) {
  return object(await text(reply));
}

/** The body, within a limit: no answer of the server is longer. */
async function text(reply) {
  const decoder = new TextDecoder();
  let body = "";
  const read = async () => {
    for await (const chunk of reply.body ?? []) {
      body += decoder.decode(chunk, { stream: true });
      if (body.length > LONGEST) throw new Error(`the answer is longer than ${LONGEST} characters`);
    }
  };
  await reached(reply.url, read());
  return body;
}

function object(line) {
  let found = null;
  try {
    found = JSON.parse(line);
  } catch {
    // said below
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new UnreachableError(`the server's answer is not a JSON object: ${JSON.stringify(line.slice(0, 80))}`);
  }
  return found;
}

async function* chunks(photos) {
  let rows = [];
  for await (const row of photos) {
    rows.push(row);
    if (rows.length === BATCH) {
      yield rows;
      rows = [];
    }
  }
  if (rows.length) yield rows;
}

function columns({ imageId = newId(), accountId, url, policy, lane }) {
  return { image_id: imageId, account_id: accountId, url, policy, lane };
}

function path(imageId) {
  return `/v1/images/${encodeURIComponent(checkText("imageId", imageId, MAX_ID))}`;
}

function prefer(wait) {
  if (wait === undefined) return {};
  if (!Number.isInteger(wait) || wait < 0) {
    throw new RangeError(`wait must be whole seconds, 0 or more: ${String(wait)}`);
  }
  return { prefer: `wait=${wait}` };
}

function checkedBase(url) {
  const { protocol, username, search, hash } = new URL(url);
  if (!["http:", "https:"].includes(protocol) || search || hash) {
    const shown = String(url).slice(0, 80);
    throw new RangeError(`baseUrl must be http://host or https://host, with a port or path if need be: ${shown}`);
  }
  if (username) throw new RangeError("baseUrl must be without a user and password: the key says who you are");
  return String(url).replace(/\/+$/, "");
}

function checkedKey(key) {
  if (typeof key !== "string" || !/^[\x21-\x7e]+$/.test(key)) {
    throw new RangeError("key must be the text that `unmask key add` printed, without spaces or line breaks");
  }
  return key;
}
