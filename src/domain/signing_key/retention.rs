//! How long a key stays in the JWKS after its last token.

use jiff::SignedDuration;

use crate::domain::schedule::TOLERANCE;

/// How long the clocks of two machines that are in order may differ.
pub const SKEW: SignedDuration = TOLERANCE;

/// How far two machines can be apart, one ahead and the other behind.
pub(super) const APART: SignedDuration = SKEW.saturating_mul(2);

/// How long the former key may still sign after the next one begins: room for a server that cannot
/// use the new one yet.
pub const HANDOVER: SignedDuration = SignedDuration::from_mins(10);

/// The time a key stays in the JWKS after it can have signed last (K2).
///
/// `max_staleness` is how long a token server may sign without an event of its watches, `token_lifetime` how
/// long a token lives at most.
pub fn retention(
    grace: SignedDuration,
    max_staleness: SignedDuration,
    token_lifetime: SignedDuration,
) -> SignedDuration {
    let needed = max_staleness.saturating_add(token_lifetime).saturating_add(APART);
    grace.max(needed)
}
