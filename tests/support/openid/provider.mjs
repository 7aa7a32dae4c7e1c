// An OpenID provider on a free port of this machine, with the forms of oidc-provider.
// usage: node provider.mjs CERT KEY ACCOUNTS REDIRECT_ORIGIN
// ACCOUNTS is a JSON file with claims by account, read again at each sign-in.
import { readFileSync } from "node:fs";
import https from "node:https";
import Provider from "oidc-provider";

const [certFile, keyFile, accounts, origin] = process.argv.slice(2);
const client = {
  grant_types: ["authorization_code"],
  redirect_uris: ["company", "other"].map((name) => `${origin}/ui/sign-in/${name}/callback`),
  post_logout_redirect_uris: [`${origin}/ui/sign-in`],
  client_id: "gateway",
  client_secret: "secret-of-the-gateway",
};
const server = https.createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
server.listen(0, "127.0.0.1", () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client, { ...client, client_id: "another", client_secret: "secret-of-another" }],
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username", "groups"],
      email: ["email", "email_verified"],
    },
    cookies: { keys: ["of-the-tests"] },
    features: { rpInitiatedLogout: { enabled: true } },
    findAccount: (_context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, ...JSON.parse(readFileSync(accounts, "utf8"))[id] }),
    }),
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});
