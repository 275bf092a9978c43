//! A process that cannot outlive the test that started it.
//!
//! A shell stands between the two. It holds the reading end of a pipe whose writing end is the test's: when the
//! test is gone, for any reason, the pipe ends and the shell kills the program. (The kernel's own means,
//! `PR_SET_PDEATHSIG`, fires at the death of a *thread* and needs unsafe code to set.)

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

/// A running program; dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Child {
    /// Ends when the program ended.
    shell: std::process::Child,
    /// Names of signals go in, one a line; its end means SIGKILL.
    pipe: Option<ChildStdin>,
    pid: u32,
}

impl Child {
    /// Starts the program (the first word of the command) with its arguments; what it says is added to the log.
    pub fn spawn(command: &[OsString], log: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(log)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // An interrupt at the terminal is for the test alone, which then ends its processes in order.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        let mut pid = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout).read_line(&mut pid)?;
        }
        let pid = pid.trim_end().parse().map_err(io::Error::other)?;
        Ok(Self { shell, pipe, pid })
    }

    /// The process id of the program.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The resident memory in bytes; Linux only, elsewhere 0.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .and_then(|number| number.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// Sends a signal by its name without `SIG`, for example `STOP`; nothing happens when the program is gone.
    pub fn signal(&mut self, name: &str) {
        if let Some(pipe) = &mut self.pipe {
            let _ = writeln!(pipe, "{name}");
        }
    }

    /// Returns when the program ended.
    pub async fn ended(&mut self) {
        while matches!(self.shell.try_wait(), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.shell.wait();
    }
}

/// Runs the program, says its process id, and passes on what comes through the pipe. A background job reads the
/// pipe, since the shell itself waits for the program. Both that job and the program let go of the shell's own
/// streams, so that no reader of those waits for them.
const KEEPER: &str = r#"
log=$1
shift
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
program=$!
echo "$program"
{
  while read -r signal; do
    kill -s "$signal" "$program"
  done
  kill -s KILL "$program"
} <&3 3<&- >/dev/null 2>&1 &
reader=$!
exec 3<&- >/dev/null
wait "$program"
ended=$?
kill -s KILL "$reader"
exit "$ended"
"#;
