/** A photo as an application names it, checked by the limits of the record before anything is sent. */

import { randomUUID } from "node:crypto";

/** Characters in an image id, an account id or the name of a policy. */
export const MAX_ID = 128;
/** Characters in a URL. */
export const MAX_URL = 4096;
/** `upload`: somebody waits for it. `backfill`: nobody does. */
export const LANES = ["upload", "backfill"];

const SHOWN = 80;
// Control characters, breaks of lines, and the halves of characters, which no database stores.
const REFUSED = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]|\p{Surrogate}/u;

/** A checked photo, with a new id if it has none. */
export function photo({ url, ...words }) {
  return { policy: "default", ...labels(words), url: checkText("url", url, MAX_URL) };
}

/** What a photo has beside its URL or bytes. */
export function labels({ accountId, imageId = newId(), policy, lane = "upload" }) {
  return {
    image_id: checkText("imageId", imageId, MAX_ID),
    account_id: checkText("accountId", accountId, MAX_ID),
    ...(policy !== undefined && { policy: checkText("policy", policy, MAX_ID) }),
    lane: checkLane(lane),
  };
}

/** An id that nobody else has. */
export function newId() {
  return randomUUID().replaceAll("-", "");
}

/** Text within its limit and without control characters. */
export function checkText(name, value, limit) {
  if (typeof value !== "string") {
    throw new TypeError(`${name} must be text, not ${value === null ? "null" : typeof value}`);
  }
  const length = value.length > 2 * limit ? value.length : lengthOf(value);
  if (length < 1 || length > limit) {
    throw new RangeError(`${name} must have 1 to ${limit} characters, and has ${length}: ${shown(value)}`);
  }
  if (REFUSED.test(value)) throw new RangeError(`${name} must be without control characters: ${shown(value)}`);
  return value;
}

function checkLane(lane) {
  if (!LANES.includes(lane)) throw new RangeError(`lane must be one of ${LANES.join(", ")}: ${shown(String(lane))}`);
  return lane;
}

/** In characters as the database counts them: JavaScript counts most emoji twice. */
function lengthOf(value) {
  let length = 0;
  for (const _ of value) length += 1;
  return length;
}

function shown(value) {
  const escaped = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value.slice(0, SHOWN)).replace(/[\u007f-\uffff]/g, escaped);
}
