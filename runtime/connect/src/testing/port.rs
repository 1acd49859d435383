//! A port for a server that is stopped and started again, and that nobody takes meanwhile.
//!
//! Port 0 would give one of the system's range for outgoing connections. While the server is down
//! such a port can become the near end of any connection; of a client, too, that asks for the
//! server again and again: it then reaches itself (TCP's simultaneous open), and holds the port.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Error};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

/// Below are the ports of well-known services, above those that `runtime/kafka/kafka` takes.
const PORTS: RangeInclusive<u16> = 10_000..=19_999;
const TRIES: u32 = 1_000;

/// A port on 127.0.0.1. No other value has it, in this process or another, until this one is
/// dropped or its process ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Finds one on which nobody listens, outside the range from which the system takes the near
    /// ends of connections; within it only if the system has set all ports aside for that.
    ///
    /// # Errors
    /// If there is none, or the folder of the locks can't be used.
    pub fn reserve() -> io::Result<Self> {
        let (taken, locks) = (outgoing(), locks()?);
        let safe: Vec<u16> = PORTS.filter(|number| !taken.contains(number)).collect();
        let ports = if safe.is_empty() { PORTS.collect() } else { safe };
        for _ in 0..TRIES {
            let Some(&number) = fastrand::choice(&ports) else { break };
            let lock = File::create(locks.join(number.to_string()))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(Error::other(format!("no port of {PORTS:?} outside of {taken:?} is free")))
    }

    /// Returns its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns 127.0.0.1 with it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

/// The ports of outgoing connections: as Linux says, else those that IANA sets aside for it.
fn outgoing() -> RangeInclusive<u16> {
    let said = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = said.split_whitespace().map_while(|number| number.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 49_152..=u16::MAX,
    }
}

/// One file a port: whoever has it locked has the port. The system unlocks what a dead process had.
fn locks() -> io::Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("tidemill-ports-{uid}"));
    let made = DirBuilder::new().mode(0o700).create(&folder);
    // anybody may write there: trust nothing but one's own
    let found = fs::symlink_metadata(&folder)?;
    if found.is_dir() && found.uid() == uid {
        return Ok(folder);
    }
    made.and_then(|()| Err(Error::other(format!("{} is somebody else's", folder.display()))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{PORTS, Port, locks, outgoing};

    #[test]
    fn ports_are_nobody_elses_and_never_the_near_end_of_a_connection() {
        let ports: Vec<Port> = (0..100).map(|_| Port::reserve().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        let taken = outgoing();
        if PORTS.into_iter().any(|number| !taken.contains(&number)) {
            assert!(numbers.iter().all(|number| !taken.contains(number)), "{numbers:?}");
        }
    }

    #[test]
    fn a_port_that_is_locked_or_listened_on_is_another_ones_until_it_is_let_go() {
        let port = Port::reserve().unwrap();
        let number = port.number();
        let file = std::fs::File::open(locks().unwrap().join(number.to_string())).unwrap();
        assert!(matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
        drop(port);
        file.try_lock().unwrap();
    }
}
