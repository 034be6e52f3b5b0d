/** Sends an application's photos to Unmask, and reads what became of them. The README shows each way in five lines. */

/** Anything that runs SQL as `pg` does: its Client, PoolClient (in a transaction) and Pool. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: any[]; rowCount: number | null }>;
}

/** `upload`: somebody waits for it. `backfill`: nobody does. */
export type Lane = "upload" | "backfill";

/** `unusable` is the photo's fault; `failed` is ours or the host's. */
export type State = "pending" | "scored" | "unusable" | "failed";

export interface Words {
  /** Whose photo it is; at most 128 characters, as all ids. */
  accountId: string;
  /** Yours, if you have one. */
  imageId?: string;
  /** Whose threshold applies. Unless given: by HTTP the key's own, or "default"; in the database "default". */
  policy?: string;
  /** "upload" unless given. */
  lane?: Lane;
}

export interface Photo extends Words {
  /** http(s) on a host that the workers may fetch from, or a path below their media root; at most 4,096 characters. */
  url: string;
}

/** A row of the view `results`. What is not known is null: `flagged: null` does not mean that the photo is real. */
export interface Result {
  image_id: string;
  account_id: string | null;
  state: State;
  /** 0 real, 1 AI-generated. */
  score: number | null;
  flagged: boolean | null;
  threshold: number | null;
  model: string | null;
  reason: string | null;
  scored_at: Date | null;
  case_state: "open" | "confirmed" | "dismissed" | "withdrawn" | null;
}

/** What is known of a photo besides its score. Anybody can write, copy and remove what is not signed. */
export interface Signal {
  kind: string;
  value: string;
  where: string;
  trust: string | null;
  action: "flag" | "note" | null;
}

/** What the server says of a photo. What is not known is null or absent. */
export interface Verdict {
  image_id: string;
  state: State;
  score?: number | null;
  flagged?: boolean | null;
  threshold?: number | null;
  /** One in so many real photos of the reference has such a score, or a higher one; their number where none has. */
  one_in?: number | null;
  /** The same with 95 % confidence: at most one in so many. */
  one_in_at_least?: number | null;
  /** The real photos that were counted: those by which the policy's threshold was set. */
  reference?: string | null;
  model?: string | null;
  reason?: string | null;
  /** What raised the flag: "score", "provenance" (what the file says) or "score+provenance". */
  flagged_by?: string | null;
  /** What the file says, where that flagged the photo. */
  evidence?: string | null;
  /** "unstable": other deliveries of the photo score on both sides of the threshold. A person is to see it; until then `flagged` is null. */
  verdict?: "flagged" | "unstable" | "clear" | null;
  /** The lowest and the highest score over other deliveries of the photo; null: not measured. */
  score_low?: number | null;
  score_high?: number | null;
  signals?: Signal[];
}

/** Why the server refused something (RFC 9457). */
export interface Problem {
  type: string;
  status: number;
  title: string;
  detail?: string;
  [more: string]: unknown;
}

/** What became of one photo of a batch: an image, or a problem of it alone. Lines count from 1 in each request. */
export type BatchLine =
  | { line: number; status: number; image_id: string; state: State; problem?: undefined }
  | { line: number; status: number; image_id?: undefined; state?: undefined; problem: Problem };

/** Put one photo in line in the caller's transaction, and return its id. Throws a ConflictError. */
export function enqueue(client: Queryable, photo: Photo & { schema?: string }): Promise<string>;

/** What became of a photo; null if its id is not known. */
export function result(client: Queryable, imageId: string, options?: { schema?: string }): Promise<Result | null>;

export class UnmaskClient {
  constructor(baseUrl: string, key: string, options?: { timeoutMs?: number });
  /** Put one photo in line and return its id; with `wait` seconds, the verdict as far as it is known by then. */
  enqueue(photo: Photo & { wait?: undefined }): Promise<string>;
  enqueue(photo: Photo & { wait: number }): Promise<Verdict>;
  /** As `enqueue`, with the bytes of the photo's file instead of a URL. */
  enqueuePhoto(bytes: Uint8Array, words: Words & { wait?: undefined }): Promise<string>;
  enqueuePhoto(bytes: Uint8Array, words: Words & { wait: number }): Promise<Verdict>;
  /** The verdict on a photo; null if its id is not known. */
  result(imageId: string, options?: { wait?: number }): Promise<Verdict | null>;
  /** Take a photo back. False if its id is not known. */
  delete(imageId: string): Promise<boolean>;
  /** Put many photos in line, 1,000 a request; yields what became of each, in their order. */
  batch(photos: Iterable<Photo> | AsyncIterable<Photo>): AsyncGenerator<BatchLine, void, void>;
}

export interface WebhookEvent {
  type: string;
  timestamp: string;
  data: Record<string, any>;
}

/** The event that a request carries. Throws a WebhookError if it is not signed with this secret, or is too old. */
export function verifyWebhook(
  secret: string,
  headers: Headers | Record<string, string | string[] | undefined>,
  body: string | Uint8Array | ArrayBuffer,
  options?: { toleranceS?: number },
): WebhookEvent;

/** Anything that this package throws itself, except a TypeError or RangeError for a wrong argument. */
export class UnmaskError extends Error {}

/** The image id already stands for another photo. By HTTP it has the status 409 and the server's problem, too. */
export class ConflictError extends UnmaskError {
  status: number | null;
  problem: Partial<Problem>;
}

/** The server did not answer, or answered something that is not its protocol. Trying again is safe. */
export class UnreachableError extends UnmaskError {}

/** A request that is not a webhook of ours, or not one of now. Answer it with status 400. */
export class WebhookError extends UnmaskError {}

/** The server refused a request, and says why. */
export class HttpError extends UnmaskError {
  status: number;
  title: string;
  detail: string;
  /** Seconds to wait before trying again; null if the server named none. */
  retryAfter: number | null;
  problem: Partial<Problem>;
}
