//! A throw-away PostgreSQL: a cluster of its own in a temporary folder, loopback, a free port.
//!
//! The server runs under a small shell that waits for this process: when it ends, by SIGKILL too,
//! the server is stopped and its folder removed.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Error, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::Port;

/// `initdb` and the server refuse to run as root.
const USER: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Starts the server (`$0` is the folder), tells its process id, and stops it when nobody listens
/// any more. What is said before that is `keep` where the folder is needed again.
const GUARD: &str = r#"
"$@" >>"$0/log" 2>&1 </dev/null &
server=$!
echo $server
read -r word || word=
kill -QUIT $server 2>&-
wait $server
[ "$word" = keep ] || rm -rf "$0"
"#;

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct PgOptions {
    /// Settings by name, beside those of the harness: `wal_level=logical`, 16 slots and senders,
    /// 5 prepared transactions, no fsync.
    pub settings: Vec<(String, String)>,
}

/// How a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends all sessions and writes everything down.
    Fast,
    /// Ends at once; the next start recovers from the log.
    Immediate,
    /// SIGKILL: as a crash of the server.
    Kill,
}

/// A running PostgreSQL. It ends with this value, or with the process.
#[derive(Debug)]
pub struct PgServer {
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    folder: PathBuf,
    port: Port,
    options: PgOptions,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    guard: Child,
    input: ChildStdin,
    server: Pid,
}

impl PgServer {
    /// Makes a cluster and starts it: user `postgres`, no password.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or does not start.
    pub fn start(options: PgOptions) -> io::Result<Self> {
        let binaries = find_binaries()?;
        let user = server_user()?;
        let folder = tempfile::Builder::new().prefix("tidemill-postgres.").tempdir()?.keep();
        own(&folder, user)?;
        let template = template(&binaries, user)?;
        let copied =
            Command::new("cp").arg("-a").arg(&template).arg(folder.join("data")).status()?;
        if !copied.success() {
            return Err(Error::other(format!("could not copy {}", template.display())));
        }
        let mut server =
            Self { binaries, user, folder, port: Port::reserve()?, options, running: None };
        server.start_again()?;
        Ok(server)
    }

    /// Copies the data of a stopped server into one of its own: a restored backup, or the past.
    ///
    /// # Errors
    /// If this server runs, or the copy does not start.
    pub fn copy(&self) -> io::Result<Self> {
        if self.running.is_some() {
            return Err(Error::other("stop the server before its files are copied"));
        }
        let folder = tempfile::Builder::new().prefix("tidemill-postgres.").tempdir()?.keep();
        own(&folder, self.user)?;
        let from = self.folder.join("data");
        let copied = Command::new("cp").arg("-a").arg(from).arg(folder.join("data")).status()?;
        if !copied.success() {
            return Err(Error::other("could not copy the server's files"));
        }
        let mut server = Self {
            binaries: self.binaries.clone(),
            user: self.user,
            folder,
            port: Port::reserve()?,
            options: self.options.clone(),
            running: None,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Starts a stopped server again, on the same port.
    ///
    /// # Errors
    /// If it runs, or does not start within a minute.
    pub fn start_again(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            return Err(Error::other("the server runs already"));
        }
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let running = self.launch()?;
            let server = running.server;
            self.running = Some(running);
            // one that ended stays a zombie until its guard is told
            while test_kill_process(server).is_ok() && !self.is_zombie(server) {
                if self.is_ready(server) {
                    return Ok(());
                }
                std::thread::sleep(POLL);
            }
            // after a SIGKILL its old processes may still hold its memory
            self.end("keep")?;
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(Error::other(format!("PostgreSQL did not start: {last:?}")));
            }
            std::thread::sleep(POLL);
        }
    }

    fn launch(&self) -> io::Result<Running> {
        let mut command = as_user(OsStr::new("sh"), self.user);
        command.arg("-c").arg(GUARD).arg(&self.folder).arg(self.binaries.join("postgres"));
        command.arg("-D").arg(self.folder.join("data"));
        command.arg("-k").arg(&self.folder).args(["-p", &self.port.number().to_string()]);
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            ("wal_level", "logical"),
            ("max_replication_slots", "16"),
            ("max_wal_senders", "16"),
            ("max_prepared_transactions", "5"),
            ("fsync", "off"),
        ];
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in &self.options.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // a Ctrl-C in the terminal is for the program, which then ends its server
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = command.spawn()?;
        let missing = || Error::other("the server's guard has no pipes");
        let input = guard.stdin.take().ok_or_else(missing)?;
        let mut line = String::new();
        BufReader::new(guard.stdout.take().ok_or_else(missing)?).read_line(&mut line)?;
        let server = line.trim().parse().ok().and_then(Pid::from_raw);
        let server = server.ok_or_else(|| Error::other("the server's guard said nothing"))?;
        Ok(Running { guard, input, server })
    }

    /// Whether this very process takes connections: it says so in a file, as its state, the last of
    /// eight lines. Whoever just asked at the port might be answered by another server.
    fn is_ready(&self, server: Pid) -> bool {
        let said = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let server = server.as_raw_nonzero().to_string();
        lines.first() == Some(&&*server) && lines.get(7) == Some(&"ready")
    }

    /// Stops the server; its data stays until this value goes.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&mut self, how: Shutdown) -> io::Result<()> {
        let running = self.running.as_ref();
        let server = running.ok_or_else(|| Error::other("the server does not run"))?.server;
        let signal = match how {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
            Shutdown::Kill => Signal::KILL,
        };
        kill_process(server, signal)?;
        // the guard would interrupt a shutdown that is going on
        while test_kill_process(server).is_ok() && !self.is_zombie(server) {
            std::thread::sleep(POLL);
        }
        self.end("keep")
    }

    /// The guard waits for it only after it was told something.
    fn is_zombie(&self, server: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.as_raw_nonzero()));
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
    }

    fn end(&mut self, word: &str) -> io::Result<()> {
        if let Some(Running { mut guard, mut input, .. }) = self.running.take() {
            // it may be gone already
            let _ = writeln!(input, "{word}");
            drop(input);
            guard.wait()?;
        }
        Ok(())
    }

    /// Makes a database.
    ///
    /// # Errors
    /// If PostgreSQL refuses.
    pub fn create_database(&self, name: &str) -> io::Result<()> {
        let output = Command::new(self.binaries.join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.number().to_string(), "-U", USER, name])
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Makes a database under a name that nobody else has, and returns how to connect to it.
    ///
    /// # Errors
    /// If PostgreSQL refuses.
    pub fn new_database(&self, name: &str) -> io::Result<String> {
        let name = super::unique(name);
        self.create_database(&name)?;
        Ok(self.connection_string(&name))
    }

    /// Returns what `tokio_postgres::Config` is parsed from.
    #[must_use]
    pub fn connection_string(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user={USER} dbname={database}", self.port())
    }

    /// Returns its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns where the server's own programs are.
    #[must_use]
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Returns the folder with the server's data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the file in which the server writes what happens.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Makes a command that runs as the server's user.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        as_user(self.binaries.join(program).as_os_str(), self.user)
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        // nobody is left to be told
        let _ = self.end("");
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn as_user(program: &OsStr, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

/// The user `postgres` where this process is root's, else none.
fn server_user() -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(USER)).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    });
    let missing =
        || Error::other("there is no user postgres, and PostgreSQL refuses to run as root");
    ids.map(Some).ok_or_else(missing)
}

fn own(folder: &Path, user: Option<(u32, u32)>) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    user.map_or(Ok(()), |(uid, gid)| chown(folder, Some(uid), Some(gid)))
}

/// `$PG_BIN`, or the newest of `/usr/lib/postgresql/*/bin`, or what the PATH has.
fn find_binaries() -> io::Result<PathBuf> {
    let has_server = |folder: &PathBuf| folder.join("initdb").exists();
    if let Some(folder) = std::env::var_os("PG_BIN").map(PathBuf::from) {
        return Ok(folder);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let newest =
        versions.map(|entry| entry.path().join("bin")).filter(has_server).max_by_key(version);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&path).find(has_server)).ok_or_else(|| {
        Error::other(
            "no PostgreSQL was found: install postgresql-15, or set PG_BIN to its programs",
        )
    })
}

/// A cluster as `initdb` makes it, kept for the next time.
fn template(binaries: &Path, user: Option<(u32, u32)>) -> io::Result<PathBuf> {
    let version = Command::new(binaries.join("postgres")).arg("--version").output()?;
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let uid = user.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid);
    let ready = std::env::temp_dir().join(format!("tidemill-template-{uid}-{}", version.trim()));
    // anybody may write there: trust nothing but one's own
    if fs::symlink_metadata(&ready).is_ok_and(|found| found.is_dir() && found.uid() == uid) {
        return Ok(ready);
    }
    let made = tempfile::Builder::new().prefix("tidemill-template.").tempdir()?;
    own(made.path(), user)?;
    let data = made.path().join("data");
    let output = as_user(binaries.join("initdb").as_os_str(), user)
        .args(["-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-U", USER, "-D"])
        .arg(&data)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::other(format!("initdb failed: {said}")));
    }
    match fs::rename(&data, &ready) {
        Ok(()) => Ok(ready),
        // somebody else was faster
        Err(_) if ready.is_dir() => Ok(ready),
        Err(error) => Err(error),
    }
}
