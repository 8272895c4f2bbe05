//! The process-wide default: set once, by [`install`] or by the first call that needs it.

use crate::builder::ConfigError;
use crate::offload::Offload;
use std::error::Error;
use std::fmt;
use std::sync::OnceLock;

static GLOBAL: OnceLock<Offload> = OnceLock::new();

/// The default, which `make` makes if there is none.
pub(crate) fn get_or_install(
    make: impl FnOnce() -> Result<Offload, ConfigError>,
) -> Result<Offload, ConfigError> {
    if let Some(offload) = GLOBAL.get() {
        return Ok(offload.clone());
    }
    let offload = make()?;
    // Should another thread be faster, ours has started nothing yet.
    Ok(GLOBAL.get_or_init(|| offload).clone())
}

/// Makes `offload` the process-wide default.
///
/// # Errors
///
/// [`AlreadyInstalled`] gives it back if there is a default: also one that the first
/// call without an [`on`](crate::Offloaded::on) has made.
pub fn install(offload: Offload) -> Result<(), AlreadyInstalled> {
    GLOBAL.set(offload).map_err(AlreadyInstalled)
}

/// There is a process-wide default already.
#[derive(Debug)]
pub struct AlreadyInstalled(Offload);

impl AlreadyInstalled {
    /// The one that was not installed.
    #[must_use]
    pub fn into_inner(self) -> Offload {
        self.0
    }
}

impl fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a process-wide `Offload` exists already: \
             install yours before the first call, and only once",
        )
    }
}

impl Error for AlreadyInstalled {}
