//! Libraries that read a JWKS and verify tokens: how each is installed and asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::cases::{Cases, Verdict};

/// Programs of a language that verify tokens with a library.
pub(crate) struct Library {
    folder: &'static str,
    /// What the machine has to have, with the arguments that ask for the version.
    needs: &'static [&'static [&'static str]],
    install: fn(&Place),
    /// The program, without the path of the cases.
    verifier: fn(&Place) -> Command,
}

/// What a library said.
pub(crate) struct Judgement {
    /// The library with its version.
    pub(crate) library: String,
    /// By the name of the case.
    pub(crate) verdicts: BTreeMap<String, Verdict>,
}

/// Where the sources of a verifier are, and what was installed for it.
struct Place {
    sources: PathBuf,
    installed: PathBuf,
    downloads: PathBuf,
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

pub(crate) const JOSE_LIBRARIES: [Library; 4] = [
    Library {
        folder: "python",
        needs: &[&["python3", "--version"]],
        install: install_python,
        verifier: |place| {
            let own = place.installed.join("bin/python");
            let mut python = Command::new(if own.exists() { own } else { "python3".into() });
            python.env("PYTHONPATH", &place.installed).arg(place.sources.join("verify.py"));
            python
        },
    },
    Library {
        folder: "node",
        needs: &[&["node", "--version"], &["npm", "--version"]],
        install: |place| {
            // Node looks for packages beside the program, not where it was started.
            for file in ["package.json", "package-lock.json", "verify.js"] {
                fs::copy(place.sources.join(file), place.installed.join(file)).unwrap();
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--cache"])
                .arg(&place.downloads);
            run(npm.current_dir(&place.installed));
        },
        verifier: |place| {
            let mut node = Command::new("node");
            node.arg(place.installed.join("verify.js"));
            node
        },
    },
    Library {
        folder: "go",
        needs: &[&["go", "version"]],
        install: |place| {
            // Modules that can be written to can be removed by `cargo clean`.
            let mut go = Command::new("go");
            go.args(["build", "-modcacherw", "-buildvcs=false", "-o"]);
            go.arg(place.installed.join("verify")).arg(".").current_dir(&place.sources);
            go.env("GOMODCACHE", place.downloads.join("modules"));
            run(go.env("GOCACHE", place.downloads.join("build")));
        },
        verifier: |place| Command::new(place.installed.join("verify")),
    },
    Library {
        folder: "java",
        needs: &[&["java", "--version"], &["mvn", "--version"]],
        install: |place| {
            let set = |name: &str, path: &Path| format!("-D{name}={}", path.display());
            let mut maven = Command::new("mvn");
            maven.args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
            maven.arg(set("maven.repo.local", &place.downloads));
            maven.arg(set("outputDirectory", &place.installed));
            run(maven.current_dir(&place.sources));
        },
        verifier: |place| {
            let mut java = Command::new("java");
            java.arg("-cp").arg(place.installed.join("*")).arg(place.sources.join("Verify.java"));
            java
        },
    },
];

impl Library {
    /// What the library says to the cases; nothing where its language is absent.
    pub(crate) fn judge(&self, cases: &Cases) -> Option<Judgement> {
        let mut versions = String::new();
        for &need in self.needs {
            versions += &version_of(need)?;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kept = root.join("target/interop").join(self.folder);
        let place = Place {
            sources: root.join("tests/interop").join(self.folder),
            installed: kept.join("installed"),
            downloads: kept.join("downloads"),
        };

        fs::create_dir_all(&kept).unwrap();
        // Two runs at once: the second waits and finds the work done.
        let lock = File::create(kept.join(".lock")).unwrap();
        lock.lock().unwrap();
        self.install_once(
            &place,
            versions + &text_of(&place.sources),
            &kept.join("installed-from"),
        );
        let said = run((self.verifier)(&place).arg(cases.folder.path().join("cases.json")));
        let judgement = Judgement::read(&said, cases);
        let asked: usize = cases.signers.iter().map(|signer| signer.cases.len()).sum();
        assert_eq!(judgement.verdicts.len(), asked, "{said}");
        Some(judgement)
    }

    fn install_once(&self, place: &Place, wanted: String, stamp: &Path) {
        if fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted) {
            return;
        }
        let _ = fs::remove_file(stamp);
        let _ = fs::remove_dir_all(&place.installed);
        fs::create_dir_all(&place.installed).unwrap();
        (self.install)(place);
        fs::write(stamp, wanted).unwrap();
    }
}

impl Judgement {
    fn read(said: &str, cases: &Cases) -> Self {
        let mut judgement = Self { library: String::new(), verdicts: BTreeMap::new() };
        for line in said.lines() {
            match serde_json::from_str(line).unwrap() {
                Line::Library { library, private, thumbprints } => {
                    assert_eq!(private, 0, "{library}: private keys in the set");
                    let wrong = thumbprints.filter(|thumbprints| *thumbprints != cases.kids());
                    assert_eq!(wrong, None, "{library}: thumbprints that are not the kids");
                    judgement.library = library;
                }
                Line::Case { case, verdict } => {
                    judgement.verdicts.insert(case, verdict);
                }
            }
        }
        judgement
    }
}

/// A virtual environment, or a mere folder of packages where Python came without the means for one.
fn install_python(place: &Place) {
    let installed = &place.installed;
    let made = Command::new("python3").args(["-m", "venv"]).arg(installed).output().unwrap();
    let mut pip = if made.status.success() {
        Command::new(installed.join("bin/python"))
    } else {
        fs::remove_dir_all(installed).unwrap();
        Command::new("python3")
    };
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--cache-dir"]);
    pip.arg(&place.downloads).arg("--requirement").arg(place.sources.join("requirements.txt"));
    if !made.status.success() {
        pip.arg("--target").arg(installed);
    }
    run(&mut pip);
}

/// All files of a folder, one after the other.
fn text_of(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> = files.collect();
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// What a program says about its version. Where it is absent that is said loudly, and in CI, where
/// nobody hears it, a failure.
pub(crate) fn version_of(program: &[&str]) -> Option<String> {
    let output = Command::new(program[0]).args(&program[1..]).output();
    if let Some(output) = output.ok().filter(|output| output.status.success()) {
        return Some(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    assert!(!is_ci(), "{} is absent", program[0]);
    // Past the capture of test output, which hides what succeeds.
    let _ = writeln!(io::stderr(), "\n*** SKIPPED: {} is absent ***\n", program[0]);
    None
}

/// Runs a command that must succeed, and returns what it says.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "CI=true is how CI systems make themselves known")]
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
