/** `UnmaskClient` asks as the interface says, and whatever it hears back ends in a value or a named error. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, beforeEach, test } from "node:test";

import { ConflictError, HttpError, UnmaskClient, UnreachableError } from "unmask-client";

const KEY = "unmask_k3y";
let peer;
let client;

/** A server that gives the next of its answers to each request, and keeps what it was asked. */
async function listening() {
  const asked = [];
  const answers = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    asked.push({ method: request.method, path: request.url, headers: request.headers, body: Buffer.concat(chunks) });
    const { status = 200, body = "{}", headers = {}, never = false } = answers.shift();
    if (!never) response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { asked, answers, url: `http://127.0.0.1:${server.address().port}`, close };
}

beforeEach(async () => {
  peer = await listening();
  client = new UnmaskClient(`${peer.url}/`, KEY);
});
afterEach(() => peer.close());

const pending = { status: 202, body: '{"image_id": "i-1", "state": "pending"}' };
const problem = (status, detail = "", headers = {}) => ({
  status,
  body: JSON.stringify({ type: "about:blank", title: "No", status, detail }),
  headers: { "content-type": "application/problem+json", ...headers },
});

test("a URL is enqueued as JSON with the key", async () => {
  peer.answers.push(pending);
  assert.equal(await client.enqueue({ accountId: "ada", url: "https://cdn.example.com/é.jpg", imageId: "i-1" }), "i-1");
  const [{ method, path, headers, body }] = peer.asked;
  assert.deepEqual([method, path, headers.prefer], ["POST", "/v1/images", undefined]);
  assert.deepEqual([headers.authorization, headers["content-type"]], [`Bearer ${KEY}`, "application/json"]);
  assert.deepEqual(JSON.parse(body), {
    account_id: "ada",
    url: "https://cdn.example.com/é.jpg",
    image_id: "i-1",
    lane: "upload",
  });
});

test("bytes are enqueued as a form", async () => {
  peer.answers.push(pending);
  const bytes = Buffer.from([0, 255, 13, 10, 45, 45]);
  assert.equal(await client.enqueuePhoto(bytes, { accountId: "ada", imageId: "i-1", lane: "backfill" }), "i-1");
  const [{ headers, body }] = peer.asked;
  const form = await new Response(body, { headers: { "content-type": headers["content-type"] } }).formData();
  assert.deepEqual(Buffer.from(await form.get("photo").arrayBuffer()), bytes);
  const names = ["account_id", "image_id", "policy", "lane"];
  assert.deepEqual(names.map((name) => form.get(name)), ["ada", "i-1", null, "backfill"]);
});

test("with wait there is a verdict", async () => {
  const verdict = { image_id: "i-1", state: "scored", score: 0.9, flagged: true };
  peer.answers.push({ body: JSON.stringify(verdict) }, pending);
  assert.deepEqual(await client.enqueue({ accountId: "ada", imageId: "i-1", url: "a.jpg", wait: 5 }), verdict);
  assert.equal((await client.enqueuePhoto(Buffer.from("jpeg"), { accountId: "ada", imageId: "i-1", wait: 5 })).state, "pending");
  assert.deepEqual(peer.asked.map(({ headers }) => headers.prefer), ["wait=5", "wait=5"]);
});

test("an answer about another image is none", async () => {
  peer.answers.push(pending);
  const error = await client.enqueue({ accountId: "ada", imageId: "i-2", url: "a.jpg" }).catch((caught) => caught);
  assert.equal(String(error), 'UnreachableError: the server\'s answer is not about image "i-2"');
});

test("a result is read and a photo taken back by an id of any look", async () => {
  peer.answers.push({ body: '{"image_id": "a/b", "state": "pending"}' }, problem(404), { status: 204, body: "" }, problem(404));
  assert.equal((await client.result("a/b?c%é")).state, "pending");
  assert.equal(await client.result("unheard-of"), null);
  assert.equal(await client.delete("i-1"), true);
  assert.equal(await client.delete("unheard-of"), false);
  assert.equal(peer.asked[0].path, "/v1/images/a%2Fb%3Fc%25%C3%A9");
  assert.equal(peer.asked[2].method, "DELETE");
});

test("a batch goes in thousands, and each photo has its own fate", async () => {
  const fates = Array.from({ length: 1001 }, (_, n) => ({ image_id: `i-${n}`, state: "pending" }));
  fates[7] = { line: 8, status: 409, problem: { title: "Conflict" } };
  const lines = fates.map((fate) => JSON.stringify(fate));
  peer.answers.push({ body: lines.slice(0, 1000).join("\n") }, { body: lines[1000] });
  const photos = fates.map((_, n) => ({ accountId: "ada", url: `${n}.jpg`, imageId: `i-${n}` }));
  const seen = [];
  for await (const fate of client.batch(photos)) seen.push(fate);
  assert.deepEqual(seen, fates);
  const [first, second] = peer.asked.map(({ body }) => body.toString().trim().split("\n"));
  assert.deepEqual([first.length, second.length], [1000, 1]);
  assert.deepEqual(JSON.parse(second[0]), { image_id: "i-1000", account_id: "ada", url: "1000.jpg" });
  assert.equal(peer.asked[0].headers["content-type"], "application/x-ndjson");
});

test("a batch that is answered in part is an error", async () => {
  peer.answers.push({ body: '{"image_id": "a", "state": "pending"}' });
  const photos = [1, 2].map(() => ({ accountId: "ada", url: "a.jpg" }));
  await assert.rejects(client.batch(photos).next(), /^UnreachableError: the server answered 1 photos of a batch of 2$/);
});

test("a refusal has its status, title, detail and when to try again", async () => {
  const at = new Date(Date.now() + 60_000).toUTCString();
  peer.answers.push(problem(429, "60 a minute", { "retry-after": "7" }), problem(503, "", { "retry-after": at }), problem(413));
  const errors = [];
  for (let n = 0; n < 3; n += 1) errors.push(await client.enqueue({ accountId: "ada", url: "a.jpg" }).catch((error) => error));
  assert.ok(errors.every((error) => error instanceof HttpError));
  assert.deepEqual(errors.map(({ status, title }) => [status, title]), [[429, "No"], [503, "No"], [413, "No"]]);
  assert.equal(errors[0].message, "HTTP 429 No: 60 a minute");
  assert.deepEqual([errors[0].retryAfter, errors[2].retryAfter], [7, null]);
  assert.ok(errors[1].retryAfter > 50 && errors[1].retryAfter <= 60);
});

test("a conflict is the same error as in the database", async () => {
  peer.answers.push(problem(409, "another url"));
  const error = await client.enqueue({ accountId: "ada", url: "a.jpg" }).catch((caught) => caught);
  assert.ok(error instanceof ConflictError);
  assert.deepEqual([error.status, error.problem.detail], [409, "another url"]);
});

test("what a proxy says is no verdict and no unknown photo", async () => {
  const page = { body: "<html>", headers: { "content-type": "text/html" } };
  peer.answers.push({ ...page, status: 502 }, { ...page, status: 404 }, page);
  await assert.rejects(client.result("i-1"), /^HttpError: HTTP 502 Bad Gateway$/);
  await assert.rejects(client.result("i-1"), /^HttpError: HTTP 404 Not Found$/);
  await assert.rejects(client.result("i-1"), /^UnreachableError: the server's answer is not a JSON object/);
});

test("the key goes nowhere else", async () => {
  const other = await listening();
  peer.answers.push({ status: 307, headers: { location: `${other.url}/v1/images` } });
  await assert.rejects(client.result("i-1"), /^HttpError: HTTP 307/);
  assert.deepEqual(other.asked, []);
  other.close();
});

test("a server that is late, endless or away is unreachable", async () => {
  peer.answers.push({ never: true }, { body: "{".repeat(17 << 20) });
  const impatient = new UnmaskClient(peer.url, KEY, { timeoutMs: 200 });
  await assert.rejects(impatient.result("i-1"), /^UnreachableError: GET .*timeout/);
  await assert.rejects(client.result("i-1"), /^UnreachableError: .*longer than 16777216 characters/);
  peer.close();
  await assert.rejects(client.result("i-1"), /^UnreachableError: GET http:.*i-1: ./);
});

test("a wrong word is refused before anything is sent", async () => {
  for (const url of ["ftp://example.com", "https://example.com?a=b", "https://me:pw@example.com"]) {
    assert.throws(() => new UnmaskClient(url, KEY), /^RangeError: baseUrl must be/);
  }
  for (const key of ["", `${KEY}\n`, undefined]) {
    assert.throws(() => new UnmaskClient(peer.url, key), /^RangeError: key must be the text that `unmask key add` printed/);
  }
  await assert.rejects(client.enqueue({ accountId: "", url: "a.jpg" }), /^RangeError: accountId must have 1 to 128/);
  await assert.rejects(client.enqueue({ accountId: "ada", url: "a.jpg", wait: 0.5 }), /^RangeError: wait must be whole seconds/);
  await assert.rejects(client.enqueuePhoto(Buffer.from("jpeg"), { accountId: "a\r\nb" }), /without control characters/);
  await assert.rejects(client.result("a".repeat(129)), /^RangeError: imageId must have 1 to 128/);
  assert.deepEqual(peer.asked, []);
});
