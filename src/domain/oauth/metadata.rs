//! The metadata of the authorization server (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3).

use serde::Serialize;

use super::ClaimsProfile;
use super::client_authentication::ClientAuthMethod;
use super::grant_type::GrantType;
use crate::domain::crypto::public_key::Algorithm;

/// What clients and resource servers can find out by themselves, in the order in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorizationServerMetadata {
    /// Exactly as it was configured.
    pub issuer: String,
    /// Where clients get tokens.
    pub token_endpoint: String,
    /// Where the public keys are.
    pub jwks_uri: String,
    /// Where resource servers ask about a token (RFC 7662).
    pub introspection_endpoint: String,
    /// How a client may get a token.
    pub grant_types_supported: Vec<&'static str>,
    /// How a client may authenticate for a token.
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// How it may authenticate to introspect one.
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    /// The value of Kubernetes' own issuer: there is no authorization endpoint.
    pub response_types_supported: Vec<&'static str>,
    /// `public`: every resource server sees the same `sub`.
    pub subject_types_supported: Vec<&'static str>,
    /// What tokens are or will be signed with.
    pub id_token_signing_alg_values_supported: Vec<&'static str>,
    /// The claims of a token.
    pub claims_supported: Vec<&'static str>,
}

impl AuthorizationServerMetadata {
    /// The metadata of an issuer that signs with these algorithms.
    pub fn new(
        issuer: &str,
        profile: ClaimsProfile,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Self {
        let methods: Vec<_> = ClientAuthMethod::OFFERED.iter().map(|it| it.name()).collect();
        let algorithms = algorithms.into_iter().map(Algorithm::name).collect();
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{issuer}/oauth2/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            introspection_endpoint: format!("{issuer}/oauth2/introspect"),
            grant_types_supported: GrantType::SUPPORTED.map(GrantType::name).to_vec(),
            token_endpoint_auth_methods_supported: methods.clone(),
            introspection_endpoint_auth_methods_supported: methods,
            response_types_supported: vec!["id_token"],
            subject_types_supported: vec!["public"],
            id_token_signing_alg_values_supported: algorithms,
            claims_supported: claims(profile.roles()),
        }
    }
}

/// The claims of a token whose roles are in the claim of that name.
fn claims(roles: &'static str) -> Vec<&'static str> {
    let before = ["iss", "sub", "aud", "client_id", "caas_user_id", "caas_org_id"];
    before.into_iter().chain([roles, "scope", "iat", "exp", "jti"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_keep_their_order() {
        let metadata = AuthorizationServerMetadata::new(
            "https://a/iam",
            ClaimsProfile::CyodaGo,
            [Algorithm::RS256, Algorithm::ES256],
        );

        let expected = r#"{"issuer":"https://a/iam","token_endpoint":"https://a/iam/oauth2/token","jwks_uri":"https://a/iam/.well-known/jwks.json","introspection_endpoint":"https://a/iam/oauth2/introspect","grant_types_supported":["client_credentials"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"],"introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"],"response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256","ES256"],"claims_supported":["iss","sub","aud","client_id","caas_user_id","caas_org_id","scopes","scope","iat","exp","jti"]}"#;
        assert_eq!(serde_json::to_string(&metadata).unwrap(), expected);
    }
}
