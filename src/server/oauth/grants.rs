//! The grants of the token endpoint, one file each (RFC 6749 section 1.3).

use std::net::IpAddr;

use super::error::OAuthError;
use super::service::{Authenticated, TokenEndpoint};
use super::token::TokenResponse;
use crate::domain::oauth::grant_type::GrantType;

mod client_credentials;

/// The token of the grant that the parameter `grant_type` names.
pub(super) fn token(
    service: &TokenEndpoint,
    request: &Authenticated<'_>,
    source: Option<IpAddr>,
) -> Result<TokenResponse, OAuthError> {
    let Some(name) = request.form.grant_type.as_deref() else {
        return Err(OAuthError::InvalidRequest("grant_type is missing".into()));
    };
    match GrantType::from_name(name).ok_or(OAuthError::UnsupportedGrantType)? {
        GrantType::ClientCredentials => client_credentials::token(service, request, source),
    }
}
