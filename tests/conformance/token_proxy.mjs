// Add a bearer token to requests for /mcp: the conformance suite sends none.
// Usage: node token_proxy.mjs PORT http://127.0.0.1:8000 TOKEN
// A loopback Host or Origin becomes the server's own; others pass, so that the scenario about DNS rebinding means what it says.
import http from "node:http";

const [port, address, token] = process.argv.slice(2);
const server = new URL(address);
const LOOPBACK = /^(http:\/\/)?(localhost|127\.0\.0\.1):/;

http
  .createServer((asked, answer) => {
    const headers = { ...asked.headers, authorization: `Bearer ${token}` };
    if (LOOPBACK.test(headers.host)) headers.host = server.host;
    if (LOOPBACK.test(headers.origin ?? "")) headers.origin = server.origin;
    const { hostname: host, port: to } = server;
    const passed = http.request({ host, port: to, method: asked.method, path: asked.url, headers }, (reply) => {
      answer.writeHead(reply.statusCode, reply.headers);
      reply.pipe(answer);
    });
    asked.pipe(passed);
    passed.on("error", () => answer.destroy());
    answer.on("close", () => passed.destroy());
  })
  .listen(Number(port), "127.0.0.1");
