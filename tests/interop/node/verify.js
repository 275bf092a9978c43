// Judges the tokens of a file of cases with jose; prints a JSON line for each.

import { readFileSync } from "node:fs";
import { calculateJwkThumbprint, createLocalJWKSet, errors, importJWK, jwtVerify } from "jose";

const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const say = (line) => console.log(JSON.stringify(line));

const asked = read(process.argv[2]);
const set = read(asked.jwks);
const keys = createLocalJWKSet(set);
const { issuer, algorithms } = asked;
const options = { issuer, algorithms, typ: "JWT", requiredClaims: ["sub", "exp", "iat", "jti"] };

async function verdict(token) {
  try {
    await jwtVerify(token, keys, options);
    return "accepted";
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return "forged";
    if (error instanceof errors.JWKSNoMatchingKey) return "unknown";
    if (error instanceof errors.JOSEAlgNotAllowed) return "excluded";
    return String(error);
  }
}

const { version } = read(new URL("node_modules/jose/package.json", import.meta.url));
const imported = await Promise.all(set.keys.map((key) => importJWK(key)));
say({
  library: `jose ${version}, Node ${process.versions.node}`,
  private: imported.filter((key) => key.type !== "public").length,
  thumbprints: await Promise.all(set.keys.map((key) => calculateJwkThumbprint(key))),
});
for (const { name, token } of asked.cases) {
  say({ case: name, verdict: await verdict(token) });
}
