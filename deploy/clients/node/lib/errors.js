/** What goes wrong between an application and Unmask. A wrong argument is a TypeError or a RangeError. */

/** Anything that this package throws itself, except for a wrong argument. */
export class UnmaskError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The image id already stands for another photo. By HTTP it has `status` 409 and the server's `problem`, too. */
export class ConflictError extends UnmaskError {
  constructor(message, { status = null, problem = {} } = {}) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

/** The server did not answer, or answered something that is not its protocol. Trying again is safe. */
export class UnreachableError extends UnmaskError {}

/** A request that is not a webhook of ours, or not one of now. Answer it with status 400. */
export class WebhookError extends UnmaskError {}

/** The server refused a request, and says why. */
export class HttpError extends UnmaskError {
  constructor(status, title, { detail = "", retryAfter = null, problem = {} } = {}) {
    super(`HTTP ${status} ${title}${detail ? `: ${detail}` : ""}`);
    this.status = status;
    this.title = title;
    this.detail = detail;
    /** Seconds to wait before trying again; null if the server named none. */
    this.retryAfter = retryAfter;
    /** The whole of what the server said (RFC 9457); empty if a proxy answered and not the server. */
    this.problem = problem;
  }
}
