//! The client credentials grant (RFC 6749 section 4.4).

use std::net::IpAddr;

use crate::domain::oauth::ScopeError;
use crate::server::oauth::error::OAuthError;
use crate::server::oauth::reason::Reason;
use crate::server::oauth::service::{Authenticated, TokenEndpoint};
use crate::server::oauth::token::TokenResponse;

/// A token with the requested rights of the client, or with all of them.
pub(super) fn token(
    service: &TokenEndpoint,
    request: &Authenticated<'_>,
    source: Option<IpAddr>,
) -> Result<TokenResponse, OAuthError> {
    let (client, form) = (&request.known.client, &request.form);
    let granted = client.grant(&service.terms.policy, form.scope.as_deref(), &form.targets);
    service.issue(request, &granted.map_err(scope_error)?, source)
}

fn scope_error(reason: ScopeError) -> OAuthError {
    match reason {
        ScopeError::Scope => OAuthError::InvalidScope,
        ScopeError::Target => OAuthError::InvalidTarget(
            "this client has no such audience, or the installation does not allow it",
        ),
        ScopeError::Roles => OAuthError::UnauthorizedClient(Reason::RolesNotAllowed),
        ScopeError::Audiences => OAuthError::UnauthorizedClient(Reason::AudiencesNotAllowed),
    }
}
