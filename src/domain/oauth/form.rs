//! The form that a client posts (RFC 6749 section 4.4.2, RFC 7662 section 2.1).

use std::borrow::Cow;
use std::fmt;

/// The parameters of a request, decoded. One without a value counts as left out (RFC 6749
/// section 3.2).
#[derive(Default)]
pub struct Form<'a> {
    /// `grant_type`.
    pub grant_type: Option<Cow<'a, str>>,
    /// `scope`.
    pub scope: Option<Cow<'a, str>>,
    /// `audience`, as Auth0 spells it, and `resource` (RFC 8707), in their order.
    pub targets: Vec<Cow<'a, str>>,
    /// `client_id`.
    pub client_id: Option<Cow<'a, str>>,
    /// `client_secret`.
    pub client_secret: Option<Cow<'a, str>>,
    /// `token`, to be looked at.
    pub token: Option<Cow<'a, str>>,
    /// Whether the client authenticates by an assertion (RFC 7521).
    pub has_assertion: bool,
}

/// Why a form cannot be answered. It never quotes the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidForm {
    /// RFC 6749 section 3.2.
    #[error("the parameter {0} is there more than once")]
    Repeated(&'static str),
    /// RFC 8707 section 2.
    #[error("a resource is an absolute URI without a fragment")]
    Resource,
    /// Far more than any client sends.
    #[error("there are too many parameters")]
    TooMany,
}

impl<'a> Form<'a> {
    /// Reads a body of type `application/x-www-form-urlencoded`. Unknown parameters are
    /// ignored (RFC 6749 section 3.2).
    ///
    /// # Errors
    ///
    /// [`InvalidForm`].
    pub fn read(body: &'a [u8]) -> Result<Self, InvalidForm> {
        let mut form = Self::default();
        for (number, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if number >= MAX_PARAMETERS {
                return Err(InvalidForm::TooMany);
            }
            if value.is_empty() {
                continue;
            }
            match name.as_ref() {
                "grant_type" => once(&mut form.grant_type, value, "grant_type")?,
                "scope" => once(&mut form.scope, value, "scope")?,
                "client_id" => once(&mut form.client_id, value, "client_id")?,
                "client_secret" => once(&mut form.client_secret, value, "client_secret")?,
                "token" => once(&mut form.token, value, "token")?,
                "client_assertion" | "client_assertion_type" => form.has_assertion = true,
                "audience" => form.targets.push(value),
                "resource" => {
                    if !is_resource(&value) {
                        return Err(InvalidForm::Resource);
                    }
                    form.targets.push(value);
                }
                _ => {}
            }
        }
        Ok(form)
    }

    /// Whether the body has a client id or credentials.
    pub fn has_credentials(&self) -> bool {
        self.client_id.is_some() || self.client_secret.is_some() || self.has_assertion
    }
}

impl fmt::Debug for Form<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

fn once<'a>(
    place: &mut Option<Cow<'a, str>>,
    value: Cow<'a, str>,
    name: &'static str,
) -> Result<(), InvalidForm> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(InvalidForm::Repeated(name)),
    }
}

fn is_resource(text: &str) -> bool {
    let is_absolute = text.split_once(':').is_some_and(|(scheme, rest)| {
        let mut letters = scheme.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it))
            && !rest.is_empty()
    });
    is_absolute && !text.contains('#')
}

const MAX_PARAMETERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> InvalidForm {
        Form::read(body.as_bytes()).err().unwrap()
    }

    #[test]
    fn parameters_are_decoded_and_unknown_ones_ignored() {
        let body =
            "grant_type=client_credentials&scope=a+b%20c&audience=x&resource=urn%3Ay&z=1&z=2";
        let form = Form::read(body.as_bytes()).unwrap();

        assert_eq!(form.grant_type.as_deref(), Some("client_credentials"));
        assert_eq!(form.scope.as_deref(), Some("a b c"));
        assert_eq!(form.targets, ["x", "urn:y"]);
    }

    #[test]
    fn a_parameter_without_a_value_counts_as_left_out() {
        let form = Form::read(b"scope=&client_id=&scope=a").unwrap();

        assert_eq!(form.scope.as_deref(), Some("a"));
        assert_eq!(form.client_id, None);
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused() {
        assert_eq!(fault("scope=a&scope=a"), InvalidForm::Repeated("scope"));
        assert_eq!(fault("client_id=a&client_id=b"), InvalidForm::Repeated("client_id"));
        assert_eq!(fault(&"a=1&".repeat(65)), InvalidForm::TooMany);
    }

    #[test]
    fn a_resource_is_an_absolute_uri() {
        for bad in
            ["resource=api", "resource=%2Fapi", "resource=https%3A%2F%2Fa%23b", "resource=a%3A"]
        {
            assert_eq!(fault(bad), InvalidForm::Resource, "{bad}");
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        for bytes in [&b"%"[..], b"%%%=%", b"\xff\xfe=\x00", b"&&&==&", b"grant_type=%ff"] {
            assert!(Form::read(bytes).is_ok());
        }
    }
}
