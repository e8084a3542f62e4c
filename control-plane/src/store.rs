//! The documents that the API was given, in one file.
//!
//! One write transaction a change, on the disk before it is acknowledged: whatever ends the process, everything
//! acknowledged is there afterwards and nothing half done is. A document is kept as its JSON and read again by the
//! parser it came through, so that a store never knows a shape the parser does not. What a document means is not
//! known here.

use std::cell::Cell;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Once;

use outrigger_config::document::Kind;
use outrigger_config::name::ObjectName;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use crate::error::Error;

/// Kind, namespace and name, joined by slashes, to JSON.
const DOCUMENTS: TableDefinition<'_, &str, &str> = TableDefinition::new("documents");
/// Numbers about the store itself.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// The shape of the two tables, under `format` in [`NUMBERS`].
const FORMAT: u64 = 1;

/// What identifies a document.
pub type Key = (Kind, ObjectName);

/// The open file. No other process can open it meanwhile.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
}

/// All that is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The number of the last change; 0 in a new store.
    pub generation: u64,
    /// The documents as JSON, in the order of kind, namespace and name.
    pub documents: Vec<String>,
}

impl Store {
    /// Opens a store, or makes one where there is no file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_path_buf();
        let unusable = |reason: String| Error::StoreUnusable { path: path.clone(), reason };
        // A foreign file would be found out too, but in words that mean nothing to an operator.
        check_is_database(&path)?;
        // redb trusts the bytes it opens, and panics over some that make no sense.
        let opened = quietly(|| open_checked(&path)).ok_or_else(|| unusable("its content is damaged".to_owned()))?;
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Error::StoreLocked { path: path.clone() },
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                Error::StoreIo { path: path.clone(), reason: error.to_string() }
            }
            error => unusable(error.to_string()),
        })?;
        let store = Store { path: path.clone(), database };
        // A new file is there after a power cut only when its directory is on the disk too.
        sync_directory_of(&path)?;
        match store.format()? {
            FORMAT => Ok(store),
            other => Err(unusable(format!("its format is {other} and not {FORMAT}"))),
        }
    }

    /// Reads everything.
    pub fn load(&self) -> Result<Contents, Error> {
        self.try_load().map_err(|error| self.failed(&error))
    }

    /// Writes and takes away documents in one step, and the number of the change with them. When this returns, the
    /// change is on the disk.
    pub fn commit(&self, generation: u64, put: &[(Key, String)], delete: &[Key]) -> Result<(), Error> {
        self.try_commit(generation, put, delete).map_err(|error| self.failed(&error))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, error: &redb::Error) -> Error {
        Error::StoreIo { path: self.path.clone(), reason: error.to_string() }
    }

    /// Reads the format, and writes it into a file that has none yet.
    fn format(&self) -> Result<u64, Error> {
        self.try_format().map_err(|error| Error::StoreUnusable { path: self.path.clone(), reason: error.to_string() })
    }

    fn try_format(&self) -> Result<u64, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let format = {
            transaction.open_table(DOCUMENTS)?;
            let mut numbers = transaction.open_table(NUMBERS)?;
            let known = numbers.get("format")?.map(|format| format.value());
            if known.is_none() {
                numbers.insert("format", FORMAT)?;
            }
            known.unwrap_or(FORMAT)
        };
        transaction.commit()?;
        Ok(format)
    }

    fn try_load(&self) -> Result<Contents, redb::Error> {
        let transaction = self.database.begin_read()?;
        let generation = transaction.open_table(NUMBERS)?.get("generation")?.map_or(0, |number| number.value());
        let table = transaction.open_table(DOCUMENTS)?;
        let mut documents = Vec::new();
        for row in table.iter()? {
            documents.push(row?.1.value().to_owned());
        }
        Ok(Contents { generation, documents })
    }

    fn try_commit(&self, generation: u64, put: &[(Key, String)], delete: &[Key]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut documents = transaction.open_table(DOCUMENTS)?;
            for (key, json) in put {
                documents.insert(text(key).as_str(), json.as_str())?;
            }
            for key in delete {
                documents.remove(text(key).as_str())?;
            }
            transaction.open_table(NUMBERS)?.insert("generation", generation)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Opens a file and compares all of it with its checksums. A store is small, and opened once in a process's life.
fn open_checked(path: &Path) -> Result<Database, DatabaseError> {
    let mut database = Database::create(path)?;
    if !database.check_integrity()? {
        return Err(DatabaseError::Storage(StorageError::Corrupted("its checksums do not hold".to_owned())));
    }
    Ok(database)
}

/// What `work` returns, or nothing when it panics; the panic is not reported.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    thread_local! {
        static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                report(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    // What the work had is not looked at again when it panics.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(false);
    outcome.ok()
}

fn text((kind, name): &Key) -> String {
    format!("{}/{name}", kind.as_str())
}

/// A file that is there and not empty must begin as a store does.
fn check_is_database(path: &Path) -> Result<(), Error> {
    const MAGIC: &[u8] = b"redb";
    let head = match read_head(path) {
        Ok(head) => head,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::StoreIo { path: path.to_path_buf(), reason: error.to_string() }),
    };
    if head.is_empty() || head.starts_with(MAGIC) {
        return Ok(());
    }
    Err(Error::StoreUnusable { path: path.to_path_buf(), reason: "it is another kind of file".to_owned() })
}

fn sync_directory_of(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = std::fs::File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::StoreIo { path: path.to_path_buf(), reason: error.to_string() })
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, 16), &mut head)?;
    Ok(head)
}
