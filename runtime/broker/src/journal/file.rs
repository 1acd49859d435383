//! The journal in a data directory: one file that is appended to and sometimes written anew.
//!
//! What was appended survives the end of the process, also by SIGKILL, because it is with the
//! operating system then. As in Apache Kafka, it is not forced to the disk: a power cut may take
//! what the system had not written. Only a file that is written anew is forced to the disk before
//! it takes the place of the old one.

use std::fs::{self, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::codec::{self, Frame, HEADER};
use super::{Entry, JournalError, lock};

/// What the file begins with: a name and the version of the format.
const MAGIC: &[u8; 12] = b"tidemill-b\x01\n";
const NAME: &str = "journal";
const NEW_NAME: &str = "journal.new";
/// Dead bytes that are not worth writing the file anew.
const TOLERATED: u64 = 16 << 20;
/// How much is collected before it is written, when the file is written anew.
const CHUNK: usize = 1 << 20;

/// An open journal, locked against other brokers.
#[derive(Debug)]
pub struct File {
    directory: PathBuf,
    path: PathBuf,
    file: fs::File,
    size: u64,
    /// Below this size the file is not worth a look.
    look_at: u64,
    buffer: Vec<u8>,
    broken: bool,
    _lock: fs::File,
}

impl File {
    /// Opens the journal in `directory`, which is made if it is not there, and reads it. A frame
    /// that was cut off at the end, by the end of the process that wrote it, is cut away.
    ///
    /// # Errors
    /// [`JournalError`] when another broker has the directory, when the file is damaged anywhere
    /// but at its end, or when the system refuses.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Entry>), JournalError> {
        fs::create_dir_all(directory).map_err(JournalError::io("make", directory))?;
        let lock = lock::acquire(directory)?;
        let path = directory.join(NAME);
        let unfinished = directory.join(NEW_NAME);
        if unfinished.exists() {
            fs::remove_file(&unfinished).map_err(JournalError::io("remove", &unfinished))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = options.open(&path).map_err(JournalError::io("open", &path))?;
        let found = file.metadata().map_err(JournalError::io("look at", &path))?.len();
        let (size, entries) = Reader::new(&path, &file, found).read()?;
        if size < found {
            let lost = found - size;
            tracing::warn!(path = %path.display(), lost, "cut off what was written in part");
            file.set_len(size).map_err(JournalError::io("cut", &path))?;
        }
        let mut size = size;
        if size == 0 {
            file.write_all(MAGIC).map_err(JournalError::io("write", &path))?;
            size = MAGIC.len() as u64;
        }
        let directory = directory.to_owned();
        let (buffer, broken, look_at) = (Vec::new(), false, TOLERATED);
        let journal = Self { directory, path, file, size, look_at, buffer, broken, _lock: lock };
        Ok((journal, entries))
    }

    /// Appends entries. When this returns, they survive the end of the process.
    ///
    /// # Errors
    /// [`JournalError`] when the system refuses; nothing can be appended after that.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken(self.path.clone()));
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        for entry in entries {
            codec::encode(entry, &mut self.buffer).map_err(JournalError::Entry)?;
        }
        if let Err(cause) = self.file.write_all(&self.buffer) {
            self.broken = true;
            // half a frame would be cut away when the file is opened; this only tries to help
            let _helped = self.file.set_len(self.size);
            return Err(JournalError::io("write", &self.path)(cause));
        }
        self.size += self.buffer.len() as u64;
        if self.buffer.capacity() > 4 * CHUNK {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Whether more than half of the file is about what is no more. `live` says how many bytes are
    /// worth keeping, more or less; it is asked seldom.
    pub fn is_due(&mut self, live: impl FnOnce() -> u64) -> bool {
        if self.size <= self.look_at {
            return false;
        }
        self.look_at = live().saturating_mul(2).saturating_add(TOLERATED);
        self.size > self.look_at
    }

    /// Writes the file anew, as entries that recover to the same state. A process that is killed
    /// while it does this leaves the old file.
    ///
    /// # Errors
    /// [`JournalError`] when the system refuses; the old file is still there then.
    pub fn rewrite(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let new = self.directory.join(NEW_NAME);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        if new.exists() {
            fs::remove_file(&new).map_err(JournalError::io("remove", &new))?;
        }
        let mut file = options.open(&new).map_err(JournalError::io("open", &new))?;
        let mut size = 0;
        let mut buffer = MAGIC.to_vec();
        for entry in entries {
            codec::encode(entry, &mut buffer).map_err(JournalError::Entry)?;
            if buffer.len() >= CHUNK {
                file.write_all(&buffer).map_err(JournalError::io("write", &new))?;
                size += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_all(&buffer).map_err(JournalError::io("write", &new))?;
        size += buffer.len() as u64;
        file.sync_all().map_err(JournalError::io("sync", &new))?;
        fs::rename(&new, &self.path).map_err(JournalError::io("rename", &new))?;
        let directory = fs::File::open(&self.directory);
        let synced = directory.and_then(|directory| directory.sync_all());
        synced.map_err(JournalError::io("sync", &self.directory))?;
        (self.file, self.size, self.broken) = (file, size, false);
        Ok(())
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Reads a journal from its start.
struct Reader<'a> {
    path: &'a Path,
    input: BufReader<&'a fs::File>,
    /// Bytes of the file.
    found: u64,
    /// Bytes that were understood.
    at: u64,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, file: &'a fs::File, found: u64) -> Self {
        Self { path, input: BufReader::with_capacity(CHUNK, file), found, at: 0 }
    }

    /// Returns how much of the file is whole, and its entries.
    fn read(mut self) -> Result<(u64, Vec<Entry>), JournalError> {
        let mut entries = Vec::new();
        let mut magic = [0; MAGIC.len()];
        let have = self.left().min(MAGIC.len() as u64) as usize;
        self.fill(&mut magic[..have])?;
        if magic[..have] != MAGIC[..have] {
            return Err(JournalError::Foreign(self.path.to_owned()));
        }
        if have < MAGIC.len() {
            return Ok((0, entries));
        }
        self.at = MAGIC.len() as u64;
        let mut payload = Vec::new();
        while self.left() >= HEADER as u64 {
            let mut header = [0; HEADER];
            self.fill(&mut header)?;
            let Frame::Header { length, checksum } = codec::header(&header) else {
                if header == [0; HEADER] && self.rest_is_zero()? {
                    break;
                }
                return Err(self.corrupt("the header of a frame has another checksum"));
            };
            let end = self.at + (HEADER + length) as u64;
            if end > self.found {
                break;
            }
            payload.resize(length, 0);
            self.fill(&mut payload)?;
            if crc32c::crc32c(&payload) != checksum {
                if end == self.found {
                    break;
                }
                return Err(self.corrupt("a frame has another checksum"));
            }
            entries.push(codec::decode(&payload).map_err(|why| self.corrupt(&why))?);
            self.at = end;
        }
        Ok((self.at, entries))
    }

    fn left(&self) -> u64 {
        self.found - self.at
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), JournalError> {
        self.input.read_exact(buffer).map_err(JournalError::io("read", self.path))
    }

    /// After a power cut some systems leave zeros where data was to come.
    fn rest_is_zero(&mut self) -> Result<bool, JournalError> {
        let mut bytes = self.input.by_ref().bytes();
        let other = bytes.find(|byte| !matches!(byte, Ok(0)));
        match other {
            None => Ok(true),
            Some(Ok(_)) => Ok(false),
            Some(Err(cause)) => Err(JournalError::io("read", self.path)(cause)),
        }
    }

    fn corrupt(&self, reason: &str) -> JournalError {
        let (path, offset) = (self.path.to_owned(), self.at);
        JournalError::Corrupt { path, offset, reason: reason.to_owned() }
    }
}
