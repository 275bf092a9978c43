//! The languages of the libraries: how each is found, how its packages are installed under
//! `target/interop`, and how a program in it is run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A language in which there are programs here.
pub(crate) struct Language {
    folder: &'static str,
    /// What the machine has to have, with the arguments that ask for the version.
    needs: &'static [&'static [&'static str]],
    install: fn(&Place),
    program: fn(&Place, &str) -> Command,
}

/// Where the sources of a language are, and what was installed for them. While one is held, nobody
/// installs again.
pub(crate) struct Installed {
    language: &'static Language,
    place: Place,
    _lock: File,
}

struct Place {
    sources: PathBuf,
    installed: PathBuf,
    downloads: PathBuf,
}

pub(crate) static PYTHON: Language = Language {
    folder: "python",
    needs: &[&["python3", "--version"]],
    install: install_python,
    program: |place, name| {
        let own = place.installed.join("bin/python");
        let mut python = Command::new(if own.exists() { own } else { "python3".into() });
        // What it compiles would be found among the sources, and go to the next stamp.
        python.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", &place.installed);
        python.arg(place.sources.join(format!("{name}.py")));
        python
    },
};

pub(crate) static NODE: Language = Language {
    folder: "node",
    needs: &[&["node", "--version"], &["npm", "--version"]],
    install: |place| {
        // Node looks for packages beside the program, not where it was started.
        for file in files_of(&place.sources) {
            fs::copy(&file, place.installed.join(file.file_name().unwrap())).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--cache"])
            .arg(&place.downloads);
        run(npm.current_dir(&place.installed));
    },
    program: |place, name| {
        let mut node = Command::new("node");
        node.arg(place.installed.join(format!("{name}.js")));
        node
    },
};

pub(crate) static GO: Language = GO_TEMPLATE;

const GO_TEMPLATE: Language = Language {
    folder: "go",
    needs: &[&["go", "version"]],
    install: |place| go_build(place, "./..."),
    program: |place, name| Command::new(place.installed.join(name)),
};

/// Go again, for the library by which Flux and Helm wait: its dependencies are its own.
pub(crate) static KSTATUS: Language = Language { folder: "kstatus", ..GO_TEMPLATE };

/// Go once more, for the program by which pipelines check manifests: the tool of a module of its own.
pub(crate) static KUBECONFORM: Language =
    Language { folder: "kubeconform", install: |place| go_build(place, "tool"), ..GO_TEMPLATE };

pub(crate) static JAVA: Language = Language {
    folder: "java",
    needs: &[&["java", "--version"], &["javac", "--version"], &["mvn", "--version"]],
    install: |place| {
        let set = |name: &str, path: &Path| format!("-D{name}={}", path.display());
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
        maven.arg(set("maven.repo.local", &place.downloads));
        maven.arg(set("outputDirectory", &place.installed));
        run(maven.current_dir(&place.sources));
        let sources = files_of(&place.sources);
        let sources = sources.iter().filter(|file| file.extension().is_some_and(|it| it == "java"));
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(place.installed.join("*")).arg("-d").arg(&place.installed);
        run(javac.args(sources));
    },
    program: |place, name| {
        let (classes, packages) = (place.installed.display(), place.installed.join("*"));
        let mut java = Command::new("java");
        java.arg("-cp").arg(format!("{classes}:{}", packages.display())).arg(name);
        java
    },
};

impl Language {
    /// The language with its packages; nothing where it is absent.
    pub(crate) fn installed(&'static self) -> Option<Installed> {
        let mut wanted = String::new();
        for &need in self.needs {
            wanted += &version_of(need)?;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kept = root.join("target/interop").join(self.folder);
        let place = Place {
            sources: root.join("tests/interop").join(self.folder),
            installed: kept.join("installed"),
            downloads: kept.join("downloads"),
        };
        for file in files_of(&place.sources) {
            wanted += &fs::read_to_string(file).unwrap();
        }

        fs::create_dir_all(&kept).unwrap();
        let lock = File::create(kept.join(".lock")).unwrap();
        let stamp = kept.join("installed-from");
        loop {
            lock.lock_shared().unwrap();
            if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
                return Some(Installed { language: self, place, _lock: lock });
            }
            // Two at once: the second waits and finds the work done.
            lock.unlock().unwrap();
            lock.lock().unwrap();
            self.install_once(&place, &wanted, &stamp);
            lock.unlock().unwrap();
        }
    }

    fn install_once(&self, place: &Place, wanted: &str, stamp: &Path) {
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

impl Installed {
    /// How to run the program of that name.
    pub(crate) fn program(&self, name: &str) -> Command {
        (self.language.program)(&self.place, name)
    }
}

fn go_build(place: &Place, packages: &str) {
    // Modules that can be written to can be removed by `cargo clean`.
    let mut go = Command::new("go");
    go.args(["build", "-modcacherw", "-buildvcs=false", "-o"]);
    go.arg(&place.installed).arg(packages).current_dir(&place.sources);
    go.env("GOMODCACHE", place.downloads.join("modules"));
    run(go.env("GOCACHE", place.downloads.join("build")));
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

/// All files below a folder, in order.
fn files_of(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| {
        if path.is_dir() { files_of(&path) } else { BTreeSet::from([path]) }
    };
    entries.flat_map(below).collect()
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
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // Its arguments may be a client secret.
    let program = command.get_program().display();
    assert!(output.status.success(), "{program}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "CI=true is how CI systems make themselves known")]
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
