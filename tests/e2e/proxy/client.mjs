// Asks Anthropic's API through $HTTPS_PROXY, once with each of Node's usual proxy clients, and
// prints what came as one line of JSON.
import https from "node:https";
import { HttpsProxyAgent } from "https-proxy-agent";
import { ProxyAgent, fetch } from "undici";

const proxy = process.env.HTTPS_PROXY;
const url = "https://api.anthropic.com/v1/messages";
const call = { model: "claude-test", max_tokens: 64, messages: [{ role: "user", content: "Hi" }] };
const headers = { "content-type": "application/json" };

async function withUndici(body) {
  const dispatcher = new ProxyAgent({ uri: proxy });
  const answer = await fetch(url, { method: "POST", headers, body, dispatcher });
  const text = await answer.text();
  await dispatcher.close();
  return { status: answer.status, text };
}

function withHttps(body) {
  const agent = new HttpsProxyAgent(proxy);
  return new Promise((resolve, reject) => {
    const request = https.request(url, { agent, method: "POST", headers }, async (answer) => {
      let text = "";
      for await (const piece of answer) text += piece;
      resolve({ status: answer.statusCode, text });
    });
    request.on("error", reject);
    request.end(body);
  });
}

const stream = JSON.stringify({ ...call, stream: true });
console.log(
  JSON.stringify({
    undici: await withUndici(JSON.stringify(call)),
    undiciStream: await withUndici(stream),
    https: await withHttps(JSON.stringify(call)),
    httpsStream: await withHttps(stream),
  }),
);
