/** `enqueue` and `result` with the public library `pg`. The environment names the database: DATABASE_URL, SCHEMA. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import pg from "pg";
import { ConflictError, UnmaskError, enqueue, result } from "unmask-client";

const schema = process.env.SCHEMA;
const ODD_URL = "https://cdn.example.com/%41%s/$1/:id/?q='\";--{schema}&é=😀";
let pool;
let client;

before(async () => {
  pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
  client = await pool.connect();
});

after(async () => {
  client.release();
  await pool.end();
});

const put = (words, to = client) => enqueue(to, { accountId: "ada", url: "a.jpg", schema, ...words });
const read = (imageId, from = client) => result(from, imageId, { schema });

test("a photo is enqueued in the caller's transaction, or not at all", async () => {
  const [kept, lost] = [randomUUID(), randomUUID()];
  await client.query("BEGIN");
  assert.equal(await put({ imageId: kept, url: ODD_URL, lane: "backfill" }), kept);
  assert.equal(await read(kept, pool), null, "nobody else sees it before the commit");
  await client.query("COMMIT");
  await client.query("BEGIN");
  await put({ imageId: lost });
  await client.query("ROLLBACK");
  assert.equal(await read(lost), null);
  const { rows } = await client.query(`SELECT account_id, url, policy, lane FROM ${schema}.images WHERE id = $1`, [kept]);
  assert.deepEqual(rows, [{ account_id: "ada", url: ODD_URL, policy: "default", lane: "backfill" }]);
});

test("the same photo twice is one photo, and another one a conflict that the transaction outlives", async () => {
  const imageId = randomUUID();
  await client.query("BEGIN");
  await put({ imageId });
  assert.equal(await put({ imageId, lane: "backfill" }), imageId);
  await assert.rejects(put({ imageId, url: "b.jpg" }), (error) => {
    assert.ok(error instanceof ConflictError && error instanceof UnmaskError);
    assert.equal(error.message, `image "${imageId}" is known with another url: an id stands for one photo`);
    return true;
  });
  await client.query("COMMIT");
  assert.equal((await read(imageId)).state, "pending");
});

test("a photo without an id gets one", async () => {
  assert.match(await put({}, pool), /^[0-9a-f]{32}$/);
});

test("a result is the row of the view", async () => {
  const { scored_at: scoredAt, ...scored } = await read("scored-1");
  assert.ok(scoredAt instanceof Date);
  assert.deepEqual(scored, {
    image_id: "scored-1",
    account_id: "ada",
    state: "scored",
    score: 0.9,
    flagged: true,
    threshold: 0.5,
    model: "first",
    reason: null,
    case_state: "open",
  });
  const pending = await read(await put({}));
  assert.deepEqual([pending.state, pending.score, pending.flagged], ["pending", null, null]);
});

test("a policy that nobody added is refused by the database", async () => {
  await assert.rejects(put({ policy: "unheard-of" }, pool), /unmask policy add/);
});

test("a wrong word is refused before anything is sent", async () => {
  const silent = { query: () => assert.fail("nothing may be sent") };
  const wrong = [
    [{ accountId: "" }, /^RangeError: accountId must have 1 to 128 characters, and has 0: ""$/],
    [{ accountId: 17 }, /^TypeError: accountId must be text, not number$/],
    [{ accountId: null }, /^TypeError: accountId must be text, not null$/],
    [{ imageId: "a".repeat(129) }, /^RangeError: imageId must have 1 to 128 characters, and has 129: "a{80}"$/],
    [{ imageId: "a\nb" }, /^RangeError: imageId must be without control characters: "a\\nb"$/],
    [{ imageId: "\ud800" }, /^RangeError: imageId must be without control characters: "\\ud800"$/],
    [{ url: "u".repeat(100_000_000) }, /^RangeError: url must have 1 to 4096 characters, and has 100000000: "u{80}"$/],
    [{ url: "a\u2028" }, /^RangeError: url must be without control characters/],
    [{ lane: "express" }, /^RangeError: lane must be one of upload, backfill: "express"$/],
    [{ schema: 'unmask"; DROP' }, /^RangeError: schema must be the name of a PostgreSQL schema/],
  ];
  for (const [words, message] of wrong) await assert.rejects(put(words, silent), message);
  await assert.rejects(put({ url: undefined }, silent), /^TypeError: url must be text, not undefined$/);
});

test("characters count as the database counts them", async () => {
  const imageId = "😀".repeat(120) + randomUUID().slice(0, 8);
  assert.equal(await put({ imageId }), imageId);
});
