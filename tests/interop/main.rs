//! Whether what this operator signs is verified by libraries of other families: cryptography under
//! `PyJWT`, the `WebCrypto` of Node under jose, Go under go-jose, the JDK under Nimbus and under
//! jose4j, which Kafka has, and OpenSSL. All of them read one JWKS with a key of each algorithm, as
//! a consumer of many issuers would. And whether libraries get tokens from the token service
//! (`tokens`). And whether `PyYAML` and kubeconform read our manifests as everybody else does
//! (`manifests`), and kstatus our conditions (`kstatus`).
//!
//! What they need is kept under `target/interop`. A language that the machine lacks is skipped
//! loudly, and missed in CI.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "support for tests: a panic is a failed test"
)]

mod cases;
mod kstatus;
mod languages;
mod library;
mod manifests;
mod openssl;
mod table;
mod tokens;

use std::thread;

use crate::cases::Cases;
use crate::library::{JOSE_LIBRARIES, Judgement};

#[test]
fn libraries_of_other_families_verify_every_algorithm_and_refuse_forgeries() {
    let cases = Cases::draw();

    let judgements: Vec<Judgement> = thread::scope(|scope| {
        let jose = JOSE_LIBRARIES.iter().map(|library| scope.spawn(|| library.judge(&cases)));
        let jose: Vec<_> = jose.collect();
        let raw = openssl::judge(&cases);
        let jose = jose.into_iter().filter_map(|thread| thread.join().unwrap());
        jose.chain(raw).collect()
    });

    let faults = table::print(&cases, &judgements);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
