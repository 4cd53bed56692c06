// Alerts to a web address, as JSON, for whoever is not looking.
//
// The address is a secret: whoever knows it can write there. So no message, error or file of ours holds it.
//
// Does not: raise alerts, or hold anything up: what cannot be delivered is given up after some tries.
import { setTimeout as wait } from 'node:timers/promises';
import { UserError } from '../../base/errors.ts';

export interface WebhookOptions {
  /** http or https. */
  readonly url: string;
  /** Of one try. */
  readonly timeoutSeconds?: number;
  /** After the first try. */
  readonly retries?: number;
  /** Before the first of them; doubled each time. */
  readonly pauseSeconds?: number;
}

export class Webhook {
  readonly #url: URL;
  readonly #timeoutMs: number;
  readonly #retries: number;
  readonly #pauseMs: number;

  constructor({ url, timeoutSeconds = 5, retries = 3, pauseSeconds = 1 }: WebhookOptions) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    if (parsed?.protocol !== 'https:' && parsed?.protocol !== 'http:') {
      throw new UserError('the webhook is no address of http or https', {
        next: 'give the whole address, beginning with https://',
      });
    }
    this.#url = parsed;
    this.#timeoutMs = timeoutSeconds * 1000;
    this.#retries = retries;
    this.#pauseMs = pauseSeconds * 1000;
  }

  /** Delivers one message; the problem, in words that do not tell the address, where that failed in the end. */
  async send(message: unknown): Promise<string | undefined> {
    const body = JSON.stringify(message);
    for (let retry = 0; ; retry++) {
      const { problem, mayHelp } = await this.#try(body);
      if (problem === undefined) return undefined;
      if (!mayHelp || retry === this.#retries) return `webhook: ${problem}, after ${retry + 1} tries`;
      await wait(this.#pauseMs * 2 ** retry, undefined, { ref: false });
    }
  }

  async #try(body: string): Promise<{ readonly problem?: string; readonly mayHelp: boolean }> {
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        // A redirect could carry the message to another host.
        redirect: 'error',
        signal: AbortSignal.timeout(this.#timeoutMs),
      });
      await response.body?.cancel();
      if (response.ok) return { mayHelp: false };
      const { status } = response;
      return { problem: `HTTP ${status}`, mayHelp: status >= 500 || status === 429 || status === 408 };
    } catch (error) {
      // The message of the error may quote the address; its name and code do not.
      const { name, cause } = error as Error & { readonly cause?: { readonly code?: string } };
      return { problem: name === 'TimeoutError' ? 'no answer in time' : (cause?.code ?? name), mayHelp: true };
    }
  }
}
