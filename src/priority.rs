//! [`Priority`]: which calls go before others.

/// The class of a call, or of all calls of a [`Lane`](crate::Lane).
///
/// A higher class goes first: none of a lower one starts while there is a job of it that
/// may. But no class is left to starve: when one has been passed over for as long as
/// [`ageing`](crate::Builder::ageing) says, a job of it is next. So under an endless flood
/// of a higher class a lower one starts a job in each such time.
///
/// Shares, between lanes and between tenants, are within a class. A running job is never
/// interrupted for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    /// Somebody waits for it now: a health check, a keystroke.
    High,
    /// Most calls.
    #[default]
    Normal,
    /// What can wait: cleaning up, reports, prefetching.
    Background,
}

/// How many there are.
pub(crate) const CLASSES: usize = 3;

impl Priority {
    /// By number.
    pub(crate) const ALL: [Self; CLASSES] = [Self::High, Self::Normal, Self::Background];
}
