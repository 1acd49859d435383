//! The TCP door: the Kafka protocol on loopback, for any client.
//!
//! ```no_run
//! use tidemill_broker::server::{Server, ServerConfig};
//!
//! let server = Server::start(ServerConfig::default())?;
//! println!("bootstrap.servers={}", server.bootstrap_servers());
//! server.stop()?;
//! # Ok::<(), tidemill_broker::server::ServerError>(())
//! ```
//!
//! A frame that is malformed, truncated or larger than 100 MiB closes the connection that sent it,
//! with a reason in the log, and harms nobody else.

mod clock;
mod connection;
mod control;
mod disk;
mod frame;
mod perform;
mod run;
mod shape;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use mio::net::TcpListener;
use mio::{Interest, Poll, Waker};
use thiserror::Error;

use crate::engine::{Engine, EngineConfig, RecoveryError};
use crate::fault::Faults;
use crate::journal::JournalError;
use clock::Clock;
use control::Control;
pub use control::{AskError, ask};
use disk::Disk;
use run::{CONTROL, LISTENER, Loop, Parts, WAKER};

/// What a server is told when it starts.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where clients connect. Default `127.0.0.1:0`: loopback, a free port.
    pub listen: SocketAddr,
    /// Where the data lives. Default none: it is gone when the server stops.
    pub data_dir: Option<PathBuf>,
    /// Where faults can be asked for (`tidemill-broker fault`). Default none: nowhere.
    pub control: Option<SocketAddr>,
    /// Whether `listen` may be an address that other machines reach. There is no authentication.
    /// Default false.
    pub allow_remote: bool,
    /// Settings of the broker. Host and port are set by the server.
    pub engine: EngineConfig,
    /// What goes wrong. Default nothing.
    pub faults: Faults,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: None,
            control: None,
            allow_remote: false,
            engine: EngineConfig::default(),
            faults: Faults::plan(),
        }
    }
}

/// Why a server did not start, or ended.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address is not on loopback.
    #[error(
        "{0} can be reached from other machines, and this broker lets everybody in: listen on \
         127.0.0.1, or allow remote clients explicitly"
    )]
    Remote(SocketAddr),
    /// The address can't be had. Another process may have the port.
    #[error("can't listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system refuses what the server needs to wait for sockets.
    #[error("can't wait for sockets")]
    Poll(#[source] io::Error),
    /// The journal can't be read at the start, or not be written: then nothing is acknowledged any
    /// more, and the server has ended.
    #[error("can't keep the data")]
    Journal(#[source] JournalError),
    /// The journal is whole, and yet not one that this broker can go on from.
    #[error("can't go on from the data")]
    Recovery(#[source] RecoveryError),
    /// The server has ended before.
    #[error("the server has ended")]
    Ended,
}

type Task = Box<dyn FnOnce(&mut Engine, &mut Faults) + Send>;

/// What the owner of a server asks its thread for.
enum Command {
    Run(Task),
    Stop,
}

/// A running broker with its door open. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    control: Option<SocketAddr>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Server {
    /// Opens the door. Clients can connect when this returns.
    ///
    /// # Errors
    /// When the address can't be had, or the data can't be read.
    pub fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let ServerConfig { listen, data_dir, control, allow_remote, mut engine, faults } = config;
        let poll = Poll::new().map_err(ServerError::Poll)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(ServerError::Poll)?);
        let open = |address, token| -> Result<(TcpListener, SocketAddr), ServerError> {
            let failed = |source| ServerError::Listen { address, source };
            let mut listener = TcpListener::bind(address).map_err(failed)?;
            let registry = poll.registry();
            registry.register(&mut listener, token, Interest::READABLE).map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok((listener, bound))
        };
        let mut remote = [Some(listen), control].into_iter().flatten();
        if let Some(address) = remote.find(|address| !address.ip().is_loopback() && !allow_remote) {
            return Err(ServerError::Remote(address));
        }
        let (listener, address) = open(listen, LISTENER)?;
        let control = control.map(|address| open(address, CONTROL)).transpose()?;
        let control_address = control.as_ref().map(|(_, address)| *address);
        if !address.ip().is_unspecified() {
            engine.host = address.ip().to_string();
        }
        engine.port = address.port();
        let clock = Clock::start();
        let (sender, commands) = mpsc::channel();
        let control = control.map(|(listener, _)| Control::new(listener));
        let (disk, engine) = Disk::open(data_dir.as_deref(), engine, clock.now())?;
        let parts = Parts { poll, listener, control, commands, engine, faults, disk, clock };
        let serve = move || {
            let ended = Loop::new(parts).run();
            if let Err(error) = &ended {
                tracing::error!(%error, "the broker has ended");
            }
            ended
        };
        let thread = thread::Builder::new().name("tidemill-broker".to_owned()).spawn(serve);
        let thread = Some(thread.map_err(ServerError::Poll)?);
        tracing::info!(%address, "the broker is ready");
        Ok(Self { address, control: control_address, commands: sender, waker, thread })
    }

    /// Returns what clients are configured with: `host:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.address.to_string()
    }

    /// Returns where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where faults can be asked for by another process, if anywhere.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Calls a function on the server's thread, between two requests, and returns what it returns:
    /// to look at the engine, or to change what goes wrong.
    ///
    /// # Errors
    /// [`ServerError::Ended`] when the server has.
    pub fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Engine, &mut Faults) -> T + Send + 'static,
    ) -> Result<T, ServerError> {
        let (answer, result) = mpsc::sync_channel(1);
        let task: Task = Box::new(move |engine, faults| {
            // nobody asks for the result any more when this fails
            let _unheard = answer.send(call(engine, faults));
        });
        self.command(Command::Run(task))?;
        result.recv().map_err(|_| ServerError::Ended)
    }

    /// Returns a handle that stops the server from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { commands: self.commands.clone(), waker: Arc::clone(&self.waker) }
    }

    /// Waits until the server has been stopped by a [`Stopper`], or has ended by itself.
    ///
    /// # Errors
    /// What has ended the server, if it was not a stopper.
    pub fn wait(mut self) -> Result<(), ServerError> {
        self.thread.take().map_or(Ok(()), join)
    }

    /// Stops the server and waits until it has: all that was acknowledged is on disk.
    ///
    /// # Errors
    /// What has ended the server, if it was not this call.
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.halt()
    }

    fn command(&self, command: Command) -> Result<(), ServerError> {
        self.stopper().command(command)
    }

    fn halt(&mut self) -> Result<(), ServerError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // a server that has ended by itself says why below
        let _ended = self.command(Command::Stop);
        join(thread)
    }
}

fn join(thread: JoinHandle<Result<(), ServerError>>) -> Result<(), ServerError> {
    match thread.join() {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct Stopper {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Stopper {
    /// Asks the server to stop. One that has ended already stays so.
    pub fn stop(&self) {
        let _ended = self.command(Command::Stop);
    }

    fn command(&self, command: Command) -> Result<(), ServerError> {
        self.commands.send(command).map_err(|_| ServerError::Ended)?;
        self.waker.wake().map_err(ServerError::Poll)
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            // a second panic would hide the first one
            let _ended = self.command(Command::Stop);
        } else if let Err(error) = self.halt() {
            tracing::error!(%error, "the broker did not stop well");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut server = f.debug_struct("Server");
        server.field("address", &self.address).field("control", &self.control);
        server.finish_non_exhaustive()
    }
}
