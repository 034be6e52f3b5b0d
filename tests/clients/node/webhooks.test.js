/** `verifyWebhook` accepts what the public library signs, and the other way round, and nothing else. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Webhook } from "standardwebhooks";
import { UnmaskError, WebhookError, verifyWebhook } from "unmask-client";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER = "whsec_" + Buffer.from("another secret, as long").toString("base64");
const EVENT = { type: "image.flagged", timestamp: "2026-01-01T00:00:00+00:00", data: { image: "é" } };
const BODY = JSON.stringify(EVENT);

function headersOf({ body = BODY, ageS = 0, secret = SECRET } = {}) {
  const at = new Date(Date.now() - ageS * 1000);
  return {
    "webhook-id": "msg_1",
    "webhook-timestamp": String(Math.floor(at / 1000)),
    "webhook-signature": new Webhook(secret).sign("msg_1", at, body),
  };
}

test("what the public library signed is the event, in every form that a body has", () => {
  const bytes = Buffer.from(BODY);
  for (const body of [BODY, bytes, new Uint8Array(bytes), bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)]) {
    assert.deepEqual(verifyWebhook(SECRET, headersOf(), body), EVENT);
  }
  assert.deepEqual(verifyWebhook(SECRET, new Headers(headersOf()), BODY), EVENT);
  assert.deepEqual(verifyWebhook(SECRET.slice("whsec_".length), headersOf(), BODY), EVENT);
});

test("what a worker signed is the event, for the public library and for us", () => {
  const { headers, body } = JSON.parse(process.env.SIGNED);
  assert.deepEqual(verifyWebhook(SECRET, headers, body), new Webhook(SECRET).verify(body, headers));
});

test("one of several signatures is enough", () => {
  const headers = headersOf();
  headers["webhook-signature"] = `v1a,abc v1,${Buffer.alloc(32).toString("base64")} ${headers["webhook-signature"]}`;
  assert.deepEqual(verifyWebhook(SECRET, headers, BODY), EVENT);
});

test("anything else is refused", () => {
  const refused = [
    [headersOf({ secret: OTHER }), BODY, /no signature of the webhook matches/],
    [headersOf(), BODY + " ", /no signature of the webhook matches/],
    [{ ...headersOf(), "webhook-id": "msg_2" }, BODY, /no signature of the webhook matches/],
    [{ ...headersOf(), "webhook-signature": "v1" }, BODY, /no signature of the webhook matches/],
    [{ ...headersOf(), "webhook-signature": headersOf()["webhook-signature"].replace("v1,", "v2,") }, BODY, /no signature/],
    [headersOf({ ageS: 10_800 }), BODY, /is 108\d\d s old, and at most 300 s are accepted/],
    [headersOf({ ageS: -10_800 }), BODY, /is -10[78]\d\d s old, and at most 300 s are accepted/],
    [{ ...headersOf(), "webhook-timestamp": "soon" }, BODY, /not a number of seconds/],
    [{}, BODY, /has no header webhook-id/],
    [headersOf({ body: "[]" }), "[]", /not a JSON object/],
    [headersOf({ body: "{" }), "{", /not JSON/],
  ];
  for (const [headers, body, message] of refused) {
    assert.throws(
      () => verifyWebhook(SECRET, headers, body),
      (error) => error instanceof WebhookError && error instanceof UnmaskError && message.test(error.message),
    );
  }
});

test("a secret that is none and a body that was parsed already are mistakes of the program", () => {
  for (const secret of ["", "whsec_", "not base64!", undefined]) {
    assert.throws(() => verifyWebhook(secret, headersOf(), BODY), RangeError);
  }
  assert.throws(() => verifyWebhook(SECRET, headersOf(), EVENT), /^TypeError: body must be that of the request as it came/);
});

test("a server of Node verifies what it is sent", async () => {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    response.end(verifyWebhook(SECRET, request.headers, Buffer.concat(chunks)).type);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const reply = await fetch(url, { method: "POST", headers: headersOf(), body: BODY });
  assert.equal(await reply.text(), EVENT.type);
  server.close();
  server.closeAllConnections();
});
