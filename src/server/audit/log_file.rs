//! A file that may be rotated: once its path leads to another file, or to none, records
//! go to that path again. No signal is needed.

use std::fs::{File, OpenOptions, metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// The end of the file at a path.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    looked_at: Instant,
    every: Duration,
    is_in_trouble: bool,
}

impl LogFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// The system refused.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = opened(&path)?;
        Ok(Self {
            path,
            file,
            looked_at: Instant::now(),
            every: CHECK_INTERVAL,
            is_in_trouble: false,
        })
    }

    /// How often the path is checked: once a second while there is something to write, unless set
    /// here.
    #[must_use]
    pub fn with_check_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    fn reopen_if_moved(&mut self) {
        if !self.is_moved() {
            return;
        }
        match opened(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_in_trouble = false;
                tracing::info!(file = %self.path.display(), "audit log reopened");
            }
            Err(error) if !self.is_in_trouble => {
                self.is_in_trouble = true;
                tracing::error!(
                    %error,
                    file = %self.path.display(),
                    "the audit log was moved away and cannot be reopened: records go on into the \
                     file before"
                );
            }
            Err(_) => {}
        }
    }

    /// Whether the path does not lead to the open file any more.
    fn is_moved(&self) -> bool {
        match (metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(open)) => (there.dev(), there.ino()) != (open.dev(), open.ino()),
            (Err(error), _) => error.kind() == ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.looked_at.elapsed() >= self.every {
            self.looked_at = Instant::now();
            self.reopen_if_moved();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A new file can be read by its owner alone: records name clients and addresses. A file that is
/// there already keeps its mode, so that an administrator can grant a log shipper access.
fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// A check costs two system calls.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, read_to_string, remove_file, rename, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn log(every: Duration) -> (tempfile::TempDir, PathBuf, LogFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = LogFile::open(path.clone()).unwrap().with_check_interval(every);
        (folder, path, log)
    }

    #[test]
    fn a_rotated_file_is_left_for_the_one_at_its_path() {
        let (folder, path, mut log) = log(Duration::ZERO);
        let rotated = folder.path().join("audit.log.1");
        let read = |path: &Path| read_to_string(path).unwrap();

        log.write_all(b"1\n").unwrap();
        log.write_all(b"2\n").unwrap();
        rename(&path, &rotated).unwrap();
        File::create(&path).unwrap();
        log.write_all(b"3\n").unwrap();
        assert_eq!((read(&rotated), read(&path)), ("1\n2\n".to_owned(), "3\n".to_owned()));

        // Without `create`, and without a trace.
        remove_file(&path).unwrap();
        log.write_all(b"4\n").unwrap();
        assert_eq!(read(&path), "4\n");

        // copytruncate
        OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        log.write_all(b"5\n").unwrap();
        assert_eq!(read(&path), "5\n");
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_a_file_that_is_there_keeps_its_mode() {
        let (_folder, path, mut log) = log(Duration::ZERO);
        let mode = |path: &Path| metadata(path).unwrap().permissions().mode() & 0o777;

        assert_eq!(mode(&path), 0o600);
        remove_file(&path).unwrap();
        log.write_all(b"1\n").unwrap();
        assert_eq!(mode(&path), 0o600, "opened again after a rotation");

        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let again = LogFile::open(path.clone()).unwrap();
        drop(again);
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn what_cannot_be_opened_anew_goes_into_the_file_before() {
        let (folder, path, mut log) = log(Duration::ZERO);
        let rotated = folder.path().join("audit.log.1");

        rename(&path, &rotated).unwrap();
        create_dir(&path).unwrap();
        log.write_all(b"1\n").unwrap();

        assert_eq!(read_to_string(&rotated).unwrap(), "1\n");
    }

    #[test]
    fn the_path_is_not_looked_at_for_each_record() {
        let (folder, path, mut log) = log(Duration::from_hours(1));
        let rotated = folder.path().join("audit.log.1");

        rename(&path, &rotated).unwrap();
        log.write_all(b"1\n").unwrap();

        assert_eq!(read_to_string(&rotated).unwrap(), "1\n");
        assert!(!path.exists());
    }
}
