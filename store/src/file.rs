//! A store in a file, for one process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fs4::fs_std::FileExt;
use tempfile::NamedTempFile;
use tokio::{runtime, time::Instant};

use crate::{
    decide::{State, decide},
    memory::micros,
    protocol::{Answer, Ask, Micros, Timing},
    store::{Asking, Mailbox, Mailboxes, Store, StoreError, lock},
};

/// One process, whose windows survive a restart. Clones share.
///
/// Each answer is given after the state was written: to a file beside it that then takes its place, so that a crash
/// leaves the one or the other. What a process that was killed held counts for a period from the next opening on,
/// and its permits are free. Time is the wall clock's, which never goes back here: one that was set back delays,
/// and one that was set forward while the process was down is believed.
///
/// The lock that keeps a second process out is a file beside it, with `.lock` added to its name.
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    mailboxes: Mailboxes,
    /// The wall clock at opening, and tokio's, which goes on from there.
    opened: (Micros, Instant),
    _lock: File,
}

#[derive(Debug)]
struct Books {
    state: State,
    path: PathBuf,
}

impl FileStore {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// Another process has it, it cannot be read or written, or it holds something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let fails = |what: &str, error: &dyn std::fmt::Display| {
            StoreError::refused(format!("{}: {what}: {error}", path.display()))
        };
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let held = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(name);
        let held = held.map_err(|error| fails("its lock cannot be opened", &error))?;
        if !held
            .try_lock_exclusive()
            .map_err(|error| fails("it cannot be locked", &error))?
        {
            return Err(fails("in use", &"a FileStore is for one process at a time"));
        }
        let mut state: State = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                fails(
                    "it holds no store's state (remove it to begin anew)",
                    &error,
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(fails("it cannot be read", &error)),
        };
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
        state.all_have_left(micros(since));
        if state.hash_keys == [0; 2] {
            state.hash_keys = [fastrand::u64(..), fastrand::u64(..)];
        }
        let books = Books {
            state,
            path: path.to_owned(),
        };
        books
            .write()
            .map_err(|error| fails("it cannot be written", &error))?;
        Ok(Self(Arc::new(Shared {
            books: Mutex::new(books),
            mailboxes: Mailboxes::default(),
            opened: (micros(since), Instant::now()),
            _lock: held,
        })))
    }

    fn decide(&self, ask: &Ask) -> Result<Answer, StoreError> {
        let (wall, start) = self.0.opened;
        let now = wall + micros(start.elapsed());
        let mut books = lock(&self.0.books);
        let before = books.state.clone();
        let answer = decide(&mut books.state, ask, now, "file", &Timing::LASTING)
            .map_err(|error| StoreError::refused(error.to_string()))?;
        if let Err(error) = books.write() {
            books.state = before;
            return Err(StoreError::away(format!(
                "{}: {error}",
                books.path.display()
            )));
        }
        Ok(answer)
    }
}

impl Books {
    fn write(&self) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&self.state)?)?;
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Store for FileStore {
    fn timing(&self) -> Timing {
        Timing::LASTING
    }

    fn ask<'a>(&'a self, ask: &'a Ask) -> Asking<'a> {
        Box::pin(async move {
            let answer = match runtime::Handle::try_current() {
                Ok(runtime) => {
                    let (store, ask) = (self.clone(), ask.clone());
                    let answer = runtime.spawn_blocking(move || store.decide(&ask)).await;
                    answer.map_err(|error| StoreError::away(error.to_string()))??
                }
                // Nobody else is held up by this thread.
                Err(_) => self.decide(ask)?,
            };
            self.0.mailboxes.deliver(&answer);
            Ok(answer)
        })
    }

    fn hash_keys(&self) -> [u64; 2] {
        lock(&self.0.books).state.hash_keys
    }

    fn listen(&self, member: &str) -> Mailbox {
        self.0.mailboxes.open(member)
    }
}
