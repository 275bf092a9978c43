// Judges the tokens of a file of cases with jose; prints a JSON line for each.

import { readFileSync } from "node:fs";
import { createLocalJWKSet, errors, jwtVerify } from "jose";

const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const say = (line) => console.log(JSON.stringify(line));

const asked = read(process.argv[2]);
const keys = createLocalJWKSet(read(asked.jwks));
const options = { issuer: asked.issuer, typ: "JWT", requiredClaims: ["sub", "exp", "iat", "jti"] };

async function verdict(token) {
  try {
    await jwtVerify(token, keys, options);
    return "accepted";
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return "forged";
    if (error instanceof errors.JWKSNoMatchingKey) return "unknown";
    return String(error);
  }
}

const { version } = read(new URL("node_modules/jose/package.json", import.meta.url));
say({ library: `jose ${version}, Node ${process.versions.node}` });
for (const { name, token } of asked.cases) {
  say({ case: name, verdict: await verdict(token) });
}
