// Gets tokens with openid-client and verifies them with jose: answers each line of JSON with one.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createRemoteJWKSet, decodeProtectedHeader, errors, jwtVerify } from "jose";
import * as client from "openid-client";

const say = (line) => console.log(JSON.stringify(line));

const issuer = process.argv[2];
// openid-client refuses http otherwise.
const execute = [client.allowInsecureRequests];
const discovered = await client.discovery(new URL(issuer), "nobody", undefined, undefined, { execute });
const server = discovered.serverMetadata();
// A key that signs sooner than 30 s after it was published is not in the copy of jose, which fetches
// no other one meanwhile.
const keys = createRemoteJWKSet(new URL(server.jwks_uri), { cooldownDuration: 0 });

const methods = {
  client_secret_basic: client.ClientSecretBasic,
  client_secret_post: client.ClientSecretPost,
};

async function token({ client_id, client_secret, method, scope, audience }) {
  const how = method ? methods[method](client_secret) : undefined;
  const config = new client.Configuration(server, client_id, client_secret, how);
  client.allowInsecureRequests(config);
  const wanted = Object.entries({ scope, audience }).filter(([, value]) => value);
  try {
    const answer = await client.clientCredentialsGrant(config, Object.fromEntries(wanted));
    return { token: answer.access_token };
  } catch (error) {
    if (error instanceof client.ResponseBodyError) return { error: error.error };
    // Of an answer with a challenge, openid-client leaves the body to be read by others. There must be
    // one for Basic alone.
    const isBasic = method === "client_secret_basic";
    if (isBasic && error instanceof client.WWWAuthenticateChallengeError) {
      return { error: (await error.response.json()).error };
    }
    return { failed: String(error) };
  }
}

// Whether the token says that it is one of RFC 9068, which demands more claims.
function isAccessTokenProfile(token) {
  try {
    return decodeProtectedHeader(token).typ === "at+jwt";
  } catch {
    return false;
  }
}

async function verify({ token, audience }) {
  const requiredClaims = ["sub", "exp", "iat", "jti"];
  const algorithms = server.id_token_signing_alg_values_supported;
  const options = { issuer, typ: "JWT", requiredClaims, algorithms };
  if (isAccessTokenProfile(token)) {
    options.typ = "at+jwt";
    requiredClaims.push("aud", "client_id", "scope");
  }
  if (audience) options.audience = audience;
  try {
    return { claims: (await jwtVerify(token, keys, options)).payload };
  } catch (error) {
    if (error instanceof errors.JWTExpired) return { refused: "expired" };
    if (error instanceof errors.JWSSignatureVerificationFailed) return { refused: "forged" };
    if (error instanceof errors.JWKSNoMatchingKey) return { refused: "unknown" };
    if (error.claim === "iss") return { refused: "issuer" };
    if (error.claim === "aud") return { refused: "audience" };
    return { refused: String(error) };
  }
}

const version = (name) =>
  JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
say({ library: `openid-client ${version("openid-client")} and jose ${version("jose")}` });
for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...asked } = JSON.parse(line);
  say(await { token, verify }[ask](asked));
}
