//! Libraries that read a JWKS and verify tokens, and what they say.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::cases::{Allowed, Cases, Verdict};
use crate::languages::{GO, JAVA, Language, NODE, PYTHON, run};

/// A program that verifies tokens with a library.
pub(crate) struct Library {
    language: &'static Language,
    program: &'static str,
}

/// What a library said.
pub(crate) struct Judgement {
    /// The library with its version.
    pub(crate) library: String,
    /// By the name of the case.
    pub(crate) outcomes: BTreeMap<String, Verdict>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Library {
        library: String,
        /// How many keys of the set it could sign with.
        private: usize,
        /// The RFC 7638 thumbprints of the keys, where the library can tell.
        thumbprints: Option<BTreeSet<String>>,
    },
    Case {
        case: String,
        verdict: Verdict,
    },
}

pub(crate) static JOSE_LIBRARIES: [Library; 5] = [
    Library { language: &PYTHON, program: "verify" },
    Library { language: &NODE, program: "verify" },
    Library { language: &GO, program: "verify" },
    Library { language: &JAVA, program: "Verify" },
    Library { language: &JAVA, program: "Brokers" },
];

impl Library {
    /// What the library says to the cases; nothing where its language is absent.
    pub(crate) fn judge(&self, cases: &Cases, allowed: Allowed) -> Option<Judgement> {
        let installed = self.language.installed()?;
        let mut verifier = installed.program(self.program);
        let said = run(verifier.arg(cases.file(allowed)));
        let judgement = Judgement::read(&said, cases);
        let asked: usize = cases.signers.iter().map(|signer| signer.cases.len()).sum();
        assert_eq!(judgement.outcomes.len(), asked, "{said}");
        Some(judgement)
    }
}

impl Judgement {
    fn read(said: &str, cases: &Cases) -> Self {
        let mut judgement = Self { library: String::new(), outcomes: BTreeMap::new() };
        for line in said.lines() {
            match serde_json::from_str(line).unwrap() {
                Line::Library { library, private, thumbprints } => {
                    assert_eq!(private, 0, "{library}: private keys in the set");
                    let wrong = thumbprints.filter(|thumbprints| *thumbprints != cases.kids());
                    assert_eq!(wrong, None, "{library}: thumbprints that are not the kids");
                    judgement.library = library;
                }
                Line::Case { case, verdict } => {
                    judgement.outcomes.insert(case, verdict);
                }
            }
        }
        judgement
    }
}
