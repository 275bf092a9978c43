//! Says what was measured, and keeps it where reports are made from.

pub(crate) use support::figures::keep;

#[expect(
    clippy::disallowed_methods,
    reason = "the one switch of these tests, which have no arguments"
)]
pub(crate) fn is_thorough() -> bool {
    std::env::var("PROVE").is_ok_and(|value| value == "1")
}

#[expect(clippy::print_stdout, reason = "figures are for people and scripts")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
