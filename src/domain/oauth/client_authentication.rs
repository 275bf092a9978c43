//! Client authentication (RFC 6749 section 2.3.1).

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::form::Form;
use crate::domain::crypto::client_secret::{ClientId, ClientSecret};

/// The credentials that a client presented, well-formed: one variant for each method.
#[derive(Debug)]
pub enum ClientCredentials {
    /// `client_secret_basic`: the `Authorization` header.
    Basic(ClientId, ClientSecret),
    /// `client_secret_post`: parameters of the body.
    Post(ClientId, ClientSecret),
}

/// A method of client authentication, by its registered name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthMethod {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// None, or an unknown one.
    None,
}

/// Why nothing can be proved by what a client presented. It never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthError {
    /// Two methods at once (RFC 6749 section 2.3).
    #[error("use the Authorization header or the body for client authentication, not both")]
    Twice,
    /// Another client in the body than in the header.
    #[error("client_id in the body is not the client of the Authorization header")]
    TwoClients,
    /// Nothing to prove anything.
    #[error("send client id and client secret with HTTP Basic or in the body")]
    Missing,
    /// A method that is not offered.
    #[error("client authentication is by client_secret_basic or client_secret_post")]
    Unknown,
    /// Not of the form of any client id or client secret, so certainly not the right one.
    #[error("client authentication failed")]
    Malformed,
}

impl ClientCredentials {
    /// Reads the `Authorization` header and the body.
    ///
    /// The halves of Basic are form-encoded (RFC 6749 section 2.3.1). Client ids and secrets are
    /// letters and digits, so clients that send them as they are mean the same.
    ///
    /// # Errors
    ///
    /// [`ClientAuthError`].
    pub fn read(authorization: Option<&[u8]>, form: &Form<'_>) -> Result<Self, ClientAuthError> {
        let Some(authorization) = authorization else {
            return Self::of_body(form);
        };
        if form.client_secret.is_some() || form.has_assertion {
            return Err(ClientAuthError::Twice);
        }
        let encoded = basic(authorization).ok_or(ClientAuthError::Unknown)?;
        let decoded = LENIENT.decode(encoded).map(Zeroizing::new);
        // The text of the decoder quotes a byte of the header.
        let decoded = decoded.map_err(|_| ClientAuthError::Malformed)?;
        let colon =
            decoded.iter().position(|byte| *byte == b':').ok_or(ClientAuthError::Malformed)?;
        let (id, secret) = decoded.split_at(colon);
        let id = form_decoded(id).ok_or(ClientAuthError::Malformed)?;
        if form.client_id.as_deref().is_some_and(|named| named != id.as_str()) {
            return Err(ClientAuthError::TwoClients);
        }
        let secret =
            form_decoded(secret.get(1..).unwrap_or_default()).ok_or(ClientAuthError::Malformed)?;
        parsed(&id, &secret).map(|(id, secret)| Self::Basic(id, secret))
    }

    /// The client id that a request names, without proof; `None` if it has not the form of a client id.
    pub fn client_id(authorization: Option<&[u8]>, form: &Form<'_>) -> Option<ClientId> {
        let Some(authorization) = authorization else {
            return form.client_id.as_deref()?.parse().ok();
        };
        let decoded = LENIENT.decode(basic(authorization)?).map(Zeroizing::new).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        form_decoded(decoded.get(..colon)?)?.parse().ok()
    }

    fn of_body(form: &Form<'_>) -> Result<Self, ClientAuthError> {
        match (&form.client_id, &form.client_secret) {
            (Some(_), Some(_)) if form.has_assertion => Err(ClientAuthError::Twice),
            (Some(id), Some(secret)) => {
                parsed(id, secret).map(|(id, secret)| Self::Post(id, secret))
            }
            (None | Some(_), None) if form.has_assertion => Err(ClientAuthError::Unknown),
            (None, _) | (_, None) => Err(ClientAuthError::Missing),
        }
    }

    /// The client id and the client secret.
    pub fn id_and_secret(&self) -> (&ClientId, &ClientSecret) {
        match self {
            Self::Basic(id, secret) | Self::Post(id, secret) => (id, secret),
        }
    }
}

/// A client learns of neither what is wrong with it.
fn parsed(id: &str, secret: &str) -> Result<(ClientId, ClientSecret), ClientAuthError> {
    let malformed = ClientAuthError::Malformed;
    Ok((id.parse().or(Err(malformed))?, secret.parse().or(Err(malformed))?))
}

impl ClientAuthMethod {
    /// The methods that a client may use.
    pub const OFFERED: [Self; 2] = [Self::Basic, Self::Post];

    /// Its registered name (RFC 7591 section 2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::None => "none",
        }
    }

    /// What a request uses, whether or not it proves anything.
    pub fn of(authorization: Option<&[u8]>, form: &Form<'_>) -> Self {
        match authorization {
            Some(header) if basic(header).is_some() => Self::Basic,
            None if form.client_secret.is_some() => Self::Post,
            Some(_) | None => Self::None,
        }
    }
}

/// What follows the scheme, whose case does not matter (RFC 9110 section 11.1).
fn basic(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())
}

fn form_decoded(half: &[u8]) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(half).ok()?;
    if !text.contains(['%', '+']) {
        return Some(Zeroizing::new(text.to_owned()));
    }
    // As a value without a name, in which '=' and '&' are letters like any other.
    let escaped = Zeroizing::new(format!("={}", text.replace('&', "%26")));
    let (_, value) = form_urlencoded::parse(escaped.as_bytes()).next()?;
    Some(Zeroizing::new(value.into_owned()))
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::crypto::client_secret::CredentialId;

    fn secret() -> String {
        let id = CredentialId::draw(&[7; 10]).unwrap();
        ClientSecret::draw(&id, &(0..64).collect::<Vec<u8>>()).unwrap().reveal().to_owned()
    }

    fn header(scheme: &str, text: &str) -> Vec<u8> {
        format!("{scheme} {}", base64::engine::general_purpose::STANDARD.encode(text)).into_bytes()
    }

    fn read(
        authorization: Option<&[u8]>,
        body: &str,
    ) -> Result<ClientCredentials, ClientAuthError> {
        ClientCredentials::read(authorization, &Form::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn basic_and_post_prove_the_same() {
        let pair = format!("billing:{}", secret());
        for scheme in ["Basic", "basic", "BASIC"] {
            let presented = read(Some(&header(scheme, &pair)), "").unwrap();
            let ClientCredentials::Basic(id, presented) = presented else { panic!("not Basic") };
            assert_eq!((id.as_str(), presented.reveal()), ("billing", secret().as_str()));
        }
        let body = format!("client_id=billing&client_secret={}", secret());
        let presented = read(None, &body).unwrap();
        let ClientCredentials::Post(id, presented) = presented else { panic!("not Post") };
        assert_eq!((id.as_str(), presented.reveal()), ("billing", secret().as_str()));
    }

    #[test]
    fn the_halves_of_basic_may_be_form_encoded_and_unpadded() {
        let encoded = format!("%62illing:{}", secret().replace('7', "%37"));
        assert_eq!(
            read(Some(&header("Basic", &encoded)), "").unwrap().id_and_secret().0.as_str(),
            "billing"
        );

        let mut unpadded = header("Basic", &format!("billing:{}", secret()));
        while unpadded.last() == Some(&b'=') {
            unpadded.pop();
        }
        assert!(read(Some(&unpadded), "").is_ok());
    }

    #[test]
    fn one_way_at_a_time() {
        let basic = header("Basic", &format!("billing:{}", secret()));
        let basic = Some(basic.as_slice());

        assert_eq!(read(basic, "client_secret=x").unwrap_err(), ClientAuthError::Twice);
        assert_eq!(read(basic, "client_assertion=x").unwrap_err(), ClientAuthError::Twice);
        assert_eq!(read(basic, "client_id=other").unwrap_err(), ClientAuthError::TwoClients);
        assert!(read(basic, "client_id=billing").is_ok());
    }

    #[test]
    fn who_proves_nothing_still_has_a_name_if_it_looks_like_one() {
        let named = |authorization: Option<&[u8]>, body: &str| {
            let named =
                ClientCredentials::client_id(authorization, &Form::read(body.as_bytes()).unwrap());
            named.map(|id| id.to_string())
        };
        let basic = header("Basic", "billing:wrong");

        assert_eq!(named(Some(&basic), "").as_deref(), Some("billing"));
        assert_eq!(named(Some(&basic), "client_id=other").as_deref(), Some("billing"));
        assert_eq!(named(None, "client_id=billing").as_deref(), Some("billing"));
        assert_eq!(named(Some(b"Bearer abc"), "client_id=billing"), None);
        assert_eq!(named(Some(&header("Basic", "a b:c")), ""), None);
        assert_eq!(named(None, "client_secret=x"), None);
    }

    #[test]
    fn what_proves_nothing_is_told_apart_from_what_is_missing() {
        let refused = |header: &[u8]| read(Some(header), "").unwrap_err();

        assert_eq!(read(None, "").unwrap_err(), ClientAuthError::Missing);
        assert_eq!(read(None, "client_id=billing").unwrap_err(), ClientAuthError::Missing);
        assert_eq!(read(None, "client_assertion=x").unwrap_err(), ClientAuthError::Unknown);
        assert_eq!(refused(b"Bearer abc"), ClientAuthError::Unknown);
        assert_eq!(refused(b"Basic"), ClientAuthError::Unknown);
        assert_eq!(refused(b""), ClientAuthError::Unknown);
        assert_eq!(refused(b"Basic !"), ClientAuthError::Malformed);
        assert_eq!(refused(&header("Basic", "no colon")), ClientAuthError::Malformed);
        assert_eq!(refused(&header("Basic", "billing:guess")), ClientAuthError::Malformed);
        assert_eq!(refused(&header("Basic", "a b:c")), ClientAuthError::Malformed);
        assert_eq!(refused(b"Basic /////w=="), ClientAuthError::Malformed);
    }
}
