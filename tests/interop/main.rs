//! Whether what this operator signs is verified by libraries of other families: cryptography under
//! `PyJWT`, the `WebCrypto` of Node under jose, Go under go-jose, the JDK under Nimbus and under
//! jose4j, which Kafka has, and OpenSSL. All of them read one JWKS with a key of each algorithm, as
//! a consumer of many issuers would; those of JOSE also where they allow one algorithm alone. And whether libraries get tokens from the token service
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

use crate::cases::{ALONE, Allowed, Case, Cases, Verdict};
use crate::library::{JOSE_LIBRARIES, Judgement};

#[test]
fn libraries_of_other_families_verify_every_algorithm_and_refuse_forgeries() {
    let cases = Cases::draw();

    let mut judgements = judge(&cases, Allowed::All);
    judgements.extend(openssl::judge(&cases));

    let faults = table::print(&cases, &judgements);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_verifier_that_allows_one_algorithm_skips_the_keys_of_the_others() {
    let cases = Cases::draw();

    let mut faults = Vec::new();
    for judgement in judge(&cases, Allowed::Alone) {
        for signer in &cases.signers {
            let is_allowed = signer.algorithm() == ALONE;
            let wrong = signer.cases.iter().filter(|case| !is_right(&judgement, case, is_allowed));
            faults.extend(wrong.map(|case| {
                let outcome = judgement.outcomes.get(&case.name);
                format!("{}: {}: {outcome:?}", judgement.library, case.name)
            }));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whether a library that allows one algorithm said what it has to say.
fn is_right(judgement: &Judgement, case: &Case, is_allowed: bool) -> bool {
    match judgement.outcomes.get(&case.name) {
        Some(outcome) if is_allowed => *outcome == case.expected,
        Some(Verdict::Excluded) => true,
        // Some libraries look for the key first.
        Some(Verdict::Unknown) => case.expected == Verdict::Unknown,
        _ => false,
    }
}

/// What the JOSE libraries say to the cases, all at once.
fn judge(cases: &Cases, allowed: Allowed) -> Vec<Judgement> {
    thread::scope(|scope| {
        let judges = JOSE_LIBRARIES.iter().map(|it| scope.spawn(|| it.judge(cases, allowed)));
        let judges: Vec<_> = judges.collect();
        judges.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    })
}
