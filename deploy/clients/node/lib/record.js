/** Enqueues photos and reads results in the application's own transaction: a row, and nothing else. */

import { ConflictError } from "./errors.js";
import { MAX_ID, checkText, photo } from "./photo.js";

const RESULT = "image_id, account_id, state, score, flagged, threshold, model, reason, scored_at, case_state";
// A schema's name, as PostgreSQL takes it between quotes.
const SCHEMA = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/;

/**
 * Put one photo in line and return its id (a new one, unless given). It inserts a row with the connection that it is
 * given, and does nothing else: the photo is scored after the caller commits.
 */
export async function enqueue(client, { schema = "unmask", ...words }) {
  const images = `${prefix(schema)}.images`;
  const { image_id: id, account_id, url, policy, lane } = photo(words);
  const inserted = await client.query(
    `INSERT INTO ${images} (id, account_id, url, policy, lane) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`,
    [id, account_id, url, policy, lane],
  );
  if (inserted.rowCount !== 1) {
    const known = await client.query(`SELECT account_id, url, policy FROM ${images} WHERE id = $1`, [id]);
    checkKnown(id, known.rows[0] ?? {}, { account_id, url, policy });
  }
  return id;
}

/** What became of a photo: a row of the view `results`, or null if its id is not known. */
export async function result(client, imageId, { schema = "unmask" } = {}) {
  const id = checkText("imageId", imageId, MAX_ID);
  const found = await client.query(`SELECT ${RESULT} FROM ${prefix(schema)}.results WHERE image_id = $1`, [id]);
  return found.rows[0] ?? null;
}

/** The same photo twice is one photo, in whichever lane. What was erased with its account cannot be compared. */
function checkKnown(id, known, given) {
  for (const [name, value] of Object.entries(known)) {
    if (value !== null && value !== given[name]) {
      throw new ConflictError(`image ${JSON.stringify(id)} is known with another ${name}: an id stands for one photo`);
    }
  }
}

function prefix(schema) {
  if (!SCHEMA.test(schema)) {
    throw new RangeError(`schema must be the name of a PostgreSQL schema: ${String(schema).slice(0, 80)}`);
  }
  return `"${schema}"`;
}
