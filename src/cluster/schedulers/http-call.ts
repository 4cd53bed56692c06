// One HTTP request with a time limit, to a URL or through a Unix socket, whose failures are SchedulerErrors.
//
// fetch() of Node cannot talk through a Unix socket without a further dependency.
//
// Does not: judge what a server answers, follow redirections, keep connections, or try again.
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { SchedulerError } from '../scheduler.ts';

export interface HttpCall {
  readonly url: URL;
  /** Unix socket to connect to, instead of the URL's host. */
  readonly socketPath?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly timeoutSeconds: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

/** Errors of connections that never came about: nothing was sent. */
const unconnected = ['ECONNREFUSED', 'ENOENT', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'];

/**
 * Makes a call. Rejects with `timeout` when there is no whole answer in time and with `unreachable` when there is no
 * connection; `wasSent` tells of such an error whether the server may have taken the request.
 */
export async function callHttp(call: HttpCall): Promise<HttpAnswer> {
  const { url, socketPath, method = 'GET', headers = {}, body, timeoutSeconds } = call;
  const what = `${method} ${socketPath ?? url.host}${url.pathname}`;
  return await new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? httpsRequest : httpRequest;
    // slurmrestd 22.05 that is asked to close says so after the body, where no header may stand: the socket is closed here.
    const kept = { ...headers, connection: 'keep-alive' };
    const options = { method, headers: kept, agent: false, ...(socketPath ? { socketPath } : {}) };
    const fail = (error: NodeJS.ErrnoException): void => {
      clearTimeout(timer);
      const code = error.code ?? '';
      reject(new CallError('unreachable', `${what}: ${error.message || code}`, !unconnected.includes(code), error));
    };
    let request: ClientRequest;
    try {
      request = start(url, options);
    } catch (cause) {
      reject(new SchedulerError('refused', `${what} cannot be asked: ${(cause as Error).message}`, { cause }));
      return;
    }
    const timer = setTimeout(() => {
      reject(new CallError('timeout', `${what} was not answered within ${timeoutSeconds} s`, true));
      request.destroy();
    }, timeoutSeconds * 1000);
    request.on('error', fail);
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => void (text += part));
      response.on('error', fail);
      response.on('end', () => {
        clearTimeout(timer);
        request.destroy();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    request.end(body);
  });
}

/** An error of the way to a server. */
export class CallError extends SchedulerError {
  readonly wasSent: boolean;

  constructor(kind: 'unreachable' | 'timeout', message: string, wasSent: boolean, cause?: unknown) {
    super(kind, message, { cause });
    this.wasSent = wasSent;
  }
}
