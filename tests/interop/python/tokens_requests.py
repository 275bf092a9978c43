"""Gets tokens with requests-oauthlib and verifies them with PyJWT and its PyJWKClient."""

import os
import sys
from importlib.metadata import version

import jwt
import requests
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from requests_oauthlib import OAuth2Session

from asked import parameters, serve

# oauthlib refuses http otherwise.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

issuer = sys.argv[1]
metadata = requests.get(issuer + "/.well-known/openid-configuration").json()
# A key that signs sooner than 30 s after it was published is not in the copy of PyJWKClient, which
# fetches no other one meanwhile.
keys = jwt.PyJWKClient(metadata["jwks_uri"], cooldown_duration=0)


def token(client_id, client_secret, method, scope, audience):
    session = OAuth2Session(client=BackendApplicationClient(client_id=client_id))
    who = {"client_id": client_id, "client_secret": client_secret}
    if method == "client_secret_basic":
        who = {"auth": requests.auth.HTTPBasicAuth(client_id, client_secret)}
    if method == "client_secret_post":
        who = {"client_secret": client_secret, "include_client_id": True}
    try:
        answer = session.fetch_token(metadata["token_endpoint"], **who, **parameters(scope, audience))
    except OAuth2Error as error:
        return {"error": error.error}
    except Exception as error:
        return {"failed": repr(error)}
    return {"token": answer["access_token"]}


def verify(token, audience):
    algorithms = metadata["id_token_signing_alg_values_supported"]
    require = ["iss", "sub", "exp", "iat", "jti"]
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(
            token, key, algorithms, {"require": require}, audience=audience, issuer=issuer
        )
    except jwt.ExpiredSignatureError:
        return {"refused": "expired"}
    except jwt.InvalidSignatureError:
        return {"refused": "forged"}
    except jwt.InvalidIssuerError:
        return {"refused": "issuer"}
    except jwt.InvalidAudienceError:
        return {"refused": "audience"}
    except jwt.PyJWKClientError as error:
        is_unknown = "Unable to find a signing key" in str(error)
        return {"refused": "unknown" if is_unknown else repr(error)}
    except Exception as error:
        return {"refused": repr(error)}
    return {"claims": claims}


serve(
    f"requests-oauthlib {version('requests-oauthlib')} and PyJWT {jwt.__version__}", token, verify
)
