"""Judges the tokens of a file of cases with PyJWT and cryptography; prints a JSON line for each."""

import json
import platform
import sys

import cryptography
import jwt


def verdict(key_set, issuer, algorithms, token):
    try:
        key = key_set[jwt.get_unverified_header(token)["kid"]]
    except KeyError:
        return "unknown"
    # Without a list of algorithms, PyJWT takes the one of the key.
    require = ["iss", "sub", "exp", "iat", "jti"]
    try:
        jwt.decode(token, key, algorithms, issuer=issuer, options={"require": require})
    except jwt.InvalidAlgorithmError:
        return "excluded"
    except jwt.InvalidSignatureError:
        return "forged"
    except Exception as error:
        return repr(error)
    return "accepted"


with open(sys.argv[1]) as file:
    asked = json.load(file)
with open(asked["jwks"]) as file:
    keys = jwt.PyJWKSet.from_json(file.read())

version = f"PyJWT {jwt.__version__}, cryptography {cryptography.__version__}, Python {platform.python_version()}"
private = sum(hasattr(key.key, "private_bytes") for key in keys.keys)
print(json.dumps({"library": version, "private": private}))
for case in asked["cases"]:
    answer = verdict(keys, asked["issuer"], asked.get("algorithms"), case["token"])
    print(json.dumps({"case": case["name"], "verdict": answer}))
