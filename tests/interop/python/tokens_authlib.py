"""Gets tokens with Authlib and verifies them with joserfc, which is what Authlib itself uses."""

import os
import sys
import warnings
from importlib.metadata import version

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc import errors, jwt
from joserfc.jwk import KeySet

from asked import parameters, serve

# Authlib refuses http otherwise.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
# RFC 9864 has a new name for it, which few know yet.
warnings.filterwarnings("ignore", "EdDSA is deprecated")
# Authlib's own validator has not followed joserfc yet.
warnings.filterwarnings("ignore", "Please `KeySet.import_key_set`")

issuer = sys.argv[1]
metadata = AuthorizationServerMetadata(requests.get(get_well_known_url(issuer, True)).json())
metadata.validate()


def token(client_id, client_secret, method, scope, audience):
    how = {"token_endpoint_auth_method": method} if method else {}
    session = OAuth2Session(client_id, client_secret, scope=scope, **how)
    wanted = parameters(None, audience)
    try:
        answer = session.fetch_token(
            metadata["token_endpoint"], grant_type="client_credentials", **wanted
        )
    except OAuthError as error:
        return {"error": error.error}
    except Exception as error:
        return {"failed": repr(error)}
    return {"token": answer["access_token"]}


class Validator(JWTBearerTokenValidator):
    """What a resource server has that follows RFC 9068."""

    def get_jwks(self):
        return requests.get(metadata["jwks_uri"]).json()


def follows_profile(token, audience):
    validator = Validator(issuer=issuer, resource_server=audience)
    validator.validate_token(validator.authenticate_token(token), ["ROLE_M2M"], None)


def verify(token, audience):
    # Neither has a JWKS client: the set is fetched each time.
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"]).json())
    claims = {name: {"essential": True} for name in ["sub", "exp", "iat", "jti"]}
    claims["iss"] = {"essential": True, "value": issuer}
    if audience:
        claims["aud"] = {"essential": True, "value": audience}
    try:
        decoded = jwt.decode(token, keys, metadata["id_token_signing_alg_values_supported"])
        jwt.JWTClaimsRegistry(**claims).validate(decoded.claims)
    except errors.ExpiredTokenError:
        return {"refused": "expired"}
    except errors.BadSignatureError:
        return {"refused": "forged"}
    except errors.InvalidKeyIdError:
        return {"refused": "unknown"}
    except errors.InvalidClaimError as error:
        names = {"iss": "issuer", "aud": "audience"}
        return {"refused": names.get(error.claim, repr(error))}
    except Exception as error:
        return {"refused": repr(error)}
    if decoded.header.get("typ") == "at+jwt":
        try:
            follows_profile(token, audience)
        except Exception as error:
            return {"refused": repr(error)}
    return {"claims": decoded.claims}


serve(f"Authlib {version('Authlib')} and joserfc {version('joserfc')}", token, verify)
