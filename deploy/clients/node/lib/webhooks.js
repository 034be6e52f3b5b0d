/** Verifies what Unmask tells an application: https://www.standardwebhooks.com, signatures of version v1. */

import { createHmac, timingSafeEqual } from "node:crypto";

import { WebhookError } from "./errors.js";

const PREFIX = "whsec_";

/**
 * The event that a request carries: `{ type, timestamp, data }`. One event may come more than once, always with the same
 * header `webhook-id`. `body` is that of the request, exactly as it came.
 */
export function verifyWebhook(secret, headers, body, { toleranceS = 300 } = {}) {
  const key = keyOf(secret);
  const raw = bytesOf(body);
  const [id, sentAt, signatures] = ["id", "timestamp", "signature"].map((name) => header(headers, `webhook-${name}`));
  checkTime(sentAt, toleranceS);
  checkSignature(key, Buffer.concat([Buffer.from(`${id}.${sentAt}.`), raw]), signatures);
  return eventOf(raw.toString());
}

function keyOf(secret) {
  const text = String(secret ?? "");
  const encoded = text.startsWith(PREFIX) ? text.slice(PREFIX.length) : text;
  const key = /^[A-Za-z0-9+/]+={0,2}$/.test(encoded) ? Buffer.from(encoded, "base64") : Buffer.alloc(0);
  if (!key.length) {
    throw new RangeError("the webhook secret must be base64, with or without whsec_ before it, and not empty");
  }
  return key;
}

function bytesOf(body) {
  if (typeof body === "string" || body instanceof ArrayBuffer) return Buffer.from(body);
  if (ArrayBuffer.isView(body)) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  throw new TypeError("body must be that of the request as it came, and not what a framework parsed of it");
}

/** Of a `Headers`, or of an object with names in any case, as `request.headers` of Node's server. */
function header(headers, name) {
  const entries = typeof headers.entries === "function" ? headers.entries() : Object.entries(headers);
  for (const [each, value] of entries) if (each.toLowerCase() === name && value) return String(value);
  throw new WebhookError(`the request has no header ${name}`);
}

function checkTime(sentAt, toleranceS) {
  if (!/^\d{1,12}$/.test(sentAt)) throw new WebhookError("the header webhook-timestamp is not a number of seconds");
  const ageS = Math.round(Date.now() / 1000 - Number(sentAt));
  if (Math.abs(ageS) > toleranceS) {
    throw new WebhookError(`the webhook is ${ageS} s old, and at most ${toleranceS} s are accepted`);
  }
}

/** One of them must match: there are two while a secret is replaced. */
function checkSignature(key, signed, signatures) {
  const expected = createHmac("sha256", key).update(signed).digest();
  const matches = signatures.split(" ").map((each) => {
    const [version, signature = ""] = each.split(",");
    const given = Buffer.from(signature, "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!matches.includes(true)) throw new WebhookError("no signature of the webhook matches the secret");
}

function eventOf(body) {
  let event = null;
  try {
    event = JSON.parse(body);
  } catch (error) {
    throw new WebhookError(`the body of the webhook is not JSON: ${error.message}`);
  }
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    throw new WebhookError("the body of the webhook is not a JSON object");
  }
  return event;
}
