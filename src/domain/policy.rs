//! The limit on the roles and audiences of access tokens in this installation, even if a `TechnicalUser`
//! asks for more.
//!
//! The token service enforces it on every token; the operator reports a `TechnicalUser` that asks for
//! more. Both get it from the same two flags.

use std::collections::BTreeSet;
use std::fmt;

/// The roles and audiences that access tokens of this installation may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The roles.
    pub roles: Allowed,
    /// The audiences.
    pub audiences: Allowed,
}

/// The values that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// All.
    Any,
    /// These alone.
    These(BTreeSet<String>),
}

/// The roles and audiences of a `TechnicalUser` that the policy does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The roles that are not allowed, in the order of the spec.
    pub roles: Vec<String>,
    /// The audiences that are not allowed, in the order of the spec.
    pub audiences: Vec<String>,
    /// Whether tokens are issued all the same, with the allowed roles.
    pub gets_tokens: bool,
}

/// Why a list of allowed values cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidList {
    /// Not a role.
    #[error(
        "{0:?} is not a role: a role has 1 to 100 printable ASCII characters without space, comma, \
         '\"' and '\\'. Separate roles by commas, or write * alone for any role"
    )]
    Role(String),
    /// Not an audience.
    #[error(
        "{0:?} is not an audience: an audience has 1 to 253 printable ASCII characters without \
         space, comma, '\"' and '\\'. Separate audiences by commas, or write * alone for any audience"
    )]
    Audience(String),
}

// === impl Policy ===

impl Policy {
    /// A policy that bounds nothing.
    pub fn unbounded() -> Self {
        Self { roles: Allowed::Any, audiences: Allowed::Any }
    }

    /// The values among these roles and audiences that the policy does not allow, or nothing if it allows all.
    pub fn excess(&self, roles: &[String], audiences: &[String]) -> Option<Excess> {
        let excess = Excess {
            roles: self.roles.not_included(roles),
            audiences: self.audiences.not_included(audiences),
            gets_tokens: !self.forbids_all(roles, audiences),
        };
        let is_any = !excess.roles.is_empty() || !excess.audiences.is_empty();
        is_any.then_some(excess)
    }

    /// Whether a client with these roles and audiences gets no token at all: no role is left, or one of
    /// its audiences is not allowed. Without that audience the token might have no `aud`, which many
    /// verifiers accept.
    pub fn forbids_all(&self, roles: &[String], audiences: &[String]) -> bool {
        let has_no_role_left =
            !roles.is_empty() && !roles.iter().any(|role| self.roles.includes(role));
        has_no_role_left || !audiences.iter().all(|it| self.audiences.includes(it))
    }
}

impl Default for Policy {
    /// The role of machines, and no audience.
    fn default() -> Self {
        let roles = BTreeSet::from([DEFAULT_ROLE.to_owned()]);
        Self { roles: Allowed::These(roles), audiences: Allowed::none() }
    }
}

// === impl Allowed ===

impl Allowed {
    /// No value at all.
    pub fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    /// Reads roles that are separated by commas, or `*` for any.
    ///
    /// # Errors
    ///
    /// [`InvalidList::Role`].
    pub fn roles(text: &str) -> Result<Self, InvalidList> {
        Self::read(text, is_role).map_err(InvalidList::Role)
    }

    /// Reads audiences that are separated by commas, or `*` for any. An empty text is none.
    ///
    /// # Errors
    ///
    /// [`InvalidList::Audience`].
    pub fn audiences(text: &str) -> Result<Self, InvalidList> {
        if text.trim().is_empty() {
            return Ok(Self::none());
        }
        Self::read(text, is_audience).map_err(InvalidList::Audience)
    }

    /// Whether that value is allowed.
    pub fn includes(&self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(values) => values.contains(value),
        }
    }

    fn read(text: &str, is_valid: impl Fn(&str) -> bool) -> Result<Self, String> {
        if text.trim() == ANY {
            return Ok(Self::Any);
        }
        let values = text.split(',').map(str::trim);
        let valid = |value: &str| {
            // Beside others it is no wildcard, although it looks like one.
            let is_good = value != ANY && is_valid(value);
            if is_good { Ok(value.to_owned()) } else { Err(value.to_owned()) }
        };
        values.map(valid).collect::<Result<_, _>>().map(Self::These)
    }

    fn not_included(&self, values: &[String]) -> Vec<String> {
        values.iter().filter(|value| !self.includes(value)).cloned().collect()
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::These(values) if values.is_empty() => formatter.write_str("none"),
            Self::These(values) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                formatter.write_str(&values.join(", "))
            }
        }
    }
}

// === impl Excess ===

impl Excess {
    /// One word for machines. An audience that is not allowed comes first, since it stops every token.
    pub fn reason(&self) -> &'static str {
        if self.audiences.is_empty() { "RolesNotAllowed" } else { "AudiencesNotAllowed" }
    }

    /// Which values of which fields are not allowed, what that means, and what to do.
    pub fn message(&self, namespace: &str, name: &str) -> String {
        let mut sentences = Vec::new();
        for (field, flag, values) in [
            ("spec.roles", "--allowed-roles", &self.roles),
            ("spec.audiences", "--allowed-audiences", &self.audiences),
        ] {
            if !values.is_empty() {
                sentences.push(format!(
                    "{field} of TechnicalUser {namespace}/{name} has values that this installation \
                     does not allow ({flag}): {}.",
                    values.join(", ")
                ));
            }
        }
        let effect = if self.gets_tokens {
            "Its tokens carry the allowed roles alone."
        } else {
            "The token service refuses every request of it for a token."
        };
        sentences.push(effect.to_owned());
        let remedy = "Remove these values, or have an administrator allow them at the operator and at \
            the token service.";
        sentences.push(remedy.to_owned());
        sentences.join(" ")
    }
}

/// Whether that is a scope token (RFC 6749 section 3.3) that can be listed.
fn is_role(text: &str) -> bool {
    is_listed(text, 100)
}

fn is_audience(text: &str) -> bool {
    is_listed(text, 253)
}

fn is_listed(text: &str, most: usize) -> bool {
    let is_good = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte);
    (1..=most).contains(&text.len()) && text.bytes().all(is_good)
}

const ANY: &str = "*";

const DEFAULT_ROLE: &str = "ROLE_M2M";

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    fn policy(roles: &str, audiences: &str) -> Policy {
        Policy {
            roles: Allowed::roles(roles).unwrap(),
            audiences: Allowed::audiences(audiences).unwrap(),
        }
    }

    #[test]
    fn without_a_setting_there_is_one_role_and_no_audience() {
        let policy = Policy::default();

        assert_eq!(policy.excess(&texts(&["ROLE_M2M"]), &[]), None);
        let excess = policy.excess(&texts(&["ROLE_M2M", "ROLE_ADMIN"]), &texts(&["api"])).unwrap();
        assert_eq!((excess.roles, excess.audiences), (texts(&["ROLE_ADMIN"]), texts(&["api"])));
    }

    #[test]
    fn a_list_is_separated_by_commas_and_a_star_alone_is_any() {
        let some = policy(" orders:read, ROLE_M2M", "https://a,b");
        assert_eq!(some.roles.to_string(), "ROLE_M2M, orders:read");
        assert!(some.audiences.includes("b") && !some.audiences.includes("c"));

        let any = policy("*", " * ");
        assert_eq!(any, Policy::unbounded());
        assert!(any.roles.includes("anything"));

        assert_eq!(Allowed::audiences(""), Ok(Allowed::none()));
    }

    #[test]
    fn what_cannot_be_a_value_is_refused_and_named() {
        for bad in ["", "a,,b", "a b", "*,a", "a\\b", "ä", "a\"", &"a".repeat(101)] {
            assert!(matches!(Allowed::roles(bad), Err(InvalidList::Role(_))), "{bad}");
        }
        assert_eq!(Allowed::audiences("a,*"), Err(InvalidList::Audience("*".to_owned())));
        assert!(Allowed::roles("rabbitmq.read:*/*").is_ok());
    }

    #[test]
    fn an_audience_that_is_not_allowed_stops_every_token_and_a_role_only_the_last() {
        let policy = policy("A,B", "x");
        let forbids = |roles: &[&str], audiences: &[&str]| {
            policy.forbids_all(&texts(roles), &texts(audiences))
        };

        assert!(!forbids(&["A", "C"], &["x"]));
        assert!(!forbids(&[], &[]), "who asks for no role gets none");
        assert!(forbids(&["C"], &["x"]));
        assert!(forbids(&["A"], &["x", "y"]));
    }

    #[test]
    fn the_message_names_object_field_value_and_remedy() {
        let narrowed = Policy::default().excess(&texts(&["ROLE_M2M", "ROLE_ADMIN"]), &[]).unwrap();
        let text = narrowed.message("shop", "billing");
        assert_eq!(narrowed.reason(), "RolesNotAllowed");
        for part in
            ["shop/billing", "spec.roles", "ROLE_ADMIN", "--allowed-roles", "allowed roles alone"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("ROLE_M2M") && !text.contains("audiences"), "{text}");

        let refused = Policy::default().excess(&texts(&["X"]), &texts(&["api"])).unwrap();
        let text = refused.message("shop", "billing");
        assert_eq!(refused.reason(), "AudiencesNotAllowed");
        for part in ["spec.roles", ": X.", "spec.audiences", ": api.", "refuses every request"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
