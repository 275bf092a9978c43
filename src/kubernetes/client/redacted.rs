//! JSON that may carry a secret.

use bytes::Bytes;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

/// JSON whose strings are zeroed on drop, and which cannot be printed.
pub(crate) struct Redacted(pub(crate) Value);

impl Redacted {
    /// The text, in memory that is zeroed when the last of it is sent.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut text = Zeroizing::new(Vec::with_capacity(CAPACITY));
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(&mut *text, &self.0);
        Bytes::from_owner(text)
    }
}

impl Drop for Redacted {
    fn drop(&mut self) {
        fn erase(value: &mut Value) {
            match value {
                Value::String(text) => text.zeroize(),
                Value::Array(items) => items.iter_mut().for_each(erase),
                Value::Object(fields) => fields.values_mut().for_each(erase),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        erase(&mut self.0);
    }
}

impl std::fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("<redacted>")
    }
}

/// Longer than every body with a secret, so that memory does not grow and leave a part of it behind.
const CAPACITY: usize = 32 << 10;
