/** What is wrong with one field of a request. */
export interface FieldError {
  /** JSON pointer into the body, e.g. `/selectedAgents/0`. */
  pointer: string;
  detail: string;
}

/** A refused request: the problem document of the server, or a sentence for answers that have none. */
export class Problem extends Error {
  /** HTTP status; 0 when the server could not be reached. */
  readonly status: number;
  /** The stable end of `type`, e.g. `idempotency-mismatch`. */
  readonly slug: string;
  readonly errors: readonly FieldError[];
  /** Milliseconds the server asks to wait, from `Retry-After`. */
  readonly retryAfter: number | undefined;
  /** The whole document: some carry fields of their own. */
  readonly document: Readonly<Record<string, unknown>>;

  constructor(status: number, document: Record<string, unknown>, retryAfter?: number) {
    super(String(document.detail ?? document.title ?? `The server answered ${status}.`));
    this.name = "Problem";
    this.status = status;
    this.slug = String(document.type ?? "").split("/").pop() ?? "";
    this.errors = Array.isArray(document.errors) ? (document.errors as FieldError[]) : [];
    this.retryAfter = retryAfter;
    this.document = document;
  }

  /** Whether asking again later can help. */
  get passes(): boolean {
    return this.status === 0 || this.status >= 500 || [408, 425, 429].includes(this.status);
  }

  /** Reads the problem out of an answer that is no success. */
  static async from(response: Response): Promise<Problem> {
    const document = await response.json().catch(() => ({}));
    const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
    const wait = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
    return new Problem(response.status, isRecord(document) ? document : {}, wait);
  }

  /** The problem of a server that did not answer. */
  static unreachable(): Problem {
    return new Problem(0, { type: "/problems/unreachable", detail: "The server cannot be reached." });
  }
}

/** Whether something is a JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
