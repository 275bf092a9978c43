//! The grant types of the token endpoint (RFC 6749 section 1.3).

/// The value of the parameter `grant_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    /// `client_credentials` (RFC 6749 section 4.4).
    ClientCredentials,
}

impl GrantType {
    /// All grant types that the token endpoint has.
    pub const SUPPORTED: [Self; 1] = [Self::ClientCredentials];

    /// The grant type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::SUPPORTED.into_iter().find(|it| it.name() == name)
    }

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
        }
    }
}
