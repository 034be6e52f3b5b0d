/** The client of Node and the HTTP door. The environment says where it is, and has a key: DOOR_URL, DOOR_KEY. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { ConflictError, HttpError, UnmaskClient } from "unmask-client";

const client = new UnmaskClient(process.env.DOOR_URL, process.env.DOOR_KEY);
const url = "https://cdn.example.com/é.jpg";

test("a URL is enqueued, has a verdict, is a conflict and is taken back", async () => {
  const imageId = `ü/${randomUUID()}?#`;
  assert.equal(await client.enqueue({ accountId: "ada", url, imageId }), imageId);
  const verdict = await client.result(imageId);
  assert.deepEqual([verdict.image_id, verdict.state, verdict.flagged], [imageId, "pending", null]);
  await assert.rejects(client.enqueue({ accountId: "bob", url, imageId }), ConflictError);
  assert.equal(await client.delete(imageId), true);
  assert.equal(await client.result(imageId), null);
  assert.equal(await client.delete(randomUUID()), false);
});

test("bytes are enqueued, and there is what is known by then", async () => {
  const verdict = await client.enqueuePhoto(Buffer.from("jpeg"), { accountId: "ada", lane: "backfill", wait: 1 });
  assert.equal(verdict.state, "pending");
  const scored = await client.result("scored-1", { wait: 1 });
  assert.deepEqual([scored.state, scored.score, scored.flagged], ["scored", 0.9, true]);
});

test("each photo of a batch has its own fate", async () => {
  const photos = [{ accountId: "ada", url }, { accountId: "", url }, { accountId: "ada", url, imageId: "scored-1" }];
  const fates = [];
  for await (const fate of client.batch(photos)) fates.push(fate);
  assert.deepEqual(fates.map(({ status }) => status), [202, 422, 409]);
  assert.match(fates[1].problem.detail, /account_id/);
});

test("a refusal says why", async () => {
  const stranger = new UnmaskClient(process.env.DOOR_URL, "unmask_unheard-of");
  const error = await stranger.result("scored-1").catch((caught) => caught);
  assert.ok(error instanceof HttpError);
  assert.deepEqual([error.status, error.title], [401, "Unauthorized"]);
});
