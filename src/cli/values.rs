//! The values of flags, each refused with a sentence that says how to write it.

use std::net::SocketAddr;

use jiff::SignedDuration;

use crate::domain::schedule::parse_duration;

fn duration(text: &str) -> Result<SignedDuration, String> {
    let refused = || format!("{text} is not a duration such as 90s, 5m or 1h30m");
    parse_duration(text).ok_or_else(refused)
}

/// A duration in which something can happen.
pub(super) fn at_least_one_second(text: &str) -> Result<SignedDuration, String> {
    let lasts = duration(text)?;
    let is_long = lasts >= SignedDuration::from_secs(1);
    is_long.then_some(lasts).ok_or_else(|| format!("{text} is too short: at least 1s"))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let refused = |_| {
        format!(
            "{text} is not an address and a port: write 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"
        )
    };
    text.parse().map_err(refused)
}

pub(super) fn dns_label(text: &str) -> Result<String, String> {
    let is_valid = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    let reason = "a namespace has 1 to 63 lower-case letters, digits and '-'";
    if is_valid { Ok(text.to_owned()) } else { Err(reason.to_owned()) }
}
/// A name like those of Gateway API: a DNS name and a path.
pub(super) fn controller_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| dns_label(label).is_ok();
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b"/_.~-".contains(&b);
    let is_valid = text.len() <= 253
        && text.split_once('/').is_some_and(|(domain, path)| {
            domain.split('.').all(is_label) && !path.is_empty() && path.bytes().all(is_path)
        });
    let reason = "a controller name is a DNS name, a slash and a path, such as example.com/iam";
    if is_valid { Ok(text.to_owned()) } else { Err(reason.to_owned()) }
}
