//! Named places in the commit protocol at which a test can stop the process.
//!
//! Compiled only with the feature `failpoints`, which nothing but the test suite and `make chaos`
//! turn on. `TIDEMILL_TEST_FAILPOINT=<name>:<n>:<action>` arms a place: at the n-th pass (from 1)
//! the process is ended by SIGKILL (`kill`), stopped by SIGSTOP (`stop`), or the thread panics
//! (`panic`). Names are the steps of `docs/TRANSACTIONS.md`: `S0` to `S8`, `X1` to `X3`.

/// Passes a place. Does nothing unless the feature is on and the place is armed.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_name: &'static str) {}

#[cfg(feature = "failpoints")]
pub use armed::pass;

#[cfg(feature = "failpoints")]
mod armed {
    use std::process::{Command, id};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        pass: u64,
        action: String,
        passed: AtomicU64,
    }

    fn armed() -> &'static [Armed] {
        static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();
        let read = || {
            let text = std::env::var("TIDEMILL_TEST_FAILPOINT").unwrap_or_default();
            text.split(',').filter_map(parse).collect()
        };
        ARMED.get_or_init(read)
    }

    fn parse(text: &str) -> Option<Armed> {
        let mut parts = text.splitn(3, ':');
        let (name, pass, action) = (parts.next()?, parts.next()?, parts.next()?);
        let pass = pass.parse().ok()?;
        let (name, action) = (name.to_owned(), action.to_owned());
        Some(Armed { name, pass, action, passed: AtomicU64::new(0) })
    }

    /// Passes a place; acts if it is an armed one and this is the pass.
    pub fn pass(name: &'static str) {
        let Some(armed) = armed().iter().find(|armed| armed.name == name) else { return };
        if armed.passed.fetch_add(1, Ordering::SeqCst) + 1 != armed.pass {
            return;
        }
        tracing::warn!(name, action = armed.action, "fail point reached");
        match &*armed.action {
            "kill" => signal("KILL"),
            "stop" => signal("STOP"),
            "panic" => panic!("fail point {name}"),
            other => panic!("unknown action {other} of fail point {name}"),
        }
    }

    /// Sends this process a signal and waits for it to take effect.
    fn signal(name: &str) {
        let pid = id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "could not send SIG{name} to {pid}");
        if name == "KILL" {
            loop {
                std::thread::park();
            }
        }
    }
}
