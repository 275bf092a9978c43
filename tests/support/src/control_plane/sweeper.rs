//! Removes the folder of a test that could not do so itself, because it was killed.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A shell that waits for the end of the test, as in [`super::child`].
#[derive(Debug)]
pub(super) struct Sweeper {
    shell: Child,
}

impl Sweeper {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "sweeper"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }

    /// Lets the shell go without removing anything.
    pub(super) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = writeln!(pipe, "dismissed");
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// At the end of the pipe the programs are being killed too; what they write in their last moments would make the
/// removal fail half way, hence the repetition.
const SCRIPT: &str = r#"
if read -r _; then
  exit
fi
for _ in 1 2 3 4 5; do
  rm -rf -- "$1" && sleep 1
  [ -e "$1" ] || exit
done
"#;
