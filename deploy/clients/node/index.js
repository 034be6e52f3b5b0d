/** Sends an application's photos to Unmask, and reads what became of them. The README shows each way in five lines. */

export { ConflictError, HttpError, UnmaskError, UnreachableError, WebhookError } from "./lib/errors.js";
export { UnmaskClient } from "./lib/http.js";
export { enqueue, result } from "./lib/record.js";
export { verifyWebhook } from "./lib/webhooks.js";
