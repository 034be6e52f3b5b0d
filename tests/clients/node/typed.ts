/** What type checkers see of `unmask-client`. Nothing runs this: the test gives it to the TypeScript compiler. */

import type { IncomingMessage } from "node:http";
import pg from "pg";
import { ConflictError, HttpError, UnmaskClient, enqueue, result, verifyWebhook } from "unmask-client";

export async function record(pool: pg.Pool, client: pg.PoolClient): Promise<void> {
  const id: string = await enqueue(client, { accountId: "a", url: "b", lane: "backfill", schema: "unmask" });
  const found = await result(pool, id);
  const flagged: boolean | null | undefined = found?.flagged;
  // @ts-expect-error there is no such lane
  await enqueue(client, { accountId: "a", url: "b", lane: "express" });
  // @ts-expect-error a photo has a URL
  await enqueue(client, { accountId: "a" });
  // @ts-expect-error a result may be null
  console.log(flagged, found.state);
}

export async function http(unmask: UnmaskClient): Promise<void> {
  const id: string = await unmask.enqueue({ accountId: "a", url: "b" });
  const verdict = await unmask.enqueuePhoto(new Uint8Array(), { accountId: "a", wait: 1 });
  console.log(verdict.state, verdict.flagged);
  for await (const fate of unmask.batch([{ accountId: "a", url: "b", imageId: id }])) {
    const state: string = fate.problem ? fate.problem.title : fate.state;
    console.log(state);
  }
}

export function webhook(secret: string, request: IncomingMessage, body: Buffer): string {
  try {
    return verifyWebhook(secret, request.headers, body).type;
  } catch (error) {
    if (error instanceof HttpError) console.log(error.retryAfter);
    if (error instanceof ConflictError) console.log(error.status);
    throw error;
  }
}
