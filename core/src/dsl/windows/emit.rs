//! When the result of a window is forwarded.

/// When the result of a window is forwarded (KIP-825).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmitStrategy {
    /// After each record, or with caching the last result once per commit.
    #[default]
    OnWindowUpdate,
    /// Once, when no more records are taken. As nothing but a record moves stream time, the last
    /// windows are forwarded when a later record comes.
    OnWindowClose,
}

impl EmitStrategy {
    /// After each record, or with caching once per commit: the default.
    #[must_use]
    pub fn on_window_update() -> Self {
        Self::OnWindowUpdate
    }

    /// Once, when the window closes.
    #[must_use]
    pub fn on_window_close() -> Self {
        Self::OnWindowClose
    }
}
