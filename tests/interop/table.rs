//! How often each library agreed, for each algorithm.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use technical_user_operator::api::signing_key::Algorithm;

use crate::cases::{Cases, Verdict};
use crate::library::Judgement;

/// Prints the table, and returns the cases in which a library disagreed.
pub(crate) fn print(cases: &Cases, judgements: &[Judgement]) -> Vec<String> {
    let mut text = "\ninterop".to_owned();
    for judgement in judgements {
        let _ = write!(text, "  {}", judgement.library);
    }
    let mut faults = Vec::new();
    for algorithm in Algorithm::ALL {
        let _ = write!(text, "\n{:<7}", algorithm.name());
        for judgement in judgements {
            let cell = cell(cases, algorithm, judgement, &mut faults);
            let _ = write!(text, "  {cell:>width$}", width = judgement.library.len());
        }
    }
    // Past the capture of test output, which hides what succeeds.
    let _ = writeln!(io::stderr(), "{text}\n");
    faults
}

/// How many cases a library agreed in, of those that it was asked.
fn cell(
    cases: &Cases,
    algorithm: Algorithm,
    judgement: &Judgement,
    faults: &mut Vec<String>,
) -> String {
    let (mut agreed, mut asked) = (0, 0);
    let signers = cases.signers.iter().filter(|signer| signer.algorithm() == algorithm);
    for case in signers.flat_map(|signer| &signer.cases) {
        let outcome = judgement.outcomes.get(&case.name);
        // OpenSSL is not asked for keys by their ids.
        if outcome.is_none() && case.expected == Verdict::Unknown {
            continue;
        }
        asked += 1;
        if outcome == Some(&case.expected) {
            agreed += 1;
        } else {
            let (library, name) = (&judgement.library, &case.name);
            faults.push(format!("{library}: {name}: {outcome:?}, not {:?}", case.expected));
        }
    }
    format!("{agreed}/{asked}")
}
